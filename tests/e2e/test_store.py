"""The store under a whole cluster: leaders killed, power cuts, damaged disks, wrong certificates.

Nothing that the API server acknowledged may be lost, and what cannot be trusted must not be served.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy import pki
from argosy.host import real_host
from argosy.testing import Cluster, run
from deploy.children import start_ticks
from tests.e2e.stream import Stream

MEMBERS = ("etcd-1", "etcd-2", "etcd-3")
LIES = """
import sys
if sys.orig_argv[1:3] == ["-m", "etcd"]:
    import etcd.record_disk
    etcd.record_disk.RecordingFile.datasync = lambda self: None
"""
KILLS = 3


def recorded(folder: Path, members: tuple[str, ...]) -> list[str]:
    """Flags with which every member keeps, in `folder`, a copy of just what it synced; small logs, many snapshots."""
    flags = [f"{name}:--record-disk={folder / name}" for name in members]
    flags += ["etcd:--segment-bytes=300000", "etcd:--snapshot-bytes=200000", "etcd:--retain-bytes=50000"]
    return [part for flag in flags for part in ("--flag", flag)]


@pytest.fixture(scope="module")
def shadows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shadows")


@pytest.fixture(scope="module")
def three(shadows: Path, cluster_kubectl: str) -> Iterator[Cluster]:
    """Three store members that record what they sync; no nodes."""
    running = Cluster.start(nodes=0, stores=3, flags=recorded(shadows, MEMBERS), kubectl=cluster_kubectl)
    try:
        yield running
    finally:
        running.stop()


def etcdctl(cluster: Cluster, *arguments: str, members: int = 3, check: bool = True) -> str:
    """Debian's etcdctl against every member, with the API server's certificate."""
    keys = cluster.state / "pki"
    endpoints = ",".join(f"https://10.77.1.{number}:2379" for number in range(1, members + 1))
    return run(
        [
            *("nsenter", f"--net=/run/netns/argosy-{cluster.name}-lan", "etcdctl", "--endpoints", endpoints),
            *("--cacert", f"{keys}/etcd-ca.crt", "--cert", f"{keys}/apiserver-etcd-client.crt"),
            *("--key", f"{keys}/apiserver-etcd-client.key", *arguments),
        ],
        environment={"ETCDCTL_API": "3"},
        check=check,
    ).stdout


def leader(cluster: Cluster) -> str:
    """The name of the member that leads."""
    for item in json.loads(etcdctl(cluster, "endpoint", "status", "-w", "json", check=False)):
        status = item["Status"]
        if status["header"]["member_id"] == status["leader"]:
            return "etcd-" + item["Endpoint"].removesuffix(":2379").rpartition(".")[2]
    raise AssertionError("no member leads")


def healthy(cluster: Cluster, *names: str) -> bool:
    found = cluster.processes()
    return all(found[name].healthy for name in names)


def cut_power(cluster: Cluster, shadows: Path, members: tuple[str, ...]) -> None:
    """kill -9 members at once and cut their disks back to what was synced; the supervisor starts them again."""
    with cluster.unsupervised() as before:
        cluster.kill(*members)
        cluster.eventually(lambda: not any(start_ticks(before[name].pid) for name in members), what="they are dead")
        for name in members:
            data = cluster.state / "stores" / name
            shutil.rmtree(data)
            shutil.rmtree(shadows / name / ".inodes")
            shutil.move(shadows / name, data)


def test_writes_go_on_when_the_leader_is_killed(three: Cluster) -> None:
    pauses = []
    with Stream(three, "killed") as stream:
        for _ in range(KILLS):
            stream.flows()
            name = three.eventually(lambda: leader(three))
            three.kill(name)
            killed_s = time.monotonic()
            stream.flows()
            pauses.append(stream.pause_s(killed_s))
            three.eventually(lambda name=name: healthy(three, name))
    assert not stream.lost()
    print(f"writes paused for {statistics.median(pauses):.2f} s (median), {max(pauses):.2f} s at most")


def test_a_power_cut_loses_nothing_acknowledged(three: Cluster, shadows: Path) -> None:
    with Stream(three, "cut", writers=8) as stream:
        for _ in range(2):
            stream.flows(200)
            cut_power(three, shadows, MEMBERS)
            stream.flows()
    assert not stream.lost()
    three.eventually(lambda: healthy(three, *MEMBERS))
    three.kubectl("create", "configmap", "works-on")
    assert "works-on" in three.kubectl("get", "configmaps", "-o", "name")


def test_the_test_above_notices_a_missing_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster_kubectl: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(LIES)
    here = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), here)))
    shadows = tmp_path / "shadows"
    cluster = Cluster.start(nodes=0, stores=1, flags=recorded(shadows, MEMBERS[:1]), kubectl=cluster_kubectl)
    try:
        with Stream(cluster, "cut", writers=8) as stream:
            stream.flows(200)
        cut_power(cluster, shadows, MEMBERS[:1])
        # Names were synced, contents were not: what is left is no log, and the member will not pretend it is.
        cluster.eventually(lambda: "cannot be trusted" in cluster.argosy("logs", "etcd-1"))
        assert not healthy(cluster, "etcd-1")
    finally:
        cluster.stop()


def test_a_corrupted_record_keeps_one_member_away_and_the_others_serve(three: Cluster) -> None:
    three.kubectl("create", "configmap", "marked", "--from-literal=word=uncorrupted-word")
    three.eventually(lambda: healthy(three, *MEMBERS))
    with Stream(three, "damaged") as stream:
        stream.flows()
        with three.unsupervised() as before:
            three.kill("etcd-2")
            three.eventually(lambda: not start_ticks(before["etcd-2"].pid))
            damage(three.state / "stores" / "etcd-2" / "wal", b"uncorrupted-word")
        three.eventually(lambda: "cannot be trusted" in three.argosy("logs", "etcd-2"))
        assert "is damaged" in three.argosy("logs", "etcd-2")
        stream.flows()
        report = json.loads(three.argosy("status", "-o", "json"))
        (line,) = (item for item in report["processes"] if item["name"] == "etcd-2")
        assert not line["healthy"] and line["exit"] == "code 3"
        assert healthy(three, "etcd-1", "etcd-3", "apiserver-1")
    assert not stream.lost()
    # What the log asks for: the member starts anew and gets everything from the others.
    with three.unsupervised():
        shutil.rmtree(three.state / "stores" / "etcd-2")
    three.eventually(lambda: healthy(three, "etcd-2"))


def damage(wal: Path, text: bytes) -> None:
    """Flip one bit of the record that holds `text`."""
    for path in sorted(wal.glob("*.wal")):
        data = bytearray(path.read_bytes())
        at = data.find(text)
        if at >= 0:
            data[at] ^= 1
            path.write_bytes(data)
            return
    raise AssertionError(f"{text!r} is in no log segment")


def test_a_certificate_of_another_cluster_keeps_a_member_out(three: Cluster) -> None:
    keys = three.state / "pki"
    authority = pki.Authority.create("argosy-other-etcd", real_host())
    stranger = authority.issue("etcd-3", hosts=["etcd-3", "10.77.1.3"], server=True)
    saved = {name: (keys / name).read_bytes() for name in ("etcd-3.crt", "etcd-3.key")}
    with Stream(three, "stranger") as stream:
        stream.flows()
        stranger.write(f"{keys}/etcd-3")
        three.kill("etcd-3")
        three.eventually(lambda: "does it trust our certificate?" in three.argosy("logs", "etcd-3"))
        three.eventually(lambda: "TLS handshake failed" in three.argosy("logs", "etcd-1"))
        stream.flows()
        assert not healthy(three, "etcd-3")
        assert healthy(three, "etcd-1", "etcd-2", "apiserver-1")
    assert not stream.lost()
    for name, content in saved.items():
        (keys / name).write_bytes(content)
    three.kill("etcd-3")
    three.eventually(lambda: healthy(three, "etcd-3"))
