"""A node, its pods and a client outside of it, as network namespaces, for rules that the kernel must follow."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest

from argosy.client import Event, EventType, ObjectList
from argosy.objects import meta

T = TypeVar("T")
NODE_IP = "172.31.0.10"
CLIENT_IP = "172.31.0.20"
BRIDGE_IP = "10.244.1.1"
_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def inside(namespace: str, function: Callable[[], T]) -> T:
    """Run in a thread that lives in the namespace; sockets made there stay there."""
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if _libc.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            result.append(function())
        except BaseException as error:
            failure.append(error)
        finally:
            os.close(fd)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


class Lan:
    """Namespaces `node`, `client` and pods behind the node's bridge."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._made: list[str] = []
        self._sockets: list[socket.socket] = []
        self.node = self.add("n")
        self.client = self.add("c")
        ip("-n", self.node, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", self.client)
        ip("-n", self.node, "addr", "add", f"{NODE_IP}/24", "dev", "lan")
        ip("-n", self.node, "link", "set", "lan", "up")
        ip("-n", self.client, "addr", "add", f"{CLIENT_IP}/24", "dev", "eth0")
        ip("-n", self.client, "link", "set", "eth0", "up")
        ip("-n", self.client, "route", "add", "default", "via", NODE_IP)
        ip("-n", self.node, "link", "add", "br0", "type", "bridge")
        ip("-n", self.node, "addr", "add", f"{BRIDGE_IP}/24", "dev", "br0")
        ip("-n", self.node, "link", "set", "br0", "up")
        ip("-n", self.node, "route", "add", "default", "via", CLIENT_IP)

        def sysctls() -> None:
            values = {"ip_forward": "1", "conf/all/route_localnet": "1", "conf/all/rp_filter": "0"}
            for link in os.listdir("/proc/sys/net/ipv4/conf"):
                values[f"conf/{link}/send_redirects"] = "0"
            for name, value in values.items():
                with open(f"/proc/sys/net/ipv4/{name}", "w") as file:
                    file.write(value)

        for namespace in (self.node, self.client):
            inside(namespace, sysctls)

    def add(self, name: str) -> str:
        namespace = f"{self._prefix}-{name}"
        ip("netns", "add", namespace)
        self._made.append(namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
        return namespace

    def pod(self, address: str) -> str:
        """A namespace with that address; gives its name."""
        last = address.rsplit(".", 1)[1]
        namespace = self.add(f"p{last}")
        ip("-n", self.node, "link", "add", f"veth{last}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("-n", self.node, "link", "set", f"veth{last}", "master", "br0", "up")
        ip("-n", self.node, "link", "set", f"veth{last}", "type", "bridge_slave", "hairpin", "on")
        ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")
        ip("-n", namespace, "route", "add", "default", "via", BRIDGE_IP)
        return namespace

    def serve(self, namespace: str, address: str, port: int) -> None:
        """A TCP and a UDP server that say their address and their peer's."""
        tcp = inside(namespace, lambda: socket.create_server((address, port), backlog=64))
        udp = inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind((address, port))
        self._sockets += [tcp, udp]

        def accept() -> None:
            while True:
                try:
                    connection, peer = tcp.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(f"{address} {peer[0]}".encode())

        def datagrams() -> None:
            while True:
                try:
                    _, peer = udp.recvfrom(2048)
                    if peer is None:
                        return
                    udp.sendto(f"{address} {peer[0]}".encode(), peer)
                except OSError:
                    return

        for body in (accept, datagrams):
            threading.Thread(target=body, daemon=True).start()

    def ask(self, namespace: str, address: str, port: int) -> tuple[str, str]:
        """(who answered, whom it saw). Raises OSError (ConnectionRefusedError, TimeoutError)."""

        def body() -> tuple[str, str]:
            with socket.create_connection((address, port), timeout=1) as connection:
                who, saw = connection.recv(200).decode().split(" ")
            return who, saw

        return inside(namespace, body)

    def datagram(self, namespace: str, port: int) -> socket.socket:
        """A bound UDP socket there: one client port, hence one flow."""

        def body() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.settimeout(1)
            sock.bind(("0.0.0.0", port))
            return sock

        self._sockets.append(inside(namespace, body))
        return self._sockets[-1]

    def run(self, *arguments: str) -> str:
        """A command in the node's network."""
        done = subprocess.run([*self.enter, *arguments], check=True, capture_output=True, text=True)
        return done.stdout

    @property
    def enter(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.node}"]

    def close(self) -> None:
        for item in self._sockets:
            try:
                item.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            item.close()
        for namespace in reversed(self._made):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


@pytest.fixture
def lan() -> Iterator[Lan]:
    if os.geteuid() != 0:
        pytest.skip("needs root and network namespaces")
    built: Lan | None = None
    try:
        built = Lan(f"argosy-net-{os.getpid()}")
        yield built
    finally:
        if built is not None:
            built.close()


class FakeSource:
    def __init__(self, plural: str) -> None:
        self.plural = plural
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 1
        self._watchers: list[asyncio.Queue[Event]] = []

    def put(self, obj: dict[str, Any]) -> None:
        self.version += 1
        obj = {**obj, "metadata": {"uid": "u", **obj["metadata"], "resourceVersion": str(self.version)}}
        known = meta.key(obj) in self.objects
        self.objects[meta.key(obj)] = obj
        self._tell(Event(EventType.MODIFIED if known else EventType.ADDED, obj))

    def delete(self, key: str) -> None:
        self.version += 1
        obj = self.objects.pop(key)
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        self._tell(Event(EventType.DELETED, {**obj, "metadata": metadata}))

    def _tell(self, event: Event) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(event)

    async def list(self, **_: Any) -> ObjectList:
        return ObjectList(list(self.objects.values()), str(self.version))

    async def watch_batches(self, **_: Any) -> AsyncIterator[Sequence[Event]]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._watchers.append(queue)
        try:
            while True:
                yield [await queue.get()]
        finally:
            self._watchers.remove(queue)


class FakeApi:
    """Takes the place of argosy.client.Client."""

    def __init__(self) -> None:
        self._sources: dict[str, FakeSource] = {}

    def resource(self, group: str, version: str, plural: str) -> FakeSource:
        return self._sources.setdefault(plural, FakeSource(plural))


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()
