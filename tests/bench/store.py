"""Store throughput beside Debian's etcd-server: three members each, both with fsync, the same load generator.

h2load sends one fixed gRPC body; figures are requests/s and ratios, medians of several runs taken in turn.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from argosy.pb import etcd_pb2 as pb

SHAPES = ((1, 1), (10, 10), (100, 10))
"""(connections, requests outstanding on each)"""
ROUNDS = 3
SECONDS = 4
VALUE_BYTES = 256


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


def start_ours(folder: Path) -> tuple[list[subprocess.Popen[bytes]], list[int]]:
    clients, peers = free_ports(3), free_ports(3)
    cluster = ",".join(f"m{i}=127.0.0.1:{port}" for i, port in enumerate(peers))
    return [
        subprocess.Popen(
            [
                sys.executable, "-m", "etcd", "--name", f"m{i}", "--data-dir", str(folder / f"m{i}"),
                "--listen-client", f"127.0.0.1:{clients[i]}", "--listen-peer", f"127.0.0.1:{peers[i]}",
                "--initial-cluster", cluster, "--cluster-token", "bench", "--log-level", "warning",
            ],
        )
        for i in range(3)
    ], clients  # fmt: skip


def start_etcd(folder: Path) -> tuple[list[subprocess.Popen[bytes]], list[int]]:
    clients, peers = free_ports(3), free_ports(3)
    cluster = ",".join(f"m{i}=http://127.0.0.1:{port}" for i, port in enumerate(peers))
    return [
        subprocess.Popen(
            [
                "etcd", "--name", f"m{i}", "--data-dir", str(folder / f"m{i}"), "--log-level", "error",
                "--listen-client-urls", f"http://127.0.0.1:{clients[i]}",
                "--advertise-client-urls", f"http://127.0.0.1:{clients[i]}",
                "--listen-peer-urls", f"http://127.0.0.1:{peers[i]}",
                "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[i]}",
                "--initial-cluster", cluster, "--initial-cluster-token", "bench",
            ],
            stderr=subprocess.DEVNULL,
        )
        for i in range(3)
    ], clients  # fmt: skip


def body(message: bytes, path: Path) -> Path:
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return path


def load(port: int, method: str, data: Path, connections: int, outstanding: int) -> float:
    """Requests/s as h2load counts the answered ones."""
    done = subprocess.run(
        [
            "h2load", "-t1", f"-c{connections}", f"-m{outstanding}", f"-D{SECONDS}", "--warm-up-time=1",
            "-d", str(data), "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"http://127.0.0.1:{port}/etcdserverpb.KV/{method}",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    match = re.search(r"finished in [\d.]+s, ([\d.]+) req/s", done.stdout)
    failed = re.search(r"(\d+) failed", done.stdout)
    if match is None or (failed and int(failed.group(1))):
        raise SystemExit(f"h2load failed:\n{done.stdout}{done.stderr}")
    return float(match.group(1))


def leader(ports: list[int]) -> int:
    """The port of the member that leads, once there is one (asked by etcd's own Status call)."""
    import asyncio

    from argosy.rpc import GrpcNetwork, RpcError

    async def ask() -> int:
        network = GrpcNetwork()
        channels = {port: network.dial(f"127.0.0.1:{port}") for port in ports}
        try:
            for _ in range(200):
                for port, channel in channels.items():
                    try:
                        answer = pb.StatusResponse.FromString(
                            await channel.unary("/etcdserverpb.Maintenance/Status", b"", timeout_s=2)
                        )
                    except RpcError:
                        continue
                    if answer.leader and answer.leader == answer.header.member_id:
                        return port
                await asyncio.sleep(0.1)
        finally:
            for channel in channels.values():
                await channel.close()
        raise SystemExit("no leader")

    return asyncio.run(ask())


def main() -> None:
    for tool in ("h2load", "etcd"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is missing: apt-get install nghttp2-client etcd-server")
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as name:
        folder = Path(name)
        put = body(
            pb.PutRequest(key=b"/registry/bench", value=b"v" * VALUE_BYTES).SerializeToString(), folder / "put"
        )
        get = body(pb.RangeRequest(key=b"/registry/bench").SerializeToString(), folder / "get")
        ours, our_ports = start_ours(folder / "argosy")
        theirs, their_ports = start_etcd(folder / "etcd")
        try:
            ports = {"argosy": leader(our_ports), "etcd": leader(their_ports)}
            print(f"{'':22}{'argosy':>10}{'etcd':>10}{'ratio':>8}   requests/s, 3 members, fsync")
            for method, data in (("Put", put), ("Range", get)):
                for connections, outstanding in SHAPES:
                    rates: dict[str, list[float]] = {"argosy": [], "etcd": []}
                    for _ in range(ROUNDS):
                        for who, port in ports.items():
                            rates[who].append(load(port, method, data, connections, outstanding))
                    mine, peer = (statistics.median(rates[who]) for who in ("argosy", "etcd"))
                    label = f"{method} {connections}x{outstanding}"
                    print(f"{label:22}{mine:10.0f}{peer:10.0f}{mine / peer:8.2f}", flush=True)
        finally:
            for process in (*ours, *theirs):
                process.send_signal(signal.SIGTERM)
            for process in (*ours, *theirs):
                process.wait(20)


if __name__ == "__main__":
    main()
