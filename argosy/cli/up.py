"""`argosy up`: start a cluster, or whatever of it is missing, and wait until every node is Ready."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption
from argosy.cli.progress import Progress

if TYPE_CHECKING:
    from deploy.cluster import ClusterConfig
    from deploy.layout import Layout

DEFAULT_PORT = 6443
READY_TIMEOUT_S = 120.0


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    name: NameOption = DEFAULT_NAME,
    nodes: Annotated[int | None, typer.Option(help="Nodes. [default: 3]")] = None,
    stores: Annotated[int | None, typer.Option(help="Store members: 1, 3 or 5. [default: 3]")] = None,
    apiservers: Annotated[int | None, typer.Option(help="API servers. [default: 1]")] = None,
    etcd_servers: Annotated[str, typer.Option(help="URLs of an etcd cluster to use as the store.")] = "",
    uplink: Annotated[
        bool | None, typer.Option(help="A way out for nodes and pods. [default: if there is one]")
    ] = None,
    node_cpus: Annotated[float, typer.Option(help="CPUs of each node; 0: the machine's.")] = 0.0,
    node_memory: Annotated[str, typer.Option(help="Memory of each node, such as 4Gi; empty: its share.")] = "",
    proxy_mode: Annotated[str, typer.Option(help="How services are routed: iptables or nftables.")] = "",
    port: Annotated[int, typer.Option(help="The API's port on 127.0.0.1. [default: the first free from 6443]")] = 0,
    registry: Annotated[list[str] | None, typer.Option(help="HOST=URL: where images of HOST come from.")] = None,
    flag: Annotated[list[str] | None, typer.Option(help="PROCESS:--flag=value, passed on; more than once.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Then run the demo.")] = False,
) -> None:
    """Start a cluster of real nodes on this machine and write a kubeconfig context for it."""
    from deploy import cluster, launch, preflight
    from deploy.layout import Layout

    layout = Layout(name)
    progress = Progress()
    with launch.changing(layout) if os.geteuid() == 0 else progress.step("check"):
        existing = cluster.load(layout) if os.geteuid() == 0 else None
        wants_uplink = uplink if uplink is not None else preflight.has_default_route()
        preflight.check(uplink=wants_uplink)
        if existing is None:
            config = _new_config(
                layout,
                nodes=3 if nodes is None else nodes,
                stores=3 if stores is None else stores,
                apiservers=1 if apiservers is None else apiservers,
                etcd_servers=etcd_servers,
                uplink=wants_uplink,
                node_cpus=node_cpus,
                node_memory=node_memory,
                proxy_mode=proxy_mode or "iptables",
                registries=tuple(registry or ()),
                flags=_flags(flag or []),
            )
            config = replace(config, port=preflight.choose_port(port, DEFAULT_PORT))
        else:
            _check_same(existing, nodes=nodes, stores=stores, apiservers=apiservers, port=port)
            config = existing
        _start(layout, config, progress)
        _wait(layout, config, progress)
    if demo:
        from argosy.cli import demo as demonstration

        demonstration.run(layout, config, progress)
    else:
        _say_what_to_try(layout, progress)


def _new_config(
    layout: Layout,
    *,
    nodes: int,
    stores: int,
    apiservers: int,
    etcd_servers: str,
    uplink: bool,
    node_cpus: float,
    node_memory: str,
    proxy_mode: str,
    registries: tuple[str, ...],
    flags: dict[str, list[str]],
) -> ClusterConfig:
    """Raises ValueError naming the flag that cannot be."""
    from deploy.cluster import ClusterConfig
    from deploy.layout import MAX_MEMBERS

    external = tuple(url for url in etcd_servers.split(",") if url)
    if stores not in (1, 3, 5) and not external:
        raise ValueError(f"--stores {stores}: 1, 3 or 5 members form a majority sensibly")
    if not 1 <= apiservers <= 5:
        raise ValueError(f"--apiservers {apiservers}: between 1 and 5")
    if not 0 <= nodes <= MAX_MEMBERS:
        raise ValueError(f"--nodes {nodes}: between 0 and {MAX_MEMBERS}")
    if proxy_mode not in ("iptables", "nftables"):
        raise ValueError(f"--proxy-mode {proxy_mode}: iptables or nftables")
    for item in registries:
        if "=" not in item or "://" not in item.partition("=")[2]:
            raise ValueError(f"--registry {item}: HOST=URL, such as registry.example=http://10.77.0.9:5000")
    cpus, memory_bytes = node_size(node_cpus, node_memory, nodes)
    config = ClusterConfig(
        layout.name,
        stores=0 if external else stores,
        apiservers=apiservers,
        proxy_mode=proxy_mode,
        uplink=uplink,
        etcd_servers=external,
        registries=registries,
        flags=flags,
    )
    for _ in range(nodes):
        config = config.with_node(config.next_node(cpus=cpus, memory_bytes=memory_bytes))
    return config


def node_size(node_cpus: float, node_memory: str, nodes: int) -> tuple[float, int]:
    """CPUs and memory of a node; unset ones are the machine's CPUs and a share of its memory. Raises ValueError."""
    from argosy.objects.quantity import value

    whole_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if node_cpus < 0:
        raise ValueError(f"--node-cpus {node_cpus}: a node needs some")
    memory_bytes = value(node_memory) if node_memory else max(1 << 30, whole_bytes // max(1, nodes))
    if memory_bytes < 128 << 20:
        raise ValueError(f"--node-memory {node_memory}: a node needs 128Mi at least")
    return node_cpus or float(os.cpu_count() or 1), min(memory_bytes, whole_bytes) >> 20 << 20


def _flags(given: list[str]) -> dict[str, list[str]]:
    """`controllers:--node-monitor-grace-period=10` … by process kind. Raises ValueError."""
    result: dict[str, list[str]] = {}
    for item in given:
        kind, colon, flag = item.partition(":")
        if not colon or not flag.startswith("--"):
            raise ValueError(f"--flag {item}: PROCESS:--flag=value, such as controllers:--node-monitor-period=1")
        result.setdefault(kind, []).append(flag)
    return result


def _check_same(
    existing: ClusterConfig, *, nodes: int | None, stores: int | None, apiservers: int | None, port: int
) -> None:
    """A cluster that is there is not changed by other flags. Raises ValueError saying how it can be."""
    asked = {"nodes": nodes, "stores": stores, "apiservers": apiservers, "port": port or None}
    there = {
        "nodes": len(existing.nodes),
        "stores": existing.stores,
        "apiservers": existing.apiservers,
        "port": existing.port,
    }
    for key, value in asked.items():
        if value is not None and value != there[key]:
            how = (
                "`argosy node add|remove` changes it" if key == "nodes" else "`argosy down` first, or another --name"
            )
            raise ValueError(f"cluster {existing.name!r} is there with --{key} {there[key]}, not {value}; {how}")


def _start(layout: Layout, config: ClusterConfig, progress: Progress) -> None:
    """Processes run, images are on disk. Nothing is changed in a cluster that runs already."""
    from deploy import builtin_images, kubeconfig, launch

    running = launch.is_running(layout)
    with progress.step("certificates and configuration"):
        launch.prepare(config, layout)
        file = kubeconfig.path(os.environ)
        kubeconfig.merge(file, kubeconfig.entry(layout.name, f"https://127.0.0.1:{config.port}", layout))
    if not running:
        with progress.step("network, store, control plane and nodes start"):
            launch.start_supervisor(layout)
    archive = f"{layout.images}/builtin.tar"
    if not os.path.exists(archive):
        builtin_images.write_archive(archive)


def _wait(layout: Layout, config: ClusterConfig, progress: Progress) -> None:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from deploy import launch

    names = [node.name for node in config.nodes if not node.crashed]
    with ThreadPoolExecutor(max_workers=1) as pool:
        loading = pool.submit(launch.load_images, layout, [f"{layout.images}/builtin.tar"])
        try:
            asyncio.run(_wait_ready(layout, config, names, progress))
        finally:
            problem = loading.exception()
    if problem is not None:
        raise problem


async def _wait_ready(layout: Layout, config: ClusterConfig, names: list[str], progress: Progress) -> None:
    from deploy import bring_up

    api = bring_up.client(layout, config.apiservers)
    try:
        with progress.step("the API server answers"):
            await bring_up.wait_api(api, READY_TIMEOUT_S)
        await bring_up.ensure_objects(api)
        with progress.step(f"{len(names)} nodes are Ready"):
            await bring_up.wait_nodes(api, names, READY_TIMEOUT_S)
    finally:
        await api.close()


def _say_what_to_try(layout: Layout, progress: Progress) -> None:
    from deploy import kubeconfig

    context = kubeconfig.context_name(layout.name)
    which = "" if layout.name == DEFAULT_NAME else f" --name {layout.name}"
    print(f"Cluster {layout.name!r} is up after {progress.total_s():.1f} s; kubectl context {context!r}. Try:")
    print("    kubectl get nodes -o wide")
    print(f"    argosy status{which}")
    print(f"    argosy down{which}")


def examples() -> Path:
    """The folder with the example manifests."""
    import deploy

    return Path(deploy.__file__).parent / "examples"
