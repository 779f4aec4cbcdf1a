"""A small API in memory behind the real wire: what clients and controllers need of an API server, and no more.

It keeps Kubernetes' rules on resourceVersion, conflicts, uids, generation, status, finalizers, graceful deletion,
generateName and watch; it has no admission, defaults, schema or authorisation. `compact()` forgets the past, `fail`
makes calls fail, `calls` counts what arrived.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from argosy.client import SERVICE, STATUS_KEY, Client
from argosy.host import Host, rfc3339
from argosy.objects import conditions, generate, meta, selectors
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from argosy.pb import api_pb2 as pb
from argosy.rpc import Call, Code, Methods, Network, RpcError

GRACEFUL = "pods"


def _scale_of(obj: JsonObject) -> JsonObject:
    kept = {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
    spec, status = meta.spec(obj), meta.status(obj)
    selector = str(selectors.from_object(spec.get("selector")))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": kept,
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {"replicas": status.get("replicas", 0), "selector": selector},
    }


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def with_containers(old: JsonObject, patch: JsonObject) -> JsonObject:
    """A strategic merge patch of a pod, whose containers merge by name."""
    changed = {item["name"]: item for item in (patch.get("spec") or {}).get("containers") or ()}
    listed = [merged(item, changed.get(item["name"], {})) for item in meta.spec(old).get("containers") or ()]
    result = merged(old, {"metadata": patch.get("metadata") or {}})
    return {**result, "spec": {**meta.spec(old), "containers": listed}} if changed else result


def with_conditions(old: JsonObject, patch: JsonObject) -> JsonObject:
    """A strategic merge patch of a status: conditions are merged by their type."""
    listed = (old.get("status") or {}).get("conditions") or []
    for each in patch["status"].get("conditions") or ():
        listed = conditions.with_condition(listed, each)
    return merged(old, {**patch, "status": {**patch["status"], "conditions": listed}})  # type: ignore[no-any-return]


class MemoryApi:
    def __init__(self, host: Host) -> None:
        self._host = host
        self.revision = 1
        self.oldest = 0
        self.objects: dict[tuple[str, str, str], JsonObject] = {}
        self.history: list[tuple[int, int, tuple[str, str, str], JsonObject, JsonObject | None]] = []
        self.calls: list[tuple[str, str, str, str]] = []
        """(verb, resource, key, subresource) of writes, in order."""
        self.fail: Callable[[str, str, JsonObject], errors.ApiError | None] = lambda _verb, _resource, _obj: None
        self._changed = asyncio.Event()
        self._streams: dict[int, asyncio.Event] = {}
        self._next_stream = 0
        self.lists = 0

    async def client(self, network: Network, address: str = "api:6444") -> Client:
        await network.serve(address, self.methods())
        return Client(network, [address])

    def methods(self) -> Methods:
        unary = {
            "Get": self._get, "List": self._list, "Create": self._create,
            "Update": self._update, "Patch": self._patch, "Delete": self._delete, "GetRaw": self._discovery,
        }  # fmt: skip
        return Methods(
            {SERVICE + name: _translated(method) for name, method in unary.items()}, {SERVICE + "Watch": self._watch}
        )

    def compact(self) -> None:
        self.oldest = self.revision
        self.history.clear()

    def break_watches(self) -> None:
        for stop in self._streams.values():
            stop.set()
        self._wake()

    # Direct access for tests, past the wire.

    def all(self, resource: str, namespace: str | None = None) -> list[JsonObject]:
        return [o for (r, s, _), o in self.objects.items() if r == resource and namespace in (None, s)]

    def one(self, resource: str, key: str) -> JsonObject | None:
        return self.objects.get((resource, *meta.split_key(key)))

    def put(self, resource: str, obj: JsonObject) -> JsonObject:
        """Create or replace, as some other client would; status included."""
        key = (resource, meta.namespace(obj), meta.name(obj))
        if key in self.objects:
            old = self.objects[key]
            new = meta.copy_object(obj)
            new["metadata"] = {**new["metadata"], "uid": meta.uid(old)}
            self._bump_generation(new, old)
            return self._write(key, new)
        return self._insert(resource, meta.namespace(obj), obj, keep_status=True)

    def change(self, resource: str, key: str, patch: JsonObject) -> JsonObject:
        place = (resource, *meta.split_key(key))
        old = self.objects[place]
        new = merged(old, patch)
        self._bump_generation(new, old)
        return self._write(place, new)

    def remove(self, resource: str, key: str) -> None:
        self._erase((resource, *meta.split_key(key)))

    # Calls.

    def _key(self, target: pb.Target) -> tuple[str, str, str]:
        return (target.resource, target.namespace, target.name)

    def _need(self, target: pb.Target) -> JsonObject:
        found = self.objects.get(self._key(target))
        if found is None:
            raise errors.not_found(target.group, target.resource, target.name)
        return found

    def _get(self, body: bytes) -> bytes:
        target = pb.GetRequest.FromString(body).target
        found = self._need(target)
        return _answer(_scale_of(found) if target.subresource == "scale" else found)

    def _discovery(self, _body: bytes) -> bytes:
        """It serves whatever it is asked for, and names nothing."""
        return _answer({"kind": "APIGroupDiscoveryList", "items": []})

    def _list(self, body: bytes) -> bytes:
        request = pb.ListRequest.FromString(body)
        self.lists += 1
        matches = _matcher(request)
        items = [orjson.dumps(obj) for key, obj in sorted(self.objects.items()) if matches(key, obj)]
        return pb.ObjectList(items=items, resource_version=str(self.revision)).SerializeToString()

    def _create(self, body: bytes) -> bytes:
        request = pb.CreateRequest.FromString(body)
        obj = orjson.loads(request.json)
        target = request.target
        self.calls.append(("create", target.resource, meta.key(obj), target.subresource))
        self._check("create", target.resource, obj)
        if target.subresource == "token":
            end = rfc3339(self._host.clock.now() + min(3600, obj["spec"]["expirationSeconds"]))
            return _answer({**obj, "status": {"token": "t", "expirationTimestamp": end}})
        if target.subresource == "eviction":
            self._remove_one(self._key(target), {})
            return _answer({"kind": "Status", "status": "Success"})
        return _answer(self._insert(target.resource, target.namespace, obj, group=target.group))

    def _update(self, body: bytes) -> bytes:
        request = pb.UpdateRequest.FromString(body)
        return self._replace("update", request.target, lambda _old: orjson.loads(request.json))

    def _patch(self, body: bytes) -> bytes:
        request = pb.PatchRequest.FromString(body)
        patch = orjson.loads(request.body)
        if request.type == pb.PatchRequest.STRATEGIC:
            if "spec" in patch or ("metadata" in patch and "status" not in patch):
                return self._replace("patch", request.target, lambda old: with_containers(old, patch))
            return self._replace("patch", request.target, lambda old: with_conditions(old, patch))
        assert request.type == pb.PatchRequest.MERGE, "this API knows merge patches, and conditions by strategic ones"
        return self._replace("patch", request.target, lambda old: merged(old, patch))

    def _replace(self, verb: str, target: pb.Target, change: Callable[[JsonObject], JsonObject]) -> bytes:
        old = self._need(target)
        if target.subresource == "scale":
            wanted = change(_scale_of(old))["spec"]["replicas"]
            target = pb.Target(resource=target.resource, namespace=target.namespace, name=target.name)
            new = merged(old, {"spec": {"replicas": wanted}})
        else:
            new = change(old)
        self.calls.append((verb, target.resource, meta.key(new), target.subresource))
        self._check(verb, target.resource, new)
        wanted = meta.resource_version(new)
        if wanted and wanted != meta.resource_version(old):
            raise errors.conflict(target.group, target.resource, target.name)
        if meta.uid(new) and meta.uid(new) != meta.uid(old):
            raise errors.conflict(target.group, target.resource, target.name, "uid mismatch")
        new["metadata"]["uid"] = meta.uid(old)
        if target.subresource == "status":
            kept = ({"metadata": new["metadata"]}, {"status": new["status"]} if "status" in new else {})
            new = {**old, **kept[0], **kept[1]}
        elif target.subresource == "":
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
            self._bump_generation(new, old)
        if target.resource == "namespaces" and target.subresource != "finalize":
            new["spec"] = old.get("spec", {})
        if _same(new, old):
            return _answer(old)
        deleting = meta.is_deleting(new) and not meta.finalizers(new) and target.resource != "pods"
        if deleting and not (new.get("spec") or {}).get("finalizers"):
            self._erase(self._key(target))
            return _answer(new)
        return _answer(self._write(self._key(target), new))

    def _delete(self, body: bytes) -> bytes:
        request = pb.DeleteRequest.FromString(body)
        options = orjson.loads(request.options_json or b"{}")
        target = request.target
        if not target.name:
            return self._delete_collection(request, options)
        old = self._need(target)
        self.calls.append(("delete", target.resource, meta.key(old), options.get("propagationPolicy", "")))
        self._check("delete", target.resource, old)
        wanted = options.get("preconditions") or {}
        if wanted.get("uid", meta.uid(old)) != meta.uid(old) or wanted.get(
            "resourceVersion", meta.resource_version(old)
        ) != meta.resource_version(old):
            raise errors.conflict(target.group, target.resource, target.name, "precondition failed")
        return _answer(self._remove_one(self._key(target), options))

    def _delete_collection(self, request: pb.DeleteRequest, options: JsonObject) -> bytes:
        target = request.target
        self.calls.append(("deletecollection", target.resource, target.namespace, ""))
        gone = [key for key in self.objects if key[0] == target.resource and key[1] == target.namespace]
        return _answer({"kind": "List", "items": [self._remove_one(key, options) for key in gone]})

    def _remove_one(self, key: tuple[str, str, str], options: JsonObject) -> JsonObject:
        old = self.objects[key]
        finalizers = list(meta.finalizers(old))
        extra = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.get("propagationPolicy", ""))
        if extra and extra not in finalizers:
            finalizers.append(extra)
        grace = options.get("gracePeriodSeconds")
        if key[0] == GRACEFUL:
            default = meta.spec(old).get("terminationGracePeriodSeconds", 30)
            done = meta.status(old).get("phase") in ("Succeeded", "Failed")
            grace = 0 if not meta.spec(old).get("nodeName") or done else default if grace is None else grace
        else:
            grace = 0
        pending = bool(finalizers or (old.get("spec") or {}).get("finalizers"))
        if not grace and not pending:
            self._erase(key)
            return old
        metadata = {
            **old["metadata"],
            "deletionTimestamp": meta.metadata(old).get("deletionTimestamp")
            or rfc3339(self._host.clock.now() + grace),
            "deletionGracePeriodSeconds": grace,
        }
        if finalizers:
            metadata["finalizers"] = finalizers
        new = {**old, "metadata": metadata}
        if key[0] == "namespaces":
            new["status"] = {**meta.status(old), "phase": "Terminating"}
        return old if _same(new, old) else self._write(key, new)

    async def _watch(self, requests: AsyncIterator[bytes], _call: Call) -> AsyncIterator[bytes]:
        request = pb.WatchRequest.FromString(await anext(requests))
        matches = _matcher(request)
        since = int(request.resource_version or 0)
        self._next_stream += 1
        number = self._next_stream
        stop = self._streams[number] = asyncio.Event()
        if since < self.oldest:
            yield _event(pb.WatchEvent.ERROR, errors.expired(f"too old resource version: {since}").status)
            return
        try:
            while not stop.is_set():
                changed = self._changed
                for revision, _kind, key, new, old in [item for item in self.history if item[0] > since]:
                    since = revision
                    was = old is not None and matches(key, old)
                    now = _kind != pb.WatchEvent.DELETED and matches(key, new)
                    if now:
                        yield _event(pb.WatchEvent.MODIFIED if was else pb.WatchEvent.ADDED, new)
                    elif was:
                        last = {**new, "metadata": {**new["metadata"], "resourceVersion": str(revision)}}
                        yield _event(pb.WatchEvent.DELETED, last)
                if changed is self._changed:
                    await changed.wait()
        finally:
            self._streams.pop(number, None)

    # State.

    def _check(self, verb: str, resource: str, obj: JsonObject) -> None:
        error = self.fail(verb, resource, obj)
        if error is not None:
            raise error

    def _insert(
        self, resource: str, namespace: str, obj: JsonObject, *, group: str = "", keep_status: bool = False
    ) -> JsonObject:
        new = meta.copy_object(obj)
        metadata = new["metadata"]
        if not metadata.get("name"):
            metadata["name"] = generate.name(metadata["generateName"], self._host.rng)
        key = (resource, namespace, metadata["name"])
        if key in self.objects:
            raise errors.already_exists(group, resource, metadata["name"])
        if namespace:
            metadata["namespace"] = namespace
        metadata.setdefault("uid", self._host.rng.uuid())
        metadata.setdefault("creationTimestamp", rfc3339(self._host.clock.now()))
        metadata["generation"] = 1
        if resource == "namespaces":
            new.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        if not keep_status and resource != "events":
            new.pop("status", None)
        return self._write(key, new)

    def _bump_generation(self, new: JsonObject, old: JsonObject) -> None:
        changed = {k: v for k, v in new.items() if k not in ("metadata", "status")} != {
            k: v for k, v in old.items() if k not in ("metadata", "status")
        }
        new["metadata"] = {**new["metadata"], "generation": meta.generation(old) + changed}

    def _write(self, key: tuple[str, str, str], obj: JsonObject) -> JsonObject:
        self.revision += 1
        old = self.objects.get(key)
        new = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        self.objects[key] = new
        kind = pb.WatchEvent.ADDED if old is None else pb.WatchEvent.MODIFIED
        self.history.append((self.revision, kind, key, new, old))
        self._wake()
        return new

    def _erase(self, key: tuple[str, str, str]) -> None:
        self.revision += 1
        old = self.objects.pop(key)
        self.history.append((self.revision, pb.WatchEvent.DELETED, key, old, old))
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _same(new: JsonObject, old: JsonObject) -> bool:
    def bare(obj: JsonObject) -> JsonObject:
        return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}}

    return bare(new) == bare(old)


def _matcher(request: Any) -> Callable[[tuple[str, str, str], JsonObject], bool]:
    labels = selectors.parse(request.label_selector)
    fields = [part.partition("=")[::2] for part in request.field_selector.split(",") if part]
    target = request.target

    def matches(key: tuple[str, str, str], obj: JsonObject) -> bool:
        if key[0] != target.resource or (target.namespace and key[1] != target.namespace):
            return False
        for path, wanted in fields:
            value: Any = obj
            for step in path.split("."):
                value = value.get(step, "") if isinstance(value, dict) else ""
            if str(value) != wanted:
                return False
        return labels.matches(meta.labels(obj))

    return matches


def _answer(obj: JsonObject) -> bytes:
    return pb.Object(json=orjson.dumps(obj)).SerializeToString()


def _event(kind: Any, obj: JsonObject) -> bytes:
    return pb.WatchEvents(events=[pb.WatchEvent(type=kind, json=orjson.dumps(obj))]).SerializeToString()


def _translated(method: Callable[[bytes], bytes]) -> Callable[[bytes, Call], Any]:
    async def handler(body: bytes, _call: Call) -> bytes:
        try:
            return method(body)
        except errors.ApiError as error:
            raise RpcError(Code.UNKNOWN, error.message, {STATUS_KEY: orjson.dumps(error.status)}) from None

    return handler
