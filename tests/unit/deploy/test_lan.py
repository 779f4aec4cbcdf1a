"""The LAN of namespaces: what its members reach, seen on real sockets."""

from __future__ import annotations

import socket

from deploy import netns
from deploy.lan import UPLINK, Lan
from deploy.layout import GATEWAY, Layout, node_ip
from deploy.place import Member

WORLD_IP = "10.0.2.2"
UPLINK_IP = "10.0.2.100"
PORT = 8099


def asked_from(path: str, host: str) -> str:
    """Connect inside a namespace; gives the address that the other side sees."""

    def ask() -> str:
        with socket.create_connection((host, PORT), timeout=5) as sock:
            return sock.makefile().readline().strip()

    return netns.inside(path, ask)


def answer(server: socket.socket) -> None:
    """Tell one caller its own address."""
    sock, peer = server.accept()
    with sock:
        sock.sendall(peer[0].encode() + b"\n")


def test_members_reach_each_other_and_the_uplink_hides_them(layout: Layout) -> None:
    import threading

    lan = Lan(layout, uplink=True)
    lan.ensure([Member("node-1", node_ip(1), is_node=True), Member("node-2", node_ip(2), is_node=True)])
    # In the uplink's place a cable to a namespace that, as slirp4netns, knows the uplink's address only.
    world = layout.namespace("cp-9")
    netns.batch([f"netns add {world}"])
    netns.batch(
        [
            f"link add {UPLINK} type veth peer name eth0 netns {world}",
            f"addr add {UPLINK_IP}/24 dev {UPLINK}",
            f"link set {UPLINK} up",
        ],
        layout.namespace("lan"),
    )
    netns.batch([f"addr add {WORLD_IP}/24 dev eth0", "link set eth0 up"], world)
    for member, host, seen in (
        ("cp-9", WORLD_IP, UPLINK_IP),
        ("node-2", node_ip(2), node_ip(1)),
        ("lan", GATEWAY, node_ip(1)),
    ):
        with netns.listening(layout.namespace_path(member), host, PORT) as server:
            server.setblocking(True)
            thread = threading.Thread(target=answer, args=(server,))
            thread.start()
            assert asked_from(layout.namespace_path("node-1"), host) == seen
            thread.join()
    lan.remove()
    assert not lan.namespaces()
