"""Rates of the API server on a real cluster (3 store members, TLS): ConfigMaps over REST and over gRPC.

REST is asked by h2load (HTTP/1.1, a service account's token), so that the load costs little beside what is measured;
deletes, which need a name each, by a small client of our own. gRPC is asked by argosy.client in this process. The
figures of kube-apiserver are those of ARCHITECTURE.md, measured elsewhere: a reference, not a comparison.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from argosy.client import Client
from tests.bench import usage
from tests.bench.bench import Bench, CannotMeasure, need
from tests.bench.table import Table

CLIENTS = (1, 32)
SECONDS = 3
NAMESPACE = "bench"
KUBE_APISERVER = {
    ("create", 1): 244, ("get", 1): 527, ("delete", 1): 278,
    ("create", 32): 832, ("get", 32): 1511, ("delete", 32): 903,
}  # fmt: skip
"""kube-apiserver 1.36.2, ConfigMaps/s, by call and clients."""
DATA = {"data": {"key": "v" * 256}}


def measure(bench: Bench) -> Iterator[Table]:
    need("h2load", "kubectl")
    cluster = bench.cluster()
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        server = cluster.processes()["apiserver-1"].pid
        cluster.kubectl("create", "serviceaccount", "bench", "-n", NAMESPACE)
        grant = ("--clusterrole=cluster-admin", f"--serviceaccount={NAMESPACE}:bench")
        cluster.kubectl("create", "clusterrolebinding", "bench", *grant)
        token = cluster.kubectl("create", "token", "bench", "-n", NAMESPACE).strip()
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name="one"), **DATA})
        rest = Rest(Path(cluster.kubeconfig), token, bench.folder)
        table = Table(
            "API server, ConfigMaps per second",
            ("call", "clients", "REST", "gRPC", "REST cpu-ms each", "kube-apiserver"),
        )
        for clients in CLIENTS:
            grpc = asyncio.run(_grpc(cluster.client, clients))
            for call in ("create", "get", "list 100", "delete"):
                before = usage.read(server)
                begun = time.monotonic()
                rate = rest.rate(call, clients)
                spent_s, after = time.monotonic() - begun, usage.read(server)
                assert before is not None and after is not None
                cpu_ms = 1000 * (after.cpu_s - before.cpu_s) / max(1.0, rate * spent_s)
                known = KUBE_APISERVER.get((call, clients))
                table.add(call, clients, rate, grpc[call], cpu_ms, known)
        table.notes.append("kube-apiserver: 1.36.2, measured once on a machine of this size; not beside ours")
        yield table
    finally:
        cluster.kubectl("delete", "clusterrolebinding", "bench", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true", timeout_s=120.0)


def _meta(**fields: str) -> dict[str, Any]:
    return {"namespace": NAMESPACE, "labels": {"bench": "yes"}, **fields}


class Rest:
    """Loads on the REST API, as the service account."""

    def __init__(self, kubeconfig: Path, token: str, folder: Path) -> None:
        entry = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
        self._server = str(entry["server"])
        self._ca = base64.b64decode(entry["certificate-authority-data"]).decode()
        self._authorization = f"Bearer {token}"
        self._body = folder / "config-map.json"
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(generateName="c-"), **DATA}
        self._body.write_text(json.dumps(obj))
        self._collection = f"/api/v1/namespaces/{NAMESPACE}/configmaps"

    def rate(self, call: str, clients: int) -> float:
        """Requests per second; every one succeeded. Raises CannotMeasure."""
        if call == "create":
            return self._h2load(
                self._collection, clients, "-d", str(self._body), "-H", "content-type: application/json"
            )
        if call == "get":
            return self._h2load(f"{self._collection}/one", clients)
        if call == "list 100":
            return self._h2load(f"{self._collection}?limit=100", clients)
        return asyncio.run(self._delete(clients))

    def _h2load(self, path: str, clients: int, *flags: str) -> float:
        done = subprocess.run(
            [
                *("h2load", "--h1", "-t1", f"-c{clients}", "-m1", f"-D{SECONDS}", "--warm-up-time=1"),
                *("-H", f"authorization: {self._authorization}", *flags, self._server + path),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", done.stdout)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
        if rate is None or codes is None or int(codes.group(1)) == 0 or any(int(codes.group(at)) for at in (2, 3, 4)):
            raise CannotMeasure(f"h2load {path}: {done.stdout[-600:]}{done.stderr[-300:]}")
        return float(rate.group(1))

    async def _delete(self, clients: int) -> float:
        """Deletes what the creates left, as many as fit into the time."""
        names = await self._names()
        context = ssl.create_default_context(cadata=self._ca)
        address = urlsplit(self._server)
        deadline = time.monotonic() + SECONDS
        done = 0

        async def client() -> None:
            nonlocal done
            reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
            try:
                while names and time.monotonic() < deadline:
                    await self._ask(reader, writer, "DELETE", f"{self._collection}/{names.pop()}")
                    done += 1
            finally:
                writer.close()

        begun = time.monotonic()
        await asyncio.gather(*(client() for _ in range(clients)))
        return done / (time.monotonic() - begun)

    async def _names(self) -> list[str]:
        context = ssl.create_default_context(cadata=self._ca)
        address = urlsplit(self._server)
        reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context, limit=1 << 26)
        try:
            answer = await self._ask(reader, writer, "GET", f"{self._collection}?labelSelector=bench&limit=6000")
        finally:
            writer.close()
        return [item["metadata"]["name"] for item in json.loads(answer)["items"] if item["metadata"]["name"] != "one"]

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, verb: str, path: str) -> bytes:
        head = f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {self._authorization}\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 2"):
            raise CannotMeasure(f"{verb} {path}: {answer[:200]!r}")
        length = re.search(rb"(?i)content-length: (\d+)", answer)
        if length is not None:
            return await reader.readexactly(int(length.group(1)))
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readline()
        return body


async def _grpc(connect: Callable[[], Client], clients: int) -> dict[str, float]:
    """Calls per second by argosy.client, all clients on one connection."""
    api = connect()
    maps = api.resource("", "v1", "configmaps")
    made: list[str] = []
    number = 0

    async def create() -> bool:
        nonlocal number
        number += 1
        name = f"g-{clients}-{number}"
        await maps.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name=name), **DATA})
        made.append(name)
        return True

    async def get() -> bool:
        await maps.get("one", namespace=NAMESPACE)
        return True

    async def list_100() -> bool:
        await maps.list(namespace=NAMESPACE, limit=100)
        return True

    async def delete() -> bool:
        if not made:
            return False
        await maps.delete(made.pop(), namespace=NAMESPACE)
        return True

    try:
        calls = {"create": create, "get": get, "list 100": list_100, "delete": delete}
        return {name: await _rate(call, clients) for name, call in calls.items()}
    finally:
        await api.close()


async def _rate(call: Callable[[], Awaitable[bool]], clients: int) -> float:
    """Calls per second; a call that gives False ends its client."""
    done = 0
    begun = time.monotonic()

    async def client() -> None:
        nonlocal done
        while time.monotonic() < begun + SECONDS and await call():
            done += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return done / (time.monotonic() - begun)
