"""The supervisor seen from outside: status, logs, restarts with back-off, and a stop in order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.testing import Cluster
from deploy.children import start_ticks
from tests.e2e.stream import Stream


@pytest.fixture(scope="module")
def small(cluster_kubectl: str) -> Iterator[Cluster]:
    running = Cluster.start(nodes=1, stores=1, kubectl=cluster_kubectl)
    try:
        yield running
    finally:
        running.stop()


def report(cluster: Cluster) -> dict:
    return json.loads(cluster.argosy("status", "-o", "json"))


def line(cluster: Cluster, name: str) -> dict:
    return next(item for item in report(cluster)["processes"] if item["name"] == name)


def test_status_shows_every_process_and_node(small: Cluster) -> None:
    found = report(small)
    names = {item["name"] for item in found["processes"]}
    control_plane = {
        "supervisor",
        "etcd-1",
        "apiserver-1",
        "controllers-1",
        "scheduler-1",
        "autoscaler-1",
        "metrics-1",
        "dns-1",
    }
    assert names == control_plane | {"node-1", "node-1/agent", "node-1/proxy", "node-1/containerd"}
    for item in found["processes"]:
        assert item["healthy"] and item["state"] == "running" and start_ticks(item["pid"]), item
        assert 1 << 20 < item["pss_bytes"] < 1 << 30 and item["cpu_s"] >= 0 and item["up_s"] > 0, item
    (node,) = found["nodes"]
    assert (node["name"], node["state"], node["ip"]) == ("node-1", "Ready", "10.77.3.1")
    table = small.argosy("status")
    for name in names:
        assert re.search(rf"^{name} +\d+ +running +ok +\d+ +\d+\.\d MiB +\d+\.\d % +\d+ s$", table, re.MULTILINE)
    assert re.search(r"^node-1 +Ready +10\.77\.3\.1 ", table, re.MULTILINE)


def test_status_says_what_hangs_and_what_is_down(small: Cluster) -> None:
    server = small.processes()["apiserver-1"].pid
    os.kill(server, signal.SIGSTOP)
    try:
        found = report(small)
        hanging = next(item for item in found["processes"] if item["name"] == "apiserver-1")
        assert hanging["pid"] == server and not hanging["healthy"]
        assert found["nodes"][0]["state"] == "Unknown"
        assert re.search(r"^apiserver-1 .* not well ", small.argosy("status"), re.MULTILINE)
    finally:
        os.kill(server, signal.SIGCONT)
    small.eventually(lambda: line(small, "apiserver-1")["healthy"])
    small.argosy("node crash", "node-1")
    try:
        found = report(small)
        assert found["nodes"][0]["state"] == "Crashed"
        assert not [item for item in found["processes"] if item["name"].startswith("node-1/")]
        down = next(item for item in found["processes"] if item["name"] == "node-1")
        assert not down["pid"] and not down["healthy"]
        assert re.search(r"^node-1 +Crashed ", small.argosy("status"), re.MULTILINE)
    finally:
        small.argosy("node start", "node-1")


def test_one_that_keeps_dying_waits_longer_each_time(small: Cluster) -> None:
    for times in range(1, 4):
        old = small.kill("dns-1")
        small.eventually(lambda old=old: line(small, "dns-1")["pid"] not in (0, old))
        found = line(small, "dns-1")
        assert (found["restarts"], found["exit"]) == (times, "signal SIGKILL")
    assert small.argosy("logs", "supervisor").count("ended process=dns-1") == 3


def test_logs(small: Cluster) -> None:
    assert "became leader" in small.argosy("logs", "etcd-1")
    assert len(small.argosy("logs", "etcd-1", "-n", "1").splitlines()) <= 2, "of the log and of stray output"
    assert "containerd" in small.argosy("logs", "node-1/containerd")
    said = small.argosy("logs", "etcd-7", check=False)
    assert "etcd-7 has no log" in said and "etcd-1" in said and "node-1/agent" in said
    for outside in ("../other/etcd-1", "/etc/passwd"):
        assert "has no log" in small.argosy("logs", outside, check=False)
    following = subprocess.Popen(
        [sys.executable, "-m", "argosy.cli", "logs", "scheduler-1", "-f", "-n", "0", "--name", small.name],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        small.eventually(lambda: b"tail" in Path(f"/proc/{following.pid}/cmdline").read_bytes())
        small.kill("scheduler-1")
        assert following.stdout is not None
        assert "kube-scheduler" in following.stdout.readline() + following.stdout.readline()
    finally:
        following.kill()
        following.wait()


def test_sigterm_stops_in_order_and_the_last_writes_are_kept(small: Cluster) -> None:
    before = small.processes()
    with Stream(small, "last", writers=8) as stream:
        stream.flows(100)
        os.kill(before["supervisor"].pid, signal.SIGTERM)
        small.eventually(lambda: not any(start_ticks(item.pid) for item in before.values()), what="all ended")
    log = Path("/var/log/argosy", small.name, "supervisor.log").read_text().rpartition("stopping")[2]
    ended = re.findall(r"ended process=(\S+) exit=\"?([^\"\n]+)", log)
    order = [name for name, _ in ended]
    beside = {"autoscaler-1", "metrics-1"}
    assert set(order) == beside | {"controllers-1", "scheduler-1", "dns-1", "node-1", "apiserver-1", "etcd-1"}
    assert order[-2:] == ["apiserver-1", "etcd-1"]
    assert {how for name, how in ended if name != "node-1"} == {"code 0"}, ended
    assert "is not running" in small.argosy("status", check=False)
    small.argosy("up", "--no-uplink")
    assert not stream.lost()
