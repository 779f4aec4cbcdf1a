"""`argosy up`: start a cluster, or whatever of it is missing, and wait until every node is Ready.

A control plane and nodes as `argosy server` and `argosy join` start them, on a LAN within this machine. Where one of
those two was run before, it starts again what they left.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli import node_groups, starting
from argosy.cli.options import DEFAULT_NAME, NameOption, own_name
from argosy.cli.progress import Progress

if TYPE_CHECKING:
    from deploy.cluster import ClusterConfig
    from deploy.layout import Layout

DEFAULT_PORT = 6443


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    name: NameOption = DEFAULT_NAME,
    nodes: Annotated[int | None, typer.Option(help="Nodes. [default: 3]")] = None,
    stores: Annotated[int | None, typer.Option(help="Store members: 1, 3 or 5. [default: 3]")] = None,
    apiservers: Annotated[int | None, typer.Option(help="API servers. [default: 1]")] = None,
    etcd_servers: Annotated[str, typer.Option(help="URLs of an etcd cluster to use as the store.")] = "",
    etcd_ca: Annotated[str, typer.Option(help="PEM file: the authority of an https --etcd-servers.")] = "",
    etcd_certificate: Annotated[str, typer.Option(help="PEM file: the certificate shown to it.")] = "",
    etcd_key: Annotated[str, typer.Option(help="PEM file: the certificate's key.")] = "",
    uplink: Annotated[
        bool | None, typer.Option(help="A way out for nodes and pods. [default: if there is one]")
    ] = None,
    node_cpus: Annotated[float, typer.Option(help="CPUs of each node; 0: the machine's.")] = 0.0,
    node_memory: Annotated[str, typer.Option(help="Memory of each node, such as 4Gi; empty: its share.")] = "",
    node_disk: Annotated[
        str, typer.Option(help="A file system of its own for each node, such as 8Gi; empty: the machine's.")
    ] = "",
    store_disk: Annotated[
        str, typer.Option(help="One for each store member, such as 1Gi; empty: the machine's.")
    ] = "",
    proxy_mode: Annotated[str, typer.Option(help="How services are routed: iptables or nftables.")] = "",
    node_group: Annotated[list[str] | None, typer.Option(help=node_groups.HELP)] = None,
    port: Annotated[int, typer.Option(help="The API's port on 127.0.0.1. [default: the first free from 6443]")] = 0,
    registry: Annotated[list[str] | None, typer.Option(help="HOST=URL: where images of HOST come from.")] = None,
    flag: Annotated[list[str] | None, typer.Option(help="PROCESS:--flag=value, passed on; more than once.")] = None,
    ingress: Annotated[bool, typer.Option("--ingress", help="An ingress controller (nginx), on the LAN.")] = False,
    ingress_port: Annotated[int, typer.Option(help="And its HTTP port on 127.0.0.1 of this machine.")] = 0,
    demo: Annotated[bool, typer.Option("--demo", help="Then run the demo.")] = False,
) -> None:
    """Start a cluster of real nodes on this machine and write a kubeconfig context for it."""
    from deploy import cleanup, cluster, external_store, launch, preflight
    from deploy.layout import Layout

    layout = Layout(name)
    files = external_store.Files(etcd_ca, etcd_certificate, etcd_key)
    progress = Progress()
    with launch.changing(layout) if os.geteuid() == 0 else progress.step("check"):
        existing = cluster.load(layout) if os.geteuid() == 0 else None
        wants_uplink = uplink if uplink is not None else preflight.has_default_route()
        if existing is None or existing.nodes or existing.is_on_lan:
            preflight.check(uplink=wants_uplink and (existing is None or existing.is_on_lan))
        else:
            preflight.check_server()
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
                node_disk=node_disk,
                store_disk=store_disk,
                proxy_mode=proxy_mode or "iptables",
                ingress=ingress,
                ingress_port=ingress_port,
                registries=tuple(registry or ()),
                flags=starting.flags(flag or []),
            )
            external_store.check(config.etcd_servers, files, uplink=wants_uplink)
            config = replace(config, etcd_identity=bool(etcd_certificate))
            config = replace(config, node_groups=node_groups.node_groups(node_group or [], len(config.nodes)))
            if cleanup.exists(layout):
                # Of a cluster whose removal, or whose first start, was cut off: nothing says what it was to be.
                with progress.step("leftovers are removed"):
                    cleanup.remove(layout)
            config = launch.reserve_port(config, layout, port, DEFAULT_PORT)
        else:
            _check_same(
                existing, nodes=nodes, stores=stores, apiservers=apiservers, port=port, etcd_servers=etcd_servers
            )
            if node_group and node_groups.node_groups(node_group, _own_nodes(existing)) != existing.node_groups:
                raise ValueError(f"cluster {name!r} is there with other node groups; `argosy down` first")
            _check_same_disks(existing, node_disk, store_disk)
            config = existing
        starting.start(layout, config, progress, files)
        starting.wait(layout, config, progress)
    if demo:
        from argosy.cli import demo as demonstration

        demonstration.run(layout, config, progress)
    elif config.has_control_plane:
        _say_what_to_try(layout, progress)
    else:
        print(f"This machine is node {config.nodes[0].name!r} again after {progress.total_s():.1f} s.")


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
    node_disk: str,
    store_disk: str,
    proxy_mode: str,
    ingress: bool,
    ingress_port: int,
    registries: tuple[str, ...],
    flags: dict[str, list[str]],
) -> ClusterConfig:
    """Raises ValueError naming the flag that cannot be."""
    from deploy.cluster import ClusterConfig
    from deploy.layout import MAX_MEMBERS

    external = tuple(url for url in etcd_servers.split(",") if url)
    starting.check_stores(stores, external)
    if not 1 <= apiservers <= 5:
        raise ValueError(f"--apiservers {apiservers}: between 1 and 5")
    if not 0 <= nodes <= MAX_MEMBERS:
        raise ValueError(f"--nodes {nodes}: between 0 and {MAX_MEMBERS}")
    starting.check_proxy_mode(proxy_mode)
    starting.check_ingress(ingress or bool(ingress_port), ingress_port)
    starting.check_registries(registries)
    cpus, memory_bytes = starting.node_size(node_cpus, node_memory, nodes)
    disk_bytes = starting.disk_size(node_disk, "--node-disk")
    config = ClusterConfig(
        layout.name,
        stores=0 if external else stores,
        store_disk_bytes=0 if external else starting.disk_size(store_disk, "--store-disk"),
        apiservers=apiservers,
        proxy_mode=proxy_mode,
        ingress=ingress or bool(ingress_port),
        ingress_port=ingress_port,
        uplink=uplink,
        etcd_servers=external,
        registries=registries,
        flags=flags,
    )
    for _ in range(nodes):
        config = config.with_node(config.next_node(cpus=cpus, memory_bytes=memory_bytes, disk_bytes=disk_bytes))
    return config


def _check_same(
    existing: ClusterConfig,
    *,
    nodes: int | None,
    stores: int | None,
    apiservers: int | None,
    port: int,
    etcd_servers: str,
) -> None:
    """A cluster that is there is not changed by other flags. Raises ValueError saying how it can be."""
    external = bool(existing.etcd_servers)
    asked: dict[str, int | str | None] = {
        "nodes": nodes,
        "stores": None if external else stores,
        "apiservers": apiservers,
        "port": port or None,
        "etcd-servers": etcd_servers or None,
    }
    there: dict[str, int | str] = {
        "nodes": _own_nodes(existing),
        "stores": existing.stores,
        "apiservers": existing.apiservers,
        "port": existing.port,
        "etcd-servers": ",".join(existing.etcd_servers) or "of its own",
    }
    for key, value in asked.items():
        if value is not None and value != there[key]:
            how = (
                "`argosy node add|remove` changes it" if key == "nodes" else "`argosy down` first, or another --name"
            )
            raise ValueError(f"cluster {existing.name!r} is there with --{key} {there[key]}, not {value}; {how}")


def _check_same_disks(existing: ClusterConfig, node_disk: str, store_disk: str) -> None:
    """Raises ValueError: a disk keeps its size."""
    given = ((node_disk, "--node-disk"), (store_disk, "--store-disk"))
    asked = {flag: starting.disk_size(text, flag) for text, flag in given if text}
    there = {"--node-disk": {node.disk_bytes for node in existing.nodes}, "--store-disk": {existing.store_disk_bytes}}
    for flag, size_bytes in asked.items():
        if there[flag] != {size_bytes}:
            raise ValueError(
                f"cluster {existing.name!r} is there with other disks than {flag} asks for; "
                "`argosy down` first, or another --name"
            )


def _own_nodes(config: ClusterConfig) -> int:
    """Those that do not come and go by themselves."""
    return sum(not node.group for node in config.nodes)


def _say_what_to_try(layout: Layout, progress: Progress) -> None:
    from deploy import kubeconfig

    context = kubeconfig.context_name(layout.name)
    which = starting.which(layout.name)
    print(f"Cluster {layout.name!r} is up after {progress.total_s():.1f} s; kubectl context {context!r}. Try:")
    print("    kubectl get nodes -o wide")
    print(f"    {own_name()} status{which}")
    print(f"    {own_name()} down{which}")


def examples() -> Path:
    """The folder with the example manifests."""
    import deploy

    return Path(deploy.__file__).parent / "examples"
