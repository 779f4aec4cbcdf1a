"""Follows a workload's pods, its Deployment, the nodes and the node autoscaler's events by watch."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable

from argosy.client import Client, EventType
from argosy.host import RealClock
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from tests.spike.timeline import State, Timeline

NODES_ASKED = "size set to"
"""In the events ScaledUpGroup of the node autoscaler: the provider took it."""


def state_of(
    at_s: float, deployment: JsonObject | None, pods: list[JsonObject], nodes: list[JsonObject], asked: int
) -> State:
    """Pods that are going count for nothing: they take no new work. Pure."""
    staying = [pod for pod in pods if not meta.is_deleting(pod)]
    scheduled = [conditions.get(pod, "PodScheduled") or {} for pod in staying]
    return State(
        at_s,
        wanted=int(meta.spec(deployment).get("replicas") or 0) if deployment else 0,
        ready=sum(conditions.is_true(pod, "Ready") for pod in staying),
        waiting=sum(item.get("reason") == "Unschedulable" for item in scheduled),
        nodes=sum(conditions.is_true(node, "Ready") for node in nodes),
        asked=asked,
    )


@functools.cache
def event_loop() -> asyncio.AbstractEventLoop:
    """One for all observers of the process, in a thread of its own: gRPC's own thread clings to the first it saw."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="observers", daemon=True).start()
    return loop


class Observer:
    """`timeline.states` grows with each change, from `start` to `stop`. Times are since `start`."""

    def __init__(self, client: Callable[[], Client], app: str, namespace: str = "default") -> None:
        self._client = client
        self._app, self._namespace = app, namespace
        self._clock = RealClock()
        self._began_s = self._clock.monotonic()
        self._changed = threading.Condition()
        self._objects: dict[str, dict[str, JsonObject]] = {"deployments": {}, "pods": {}, "nodes": {}, "events": {}}
        self._complete: dict[str, None] = {}
        self._problem: BaseException | None = None
        self._ended = threading.Event()
        self._following: concurrent.futures.Future[None] | None = None
        self.timeline = Timeline()

    def start(self) -> None:
        """Returns once the present state is known."""
        self._following = asyncio.run_coroutine_threadsafe(self._run(), event_loop())
        self.wait(lambda state: True, timeout_s=30.0, what="the cluster's state is known")

    def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            self._ended.wait(timeout=30)

    def now_s(self) -> float:
        return self._clock.monotonic() - self._began_s

    def wait(self, check: Callable[[State], bool], *, timeout_s: float, what: str = "") -> bool:
        """Until the latest state passes. With `what` it raises AssertionError when that does not come in time."""

        def passes() -> bool:
            if self._problem is not None:
                raise self._problem
            return bool(self.timeline.states) and check(self.timeline.states[-1])

        with self._changed:
            found = self._changed.wait_for(passes, timeout_s)
        if what and not found:
            seen = self.timeline.states[-1:]
            raise AssertionError(f"{what}: not so after {timeout_s:.0f} s: {seen}")
        return found

    async def _run(self) -> None:
        try:
            client = self._client()
            try:
                await self._follow_all(client)
            finally:
                await client.close()
        except BaseException as error:
            with self._changed:
                self._problem = error
                self._changed.notify_all()
            raise
        finally:
            self._ended.set()

    async def _follow_all(self, client: Client) -> None:
        label = f"app={self._app}"
        async with asyncio.TaskGroup() as group:
            for plural, resource, namespace, labels, fields in (
                ("deployments", ("apps", "v1"), self._namespace, "", f"metadata.name={self._app}"),
                ("pods", ("", "v1"), self._namespace, label, ""),
                ("nodes", ("", "v1"), "", "", ""),
                ("events", ("", "v1"), "kube-system", "", "reason=ScaledUpGroup"),
            ):
                handle = client.resource(*resource, plural)
                changes = handle.follow(namespace=namespace, labels=labels, fields=fields, bookmarks=True)
                group.create_task(self._take(plural, changes))

    async def _take(self, plural: str, changes: object) -> None:
        known = self._objects[plural]
        async for event in changes:  # type: ignore[attr-defined]
            if event.type is EventType.BOOKMARK:
                self._complete[plural] = None
            elif event.type is EventType.DELETED:
                known.pop(meta.key(event.object), None)
            else:
                known[meta.key(event.object)] = event.object
            if len(self._complete) == len(self._objects):
                self._note()

    def _note(self) -> None:
        asked = sum(
            int(item.get("count") or 1)
            for item in self._objects["events"].values()
            if NODES_ASKED in item.get("message", "")
        )
        state = state_of(
            self.now_s(),
            next(iter(self._objects["deployments"].values()), None),
            list(self._objects["pods"].values()),
            list(self._objects["nodes"].values()),
            asked,
        )
        with self._changed:
            if not self.timeline.states or not self.timeline.states[-1].same(state):
                self.timeline.states.append(state)
                self._changed.notify_all()
