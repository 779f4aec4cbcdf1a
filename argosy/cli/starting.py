"""From a configuration to something that runs: what `argosy up`, `argosy server` and `argosy join` have in common.

A control plane is started and waited for in one way, and so is a node, wherever they are; the configuration says what
there is to be on this machine.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from argosy.cli.options import DEFAULT_NAME
from argosy.cli.progress import Progress

if TYPE_CHECKING:
    from deploy.cluster import ClusterConfig
    from deploy.external_store import Files
    from deploy.layout import Layout

READY_TIMEOUT_S = 120.0
SUPERVISED_S = 1.0
PROCESSES = (
    "etcd",
    "apiserver",
    "controllers",
    "scheduler",
    "autoscaler",
    "metrics",
    "ingress",
    "dns",
    "agent",
    "proxy",
)


def start(layout: Layout, config: ClusterConfig, progress: Progress, files: Files | None = None) -> None:
    """Processes run, images are on disk. Nothing is changed in a cluster that runs already.

    `files` are those of an external store.
    """
    from deploy import builtin_images, external_store, kubeconfig, launch

    running = launch.is_running(layout)
    with progress.step("certificates and configuration"):
        launch.prepare(config, layout)
        if files is not None:
            external_store.install(layout, files)
        if config.has_control_plane:
            file = kubeconfig.path(os.environ)
            kubeconfig.merge(file, kubeconfig.entry(layout.name, f"https://127.0.0.1:{config.port}", layout))
    if not running:
        with progress.step(f"{_parts(config)} start"):
            launch.start_supervisor(layout)
    archive = f"{layout.images}/builtin.tar"
    if (config.nodes or config.node_groups) and not os.path.exists(archive):
        builtin_images.write_archive(archive)


def _parts(config: ClusterConfig) -> str:
    """What is started, in words."""
    if not config.has_control_plane:
        return "the node's container runtime, agent and proxy"
    if config.is_on_lan:
        return "network, store, control plane and nodes"
    return "store and control plane"


def wait(layout: Layout, config: ClusterConfig, progress: Progress) -> None:
    """Until the API answers, every node of this machine is Ready and the rest runs too; meanwhile images are loaded.

    Raises NotUp, LaunchError when the supervisor ends meanwhile or a process does so time and again.
    """
    import asyncio
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from deploy import launch

    failed = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        own, archives = _own_nodes(config), launch.known_archives(layout)
        loading = pool.submit(launch.load_images, layout, archives, own, failed.is_set) if own else None
        try:
            asyncio.run(_wait_supervised(layout, config, progress))
        except BaseException:
            failed.set()
            raise
        if loading is not None:
            loading.result()
    with progress.step("every process runs"):
        launch.await_well(layout)


async def _wait_supervised(layout: Layout, config: ClusterConfig, progress: Progress) -> None:
    import asyncio

    from deploy import launch

    async def supervised() -> None:
        while True:
            await asyncio.sleep(SUPERVISED_S)
            await asyncio.to_thread(launch.check_supervised, layout)

    tasks = [asyncio.create_task(_wait_ready(layout, config, progress)), asyncio.create_task(supervised())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_ready(layout: Layout, config: ClusterConfig, progress: Progress) -> None:
    from deploy import bring_up

    names = _own_nodes(config)
    api = bring_up.client(layout, config)
    try:
        if config.has_control_plane:
            with progress.step("the API server answers"):
                await bring_up.wait_api(api, READY_TIMEOUT_S)
            await bring_up.ensure_objects(api, layout, config)
        if names:
            what = f"{len(names)} nodes are Ready" if len(names) > 1 else f"node {names[0]} is Ready"
            with progress.step(what):
                await bring_up.wait_nodes(api, names, READY_TIMEOUT_S)
    finally:
        await api.close()


def _own_nodes(config: ClusterConfig) -> list[str]:
    """Nodes that are waited for: those of groups come and go by themselves."""
    return [node.name for node in config.nodes if node.is_wanted and not node.group]


def which(name: str) -> str:
    """What is added to commands for a cluster that has not the default name."""
    return "" if name == DEFAULT_NAME else f" --name {name}"


def flags(given: list[str]) -> dict[str, list[str]]:
    """`controllers:--node-monitor-grace-period=10` … by process kind, or name (`etcd-1`). Raises ValueError."""
    result: dict[str, list[str]] = {}
    for item in given:
        process, colon, flag = item.partition(":")
        if not colon or not flag.startswith("--"):
            raise ValueError(f"--flag {item}: PROCESS:--flag=value, such as controllers:--node-monitor-period=1")
        if re.sub(r"-\d+$", "", process) not in PROCESSES or re.fullmatch(r"(agent|proxy)-\d+", process):
            known = ", ".join(PROCESSES)
            raise ValueError(f"--flag {item}: there is no process {process!r}; there are: {known}, and etcd-1, …")
        result.setdefault(process, []).append(flag)
    return result


def check_stores(stores: int, external: tuple[str, ...]) -> None:
    """Raises ValueError."""
    if stores not in (1, 3, 5) and not external:
        raise ValueError(f"--stores {stores}: 1, 3 or 5 members form a majority sensibly")


def check_proxy_mode(proxy_mode: str) -> None:
    """Raises ValueError."""
    if proxy_mode not in ("iptables", "nftables"):
        raise ValueError(f"--proxy-mode {proxy_mode}: iptables or nftables")


def check_ingress(ingress: bool, port: int) -> None:
    """Raises ValueError."""
    import shutil

    if ingress and shutil.which("nginx") is None:
        raise ValueError("--ingress: nginx is not installed (Debian's package nginx-light; deploy/install.sh has it)")
    if not 0 <= port < 65536:
        raise ValueError(f"--ingress-port {port}: no port")


def check_registries(registries: tuple[str, ...]) -> None:
    """Raises ValueError."""
    for item in registries:
        if "=" not in item or "://" not in item.partition("=")[2]:
            raise ValueError(f"--registry {item}: HOST=URL, such as registry.example=http://10.77.0.9:5000")


def node_size(node_cpus: float, node_memory: str, nodes: int) -> tuple[float, int]:
    """CPUs and memory of a node; unset ones are the machine's CPUs and a share of its memory. Raises ValueError."""
    from argosy.objects.quantity import value

    whole_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if node_cpus < 0:
        raise ValueError(f"--node-cpus {node_cpus}: a node needs some")
    try:
        memory_bytes = value(node_memory) if node_memory else max(1 << 30, whole_bytes // max(1, nodes))
    except ValueError as error:
        raise ValueError(f"--node-memory {node_memory}: {error}") from None
    if memory_bytes < 128 << 20:
        raise ValueError(f"--node-memory {node_memory}: a node needs 128Mi at least")
    return node_cpus or float(os.cpu_count() or 1), min(memory_bytes, whole_bytes) >> 20 << 20


def disk_size(text: str, flag: str) -> int:
    """Bytes of a disk; 0 for none of its own. Raises ValueError."""
    from argosy.objects.quantity import value
    from deploy.disks import LEAST_BYTES

    if not text:
        return 0
    try:
        size_bytes = value(text)
    except ValueError as error:
        raise ValueError(f"{flag} {text}: {error}") from None
    if size_bytes < LEAST_BYTES:
        raise ValueError(f"{flag} {text}: {LEAST_BYTES >> 20}Mi at least")
    if shutil.which("mkfs.ext4") is None:
        raise ValueError(f"{flag} needs mkfs.ext4, of Debian's package e2fsprogs")
    return size_bytes >> 20 << 20
