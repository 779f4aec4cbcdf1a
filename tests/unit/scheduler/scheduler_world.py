"""Clusters for scheduler tests: makers of nodes and pods, and an API that lists, watches, binds and patches."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from argosy.client import Event, EventType, ObjectList, PatchType
from argosy.host import Host
from argosy.kinds import KINDS
from argosy.objects import conditions, fields, meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.scheduler.config import Config
from control_plane.scheduler.scheduler import Scheduler
from tests.sim import virtual


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: int = 110, **spec: Any) -> JsonObject:
    labels = {"kubernetes.io/hostname": name, **spec.pop("labels", {})}
    status = {"allocatable": {"cpu": cpu, "memory": memory, "pods": str(pods), **spec.pop("extra", {})}}
    status |= {"images": spec.pop("images", [])}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels, "uid": f"node-{name}"},
            "spec": spec, "status": status}  # fmt: skip


def pod(name: str, cpu: str = "", memory: str = "", **spec: Any) -> JsonObject:
    metadata = {"name": name, "namespace": spec.pop("namespace", "default"), "uid": spec.pop("uid", f"uid-{name}")}
    metadata["labels"] = spec.pop("labels", {})
    if "owner" in spec:
        metadata["ownerReferences"] = [spec.pop("owner")]
    requests = {
        key: value for key, value in (("cpu", cpu), ("memory", memory), *spec.pop("extra", {}).items()) if value
    }
    container: JsonObject = {"name": "c", "image": spec.pop("image", "i:1"), "resources": {"requests": requests}}
    container["ports"] = spec.pop("ports", [])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Pending"},
            "spec": {"containers": [container], "schedulerName": "default-scheduler", **spec}}  # fmt: skip


class FakeResource:
    def __init__(self, api: "FakeApi", group: str, plural: str) -> None:
        self.api, self.group, self.plural = api, group, plural
        self.kind = KINDS.resource(group, plural)

    async def list(self, **options: Any) -> ObjectList:
        matches = self._matcher(options)
        items = [obj for (plural, _), obj in self.api.objects.items() if plural == self.plural and matches(obj)]
        return ObjectList(items, str(self.api.revision))

    def _matcher(self, options: Any) -> Callable[[JsonObject], bool]:
        assert self.kind is not None
        return fields.parse(options.get("fields", "")).matcher(self.kind.fields)

    async def watch_batches(self, **options: Any) -> AsyncIterator[Sequence[Event]]:
        matches = self._matcher(options)
        seen = int(options["resource_version"])
        while True:
            changed = self.api.changed
            batch = []
            for revision, plural, old, new in self.api.history:
                if revision <= seen or plural != self.plural:
                    continue
                was, now = old is not None and matches(old), new is not None and matches(new)
                if now:
                    batch.append(Event(EventType.MODIFIED if was else EventType.ADDED, new))
                elif was:
                    batch.append(Event(EventType.DELETED, new or old))
            seen = self.api.revision
            if batch:
                yield batch
            if changed is self.api.changed:
                await changed.wait()

    async def create(
        self, obj: JsonObject, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> JsonObject:
        if subresource == "binding":
            await self.api.before_bind(obj)
            key = f"{namespace}/{name}"
            found = self.api.objects.get(("pods", key))
            if found is None:
                raise errors.not_found("", "pods", name)
            if found["spec"].get("nodeName"):
                raise errors.conflict("", "pods", name, "already assigned")
            target = obj["target"]["name"]
            scheduled = conditions.make("PodScheduled", "True", "t")
            status = {**found["status"], "conditions": conditions.with_condition((), scheduled)}
            self.api.put("pods", {**found, "spec": {**found["spec"], "nodeName": target}, "status": status})
            return {}
        return self.api.put(self.plural, obj)

    async def update(self, obj: JsonObject) -> JsonObject:
        found = self.api.objects.get((self.plural, meta.key(obj)))
        if found is None:
            raise errors.not_found("", self.plural, meta.name(obj))
        if meta.resource_version(found) != meta.resource_version(obj):
            raise errors.conflict("", self.plural, meta.name(obj))
        return self.api.put(self.plural, obj)

    async def patch(self, name: str, patch: JsonObject, **options: Any) -> JsonObject:
        found = self.api.objects.get((self.plural, f"{options['namespace']}/{name}"))
        if found is None:
            raise errors.not_found("", self.plural, name)
        if options.get("type") is not PatchType.STRATEGIC:
            return self.api.put(self.plural, {**found, **patch})
        status = dict(found["status"])
        for condition in patch["status"].pop("conditions", ()):
            status["conditions"] = conditions.with_condition(status.get("conditions") or (), condition)
        return self.api.put(self.plural, {**found, "status": {**status, **patch["status"]}})

    async def delete(self, name: str, *, namespace: str = "", **_options: Any) -> JsonObject:
        if (self.plural, f"{namespace}/{name}") not in self.api.objects:
            raise errors.not_found("", self.plural, name)
        self.api.deletions.append(name)
        if not self.api.graceful:
            self.api.remove(self.plural, f"{namespace}/{name}")
            return {}
        found = self.api.objects[self.plural, f"{namespace}/{name}"]
        marked = {**found["metadata"], "deletionTimestamp": "2027-01-01T00:00:00Z"}
        return self.api.put(self.plural, {**found, "metadata": marked})


class FakeApi:
    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], JsonObject] = {}
        self.history: list[tuple[int, str, JsonObject | None, JsonObject | None]] = []
        self.revision = 1
        self.changed = asyncio.Event()
        self.bind_failures: list[errors.ApiError] = []
        self.deletions: list[str] = []
        self.graceful = False
        """Deleted objects stay, marked, until a test removes them."""
        self.bindings = 0
        self.most_bindings_at_once = 0
        self.bind_takes_s = 0.0
        self._binding_now = 0

    def resource(self, group: str, _version: str, plural: str) -> FakeResource:
        return FakeResource(self, group, plural)

    async def before_bind(self, _binding: JsonObject) -> None:
        self.bindings += 1
        self._binding_now += 1
        self.most_bindings_at_once = max(self.most_bindings_at_once, self._binding_now)
        await asyncio.sleep(self.bind_takes_s)
        self._binding_now -= 1
        if self.bind_failures:
            raise self.bind_failures.pop(0)

    def put(self, plural: str, obj: JsonObject) -> JsonObject:
        key = (plural, meta.key(obj))
        self.revision += 1
        new = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        old = self.objects.get(key)
        self.objects[key] = new
        self._tell(plural, old, new)
        return new

    def remove(self, plural: str, key: str) -> None:
        self.revision += 1
        self._tell(plural, self.objects.pop((plural, key)), None)

    def _tell(self, plural: str, old: JsonObject | None, new: JsonObject | None) -> None:
        self.history.append((self.revision, plural, old, new))
        event, self.changed = self.changed, asyncio.Event()
        event.set()

    def pod(self, name: str, namespace: str = "default") -> JsonObject:
        return self.objects["pods", f"{namespace}/{name}"]

    def where(self, name: str, namespace: str = "default") -> str:
        return str(self.pod(name, namespace)["spec"].get("nodeName", ""))

    def nodes_of_pods(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for (plural, _), obj in self.objects.items():
            if plural == "pods" and obj["spec"].get("nodeName"):
                found[obj["spec"]["nodeName"]] = found.get(obj["spec"]["nodeName"], 0) + 1
        return found

    def events(self, reason: str) -> list[str]:
        return [
            obj["message"]
            for (plural, _), obj in self.objects.items()
            if plural == "events" and obj["reason"] == reason
        ]


def run(test: Callable[[FakeApi, Scheduler, Host], Awaitable[None]], **options: Any) -> None:
    """Run `test` on virtual time beside a scheduler."""

    async def main() -> None:
        host = virtual.virtual_host(asyncio.get_running_loop(), 1)
        api = FakeApi()
        api.put("namespaces", {"metadata": {"name": "default", "labels": {"team": "a"}}})
        config = Config(api_servers=("a",), leader_elect=False, **options)
        scheduler = Scheduler(config, host, api)  # type: ignore[arg-type]
        task = asyncio.get_running_loop().create_task(scheduler.run())
        try:
            await test(api, scheduler, host)
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    virtual.run(main())
