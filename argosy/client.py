"""The Python client of an Argosy cluster: the operations of the Kubernetes API over gRPC.

    client = Client(GrpcNetwork(), ["127.0.0.1:6444"], tls)
    pods = client.resource("", "v1", "pods")
    pod = await pods.get("web-0", namespace="default")
    async for event in pods.watch(namespace="default"): ...

Every call raises `ApiError` (argosy.objects.status) with the server's Status, or one with code 503 when no server
could be reached. Reads are retried on another server; writes only when they surely did not arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import orjson

from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from argosy.pb import api_pb2 as pb
from argosy.rpc import Channel, Code, Network, RpcError, Tls

SERVICE: Final = "/argosy.v1.Api/"
STATUS_KEY: Final = "argosy-status-bin"
CALL_TIMEOUT_S: Final = 30.0


class PatchType(Enum):
    JSON = pb.PatchRequest.JSON
    MERGE = pb.PatchRequest.MERGE
    STRATEGIC = pb.PatchRequest.STRATEGIC
    APPLY = pb.PatchRequest.APPLY


class EventType(Enum):
    ADDED = pb.WatchEvent.ADDED
    MODIFIED = pb.WatchEvent.MODIFIED
    DELETED = pb.WatchEvent.DELETED
    BOOKMARK = pb.WatchEvent.BOOKMARK


@dataclass(frozen=True)
class Event:
    type: EventType
    object: JsonObject


@dataclass(frozen=True)
class ObjectList:
    items: list[JsonObject]
    resource_version: str
    continue_: str = ""
    remaining: int | None = None


def api_error(error: RpcError) -> errors.ApiError:
    """The Status that a failed call carries, or one made from its gRPC code."""
    body = error.metadata.get(STATUS_KEY)
    if isinstance(body, bytes):
        return errors.ApiError(orjson.loads(body))
    if error.code in (Code.UNAVAILABLE, Code.CANCELLED):
        return errors.unavailable(error.message)
    if error.code is Code.DEADLINE_EXCEEDED:
        return errors.timeout(error.message)
    if error.code is Code.UNAUTHENTICATED:
        return errors.unauthorized()
    return errors.internal(error.message)


class Client:
    """One cluster, through any of its API servers.

    `token`, where given, is sent as a bearer token; otherwise the certificate in `tls` names the user.
    """

    def __init__(
        self,
        network: Network,
        addresses: Sequence[str],
        tls: Tls | None = None,
        *,
        token: str = "",
        field_manager: str = "argosy",
    ) -> None:
        if not addresses:
            raise ValueError("at least one API server address is needed")
        self._channels: list[Channel] = [network.dial(address, tls) for address in addresses]
        self._current = 0
        self._metadata = {"authorization": f"Bearer {token}"} if token else {}
        self._field_manager = field_manager

    def resource(self, group: str, version: str, plural: str) -> Resource:
        return Resource(self, group, version, plural)

    async def get_raw(self, path: str) -> JsonObject:
        """GET a path that is no resource's: of an aggregated API, such as /apis/custom.metrics.k8s.io/v1beta2/…, or
        /api and /apis, the discovery documents (argosy.discovery reads them)."""
        return _object(await self.call("GetRaw", pb.RawRequest(path=path).SerializeToString(), read=True))

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    def write_options(self, dry_run: bool = False, field_manager: str = "") -> pb.WriteOptions:
        return pb.WriteOptions(field_manager=field_manager or self._field_manager, dry_run=dry_run)

    async def call(self, method: str, request: bytes, *, read: bool) -> bytes:
        """One unary call. A server that is away is left for the next one; reads are tried on each."""
        attempts = len(self._channels) if read else 1
        for attempt in range(attempts):
            index = self._current
            try:
                return await self._channels[index].unary(
                    SERVICE + method, request, timeout_s=CALL_TIMEOUT_S, metadata=self._metadata
                )
            except RpcError as error:
                if STATUS_KEY not in error.metadata and error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                    # One that hangs is as bad as one that is gone, but what it was asked may still be done.
                    self._move_on(index)
                    if attempt + 1 < attempts and error.code is Code.UNAVAILABLE:
                        continue
                raise api_error(error) from None
        raise AssertionError("unreachable")

    async def stream(self, method: str, request: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        index = self._current
        try:
            async for message in self._channels[index].stream(SERVICE + method, request, metadata=self._metadata):
                yield message
        except RpcError as error:
            if error.code is Code.UNAVAILABLE and STATUS_KEY not in error.metadata:
                self._move_on(index)
            raise api_error(error) from None

    def _move_on(self, failed: int) -> None:
        if self._current == failed:
            self._current = (failed + 1) % len(self._channels)


class Resource:
    """One resource of one API group and version, e.g. `client.resource("apps", "v1", "deployments")`."""

    def __init__(self, client: Client, group: str, version: str, plural: str) -> None:
        self._client = client
        self.group = group
        self.version = version
        self.plural = plural

    def target(self, name: str = "", namespace: str = "", subresource: str = "") -> pb.Target:
        return pb.Target(
            group=self.group,
            version=self.version,
            resource=self.plural,
            namespace=namespace,
            name=name,
            subresource=subresource,
        )

    async def get(self, name: str, *, namespace: str = "", subresource: str = "") -> JsonObject:
        request = pb.GetRequest(target=self.target(name, namespace, subresource))
        return _object(await self._client.call("Get", request.SerializeToString(), read=True))

    async def list(
        self,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_: str = "",
    ) -> ObjectList:
        """`labels` and `fields` are selectors in their text form."""
        request = pb.ListRequest(
            target=self.target(namespace=namespace),
            label_selector=labels,
            field_selector=fields,
            resource_version=resource_version,
            limit=limit,
        )
        setattr(request, "continue", continue_)
        body = await self._client.call("List", request.SerializeToString(), read=True)
        answer = pb.ObjectList.FromString(body)
        return ObjectList(
            [orjson.loads(item) for item in answer.items],
            answer.resource_version,
            getattr(answer, "continue"),
            answer.remaining_item_count or None,
        )

    async def watch(
        self,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
        bookmarks: bool = False,
        initial_events: bool = False,
    ) -> AsyncIterator[Event]:
        """Events strictly after `resource_version`; empty: the current state first.

        Ends when the server closes the watch. Raises ApiError, 410 Expired when the version is too old.
        """
        async for batch in self.watch_batches(
            namespace=namespace,
            labels=labels,
            fields=fields,
            resource_version=resource_version,
            bookmarks=bookmarks,
            initial_events=initial_events,
        ):
            for event in batch:
                yield event

    async def watch_batches(
        self,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
        bookmarks: bool = False,
        initial_events: bool = False,
    ) -> AsyncIterator[Sequence[Event]]:
        """As `watch`, with the events that arrived together together."""
        request = pb.WatchRequest(
            target=self.target(namespace=namespace),
            label_selector=labels,
            field_selector=fields,
            resource_version=resource_version,
            allow_bookmarks=bookmarks,
            send_initial_events=initial_events,
        )
        async for message in self._client.stream("Watch", request.SerializeToString()):
            events: list[Event] = []
            for item in pb.WatchEvents.FromString(message).events:
                body = orjson.loads(item.json)
                if item.type == pb.WatchEvent.ERROR:
                    if events:
                        yield events
                    raise errors.ApiError(body)
                events.append(Event(EventType(item.type), body))
            yield events

    async def create(
        self,
        obj: JsonObject,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        dry_run: bool = False,
        field_manager: str = "",
    ) -> JsonObject:
        """`name` only with a subresource (binding, eviction, token)."""
        request = pb.CreateRequest(
            target=self.target(name, namespace or _namespace(obj), subresource),
            json=orjson.dumps(obj),
            options=self._client.write_options(dry_run, field_manager),
        )
        return _object(await self._client.call("Create", request.SerializeToString(), read=False))

    async def update(
        self, obj: JsonObject, *, subresource: str = "", dry_run: bool = False, field_manager: str = ""
    ) -> JsonObject:
        request = pb.UpdateRequest(
            target=self.target(obj["metadata"]["name"], _namespace(obj), subresource),
            json=orjson.dumps(obj),
            options=self._client.write_options(dry_run, field_manager),
        )
        return _object(await self._client.call("Update", request.SerializeToString(), read=False))

    async def update_status(self, obj: JsonObject) -> JsonObject:
        return await self.update(obj, subresource="status")

    async def patch(
        self,
        name: str,
        patch: JsonObject | Sequence[JsonObject],
        *,
        namespace: str = "",
        type: PatchType = PatchType.MERGE,  # noqa: A002  # the field's own word
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> JsonObject:
        request = pb.PatchRequest(
            target=self.target(name, namespace, subresource),
            type=type.value,
            body=orjson.dumps(patch),
            options=self._client.write_options(dry_run, field_manager),
            force=force,
        )
        return _object(await self._client.call("Patch", request.SerializeToString(), read=False))

    async def apply(self, obj: JsonObject, *, field_manager: str, force: bool = False) -> JsonObject:
        """Server-side apply."""
        return await self.patch(
            obj["metadata"]["name"],
            obj,
            namespace=_namespace(obj),
            type=PatchType.APPLY,
            field_manager=field_manager,
            force=force,
        )

    async def delete(
        self,
        name: str,
        *,
        namespace: str = "",
        grace_period_s: int | None = None,
        propagation: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> JsonObject:
        """The object (still there, being deleted) or a Status. `uid` and `resource_version` are preconditions."""
        options = _delete_options(grace_period_s, propagation, uid, resource_version)
        request = pb.DeleteRequest(target=self.target(name, namespace), options_json=orjson.dumps(options))
        return _object(await self._client.call("Delete", request.SerializeToString(), read=False))

    async def delete_collection(
        self,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        grace_period_s: int | None = None,
        propagation: str = "",
    ) -> JsonObject:
        """Delete all that match; the list of them. Cluster-wide without a namespace."""
        options = _delete_options(grace_period_s, propagation, "", "")
        request = pb.DeleteRequest(
            target=self.target(namespace=namespace),
            options_json=orjson.dumps(options),
            label_selector=labels,
            field_selector=fields,
        )
        return _object(await self._client.call("Delete", request.SerializeToString(), read=False))


def _delete_options(grace_period_s: int | None, propagation: str, uid: str, resource_version: str) -> dict[str, Any]:
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_period_s is not None:
        options["gracePeriodSeconds"] = grace_period_s
    if propagation:
        options["propagationPolicy"] = propagation
    preconditions = {"uid": uid} if uid else {}
    if resource_version:
        preconditions["resourceVersion"] = resource_version
    if preconditions:
        options["preconditions"] = preconditions
    return options


def _object(body: bytes) -> JsonObject:
    result: JsonObject = orjson.loads(pb.Object.FromString(body).json)
    return result


def _namespace(obj: JsonObject) -> str:
    return str(obj["metadata"].get("namespace", ""))


async def retry_conflicts(attempt: Any, *, times: int = 5) -> JsonObject:
    """Run `await attempt()` again when it ends in 409 Conflict, up to `times`, with a short pause.

    `attempt` reads the object afresh, changes it and writes it.
    """
    for number in range(times):
        try:
            result: JsonObject = await attempt()
        except errors.ApiError as error:
            if error.reason != "Conflict" or number + 1 == times:
                raise
            await asyncio.sleep(0.01 * 2**number)
        else:
            return result
    raise AssertionError("unreachable")
