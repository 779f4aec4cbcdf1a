"""The Python client of an Argosy cluster: the operations of the Kubernetes API over gRPC.

    async with Client.from_cluster() as client:
        pod = await client.pods.get("web-0", namespace="default")
        async for event in client.pods.follow(namespace="default"): ...

Every call raises `ApiError` (argosy.objects.status) with the server's Status, or one with code 503 when no server
could be reached and 504 when it did not answer in time. Reads are tried on every server, and again for the client's
`patience_s`; writes are sent once, for the one that failed may have been done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import orjson

from argosy.builtin_resources import BuiltinResources
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from argosy.pb import api_pb2 as pb
from argosy.rpc import Channel, Code, Network, RpcError, Tls

if TYPE_CHECKING:
    from argosy.following import Check
    from argosy.pods import Pods

SERVICE: Final = "/argosy.v1.Api/"
STATUS_KEY: Final = "argosy-status-bin"
CALL_TIMEOUT_S: Final = 30.0
PATIENCE_S: Final = 15.0
"""An API server that is started again answers within a few seconds."""
RETRY_MIN_S: Final = 0.1
RETRY_MAX_S: Final = 1.0


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


class Client(BuiltinResources):
    """One cluster, through any of its API servers. Use it within one event loop, and close it (`async with` does).

    `token`, where given, is sent as a bearer token; otherwise the certificate in `tls` names the user. `patience_s`
    is how long reads are tried again while no server answers, and followed watches made anew.
    """

    def __init__(
        self,
        network: Network,
        addresses: Sequence[str],
        tls: Tls | None = None,
        *,
        token: str = "",
        field_manager: str = "argosy",
        patience_s: float = 0.0,
    ) -> None:
        if not addresses:
            raise ValueError("at least one API server address is needed")
        self._channels: list[Channel] = [network.dial(address, tls) for address in addresses]
        self._current = 0
        self._metadata = {"authorization": f"Bearer {token}"} if token else {}
        self._field_manager = field_manager
        self.patience_s = patience_s
        self._closed = False

    @staticmethod
    def from_cluster(
        name: str = "argosy", *, field_manager: str = "argosy", patience_s: float = PATIENCE_S
    ) -> Client:
        """The cluster of that name that `argosy up` or `argosy server` started on this machine, as its administrator.

        Raises ApiError 503 when there is none, PermissionError for who may not read its key (root may).
        """
        from argosy import connecting

        return connecting.client(connecting.of_cluster(name), field_manager, patience_s)

    @staticmethod
    def from_kubeconfig(
        path: str = "", *, context: str = "", field_manager: str = "argosy", patience_s: float = PATIENCE_S
    ) -> Client:
        """The cluster and user of a kubeconfig's context; without `path` of the first of $KUBECONFIG, else of
        ~/.kube/config, without `context` the current one.

        A cluster of this machine is reached by its Unix sockets, any other at the port after the API's, where Argosy
        serves gRPC; so it must be an Argosy cluster, and the user must have a client certificate (gRPC asks everybody
        for one). Raises ValueError for a kubeconfig that cannot be used, and says why.
        """
        from argosy import connecting

        return connecting.client(connecting.of_kubeconfig(path, context), field_manager, patience_s)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def resource(self, group: str, version: str, plural: str) -> Resource:
        return Resource(self, group, version, plural)

    @property
    def pods(self) -> Pods:
        """With logs and commands."""
        from argosy.pods import Pods

        return Pods(self, "", "v1", "pods")

    def kind(self, name: str) -> Resource:
        """A built-in kind by any of its names: `Deployment`, `deployments`, `deploy`, `deployments.apps`.

        Raises ApiError 404 for others; `find` asks the cluster for those.
        """
        from argosy import discovery

        return discovery.builtin(self, name)

    async def find(self, name: str) -> Resource:
        """Whatever the cluster serves, custom resources too, by kind, plural, singular or short name, with
        `.GROUP` after it where that is needed to tell several apart. Raises ApiError 404 when it serves no such."""
        from argosy import discovery

        return await discovery.find(self, name)

    async def resource_of(self, obj: JsonObject) -> Resource:
        """The resource of an object, by its apiVersion and kind. Raises ApiError 404 when the cluster serves none."""
        from argosy import discovery

        return await discovery.resource_of(self, obj)

    async def get_raw(self, path: str) -> JsonObject:
        """GET a path that is no resource's: of an aggregated API, such as /apis/custom.metrics.k8s.io/v1beta2/…, or
        /api and /apis, the discovery documents (argosy.discovery reads them)."""
        return _object(await self.call("GetRaw", pb.RawRequest(path=path).SerializeToString(), read=True))

    async def close(self) -> None:
        """Calls that are under way end with ApiError 503."""
        self._closed = True
        for channel in self._channels:
            await channel.close()

    def is_closed(self) -> bool:
        return self._closed

    def write_options(self, dry_run: bool = False, field_manager: str = "") -> pb.WriteOptions:
        return pb.WriteOptions(field_manager=field_manager or self._field_manager, dry_run=dry_run)

    async def call(self, method: str, request: bytes, *, read: bool) -> bytes:
        """One unary call. A server that is away is left for the next one; reads are tried on each, and again until
        the client's patience is over."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self.patience_s
        tried, pause_s = 0, RETRY_MIN_S
        while True:
            index = self._current
            try:
                return await self._channels[index].unary(
                    SERVICE + method, request, timeout_s=CALL_TIMEOUT_S, metadata=self._metadata
                )
            except RpcError as error:
                if STATUS_KEY in error.metadata or error.code not in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                    raise api_error(error) from None
                # One that hangs is as bad as one that is gone, but what it was asked may still be done.
                self._move_on(index)
                tried += 1
                if not read or self._closed or error.code is not Code.UNAVAILABLE:
                    raise api_error(error) from None
                if tried % len(self._channels):
                    continue
                if loop.time() + pause_s > deadline_s:
                    raise api_error(error) from None
            await asyncio.sleep(pause_s)
            pause_s = min(RETRY_MAX_S, 2 * pause_s)

    async def stream(
        self, method: str, request: bytes | AsyncIterator[bytes], *, retry: bool = False
    ) -> AsyncIterator[bytes]:
        """One streaming call. With `retry`, which is for reads, each server is tried until one answers."""
        attempts = len(self._channels) if retry else 1
        for attempt in range(attempts):
            index = self._current
            answered = False
            try:
                async for message in self._channels[index].stream(SERVICE + method, request, metadata=self._metadata):
                    answered = True
                    yield message
            except RpcError as error:
                if error.code is not Code.UNAVAILABLE or STATUS_KEY in error.metadata:
                    raise api_error(error) from None
                self._move_on(index)
                if answered or attempt + 1 == attempts:
                    raise api_error(error) from None
            else:
                return

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

    @property
    def client(self) -> Client:
        return self._client

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

    def follow(
        self, *, namespace: str = "", labels: str = "", fields: str = "", bookmarks: bool = False
    ) -> AsyncIterator[Event]:
        """The present state as ADDED, then every change, until the caller stops or the client is closed.

        A watch that breaks is resumed where it ended, on another API server if need be; what was missed because that
        is too long ago (410 Expired) is told from a new list: ADDED, MODIFIED, and DELETED with the last state known.
        With `bookmarks`, a BOOKMARK with the annotation `k8s.io/initial-events-end` says after each list that the
        state is complete. Raises ApiError: at once what another try would not mend (403, 404, …), else when no
        server answered for the client's `patience_s`.
        """
        from argosy import following

        return following.follow(self, namespace=namespace, labels=labels, fields=fields, bookmarks=bookmarks)

    async def wait(
        self,
        name: str,
        *,
        namespace: str = "",
        condition: str = "",
        until: Check | None = None,
        deleted: bool = False,
        timeout_s: float = 60.0,
    ) -> JsonObject:
        """Wait for one of: `condition` (`Ready`, or `Ready=False`; its status must be of the object's present
        generation), `until(object)` to be true, or the object to be `deleted`, or replaced by another of its name.

        Gives the object (its last known state, or an empty one, when deleted). One that does not exist yet is waited
        for, too. Raises ApiError, 504 when it is not so after `timeout_s`, and ValueError unless one is asked for.
        """
        from argosy import following

        checks = following.goal(condition, until, deleted)
        return await following.wait(self, name, namespace, checks, timeout_s)

    async def scale(self, name: str, replicas: int, *, namespace: str = "") -> JsonObject:
        """Set `spec.replicas` by the scale subresource; gives the Scale."""
        return await self.patch(name, {"spec": {"replicas": replicas}}, namespace=namespace, subresource="scale")

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

    async def apply(
        self, obj: JsonObject, *, field_manager: str = "", force: bool = False, dry_run: bool = False
    ) -> JsonObject:
        """Server-side apply: what `obj` says is so, what it said before and says no more is taken back.

        Raises ApiError, 409 Conflict when another manager owns a field with another value, unless `force`.
        """
        return await self.patch(
            obj["metadata"]["name"],
            obj,
            namespace=_namespace(obj),
            type=PatchType.APPLY,
            field_manager=field_manager,
            force=force,
            dry_run=dry_run,
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
