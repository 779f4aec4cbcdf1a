"""What the command line does to a cluster: start, stop, nodes, images. Each function says its steps to a callback.

The command line and `argosy.testing` call it; the supervisor does the keeping.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from argosy.host import real_host
from deploy import children, cleanup, cluster, containerd, control, locks, netns, preflight
from deploy.cluster import ClusterConfig, ConfigError
from deploy.layout import Layout
from deploy.network import place_of
from deploy.unit import FAILED_STARTS

SUPERVISOR_UP_S: Final = 20.0
STOP_S: Final = 40.0
RUNTIME_UP_S: Final = 60.0
REMOVED_S: Final = 60.0
WELL_S: Final = 60.0
STEADY_S: Final = 2.0
"""One that was started again is taken as well only then: most that cannot run end at once."""
IMPORT_TIMEOUT_S: Final = 600.0

Say = Callable[[str], None]


class LaunchError(Exception):
    """Something did not come up or go down; the message says what and where to look."""


@contextlib.contextmanager
def changing(layout: Layout) -> Iterator[None]:
    """One command at a time changes a cluster. Raises LaunchError when another is at it."""
    folder = os.path.dirname(layout.run)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    try:
        with locks.held(f"{folder}/.{layout.name}.lock", wait=False):
            yield
    except BlockingIOError:
        raise LaunchError(f"another argosy command is changing cluster {layout.name!r}") from None
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def reserve_port(config: ClusterConfig, layout: Layout, asked: int, default: int) -> ClusterConfig:
    """Give a new cluster its port and write it down, so that no other cluster gets it. Raises NotReady.

    Ports of clusters that are stopped, or about to start, are theirs though nothing listens yet.
    """
    with locks.held(f"{os.path.dirname(layout.run)}/.port.lock"):
        taken = set()
        for name in cluster.clusters():
            with contextlib.suppress(ConfigError, ValueError):
                found = cluster.load(Layout(name))
                if found is not None and found.has_control_plane and name != layout.name:
                    taken.add(found.port)
        config = replace(config, port=preflight.choose_port(asked, default, taken))
        cluster.save(config, layout)
    return config


def is_running(layout: Layout) -> bool:
    """Whether a supervisor answers."""
    try:
        control.call(layout, "ping", timeout_s=5.0)
    except control.ControlError:
        return False
    return True


def prepare(config: ClusterConfig, layout: Layout) -> None:
    """Everything that is on disk before the first process starts: configuration, certificates, bytecode."""
    from deploy import certificates, node

    for folder, mode in ((layout.state, 0o700), (layout.run, 0o700), (layout.logs, 0o755)):
        os.makedirs(folder, mode=mode, exist_ok=True)
    cluster.save(config, layout)
    certificates.ensure(layout, config, place_of(layout, config), real_host())
    node.compile_packages()


def start_supervisor(layout: Layout) -> None:
    """Start it, detached, and wait until it answers. Raises LaunchError with the end of its log."""
    os.makedirs(layout.logs, exist_ok=True)
    with open(layout.log("supervisor").removesuffix(".log") + ".err", "ab") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "deploy.supervisor",
                "--name",
                layout.name,
                "--log-file",
                layout.log("supervisor"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    up = cleanup.wait_until(lambda: process.poll() is not None or _answers(layout), SUPERVISOR_UP_S)
    if process.poll() is not None or not up:
        raise LaunchError(f"the supervisor did not come up: {tail(layout.log('supervisor'))}")


def check_supervised(layout: Layout) -> bool:
    """Whether every process that the supervisor keeps is well (what nodes keep inside is not looked at).

    Raises LaunchError, with the end of its log, when the supervisor is gone or a process ends time and again.
    """
    try:
        found = control.call(layout, "status", timeout_s=5.0)
    except control.NotRunning:
        said = tail(layout.log("supervisor").removesuffix(".log") + ".err")
        raise LaunchError(f"the supervisor ended: {said}") from None
    except control.ControlError:
        return False
    down = {item["name"] for item in found["nodes"] if item["crashed"] or item["leaving"]}
    own = [item for item in found["processes"] if "/" not in item["name"] and item["name"] not in down]
    for item in own:
        if not item["pid"] and item["restarts"] >= FAILED_STARTS:
            name, log = item["name"], layout.log(item["name"])
            errors = log.removesuffix(".log") + ".err"
            written = errors if os.path.exists(errors) and os.path.getsize(errors) else log
            raise LaunchError(f"{name} does not run ({item['exit']}): {tail(written)}")
    return all(item["healthy"] and (not item["restarts"] or item["up_s"] >= STEADY_S) for item in own)


def await_well(layout: Layout) -> None:
    """Until every process is well, but for what faults keep from it. Raises LaunchError."""
    if not os.path.isdir(layout.chaos) and not cleanup.wait_until(lambda: check_supervised(layout), WELL_S):
        raise LaunchError("not every process is well; `argosy status` tells which")


def _answers(layout: Layout) -> bool:
    return os.path.exists(layout.control_socket) and is_running(layout)


def tail(path: str, lines: int = 5) -> str:
    """The end of a log, for an error message."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return f"{path} ends with:\n" + "".join(file.readlines()[-lines:])
    except OSError:
        return f"{path} is not there"


def stop(layout: Layout) -> None:
    """End the cluster in order where a supervisor answers; then remove whatever is left. Raises CleanupError."""
    if os.path.isdir(layout.chaos):
        from deploy.chaos import inject

        inject.heal_leftovers(layout)
    with contextlib.suppress(control.ControlError):
        pid = int(control.call(layout, "stop", timeout_s=5.0, remove=True)["pid"])
        cleanup.wait_until(lambda: children.start_ticks(pid) == 0, STOP_S)
    cleanup.remove(layout)


def reload(config: ClusterConfig, layout: Layout) -> None:
    """Make a changed configuration true. Raises ControlError."""
    prepare(config, layout)
    control.call(layout, "reload")


def current(layout: Layout) -> ClusterConfig:
    """The configuration of a cluster that is there. Raises ConfigError."""
    config = cluster.load(layout)
    if config is None:
        others = [name for name in cluster.clusters() if name != layout.name]
        there = f"; there are: {', '.join(others)}" if others else ""
        raise ConfigError(f"there is no cluster {layout.name!r}{there}; `argosy up` makes one")
    return config


def crash_node(layout: Layout, name: str) -> None:
    config = current(layout)
    reload(config.with_node(replace(config.node(name), crashed=True)), layout)


def start_node(layout: Layout, name: str) -> None:
    config = current(layout)
    reload(config.with_node(replace(config.node(name), crashed=False)), layout)


def add_node(layout: Layout, name: str, *, cpus: float, memory_bytes: int, disk_bytes: int = 0) -> str:
    """Gives the new node's name. Raises ConfigError where nodes are machines."""
    config = current(layout)
    if not config.is_on_lan:
        raise ConfigError(f"the nodes of cluster {layout.name!r} are machines: `argosy join` on a machine adds it")
    node = config.next_node(name, cpus=cpus, memory_bytes=memory_bytes, disk_bytes=disk_bytes)
    reload(config.with_node(node), layout)
    return node.name


def remove_node(layout: Layout, name: str) -> None:
    """Have a node leave for good; the supervisor sees to it (deploy.departures). Raises ConfigError, ControlError."""
    config = current(layout)
    reload(config.with_node(replace(config.node(name), leaving=True)), layout)


def await_removed(layout: Layout, name: str) -> None:
    """Until nothing is left of a node that leaves. Raises LaunchError when that takes too long."""
    if not cleanup.wait_until(lambda: all(item.name != name for item in current(layout).nodes), REMOVED_S):
        raise LaunchError(f"{name} is still being removed: {tail(layout.log('supervisor'))}")


def status(layout: Layout) -> dict[str, Any]:
    """Every process and node. Raises NotRunning, ControlError."""
    return control.call(layout, "status")


def runtime_sockets(layout: Layout, nodes: Sequence[str] = ()) -> dict[str, str]:
    """containerd's socket of each running node (all, or those named), as a path on the host. Raises ConfigError."""
    config = current(layout)
    for name in nodes:
        config.node(name)
    try:
        with open(layout.children_file, encoding="utf-8") as file:
            read = json.load(file)
    except (OSError, ValueError):
        read = {}
    return {
        node.name: f"/proc/{read[node.name]['pid']}/root{containerd.SOCKET}"
        for node in config.nodes
        if node.name in read and (not nodes or node.name in nodes)
    }


def known_archives(layout: Layout) -> list[str]:
    """The archives that every node gets: the built-in images."""
    return [f"{layout.images}/builtin.tar"]


def load_images(
    layout: Layout, archives: Sequence[str], nodes: Sequence[str] = (), give_up: Callable[[], bool] = lambda: False
) -> list[str]:
    """Load image archives into nodes, all at once; gives the nodes' names. Raises LaunchError, ConfigError.

    A node's containerd is waited for until `give_up` says so.
    """
    config = current(layout)
    wanted = [node.name for node in config.nodes if node.is_wanted and (not nodes or node.name in nodes)]
    for name in nodes:
        config.node(name)

    def load(name: str) -> None:
        found: dict[str, str] = {}

        def ready() -> bool:
            found.update(runtime_sockets(layout, [name]))
            return name in found and netns.accepts_unix(found[name])

        if not cleanup.wait_until(lambda: give_up() or ready(), RUNTIME_UP_S) or give_up():
            raise LaunchError(f"{name}: containerd does not answer: {tail(layout.log(name + '/containerd'))}")
        for archive in archives:
            import_archive(found[name], archive, name)

    with ThreadPoolExecutor(max_workers=max(1, min(8, len(wanted)))) as pool:
        list(pool.map(load, wanted))
    return wanted


def import_archive(sock: str, archive: str, node: str) -> None:
    """One archive into one containerd. Raises LaunchError."""
    line = ["ctr", "--address", sock, "--namespace", "k8s.io", "images", "import", "--all-platforms", archive]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=IMPORT_TIMEOUT_S)
    if done.returncode != 0:
        raise LaunchError(f"{node}: {archive}: {(done.stderr or done.stdout).strip()}")
