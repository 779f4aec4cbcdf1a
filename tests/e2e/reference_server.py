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
from argosy.host import RealClock
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
    def __init__(self) -> None:
        self.items: dict[str, dict] = {}

    async def handle(self, call: Call) -> object:
        kind = {"apiVersion": f"{GROUP}/{VERSION}"}
        if call.verb == "create":
            obj = json.loads(call.body)
            self.items[obj["metadata"]["name"]] = obj
            return obj
        if call.verb == "list":
            return {
                **kind,
                "kind": "FlavourList",
                "metadata": {"resourceVersion": "1"},
                "items": [*self.items.values()],
            }
        if call.verb == "watch":
            return self.events()
        if call.name == "whoami":
            user = {"user": call.user.name, "groups": list(call.user.groups)}
            return {**kind, "kind": "Flavour", "metadata": {"name": "whoami"}, **user}
        if call.name not in self.items:
            raise errors.not_found(GROUP, "flavours", call.name)
        return self.items.pop(call.name) if call.verb == "delete" else self.items[call.name]

    async def events(self):
        for item in list(self.items.values()):
            yield {"type": "ADDED", "object": item}


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
