"""The supervisor keeps real processes running, survives its own death, hands sockets over and cleans up."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import children, cleanup, cluster, control, launch, netns
from deploy.cluster import ClusterConfig
from deploy.layout import Layout
from deploy.preflight import choose_port

pytestmark = pytest.mark.root

# Stands in for the entry points: an API server is what accepts on the sockets it is handed, a store what waits.
STAND_INS = """
import os, socket, sys, time
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
def serve():
    grpc = socket.socket(socket.AF_UNIX)
    path = next(x for x in flags["--listen-grpc"].split(",") if x.startswith("unix:"))[5:]
    if os.path.exists(path):
        os.unlink(path)
    grpc.bind(path)
    grpc.listen()
    sock = socket.socket(fileno=int(flags["--listen-fds"].split(",")[0]))
    sock.setblocking(True)
    while True:
        peer, _ = sock.accept()
        peer.sendall(str(os.getpid()).encode())
        peer.close()
def store():
    host, port = flags["--listen-client"].split(":")
    sock = socket.create_server((host, int(port)))
    time.sleep(1000)
serve() if "--listen-fds" in flags else store() if "--listen-client" in flags else time.sleep(1000)
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages in which the control plane's processes are the stand-ins."""
    for name in ("etcd", "control_plane/apiserver", "control_plane/controllers", "control_plane/scheduler"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "__main__.py").write_text(STAND_INS)
    (tmp_path / "control_plane" / "dns").mkdir()
    (tmp_path / "control_plane" / "dns" / "__main__.py").write_text("raise SystemExit(3)")
    for name in ("etcd", "control_plane"):
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def config(layout: Layout, checkout: Path) -> ClusterConfig:
    found = ClusterConfig(layout.name, stores=1, port=choose_port(0, 26443))
    cluster.save(found, layout)
    return found


def processes(layout: Layout) -> dict[str, dict]:
    return {item["name"]: item for item in launch.status(layout)["processes"]}


def pid_of(layout: Layout, name: str) -> int:
    return int(processes(layout)[name]["pid"])


def ask(port: int) -> int:
    """Which process answers on the API's port."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        return int(sock.makefile().read())


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is dead: until then the kernel may still complete its calls."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: children.start_ticks(pid) == 0)


def eventually(check: Callable[[], bool]) -> None:
    assert cleanup.wait_until(check, 15.0)


def test_what_dies_is_restarted_and_no_connection_is_refused(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    eventually(lambda: pid_of(layout, "apiserver-1") > 0)
    first = ask(config.port)
    assert first == pid_of(layout, "apiserver-1")
    kill(first)
    second = ask(config.port)
    assert second != first, "a connection made while nobody served was served by the next one"
    eventually(lambda: processes(layout)["apiserver-1"]["restarts"] == 1)
    assert processes(layout)["apiserver-1"]["exit"] == "signal SIGKILL"


def test_processes_run_in_their_namespaces(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    eventually(lambda: all(pid_of(layout, name) for name in ("etcd-1", "apiserver-1", "scheduler-1")))
    for process, member in (("etcd-1", "etcd-1"), ("apiserver-1", "cp-1"), ("scheduler-1", "cp-1")):
        pid, wanted = pid_of(layout, process), os.stat(layout.namespace_path(member)).st_ino
        assert cleanup.wait_until(lambda p=pid, w=wanted: os.stat(f"/proc/{p}/ns/net").st_ino == w, 5.0), process
    assert netns.accepts(layout.namespace_path("etcd-1"), "10.77.2.1", 6443), "the LAN's socket listens too"


def test_one_that_cannot_run_waits_longer_and_disturbs_nobody(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    eventually(lambda: processes(layout).get("dns-1", {}).get("restarts", 0) >= 2)
    found = processes(layout)
    assert found["dns-1"]["exit"] == "code 3"
    assert found["apiserver-1"]["restarts"] == 0


def test_a_new_supervisor_adopts_the_children_and_their_sockets(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    eventually(lambda: pid_of(layout, "scheduler-1") > 0)
    keep = ("etcd-1", "apiserver-1", "controllers-1", "scheduler-1")
    before = {name: pid_of(layout, name) for name in keep}
    os.kill(pid_of(layout, "supervisor"), signal.SIGKILL)
    eventually(lambda: not launch.is_running(layout))
    assert ask(config.port) == before["apiserver-1"], "it serves on without a supervisor"
    launch.start_supervisor(layout)
    eventually(lambda: {name: pid_of(layout, name) for name in keep} == before)
    kill(before["apiserver-1"])
    assert ask(config.port) not in (0, before["apiserver-1"]), "the socket was taken back"


def test_what_died_in_between_is_started(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    eventually(lambda: pid_of(layout, "scheduler-1") > 0)
    before = {name: pid_of(layout, name) for name in ("supervisor", "apiserver-1", "etcd-1")}
    for name in ("supervisor", "apiserver-1"):
        kill(before[name])
    launch.start_supervisor(layout)
    eventually(lambda: pid_of(layout, "apiserver-1") > 0)
    assert ask(config.port) not in (0, before["apiserver-1"])
    assert pid_of(layout, "etcd-1") == before["etcd-1"]


def test_there_is_one_supervisor(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    done = subprocess.run(
        [sys.executable, "-m", "deploy.supervisor", "--name", layout.name],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        cwd=str(Path(launch.__file__).parents[1]),
    )
    assert done.returncode != 0 and "has a supervisor" in done.stderr
    assert launch.is_running(layout)


def test_sigterm_stops_all_and_keeps_the_state(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    eventually(lambda: pid_of(layout, "scheduler-1") > 0)
    pid = pid_of(layout, "supervisor")
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: children.start_ticks(pid) == 0)
    assert cleanup.processes(layout) == []
    assert not [name for name in netns.names() if name.startswith(layout.prefix)]
    assert cluster.load(layout) == config


def test_removal_leaves_nothing_but_logs(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    eventually(lambda: pid_of(layout, "scheduler-1") > 0)
    launch.stop(layout)
    assert not cleanup.exists(layout)
    assert os.path.isdir(layout.logs)


def test_removal_after_the_supervisor_died(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    eventually(lambda: pid_of(layout, "scheduler-1") > 0)
    os.kill(pid_of(layout, "supervisor"), signal.SIGKILL)
    os.unlink(layout.children_file)
    launch.stop(layout)
    assert not cleanup.exists(layout)


def test_requests_that_are_none_are_refused(layout: Layout, config: ClusterConfig) -> None:
    launch.start_supervisor(layout)
    with pytest.raises(control.ControlError, match=r"known operations: .*status"):
        control.call(layout, "no-such-thing")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(layout.control_socket)
        sock.sendall(b"\x00garbage\n[1]\n")
        stream = sock.makefile()
        assert not json.loads(stream.readline())["ok"]
        assert not json.loads(stream.readline())["ok"]
    assert os.stat(layout.control_socket).st_mode & 0o777 == 0o600
    assert launch.is_running(layout)
