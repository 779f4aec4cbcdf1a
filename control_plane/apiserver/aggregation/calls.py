"""Operations of argosy.v1.Api on aggregated APIs: the same call, as a REST request to the server that knows.

`grpc_api` asks here first; objects come back as JSON. Authorised as everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import orjson

from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from argosy.streaming.http1 import HttpFailure, Response
from control_plane.apiserver.aggregation.connector import failure_of
from control_plane.apiserver.aggregation.manager import Aggregation
from control_plane.apiserver.aggregation.services import Remote
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.auth.authorization import Authorization
from control_plane.apiserver.request import ListOptions, PatchType, User, WriteOptions
from control_plane.apiserver.rest import paths

TIMEOUT_S: Final = 34.0
"""As long as any request may take, watches aside (upstream's requestTimeoutUpperBound)."""
MAX_ANSWER_BYTES: Final = 64 << 20
MAX_EVENT_BYTES: Final = 8 << 20
_METHODS: Final = {
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}


class AggregatedCalls:
    def __init__(self, aggregation: Aggregation, authorization: Authorization) -> None:
        self._parts = aggregation
        self._authorization = authorization

    def remote(self, group: str, version: str) -> Remote | None:
        return self._parts.services.remote(group, version)

    async def raw(self, path: str, user: User) -> bytes:
        """GET any path of an aggregated API. Raises ApiError."""
        parts = urlsplit(path)
        words = parts.path.split("/", 4)
        remote = self.remote(words[2], words[3]) if len(words) > 3 and words[1] == "apis" else None
        if remote is None or parts.scheme or parts.netloc:
            raise errors.status_error(404, "NotFound", "the server could not find the requested resource")
        found = paths.parse(parts.path, tails=True)
        if found is None:
            action = Action(user, "get", path=parts.path)
        else:
            verb = "get" if found.name or found.subresource else "list"
            action = Action(user, verb, found.group, found.resource, found.subresource, found.namespace, found.name)
        self._authorization.check(action)
        return (await self._exchange(remote, user, "GET", path))[0]

    async def one(
        self,
        verb: str,
        remote: Remote,
        target: Any,
        user: User,
        *,
        body: bytes = b"",
        patch: PatchType | None = None,
        options: ListOptions | None = None,
        write: WriteOptions | None = None,
    ) -> tuple[bytes, list[str]]:
        """(the answer's JSON, warnings) of a call for one object or one list. Raises ApiError."""
        self._check(verb, target, user)
        query = _list_query(options) + _write_query(write, patch)
        path = _path(remote, target, named=verb != "create" or bool(target.subresource))
        headers = [("Content-Type", patch.value if patch is not None else "application/json")] if body else []
        return await self._exchange(remote, user, _METHODS.get(verb, "GET"), path + _tail(query), headers, body)

    async def watch(self, remote: Remote, target: Any, user: User, options: ListOptions) -> AsyncIterator[JsonObject]:
        """Events as JSON objects, until the server ends the watch. Raises ApiError."""
        self._check("watch", target, user)
        path = _path(remote, target, named=False) + _tail([("watch", "true"), *_list_query(options)])
        with self._parts.connector.slot(remote):
            answer = await self._open(remote, user, "GET", path, (), b"")
            try:
                async for event in _events(answer):
                    yield event
            finally:
                answer.close()

    def _check(self, verb: str, target: Any, user: User) -> None:
        self._authorization.check(
            Action(user, verb, target.group, target.resource, target.subresource, target.namespace, target.name)
        )

    async def _exchange(
        self,
        remote: Remote,
        user: User,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> tuple[bytes, list[str]]:
        try:
            with self._parts.connector.slot(remote):
                async with asyncio.timeout(TIMEOUT_S):
                    answer = await self._open(remote, user, method, path, headers, body)
                    try:
                        content = await answer.read(MAX_ANSWER_BYTES)
                    finally:
                        answer.close()
        except TimeoutError:
            raise errors.timeout(f"{remote.name} did not answer in time") from None
        except HttpFailure as error:
            raise errors.unavailable(f"error trying to reach service: {error}") from None
        if not isinstance(_json(content), dict):
            raise errors.internal(f"{remote.name} answered with something that is no JSON object")
        warnings = [text for name, value in answer.headers if name == "warning" and (text := _warning(value))]
        return content, warnings

    async def _open(
        self, remote: Remote, user: User, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Response:
        """An answer that is a success. Raises ApiError."""
        if not remote.available:
            raise errors.unavailable("service unavailable")
        sent = [("Accept", "application/json"), *headers]
        answer = await self._parts.connector.open(remote, user, method, path, sent, body)
        if 200 <= answer.status < 300:
            return answer
        try:
            text = await answer.text()
        finally:
            answer.close()
        raise failure_of(answer.status, text.encode())


async def _events(answer: Response) -> AsyncIterator[JsonObject]:
    """One JSON object per line. Raises ApiError for what is none, and when the connection breaks off."""
    rest = bytearray()
    try:
        async for chunk in answer.body():
            rest += chunk
            *lines, last = rest.split(b"\n")
            rest = bytearray(last)
            if len(rest) > MAX_EVENT_BYTES:
                raise errors.internal("an event of an aggregated API is too large")
            for line in lines:
                if line.strip():
                    event = _json(bytes(line))
                    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                        raise errors.internal("an event of an aggregated API makes no sense")
                    yield event
    except HttpFailure as error:
        raise errors.unavailable(f"the watch broke off: {error}") from None


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _warning(value: str) -> str:
    """The text of a Warning header (RFC 7234, 5.5)."""
    code, _, rest = value.partition(" ")
    text = rest.partition(" ")[2]
    if code != "299" or not text.startswith('"') or not text.endswith('"'):
        return ""
    return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def _path(remote: Remote, target: Any, *, named: bool) -> str:
    parts = [remote.path]
    if target.namespace:
        parts += ["namespaces", quote(target.namespace, safe="")]
    parts.append(quote(target.resource, safe=""))
    if named and target.name:
        parts.append(quote(target.name, safe="*"))
        if target.subresource:
            parts.append(quote(target.subresource, safe=""))
    return "/".join(parts)


def _tail(query: Sequence[tuple[str, str]]) -> str:
    return f"?{urlencode(query)}" if query else ""


def _list_query(options: ListOptions | None) -> list[tuple[str, str]]:
    if options is None:
        return []
    pairs = [
        ("labelSelector", options.label_selector),
        ("fieldSelector", options.field_selector),
        ("resourceVersion", options.resource_version),
        ("resourceVersionMatch", options.resource_version_match),
        ("limit", str(options.limit) if options.limit else ""),
        ("continue", options.continue_),
        ("allowWatchBookmarks", "true" if options.allow_bookmarks else ""),
        ("sendInitialEvents", "true" if options.send_initial_events else ""),
    ]
    return [pair for pair in pairs if pair[1]]


def _write_query(options: WriteOptions | None, patch: PatchType | None) -> list[tuple[str, str]]:
    if options is None:
        return []
    pairs = [
        ("dryRun", "All" if options.dry_run else ""),
        ("fieldManager", options.field_manager),
        ("fieldValidation", options.field_validation),
        ("force", "true" if options.force and patch is PatchType.APPLY else ""),
    ]
    return [pair for pair in pairs if pair[1]]
