"""Faults of links on a real LAN of namespaces, and faults of processes on real processes. Needs root."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from deploy import cluster, netns
from deploy.chaos import inject, journal, links
from deploy.chaos.api import Chaos
from deploy.chaos.fault import Fault, FaultError
from deploy.chaos.site import Site
from deploy.cleanup import wait_until
from deploy.cluster import ClusterConfig
from deploy.lan import Lan
from deploy.layout import Layout
from deploy.network import place_of
from tests.processes import state

PORT = 9099
SOON_S = 0.7
ADDRESSES = {"etcd-1": "10.77.1.1", "etcd-2": "10.77.1.2", "cp-1": "10.77.2.1", "node-1": "10.77.3.1"}


@pytest.fixture
def chaos(layout: Layout, config: ClusterConfig) -> Iterator[Chaos]:
    """Faults of that cluster, whose LAN is real and whose members listen."""
    Lan(layout).ensure(place_of(layout, config).members)
    listening = [netns.listening(layout.namespace_path(name), ip, PORT) for name, ip in ADDRESSES.items()]
    yield Chaos(layout.name)
    for sock in listening:
        sock.close()
    inject.heal(inject.site_of(layout))


def took_s(layout: Layout, source: str, target: str) -> float | None:
    """How long a connection takes; None when there is none soon."""
    import socket

    def connect() -> float:
        begun_s = time.monotonic()
        with socket.create_connection((ADDRESSES[target], PORT), timeout=SOON_S):
            return time.monotonic() - begun_s

    try:
        return netns.inside(layout.namespace_path(source), connect)
    except OSError:
        return None


def datagram_comes(layout: Layout, source: str, target: str) -> bool:
    import socket

    with netns.inside(
        layout.namespace_path(target), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ) as sock:
        sock.bind((ADDRESSES[target], PORT))
        sock.settimeout(SOON_S)

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"here", (ADDRESSES[target], PORT))

        netns.inside(layout.namespace_path(source), send)
        try:
            return sock.recv(10) == b"here"
        except TimeoutError:
            return False


def test_partitions_between_two_and_from_all(layout: Layout, chaos: Chaos) -> None:
    with chaos.partition("node-1", from_=["apiserver-1"]):
        assert took_s(layout, "node-1", "cp-1") is None
        assert took_s(layout, "cp-1", "node-1") is None
        assert took_s(layout, "node-1", "etcd-1") is not None
        with chaos.partition("etcd-1"):
            assert took_s(layout, "node-1", "etcd-1") is None
            assert took_s(layout, "etcd-2", "etcd-1") is None
        assert took_s(layout, "etcd-2", "etcd-1") is not None
        assert took_s(layout, "node-1", "cp-1") is None, "each mends only its own"
    assert took_s(layout, "node-1", "cp-1") is not None
    assert "argosy_chaos" not in netns.tool(["ip", "netns", "exec", layout.namespace("lan"), "nft", "list", "tables"])


def test_one_way(layout: Layout, chaos: Chaos) -> None:
    assert took_s(layout, "etcd-1", "etcd-2") is not None, "addresses are known to both"
    with chaos.partition("etcd-1", from_=["etcd-2"], one_way=True):
        assert not datagram_comes(layout, "etcd-1", "etcd-2")
        assert datagram_comes(layout, "etcd-2", "etcd-1")
    assert datagram_comes(layout, "etcd-1", "etcd-2")


def test_loss_and_delay(layout: Layout, chaos: Chaos) -> None:
    with chaos.loss("etcd-1", percent=100, with_=["etcd-2"]):
        assert took_s(layout, "etcd-2", "etcd-1") is None
        assert took_s(layout, "cp-1", "etcd-1") is not None
    with chaos.delay("etcd-1", delay_ms=60):
        assert (took_s(layout, "etcd-2", "etcd-1") or 0) >= 0.12
        with chaos.partition("etcd-1", from_=["cp-1"]):
            assert took_s(layout, "cp-1", "etcd-1") is None, "also over a link that is slow"
            assert took_s(layout, "etcd-2", "etcd-1") is not None
    quick = took_s(layout, "etcd-2", "etcd-1")
    assert quick is not None and quick < 0.06
    assert links.devices(layout.namespace("lan")) >= {"v-etcd-1"}
    assert "d-etcd-1" not in links.devices(layout.namespace("lan"))


def test_much_passes_a_slow_link_unharmed(layout: Layout, chaos: Chaos) -> None:
    """Large frames whose checksums nobody has filled in yet are among it."""
    import hashlib
    import socket
    import threading

    sent = os.urandom(1 << 20) * 8
    received = hashlib.sha256()
    with chaos.delay("etcd-1", delay_ms=5, jitter_ms=1):
        server = netns.listening(layout.namespace_path("etcd-2"), ADDRESSES["etcd-2"], PORT + 1)
        server.setblocking(True)

        def take() -> None:
            sock, _ = server.accept()
            with sock:
                while part := sock.recv(1 << 16):
                    received.update(part)

        def give() -> None:
            with socket.create_connection((ADDRESSES["etcd-2"], PORT + 1), timeout=20) as sock:
                sock.sendall(sent)

        thread = threading.Thread(target=take)
        thread.start()
        netns.inside(layout.namespace_path("etcd-1"), give)
        thread.join(30)
        server.close()
    assert received.digest() == hashlib.sha256(sent).digest()


def test_a_narrow_link(layout: Layout, chaos: Chaos) -> None:
    with chaos.rate("etcd-1", bits_per_s=4_000_000):
        shown = netns.tool(["tc", "-n", layout.namespace("lan"), "qdisc", "show", "dev", "v-etcd-1"])
        assert "rate 4Mbit" in shown
        assert "rate 4Mbit" in netns.tool(["tc", "-n", layout.namespace("etcd-1"), "qdisc", "show", "dev", "eth0"])
    assert "rate" not in netns.tool(["tc", "-n", layout.namespace("lan"), "qdisc", "show", "dev", "v-etcd-1"])


def test_a_member_that_is_plugged_in_anew_is_cut_off_again(
    layout: Layout, config: ClusterConfig, chaos: Chaos
) -> None:
    chaos.partition("node-1", from_=["etcd-1"])
    lan = Lan(layout)
    lan.remove_member("node-1")
    lan.ensure(place_of(layout, config).members)
    # From Linux 6.16 on, rules find a device of the same name again by themselves.
    links.reassert(layout, config)
    assert took_s(layout, "node-1", "etcd-1") is None
    # Whoever comes later heals it, from what was written down.
    Chaos(layout.name).heal()
    assert took_s(layout, "node-1", "etcd-1") is not None


def test_pause_and_what_is_paused_twice(layout: Layout, process: subprocess.Popen[bytes]) -> None:
    chaos = Chaos(layout.name)
    first, second = chaos.pause("etcd-1"), chaos.pause("etcd-1")
    pids = [pid for pid, _ in inject.site_of(layout).all_processes("etcd-1")]
    assert wait_until(lambda: [state(pid) for pid in pids] == ["T", "T"], 5)
    first.heal()
    assert [state(pid) for pid in pids] == ["T", "T"]
    second.heal()
    assert wait_until(lambda: [state(pid) for pid in pids] == ["S", "S"], 5)


def test_kill_keeps_down_and_heals_by_itself(layout: Layout, process: subprocess.Popen[bytes]) -> None:
    chaos, hold = Chaos(layout.name), layout.controls("etcd-1") + ".hold"
    chaos.kill("etcd-1", for_s=1.0)
    assert process.wait(5) == -signal.SIGKILL
    assert os.path.exists(hold)
    (fault,) = chaos.active()
    assert fault.kind == "kill"
    assert wait_until(lambda: not os.path.exists(hold) and not chaos.active(), 10), "nobody but its healer healed it"
    with pytest.raises(FaultError, match="etcd-1 is not running"):
        chaos.kill("etcd-1")


def test_what_a_crash_left_half_done_is_healed(layout: Layout, process: subprocess.Popen[bytes]) -> None:
    site = inject.site_of(layout)
    with journal.held(layout):
        # As a command leaves it that dies between the writing and the deed, and one that dies while healing.
        paused = journal.add(layout, inject.checked(site, Fault("pause", ("etcd-1",))))
        journal.add(layout, inject.checked(site, Fault("kill", ("etcd-1",), {"hold": True})))
        journal.put(layout, Fault(paused.kind, paused.targets, paused.settings, paused.id, healing=True))
    assert [fault.kind for fault in Chaos(layout.name).active()] == ["kill"]
    os.kill(process.pid, signal.SIGSTOP)
    Chaos(layout.name).heal()
    assert wait_until(lambda: state(process.pid) == "S", 5)
    assert journal.faults(layout) == []


def test_a_fault_that_fails_half_way_is_undone(
    layout: Layout, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(site: Site, changed: object) -> None:
        if journal.in_force(layout):
            raise FaultError("no rule today")

    monkeypatch.setattr(links, "sync", fail)
    with pytest.raises(FaultError, match="no rule today"):
        Chaos(layout.name).partition("etcd-1")
    assert journal.faults(layout) == []


def test_what_cannot_be_is_refused_by_name(layout: Layout, process: subprocess.Popen[bytes]) -> None:
    chaos = Chaos(layout.name)
    for attempt, said in (
        (lambda: chaos.kill("etcd-9"), "no component 'etcd-9'.*etcd-1, etcd-2"),
        (lambda: chaos.partition("scheduler-1", from_=["apiserver-1"]), "cannot be cut off from itself"),
        (lambda: chaos.partition("node-1", groups=[["etcd-1"]]), "either names or groups"),
        (lambda: chaos.partition("supervisor"), "not on the cluster's LAN"),
        (lambda: chaos.fill_disk("node-1"), "--node-disk"),
        (lambda: chaos.fill_disk("etcd-1", percent=50), "--store-disk"),
        (lambda: chaos.slow_disk("scheduler-1", sync_ms=5), "store members do"),
        (lambda: chaos.skew_clock("node-1/containerd", skew_s=5), "cannot be skewed"),
        (lambda: chaos.loss("etcd-1", percent=0), "between 0 and 100"),
        (lambda: chaos.delay("etcd-1", delay_ms=5, jitter_ms=6), "up to the delay"),
        (lambda: chaos.rate("etcd-1", bits_per_s=5), "8000 at least"),
        (lambda: chaos.pause("etcd-2"), "etcd-2 is not running"),
        (lambda: chaos.heal("7"), "no fault 7"),
    ):
        with pytest.raises(FaultError, match=said):
            attempt()
    assert chaos.active() == []
    cluster.save(ClusterConfig(layout.name, address="192.0.2.1"), layout)
    with pytest.raises(FaultError, match="argosy server, argosy join"):
        chaos.partition("etcd-1")
