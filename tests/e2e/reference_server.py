"""A webhook server and an aggregated API server, small, for tests: run as a script, in the LAN's namespace.

    reference_server.py FOLDER API_ADDRESS WEBHOOK_ADDRESS AGGREGATED_ADDRESS

FOLDER holds server.crt, server.key, ca.crt, client.crt and client.key.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys

from argosy.client import Client
from argosy.host import RealClock, RealRng
from argosy.kinds.columns import text
from argosy.kinds.kind import NAME_COLUMN
from argosy.objects import status as errors
from argosy.rpc import GrpcNetwork, Tls
from control_plane.aggregated.access import Access
from control_plane.aggregated.calls import ApiResource, Call, GroupVersion
from control_plane.aggregated.identity import Trust
from control_plane.aggregated.server import AggregatedServer

GROUP, VERSION = "flavours.example.org", "v1"
GIANT_BYTES = 64 << 20


def answered(review: dict, allowed: bool, **response: object) -> bytes:
    made = {"uid": review["request"]["uid"], "allowed": allowed, **response}
    body = json.dumps({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": made}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def behave(path: str, body: bytes, writer: asyncio.StreamWriter) -> bytes:
    """What the webhook at a path does."""
    review = json.loads(body)
    if path == "/label":
        obj = review["request"]["object"]
        labels = {**(obj["metadata"].get("labels") or {}), "hooked": "yes"}
        patch = [{"op": "add", "path": "/metadata/labels", "value": labels}]
        encoded = base64.b64encode(json.dumps(patch).encode()).decode()
        return answered(review, True, patch=encoded, patchType="JSONPatch", warnings=["labelled by a webhook"])
    if path == "/deny":
        return answered(review, False, status={"code": 403, "message": "not today"})
    if path == "/slow":
        await asyncio.sleep(60)
    if path == "/giant":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIANT_BYTES)
        for _ in range(GIANT_BYTES >> 20):
            writer.write(b"[" * (1 << 20))
            await writer.drain()
    return b"this is no HTTP\r\n\r\n"


async def serve_webhooks(address: str, context: ssl.SSLContext) -> asyncio.Server:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                writer.write(await behave(first.split(" ")[1].partition("?")[0], body, writer))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            writer.close()

    host, _, port = address.rpartition(":")
    return await asyncio.start_server(handle, host, int(port), ssl=context)


class Flavours:
    """Kept in memory, with what the garbage collector needs of an API: uids, revisions, watches."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict] = {}
        self.revision = 1
        self._changes: list[tuple[int, dict]] = []
        self._changed = asyncio.Condition()
        self._rng = RealRng()

    async def handle(self, call: Call) -> object:
        kind = {"apiVersion": f"{GROUP}/{VERSION}"}
        key = (call.namespace, call.name)
        if call.verb == "create":
            obj = json.loads(call.body)
            own = {"namespace": call.namespace, "uid": self._rng.uuid()}
            return await self.put("ADDED", {**obj, "metadata": {**obj["metadata"], **own}})
        if call.verb == "list":
            items = [obj for (space, _), obj in self.items.items() if call.namespace in ("", space)]
            return {
                **kind,
                "kind": "FlavourList",
                "metadata": {"resourceVersion": str(self.revision)},
                "items": items,
            }
        if call.verb == "watch":
            after = int(call.option("resourceVersion") or 0)
            if after > self.revision:
                raise errors.expired(f"too large resource version: {after}, current: {self.revision}")
            return self.events(after, float(call.option("timeoutSeconds") or 600))
        if call.name == "whoami":
            user = {"user": call.user.name, "groups": list(call.user.groups)}
            return {**kind, "kind": "Flavour", "metadata": {"name": "whoami"}, **user}
        if key not in self.items:
            raise errors.not_found(GROUP, "flavours", call.name)
        if call.verb == "delete":
            return await self.put("DELETED", self.items.pop(key))
        return self.items[key]

    async def put(self, change: str, obj: dict) -> dict:
        self.revision += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        if change != "DELETED":
            self.items[obj["metadata"]["namespace"], obj["metadata"]["name"]] = obj
        self._changes.append((self.revision, {"type": change, "object": obj}))
        async with self._changed:
            self._changed.notify_all()
        return obj

    async def events(self, after: int, timeout_s: float):
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for revision, event in [item for item in self._changes if item[0] > after]:
                        after = revision
                        yield event
                    async with self._changed:
                        await self._changed.wait_for(lambda: self.revision > after)  # noqa: B023
        except TimeoutError:
            return


async def main(folder: str, api: str, webhook_address: str, aggregated_address: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/server.crt", f"{folder}/server.key")
    webhooks = await serve_webhooks(webhook_address, context)
    tls = Tls.load(f"{folder}/ca.crt", f"{folder}/client.crt", f"{folder}/client.key")
    client = Client(GrpcNetwork(), [api], tls)
    resource = ApiResource(
        "flavours",
        "Flavour",
        verbs=("create", "delete", "get", "list", "watch"),
        singular="flavour",
        short_names=("fl",),
        columns=(NAME_COLUMN, text("Taste", "taste")),
    )
    clock = RealClock()
    server = AggregatedServer(
        [GroupVersion(GROUP, VERSION, [resource])],
        Flavours().handle,  # type: ignore[arg-type]
        Trust(client, clock),
        Access(client, clock),
        clock,
    )
    await server.listen([aggregated_address], f"{folder}/server.crt", f"{folder}/server.key")
    await webhooks.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
