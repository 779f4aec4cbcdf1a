"""One suite for every Network: gRPC itself and its in-memory twin."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from argosy.host import SeededRng
from argosy.rpc import Call, Code, GrpcNetwork, Methods, Network, RpcError, Tls, wait_ready
from argosy.rpc_memory import MemoryNetwork


def _grpc() -> Network:
    return GrpcNetwork()


def _memory() -> Network:
    return MemoryNetwork(SeededRng(1), latency_s=0.001, jitter_s=0.001).host("one")


both = pytest.mark.parametrize("make", [_grpc, _memory])
Make = Callable[[], Network]


class Probe:
    """A service that shows what a handler sees."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.cancelled = asyncio.Event()
        self.waiting = asyncio.Event()
        self.release = asyncio.Event()

    async def echo(self, request: bytes, call: Call) -> bytes:
        self.calls.append(call)
        return b"<" + request + b">"

    async def fail(self, request: bytes, call: Call) -> bytes:
        raise RpcError(Code.FAILED_PRECONDITION, "no: " + request.decode(), {"reason": "test", "detail-bin": b"\0\1"})

    async def crash(self, request: bytes, call: Call) -> bytes:
        raise ValueError("a bug")

    async def hang(self, request: bytes, call: Call) -> bytes:
        self.waiting.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b"released"

    async def count(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        async for request in requests:
            for number in range(int(request)):
                yield b"%d" % number

    async def partly(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"
        raise RpcError(Code.OUT_OF_RANGE, "the end")

    async def forever(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            self.waiting.set()
            await self.release.wait()
        finally:
            self.cancelled.set()

    async def flood(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        for number in range(500):
            yield b"%d" % number

    def methods(self) -> Methods:
        return Methods(
            {"/t.T/Echo": self.echo, "/t.T/Fail": self.fail, "/t.T/Crash": self.crash, "/t.T/Hang": self.hang},
            {
                "/t.T/Count": self.count,
                "/t.T/Partly": self.partly,
                "/t.T/Forever": self.forever,
                "/t.T/Flood": self.flood,
            },
        )


def run(make: Make, body: Callable[[Network, Probe, str], Awaitable[None]]) -> None:
    async def main() -> None:
        network = make()
        probe = Probe()
        server = await network.serve("127.0.0.1:0", probe.methods())
        try:
            await body(network, probe, server.address)
        finally:
            await server.stop(0)

    asyncio.run(asyncio.wait_for(main(), 30))


async def code_of(awaitable: Awaitable[object]) -> Code:
    with pytest.raises(RpcError) as caught:
        await awaitable
    return caught.value.code


async def collect(messages: AsyncIterator[bytes]) -> list[bytes]:
    return [message async for message in messages]


@both
def test_unary_with_metadata_and_deadline(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        channel = network.dial(address)
        metadata = {"authorization": "Bearer x", "trace-bin": b"\0\xff"}
        assert await channel.unary("/t.T/Echo", b"hi", metadata=metadata, timeout_s=20) == b"<hi>"
        call = probe.calls[0]
        assert call.method == "/t.T/Echo"
        assert call.metadata["authorization"] == "Bearer x"
        assert call.metadata["trace-bin"] == b"\0\xff"
        assert call.peer and call.peer_certificate == b""
        assert call.time_left_s is not None and 0 < call.time_left_s <= 21  # gRPC rounds up
        assert await channel.unary("/t.T/Echo", b"") == b"<>"
        assert probe.calls[1].time_left_s is None
        await channel.close()

    run(make, body)


@both
def test_errors_carry_code_message_and_metadata(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        channel = network.dial(address)
        with pytest.raises(RpcError) as caught:
            await channel.unary("/t.T/Fail", b"x")
        assert (caught.value.code, caught.value.message) == (Code.FAILED_PRECONDITION, "no: x")
        assert caught.value.metadata["reason"] == "test"
        assert caught.value.metadata["detail-bin"] == b"\0\1"
        assert await code_of(channel.unary("/t.T/Crash", b"")) == Code.UNKNOWN
        assert await code_of(channel.unary("/t.T/Nothing", b"")) == Code.UNIMPLEMENTED
        assert await code_of(collect(channel.stream("/t.T/Nothing", b""))) == Code.UNIMPLEMENTED
        assert await channel.unary("/t.T/Echo", b"alive") == b"<alive>"
        await channel.close()

    run(make, body)


@both
def test_deadline_ends_the_call_on_both_sides(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        channel = network.dial(address)
        assert await code_of(channel.unary("/t.T/Hang", b"", timeout_s=0.2)) == Code.DEADLINE_EXCEEDED
        await probe.cancelled.wait()
        await channel.close()

    run(make, body)


@both
def test_cancelling_the_caller_cancels_the_handler(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        channel = network.dial(address)
        task = asyncio.ensure_future(channel.unary("/t.T/Hang", b""))
        await probe.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await probe.cancelled.wait()
        await channel.close()

    run(make, body)


@both
def test_streams_keep_order_both_ways(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        channel = network.dial(address)

        async def requests() -> AsyncIterator[bytes]:
            for text in (b"3", b"0", b"2"):
                yield text

        assert await collect(channel.stream("/t.T/Count", requests())) == [b"0", b"1", b"2", b"0", b"1"]
        assert await collect(channel.stream("/t.T/Count", b"2")) == [b"0", b"1"]
        assert await collect(channel.stream("/t.T/Flood", b"")) == [b"%d" % number for number in range(500)]
        await channel.close()

    run(make, body)


@both
def test_a_conversation_alternates(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        channel = network.dial(address)
        turns: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def requests() -> AsyncIterator[bytes]:
            while (turn := await turns.get()) is not None:
                yield turn

        answers = channel.stream("/t.T/Count", requests())
        for _ in range(3):
            turns.put_nowait(b"1")
            assert await anext(answers) == b"0"
        turns.put_nowait(None)
        assert await collect(answers) == []
        await channel.close()

    run(make, body)


@both
def test_a_stream_fails_after_what_it_had_sent(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        channel = network.dial(address)
        got = []
        with pytest.raises(RpcError) as caught:
            async for message in channel.stream("/t.T/Partly", b""):
                got.append(message)
        assert got == [b"one", b"two"]
        assert (caught.value.code, caught.value.message) == (Code.OUT_OF_RANGE, "the end")
        await channel.close()

    run(make, body)


@both
def test_closing_the_iterator_cancels_the_handler(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        channel = network.dial(address)
        answers = channel.stream("/t.T/Forever", b"")
        assert await anext(answers) == b"first"
        await answers.aclose()  # type: ignore[attr-defined]
        await probe.cancelled.wait()
        await channel.close()

    run(make, body)


@both
def test_nobody_listens_and_bad_addresses(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        channel = network.dial("127.0.0.1:1")
        assert await code_of(channel.unary("/t.T/Echo", b"", timeout_s=20)) == Code.UNAVAILABLE
        await channel.close()
        with pytest.raises(OSError):
            await network.serve(address, probe.methods())

    run(make, body)


@both
def test_a_stopped_server_is_unavailable_and_a_new_one_is_found(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        server = await network.serve("127.0.0.1:0", probe.methods())
        channel = network.dial(server.address)
        running = asyncio.ensure_future(channel.unary("/t.T/Hang", b""))
        await probe.waiting.wait()
        await server.stop(0)
        assert await code_of(running) in (Code.UNAVAILABLE, Code.CANCELLED)
        assert await code_of(channel.unary("/t.T/Echo", b"", timeout_s=20)) == Code.UNAVAILABLE
        again = await network.serve(server.address, probe.methods())
        assert await wait_ready(channel, "/t.T/Echo", b"back", timeout_s=20) == b"<back>"
        await again.stop(0)
        await channel.close()

    run(make, body)


@both
def test_grace_lets_running_calls_end(make: Make) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        server = await network.serve("127.0.0.1:0", probe.methods())
        channel = network.dial(server.address)
        running = asyncio.ensure_future(channel.unary("/t.T/Hang", b""))
        await probe.waiting.wait()
        stopping = asyncio.ensure_future(server.stop(20))
        probe.release.set()
        assert await running == b"released"
        await stopping
        await channel.close()

    run(make, body)


@both
def test_unix_sockets(make: Make, tmp_path: object) -> None:
    async def body(network: Network, probe: Probe, address: str) -> None:
        path = f"unix:{tmp_path}/s"
        server = await network.serve(path, probe.methods())
        assert server.address == path
        channel = network.dial(path)
        assert await channel.unary("/t.T/Echo", b"u") == b"<u>"
        await channel.close()
        await server.stop(0)

    run(make, body)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    return key, certify("ca", key, None, None)


def certify(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey | None,
    ca: x509.Certificate | None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca is None, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(ca_key or key, hashes.SHA256())
    )


def identity(name: str, ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, server_name: str = "") -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    return Tls(ca.public_bytes(pem), certify(name, key, ca_key, ca).public_bytes(pem), _key_pem(key), server_name)


@both
def test_mutual_tls_shows_the_client_and_keeps_strangers_out(make: Make) -> None:
    async def body(network: Network, probe: Probe, _: str) -> None:
        ca_key, ca = authority()
        server = await network.serve("127.0.0.1:0", probe.methods(), identity("server", ca_key, ca))
        client = identity("client", ca_key, ca, "server")
        channel = network.dial(server.address, client)
        assert await channel.unary("/t.T/Echo", b"x", timeout_s=20) == b"<x>"
        shown = x509.load_pem_x509_certificate(probe.calls[-1].peer_certificate)
        assert shown == x509.load_pem_x509_certificate(client.certificate)
        await channel.close()
        other_key, other = authority()
        for stranger in (None, Tls(client.ca, server_name="server"), identity("client", other_key, other, "server")):
            channel = network.dial(server.address, stranger)
            assert await code_of(channel.unary("/t.T/Echo", b"x", timeout_s=5)) in (
                Code.UNAVAILABLE,
                Code.DEADLINE_EXCEEDED,
            )
            await channel.close()
        await server.stop(0)

    run(make, body)
