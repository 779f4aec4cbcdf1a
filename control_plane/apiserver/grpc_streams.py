"""Log and Exec over gRPC: authorised as on REST, then `streaming.node` talks to the node agent.

`grpc_api.py` registers the two; it loads this module only when one of them is called.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from argosy.pb import api_pb2 as pb
from argosy.streaming import remotecommand
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import Request, User
from control_plane.apiserver.streaming import connect, pods
from control_plane.apiserver.streaming import node as nodes
from control_plane.apiserver.streaming.dial import Dialer

MAX_OPTIONS_BYTES: Final = 1 << 20


class GrpcStreams:
    def __init__(self, pipeline: Pipeline, dialer: Dialer) -> None:
        self._pipeline = pipeline
        self._dialer = dialer

    async def _target(
        self, target: pb.Target, user: User, subresource: str, verb: str
    ) -> tuple[JsonObject, JsonObject | None]:
        """(pod, its node). Raises ApiError 403, 404."""
        context = self._pipeline.context
        served = context.resources.require("", "pods")
        self._pipeline.authorization.check(Action(user, verb, "", "pods", subresource, target.namespace, target.name))
        pod = (await context.newest(Request(user, verb, served, target.namespace, target.name))).obj
        node = context.resources.require("", "nodes").cache.get(str(meta.spec(pod).get("nodeName", "")))
        return pod, node.obj if node is not None else None

    async def log(self, requests: AsyncIterator[bytes], user: User) -> AsyncIterator[bytes]:
        """Chunks of a container's log. Raises ApiError."""
        message = pb.LogRequest.FromString(await anext(requests, b""))
        pod, node = await self._target(message.target, user, "log", "get")
        chunks = nodes.open_log(self._dialer, pod, node, query_of(message.options_json))
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield pb.Chunk(data=chunk).SerializeToString()

    async def exec(self, requests: AsyncIterator[bytes], user: User) -> AsyncIterator[bytes]:
        """Frames of a command's channels; the last is its Status on channel 3. Raises ApiError."""
        first = pb.ExecFrame.FromString(await anext(requests, b""))
        if not first.HasField("start"):
            raise errors.bad_request("the first frame of Exec names the target and the options")
        pod, node = await self._target(first.start.target, user, "exec", "create")
        query, target = query_of(first.start.options_json), first.start.target
        served = self._pipeline.context.resources.require("", "pods")
        request = Request(user, "create", served, target.namespace, target.name, "exec")
        await connect.admit(self._pipeline, request, query)
        options = pods.command_options(pod, query, command=True)
        if node is None:
            raise errors.not_found("", "nodes", str(meta.spec(pod).get("nodeName", "")))
        running = await nodes.open_exec(self._dialer, pod, node, options)
        incoming = asyncio.create_task(_forward(requests, running))
        try:
            async with contextlib.aclosing(running.output()) as output:
                async for channel, data in output:
                    yield pb.ExecFrame(channel=channel, data=data).SerializeToString()
        finally:
            incoming.cancel()
            await asyncio.gather(incoming, return_exceptions=True)
            await running.close()


async def _forward(requests: AsyncIterator[bytes], running: nodes.Command) -> None:
    """The client's frames to the command; its end is the end of standard input."""
    async for body in requests:
        frame = pb.ExecFrame.FromString(body)
        await running.send(frame.channel, frame.data)
    await running.send(remotecommand.CLOSE, bytes((remotecommand.STDIN,)))


def query_of(options: bytes) -> dict[str, list[str]]:
    """PodLogOptions or PodExecOptions as the query parameters that REST has for them. Raises ApiError 400."""
    if len(options) > MAX_OPTIONS_BYTES:
        raise errors.too_large("the options are too large")
    try:
        given: Any = orjson.loads(options) if options else {}
    except orjson.JSONDecodeError as error:
        raise errors.bad_request(f"the options are no JSON: {error}") from None
    if not isinstance(given, dict):
        raise errors.bad_request("the options must be an object")
    query: dict[str, list[str]] = {}
    for name, value in given.items():
        if name in ("apiVersion", "kind") or value is None:
            continue
        values = value if isinstance(value, list) else [value]
        query[name] = [str(item).lower() if isinstance(item, bool) else str(item) for item in values]
    return query
