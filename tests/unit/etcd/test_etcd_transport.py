"""Member links over real sockets: who may join, what is let through, and how bad input ends."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from argosy.host import real_host
from argosy.pki import Authority
from etcd import messages, transport
from etcd.transport import TcpPeers, TlsFiles

CLUSTER = 4711


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Ends:
    """Two members and what they heard."""

    def __init__(self, folder: Path) -> None:
        self.addresses = {"m1": f"127.0.0.1:{free_port()}", "m2": f"127.0.0.1:{free_port()}"}
        self.folder = folder
        self.authority = Authority.create("test", real_host())
        self.heard: dict[str, list[tuple[str, messages.Any]]] = {"m1": [], "m2": []}
        self.up: dict[str, asyncio.Event] = {"m1": asyncio.Event(), "m2": asyncio.Event()}
        self.down: dict[str, asyncio.Event] = {"m1": asyncio.Event(), "m2": asyncio.Event()}
        self.peers: list[TcpPeers] = []

    def tls(self, name: str, authority: Authority | None = None) -> TlsFiles:
        issued = (authority or self.authority).issue(name, hosts=[name], server=True)
        path = self.folder / name
        issued.write(str(path))
        ca = self.folder / "ca.crt"
        ca.write_bytes((authority or self.authority).certificate)
        return TlsFiles(str(ca), f"{path}.crt", f"{path}.key")

    async def member(self, name: str, tls: TlsFiles | None, cluster: int = CLUSTER) -> TcpPeers:
        peers = TcpPeers(name, cluster, self.addresses[name], self.addresses, tls)
        self.peers.append(peers)
        await peers.start(
            lambda peer, message: self.heard[name].append((peer, message)),
            lambda peer: self.up[name].set(),
            lambda peer: self.down[name].set(),
        )
        return peers

    async def wait_heard(self, name: str, count: int) -> list[tuple[str, messages.Any]]:
        while len(self.heard[name]) < count:
            await asyncio.sleep(0.01)
        return self.heard[name]

    def connected(self) -> bool:
        return any(peers.send("m1" if peers.name == "m2" else "m2", BEAT) for peers in self.peers)


BEAT = messages.encode(messages.Beat())
VOTE = messages.RequestVote(3, 10, 2)


def run(folder: Path, body: Callable[[Ends], Awaitable[None]]) -> None:
    async def main() -> None:
        ends = Ends(folder)
        try:
            await body(ends)
        finally:
            for peers in ends.peers:
                await peers.stop()

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("secure", [False, True])
def test_messages_go_both_ways_in_order(tmp_path: Path, secure: bool) -> None:
    async def body(ends: Ends) -> None:
        first = await ends.member("m1", ends.tls("m1") if secure else None)
        second = await ends.member("m2", ends.tls("m2") if secure else None)
        await ends.up["m1"].wait()
        await ends.up["m2"].wait()
        entries = [(bytes(5000), index, 1) for index in range(100)]
        for term in range(20):
            assert first.send("m2", messages.encode(messages.AppendEntries(term, 0, entries, None, None)))
        assert second.send("m1", messages.encode(VOTE))
        heard = await ends.wait_heard("m2", 20)
        assert [(peer, message.term) for peer, message in heard] == [("m1", term) for term in range(20)]
        assert heard[0][1].entries == entries
        assert await ends.wait_heard("m1", 1) == [("m2", VOTE)]
        await second.stop()
        await ends.down["m1"].wait()
        assert not first.send("m2", BEAT)
        ends.up["m1"].clear()
        await ends.member("m2", ends.tls("m2") if secure else None)
        await ends.up["m1"].wait()

    run(tmp_path, body)


async def _refused(ends: Ends, log: pytest.LogCaptureFixture, words: str) -> None:
    while words not in log.text:
        await asyncio.sleep(0.02)
    assert not ends.connected() and not ends.up["m1"].is_set() and not ends.up["m2"].is_set()


def test_another_cluster_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(ends: Ends) -> None:
        await ends.member("m1", None)
        await ends.member("m2", None, cluster=1)
        await _refused(ends, caplog, "belongs to cluster")

    run(tmp_path, body)


def test_the_certificate_must_carry_the_members_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(ends: Ends) -> None:
        await ends.member("m1", ends.tls("m1"))
        await ends.member("m2", ends.tls("somebody"))
        await _refused(ends, caplog, "shows a certificate of ['somebody', 'somebody']")

    run(tmp_path, body)


def test_a_strange_authority_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(ends: Ends) -> None:
        await ends.member("m1", ends.tls("m1"))
        caplog.set_level("INFO")
        await ends.member("m2", ends.tls("m2", Authority.create("other", real_host())))
        await _refused(ends, caplog, "cannot reach a peer yet")

    run(tmp_path, body)


@pytest.mark.parametrize("stranger", ["m1", "m2"])
def test_a_strangers_certificate_is_told_on_both_sides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trusts the right authority, but its own certificate is another's."""
    monkeypatch.setattr(transport, "SILENT_S", 0.2)
    monkeypatch.setattr(transport, "BEAT_S", 0.1)

    async def body(ends: Ends) -> None:
        caplog.set_level("INFO")
        issued = Authority.create("other", real_host()).issue(stranger, hosts=[stranger], server=True)
        issued.write(str(tmp_path / "other"))
        for name in ("m1", "m2"):
            tls = ends.tls(name)
            if name == stranger:
                tls = TlsFiles(str(tmp_path / "ca.crt"), str(tmp_path / "other.crt"), str(tmp_path / "other.key"))
            await ends.member(name, tls)
        await _refused(ends, caplog, "cannot reach a peer yet")
        await _refused(ends, caplog, "TLS handshake failed; is its certificate, or ours, of another cluster?")

    run(tmp_path, body)


def _frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


HELLO = messages.encode(messages.Hello(messages.PROTOCOL, CLUSTER, "m2", "m1"))


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        _frame(b"\x80"),
        _frame(messages.encode(VOTE)),
        _frame(messages.encode({"type": "hello", "protocol": 1, "cluster_id": CLUSTER, "name": "m1", "to": "m1"})),
        _frame(messages.encode({"type": "eval", "code": "1"})),
        _frame(HELLO) + _frame(messages.encode({"type": "request_vote", "term": "x"})),
        _frame(HELLO)
        + _frame(messages.encode({"type": "apply_command", "command": b"", "request_id": 1, "more": 1})),
        _frame(HELLO) + (1 << 30).to_bytes(4, "little"),
    ],
)
def test_bad_input_ends_only_its_connection(tmp_path: Path, bad: bytes) -> None:
    async def body(ends: Ends) -> None:
        await ends.member("m1", None)
        host, _, port = ends.addresses["m1"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(bad)
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass
        writer.close()
        assert ends.heard["m1"] == []
        await ends.member("m2", None)
        await ends.up["m2"].wait()

    run(tmp_path, body)


def test_bad_tls_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no certificate")
    with pytest.raises((ssl.SSLError, OSError)):
        TlsFiles(str(tmp_path / "x"), str(tmp_path / "x"), str(tmp_path / "x"))
