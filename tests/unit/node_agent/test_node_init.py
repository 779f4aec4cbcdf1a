"""A node's PID 1 keeps its services running, reaps, and ends them in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from argosy.host import RealClock
from node_agent import init

ROOT = str(Path(init.__file__).resolve().parents[1])
RUN = "import sys; from node_agent import init; n = init.load(sys.argv[1]); n.status_file = {status!r}; n.run()"
FOREVER = ["/bin/sh", "-c", "exec sleep 1000"]


def eventually(check: Callable[[], bool], timeout_s: float = 10.0) -> None:
    import threading

    clock, pause = RealClock(), threading.Event()
    deadline_s = clock.monotonic() + timeout_s
    while not check():
        assert clock.monotonic() < deadline_s, "not so in time"
        pause.wait(0.01)


class Node:
    """A running `node_agent.init` with services of the test's."""

    def __init__(self, folder: Path, services: list[dict]) -> None:
        self.folder = folder
        self.status = folder / "status.json"
        file = folder / "services.json"
        items = [{"log": str(folder / f"{item['name']}.log"), **item} for item in services]
        file.write_text(json.dumps({"services": items, "environment": {"PATH": os.environ["PATH"]}}))
        code = RUN.format(status=str(self.status))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(file)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT},
            stdout=subprocess.DEVNULL,
        )

    def pid(self, name: str) -> int:
        try:
            found = json.loads(self.status.read_text())["services"]
        except FileNotFoundError:
            return 0
        return next(int(item["pid"]) for item in found if item["name"] == name)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[list[dict]], Node]]:
    nodes: list[Node] = []

    def make(services: list[dict]) -> Node:
        nodes.append(Node(tmp_path, services))
        return nodes[-1]

    yield make
    for node in nodes:
        if node.process.poll() is None:
            for service in json.loads(node.status.read_text())["services"]:
                if service["pid"]:
                    os.kill(service["pid"], signal.SIGKILL)
            node.process.kill()
        node.process.wait()


def test_what_dies_is_started_again(start) -> None:
    node = start([{"name": "a", "arguments": FOREVER}, {"name": "b", "arguments": FOREVER}])
    eventually(lambda: node.pid("a") > 0 and node.pid("b") > 0)
    a, b = node.pid("a"), node.pid("b")
    os.kill(a, signal.SIGKILL)
    eventually(lambda: node.pid("a") not in (0, a))
    assert node.pid("b") == b
    report = next(item for item in json.loads(node.status.read_text())["services"] if item["name"] == "a")
    assert report["restarts"] == 1 and report["exit"] == "signal 9"


class SetClock(RealClock):
    """A clock that stands where the test puts it."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


def test_one_that_keeps_failing_is_tried_ever_more_rarely(tmp_path: Path) -> None:
    clock = SetClock()
    service = init.Service("a", FOREVER, str(tmp_path / "a.log"))
    keeper = init.Init([service], {}, clock)
    pauses = []
    for _ in range(9):
        service.started_s = clock.now_s
        keeper._ended(service, 1)
        pauses.append(service.due_s - clock.now_s)
    assert pauses[0] == pytest.approx(init.BACKOFF_FIRST_S)
    assert pauses[1] == pytest.approx(2 * init.BACKOFF_FIRST_S)
    assert pauses[-2:] == [pytest.approx(init.BACKOFF_LAST_S)] * 2
    service.started_s = clock.now_s - init.STEADY_S
    keeper._ended(service, 0)
    assert service.due_s - clock.now_s == pytest.approx(init.BACKOFF_FIRST_S), "one that ran well starts over"


def test_a_service_waits_for_its_file(start, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    node = start(
        [
            {"name": "a", "arguments": ["/bin/sh", "-c", f"touch {ready}; exec sleep 1000"]},
            {
                "name": "b",
                "arguments": ["/bin/sh", "-c", f"cat {ready} >{tmp_path}/b; exec sleep 1000"],
                "after": str(ready),
            },
        ]
    )
    eventually(lambda: node.pid("b") > 0 and (tmp_path / "b").exists())


def test_sigterm_ends_services_in_order(start, tmp_path: Path) -> None:
    def service(name: str, order: int) -> dict:
        note = f"trap 'echo {name} >>{tmp_path}/order; exit 0' TERM; touch {tmp_path}/{name}.up"
        script = f"{note}; while :; do sleep 0.05; done"
        return {"name": name, "arguments": ["/bin/sh", "-c", script], "stop_order": order}

    node = start([service("last", 2), service("first", 0), service("middle", 1)])
    eventually(lambda: all((tmp_path / f"{name}.up").exists() for name in ("first", "middle", "last")))
    node.process.terminate()
    assert node.process.wait(10) == 0
    assert (tmp_path / "order").read_text().split() == ["first", "middle", "last"]


def test_orphans_are_reaped(tmp_path: Path) -> None:
    """As PID 1 of a pid namespace of its own it gets everybody's orphans."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    script = "for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; exec sleep 1000"
    (tmp_path / "services.json").write_text(
        json.dumps(
            {
                "services": [
                    {"name": "a", "arguments": ["/bin/sh", "-c", script], "log": str(tmp_path / "a.log")},
                ],
                "environment": {"PATH": os.environ["PATH"]},
            }
        )
    )
    status = tmp_path / "status.json"
    code = RUN.format(status=str(status))
    process = subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            sys.executable,
            "-c",
            code,
            str(tmp_path / "services.json"),
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT},
    )
    try:
        eventually(status.exists)
        inner = f"/proc/{process.pid}/task/{process.pid}/children"
        (pid,) = Path(inner).read_text().split()

        def only_the_service() -> bool:
            return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) == 1

        eventually(lambda: json.loads(status.read_text())["services"][0]["pid"] > 0)
        eventually(only_the_service)
    finally:
        process.kill()
        process.wait()


def test_a_large_log_is_rotated_under_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with open(path, "ab", buffering=0) as writer:
        writer.write(b"a" * (init.MAX_LOG_BYTES + 1))
        init.rotate(str(path))
        assert path.stat().st_size == 0
        assert (tmp_path / "x.log.1").stat().st_size == init.MAX_LOG_BYTES + 1
        writer.write(b"b")
        assert path.read_bytes() == b"b"
    init.rotate(str(path))
    assert path.read_bytes() == b"b", "a small one stays"
    for _ in range(init.KEPT_LOGS + 2):
        path.write_bytes(b"c" * (init.MAX_LOG_BYTES + 1))
        init.rotate(str(path))
    assert len(list(tmp_path.iterdir())) == 1 + init.KEPT_LOGS


def test_it_imports_little() -> None:
    """There is one per node: what it imports is memory, times the number of nodes."""
    code = "import sys; import node_agent.init; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", code],
        env={"PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"asyncio", "grpc", "aiohttp", "logging", "ssl", "subprocess", "cryptography", "orjson", "numpy"}
    assert not heavy & set(done.stdout.split())


def test_what_uses_a_renewed_certificate_is_started_again(
    start: Callable[[list[dict]], Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, late = tmp_path / "agent.crt", tmp_path / "server.crt"
    old.write_text("first")
    found = init.Init([init.Service("a", FOREVER, str(tmp_path / "a.log"), restart_on=[str(old), str(late)])], {})
    (service,) = found.services
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _number: killed.append(pid))
    service.pid, service.stamps = 4242, {path: init.stamp(path) for path in service.restart_on}
    found._restart_if_renewed(service)
    late.write_text("the service waited for it itself")
    found._restart_if_renewed(service)
    assert killed == []
    os.utime(old, ns=(1, 1))
    found._restart_if_renewed(service)
    assert killed == [4242]
    found._restart_if_renewed(service)
    assert killed == [4242], "once for each renewal"
