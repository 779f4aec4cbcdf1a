"""The store beside Debian's etcd-server: three members each, both with fsync and without TLS, one load generator.

h2load sends one fixed gRPC body to the leader on both sides alike. It sees no
trailers: that every answer was a success is known by its size, as a failed call has no message. Figures are medians
of rounds taken in turn.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from argosy.pb import etcd_pb2 as pb
from argosy.rpc import GrpcNetwork, RpcError
from tests.bench import usage
from tests.bench.bench import Bench, CannotMeasure, median, need, python, terminate
from tests.bench.table import Table, ratio
from tests.ports import free_ports

SHAPES = ((1, 1), (10, 10), (10, 100))
"""(connections, requests outstanding on each)"""
ROUNDS = 3
SECONDS = 3
WARM_UP_S = 1
KEY = b"/registry/bench"
VALUE_BYTES = 256
KV = "/etcdserverpb.KV/"


@dataclass
class Store:
    """Three running members."""

    name: str
    processes: list[subprocess.Popen[bytes]]
    ports: list[int]
    leader: int = 0
    """The port of the member that leads."""

    def cpu_s(self) -> float:
        found = [usage.read(process.pid) for process in self.processes]
        return usage.cpu_s(item for item in found if item is not None)

    def pss_bytes(self) -> int:
        found = [usage.read(process.pid, memory=True) for process in self.processes]
        return sum(item.pss_bytes for item in found if item is not None)


@dataclass(frozen=True)
class Load:
    """What h2load measured."""

    rate: float
    median_ms: float
    """Mean time to an answer."""


def measure(bench: Bench) -> Iterator[Table]:
    need("h2load", "etcd")
    stores: list[Store] = []
    try:
        stores.append(_start_ours(bench.folder))
        stores.append(_start_etcd(bench.folder))
        for store in stores:
            store.leader = asyncio.run(_leader(store.ports))
        yield from _compare(stores[0], stores[1], bench.folder)
    finally:
        terminate([process for store in stores for process in store.processes])


def _compare(ours: Store, theirs: Store, folder: Path) -> Iterator[Table]:
    put = pb.PutRequest(key=KEY, value=b"v" * VALUE_BYTES).SerializeToString()
    get = pb.RangeRequest(key=KEY).SerializeToString()
    table = Table(
        f"store: requests/s, 3 members with fsync, {VALUE_BYTES}-byte values, no TLS (median of {ROUNDS})",
        ("call", "outstanding", "argosy", "etcd", "ratio", "argosy ms", "etcd ms"),
    )
    cost = Table(
        "store: what 1,000 requests cost all three members", ("call", "outstanding", "argosy cpu-s", "etcd cpu-s")
    )
    for method, label, request in (("Put", "put", put), ("Range", "linearizable range", get)):
        body = _framed(request, folder / method)
        for connections, outstanding in SHAPES:
            loads: dict[str, list[Load]] = {ours.name: [], theirs.name: []}
            cpu: dict[str, list[float]] = {ours.name: [], theirs.name: []}
            for _ in range(ROUNDS):
                for store in (ours, theirs):
                    least_bytes = asyncio.run(_answer_bytes(store.leader, method, request))
                    before = store.cpu_s()
                    load = _h2load(store.leader, method, body, connections, outstanding, least_bytes)
                    loads[store.name].append(load)
                    done = load.rate * (SECONDS + WARM_UP_S)
                    cpu[store.name].append(1000 * (store.cpu_s() - before) / done)
            rates = [median([load.rate for load in loads[name]]) for name in (ours.name, theirs.name)]
            times = [median([load.median_ms for load in loads[name]]) for name in (ours.name, theirs.name)]
            table.add(label, connections * outstanding, *rates, ratio(*rates), *times)
            cost.add(label, connections * outstanding, median(cpu[ours.name]), median(cpu[theirs.name]))
    cost.notes.append(
        f"memory (PSS) of three members afterwards: argosy {ours.pss_bytes() / (1 << 20):.0f} MiB, "
        f"etcd {theirs.pss_bytes() / (1 << 20):.0f} MiB"
    )
    yield table
    yield cost


def _start_ours(folder: Path) -> Store:
    clients, peers = free_ports(3), free_ports(3)
    cluster = ",".join(f"m{i}=127.0.0.1:{port}" for i, port in enumerate(peers))
    lines = [
        python(
            "etcd",
            *("--name", f"m{i}", "--data-dir", str(folder / "argosy" / f"m{i}")),
            *("--listen-client", f"127.0.0.1:{clients[i]}", "--listen-peer", f"127.0.0.1:{peers[i]}"),
            *("--initial-cluster", cluster, "--cluster-token", "bench", "--log-level", "warning"),
        )
        for i in range(3)
    ]
    return Store("argosy", _spawn(lines), clients)


def _start_etcd(folder: Path) -> Store:
    clients, peers = free_ports(3), free_ports(3)
    cluster = ",".join(f"m{i}=http://127.0.0.1:{port}" for i, port in enumerate(peers))
    lines = [
        [
            *("etcd", "--name", f"m{i}", "--data-dir", str(folder / "etcd" / f"m{i}"), "--log-level", "error"),
            *("--listen-client-urls", f"http://127.0.0.1:{clients[i]}"),
            *("--advertise-client-urls", f"http://127.0.0.1:{clients[i]}"),
            *("--listen-peer-urls", f"http://127.0.0.1:{peers[i]}"),
            *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[i]}"),
            *("--initial-cluster", cluster, "--initial-cluster-token", "bench"),
        ]
        for i in range(3)
    ]
    return Store("etcd", _spawn(lines), clients)


def _spawn(lines: Sequence[Sequence[str]]) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for line in lines
    ]


def _framed(message: bytes, path: Path) -> Path:
    """A file with one message as gRPC frames it."""
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return path


def _h2load(port: int, method: str, body: Path, connections: int, outstanding: int, least_bytes: int) -> Load:
    """Raises CannotMeasure when an answer was not a success."""
    done = subprocess.run(
        [
            *("h2load", "-t1", f"-c{connections}", f"-m{outstanding}"),
            *(f"-D{SECONDS}", f"--warm-up-time={WARM_UP_S}", "-d", str(body)),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://127.0.0.1:{port}{KV}{method}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    text = done.stdout
    counted = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", text)
    spent = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)", text)
    traffic = re.search(r"\((\d+)\) total, .*\((\d+)\) data", text)
    if not (counted and rate and spent and traffic):
        raise CannotMeasure(f"h2load: {text[-500:]}{done.stderr[-500:]}")
    succeeded, failed, errored = (int(count) for count in counted.groups())
    data_bytes = int(traffic.group(2))
    # Answers that straddle the ends of the measured time are counted on one side only.
    sure = succeeded - 2 * connections * outstanding
    if failed or errored or not succeeded or data_bytes < sure * least_bytes:
        raise CannotMeasure(f"not every {method} succeeded ({data_bytes} bytes of answers):\n{text[-800:]}")
    unit_ms = {"us": 0.001, "ms": 1.0, "s": 1000.0}[spent.group(2)]
    return Load(float(rate.group(1)), float(spent.group(1)) * unit_ms)


async def _answer_bytes(port: int, method: str, request: bytes) -> int:
    """How large a framed answer is at least: one call made properly, so that its status is seen."""
    channel = GrpcNetwork().dial(f"127.0.0.1:{port}")
    deadline = time.monotonic() + 60
    try:
        while True:
            try:
                answer = await channel.unary(KV + method, request, timeout_s=20)
                break
            except RpcError as error:
                # Right after a load a server may still be busy with what h2load left behind.
                if time.monotonic() >= deadline:
                    raise CannotMeasure(f"{method}: {error}") from None
                await asyncio.sleep(0.2)
    finally:
        await channel.close()
    if method == "Range" and len(pb.RangeResponse.FromString(answer).kvs) != 1:
        raise CannotMeasure("the key is not there")
    return 5 + len(answer)


async def _leader(ports: Sequence[int]) -> int:
    """The port of the member that leads, once there is one and all three answer."""
    network = GrpcNetwork()
    channels = {port: network.dial(f"127.0.0.1:{port}") for port in ports}
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            answers = {}
            for port, channel in channels.items():
                try:
                    body = await channel.unary("/etcdserverpb.Maintenance/Status", b"", timeout_s=2)
                except RpcError:
                    continue
                answers[port] = pb.StatusResponse.FromString(body)
            leading = [port for port, item in answers.items() if item.leader and item.leader == item.header.member_id]
            if len(answers) == len(ports) and len(leading) == 1:
                return leading[0]
            await asyncio.sleep(0.1)
    finally:
        for channel in channels.values():
            await channel.close()
    raise CannotMeasure("the store has no leader after 60 s")
