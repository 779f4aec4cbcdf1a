"""argosy.v1.Api: the same operations for Argosy's own components and its SDK, objects as JSON bytes.

Each call becomes a pipeline `Request`. Errors travel as a gRPC status whose trailing metadata carries the Status.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import orjson

from argosy import logs
from argosy.objects import status as errors
from argosy.objects.status import ApiError
from argosy.pb import api_pb2 as pb
from argosy.rpc import Call, Code, Methods, RpcError, Stream, Unary
from control_plane.apiserver.aggregation.calls import AggregatedCalls
from control_plane.apiserver.aggregation.discovery import MergedDiscovery
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.auth.authentication import Authentication
from control_plane.apiserver.auth.x509 import PemUsers
from control_plane.apiserver.cache.events import Type
from control_plane.apiserver.crd.follower import CustomResources
from control_plane.apiserver.grpc_aggregated import GrpcAggregated
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import (
    Answer,
    ListAnswer,
    ListOptions,
    PatchType,
    Request,
    User,
    WatchAnswer,
    WriteOptions,
)
from control_plane.apiserver.verbs.watching import line
from control_plane.apiserver.wire import list_json

SERVICE: Final = "/argosy.v1.Api/"
STATUS_KEY: Final = "argosy-status-bin"
log = logs.get("apiserver.grpc")

_CODES: Final = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    409: Code.ABORTED,
    410: Code.OUT_OF_RANGE,
    413: Code.RESOURCE_EXHAUSTED,
    422: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
_PATCHES: Final = {
    pb.PatchRequest.JSON: PatchType.JSON,
    pb.PatchRequest.MERGE: PatchType.MERGE,
    pb.PatchRequest.STRATEGIC: PatchType.STRATEGIC,
    pb.PatchRequest.APPLY: PatchType.APPLY,
}
_EVENTS: Final = {
    Type.ADDED: pb.WatchEvent.ADDED,
    Type.MODIFIED: pb.WatchEvent.MODIFIED,
    Type.DELETED: pb.WatchEvent.DELETED,
    Type.BOOKMARK: pb.WatchEvent.BOOKMARK,
    Type.ERROR: pb.WatchEvent.ERROR,
}


def rpc_error(error: ApiError) -> RpcError:
    metadata = {STATUS_KEY: orjson.dumps(error.status)}
    return RpcError(_CODES.get(error.code, Code.INTERNAL), error.message[:1024], metadata)


class GrpcApi:
    """`trusted` is who callers without a certificate are, for embedding only. `node_files` are
    the PEM files (authority, certificate, key) by which node agents are reached."""

    def __init__(
        self,
        pipeline: Pipeline,
        authentication: Authentication,
        custom: CustomResources,
        discovery: MergedDiscovery,
        aggregated: AggregatedCalls,
        trusted: User | None = None,
        node_files: tuple[str, str, str] = ("", "", ""),
    ) -> None:
        self._node_files = node_files
        self._pipeline = pipeline
        self._authentication = authentication
        self._custom = custom
        self._discovery = discovery
        self._aggregated = GrpcAggregated(aggregated)
        self._pem = PemUsers()
        self._trusted = trusted

    def methods(self) -> Methods:
        unary: dict[str, Callable[[bytes, User], Awaitable[bytes]]] = {
            "Get": self._get,
            "GetRaw": self._get_raw,
            "List": self._list,
            "Create": self._create,
            "Update": self._update,
            "Patch": self._patch,
            "Delete": self._delete,
        }
        return Methods(
            {SERVICE + name: self._guarded(handler) for name, handler in unary.items()},
            {
                SERVICE + "Watch": self._watch,
                SERVICE + "Log": self._stream("Log"),
                SERVICE + "Exec": self._stream("Exec"),
            },
        )

    def _user(self, call: Call) -> User:
        """A token names the user; without one the certificate, which gRPC asks of everybody."""
        token = call.metadata.get("authorization", "")
        if isinstance(token, str) and token:
            return self._authentication.user(None, token)
        certificate = self._pem.user(call.peer_certificate) if call.peer_certificate else None
        if certificate is None and self._trusted is not None:
            return self._trusted
        return self._authentication.user(certificate, "")

    def _guarded(self, handler: Callable[[bytes, User], Awaitable[bytes]]) -> Unary:
        async def guarded(request: bytes, call: Call) -> bytes:
            try:
                return await handler(request, self._user(call))
            except ApiError as error:
                raise rpc_error(error) from None
            except RpcError:
                raise
            except Exception as error:
                log.exception("a call failed", method=call.method)
                raise rpc_error(errors.internal(f"{type(error).__name__}")) from None

        return guarded

    async def _request(self, verb: str, target: pb.Target, user: User, **rest: Any) -> Request:
        resources = self._pipeline.context.resources
        served = resources.get(target.group, target.version, target.resource)
        if served is None:
            await self._custom.settle()
            served = resources.get(target.group, target.version, target.resource)
        if served is None:
            raise errors.status_error(404, "NotFound", "the server could not find the requested resource")
        namespace = target.namespace if served.kind.namespaced else ""
        return Request(user, verb, served, namespace, target.name, target.subresource, **rest)

    async def _get(self, body: bytes, user: User) -> bytes:
        message = _parsed(pb.GetRequest, body)
        options = ListOptions(resource_version=message.resource_version)
        if remote := self._aggregated.remote(message.target):
            return await self._aggregated.object("get", remote, message.target, user, options=options)
        return await self._object(await self._request("get", message.target, user, options=options))

    async def _get_raw(self, body: bytes, user: User) -> bytes:
        message = _parsed(pb.RawRequest, body)
        if message.path in ("/api", "/apis"):
            self._pipeline.authorization.check(Action(user, "get", path=message.path))
            found, _ = self._discovery.aggregated(message.path == "/api", "v2")
            return pb.Object(json=found).SerializeToString()
        return await self._aggregated.raw(message, user)

    async def _list(self, body: bytes, user: User) -> bytes:
        message = _parsed(pb.ListRequest, body)
        options = ListOptions(
            label_selector=message.label_selector,
            field_selector=message.field_selector,
            resource_version=message.resource_version,
            resource_version_match=message.resource_version_match,
            limit=message.limit,
            continue_=getattr(message, "continue"),
        )
        if remote := self._aggregated.remote(message.target):
            return await self._aggregated.list(remote, message.target, user, options)
        result = await self._pipeline.call(await self._request("list", message.target, user, options=options))
        assert isinstance(result, ListAnswer)
        served = result.served
        answer = pb.ObjectList(
            items=[entry.form(served.convert, served.api_version)[1] for entry in result.entries],
            resource_version=result.resource_version,
            remaining_item_count=result.remaining or 0,
        )
        setattr(answer, "continue", result.continue_)
        return answer.SerializeToString()

    async def _create(self, body: bytes, user: User) -> bytes:
        message = _parsed(pb.CreateRequest, body)
        options = _options(message.options)
        if remote := self._aggregated.remote(message.target):
            return await self._aggregated.object(
                "create", remote, message.target, user, body=message.json, write=options
            )
        return await self._object(
            await self._request("create", message.target, user, body=message.json, write=options)
        )

    async def _update(self, body: bytes, user: User) -> bytes:
        message = _parsed(pb.UpdateRequest, body)
        options = _options(message.options)
        if remote := self._aggregated.remote(message.target):
            return await self._aggregated.object(
                "update", remote, message.target, user, body=message.json, write=options
            )
        return await self._object(
            await self._request("update", message.target, user, body=message.json, write=options)
        )

    async def _patch(self, body: bytes, user: User) -> bytes:
        message = _parsed(pb.PatchRequest, body)
        kind = _PATCHES.get(message.type)
        if kind is None:
            raise errors.bad_request("unknown patch type")
        write = _options(message.options, message.force)
        if remote := self._aggregated.remote(message.target):
            return await self._aggregated.object(
                "patch", remote, message.target, user, body=message.body, patch=kind, write=write
            )
        request = await self._request("patch", message.target, user, body=message.body, patch_type=kind, write=write)
        return await self._object(request)

    async def _delete(self, body: bytes, user: User) -> bytes:
        message = _parsed(pb.DeleteRequest, body)
        options = ListOptions(label_selector=message.label_selector, field_selector=message.field_selector)
        verb = "delete" if message.target.name else "deletecollection"
        if remote := self._aggregated.remote(message.target):
            return await self._aggregated.object(
                verb, remote, message.target, user, body=message.options_json, options=options
            )
        request = await self._request(verb, message.target, user, body=message.options_json, options=options)
        result = await self._pipeline.call(request)
        if isinstance(result, ListAnswer):
            return pb.Object(json=list_json(result), warnings=request.warnings).SerializeToString()
        assert isinstance(result, Answer)
        return pb.Object(json=result.raw, warnings=request.warnings).SerializeToString()

    async def _object(self, request: Request) -> bytes:
        result = await self._pipeline.call(request)
        assert isinstance(result, Answer)
        return pb.Object(json=result.raw, warnings=request.warnings).SerializeToString()

    async def _watch(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        try:
            message = _parsed(pb.WatchRequest, await anext(requests, b""))
            options = ListOptions(
                label_selector=message.label_selector,
                field_selector=message.field_selector,
                resource_version=message.resource_version,
                resource_version_match="NotOlderThan" if message.send_initial_events else "",
                allow_bookmarks=message.allow_bookmarks or message.send_initial_events,
                send_initial_events=True if message.send_initial_events else None,
            )
            if remote := self._aggregated.remote(message.target):
                async for message_out in self._aggregated.watch(remote, message.target, self._user(call), options):
                    yield message_out
                return
            request = await self._request("watch", message.target, self._user(call), options=options)
            result = await self._pipeline.call(request)
        except ApiError as error:
            raise rpc_error(error) from None
        assert isinstance(result, WatchAnswer)
        async with contextlib.aclosing(result.batches) as batches:  # type: ignore[type-var]
            async for batch in batches:
                yield _events(request, batch)

    def _stream(self, name: str) -> Stream:
        """Log or Exec; what they need is loaded when they are first called."""

        async def handle(requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
            from google.protobuf.message import DecodeError

            from control_plane.apiserver.grpc_streams import GrpcStreams
            from control_plane.apiserver.streaming.dial import Dialer

            streams = GrpcStreams(self._pipeline, Dialer(*self._node_files))
            try:
                if not self._node_files[1]:
                    detail = f"{name} needs the flags --kubelet-certificate and --kubelet-key"
                    raise errors.status_error(501, "NotImplemented", detail)
                user = self._user(call)
                chunks = streams.log(requests, user) if name == "Log" else streams.exec(requests, user)
                async for chunk in chunks:
                    yield chunk
            except ApiError as error:
                raise rpc_error(error) from None
            except DecodeError:
                raise rpc_error(errors.bad_request("the request is not a valid protobuf message")) from None

        return handle


def _events(request: Request, batch: Any) -> bytes:
    message = pb.WatchEvents()
    for item in batch:
        event = message.events.add()
        kind, _, event.json = line(request, item)
        event.type = _EVENTS[kind]
    return message.SerializeToString()


def _options(message: pb.WriteOptions, force: bool = False) -> WriteOptions:
    return WriteOptions(message.dry_run, message.field_manager, message.field_validation or "Ignore", force or None)


def _parsed(kind: Any, body: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(body)
    except DecodeError:
        raise errors.bad_request("the request is not a valid protobuf message") from None
