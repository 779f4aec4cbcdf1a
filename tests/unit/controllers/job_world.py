"""For tests of Jobs: a kubelet whose pods end, with an exit code that the test chooses."""

import asyncio
from collections.abc import Callable
from typing import Any

from argosy.client import EventType
from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import job_pods
from tests.unit.controllers.cluster import Cluster

JOBS = "jobs.batch"
CRON_JOBS = "cronjobs.batch"


class Kubelet:
    """Binds pods and runs each for `runs_s`, after which it ends with `exit_code(pod)`; None: it never ends."""

    def __init__(self, cluster: Cluster, runs_s: float = 2.0) -> None:
        self.cluster = cluster
        self.runs_s = runs_s
        self.exit_code: Callable[[JsonObject], int | None] = lambda _pod: 0
        self.ends_after_s = 1.0
        """From a pod's deletion to its end."""
        self.most_active = 0
        self._running: set[str] = set()
        cluster.start(self._run())

    async def _run(self) -> None:
        async for event in self.cluster.resource("pods").watch():
            pod = event.object
            uid = meta.uid(pod)
            if event.type is EventType.DELETED:
                self._running.discard(uid)
            elif meta.is_deleting(pod):
                self.cluster.start(self._quiet(self._end(pod)))
            elif not meta.spec(pod).get("nodeName"):
                self.cluster.start(self._quiet(self._begin(pod)))

    async def _quiet(self, call: Any) -> None:
        await self.cluster._quietly(call)

    async def _begin(self, pod: JsonObject) -> None:
        name, space = meta.name(pod), meta.namespace(pod)
        self._running.add(meta.uid(pod))
        self.most_active = max(self.most_active, len(self._running))
        binding = {
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": space},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "a"},
        }  # fmt: skip
        await self.cluster.resource("pods").create(binding, name=name, subresource="binding")
        now = rfc3339(self.cluster.host.clock.now())
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        await self._status(pod, {"phase": "Running", "startTime": now, "conditions": [ready]})
        await asyncio.sleep(self.runs_s)
        code = self.exit_code(pod)
        if code is not None:
            await self._finish(pod, code)

    async def _finish(self, pod: JsonObject, code: int) -> None:
        self._running.discard(meta.uid(pod))
        now = rfc3339(self.cluster.host.clock.now())
        ended = [
            {
                "name": item["name"], "image": item["image"], "imageID": "", "ready": False, "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "finishedAt": now, "startedAt": now}},
            }
            for item in meta.spec(pod)["containers"]
        ]  # fmt: skip
        phase = "Failed" if code else "Succeeded"
        ready = {"type": "Ready", "status": "False", "lastTransitionTime": now}
        await self._status(pod, {"phase": phase, "containerStatuses": ended, "conditions": [ready]})

    async def _end(self, pod: JsonObject) -> None:
        await asyncio.sleep(self.ends_after_s)
        if meta.status(pod).get("phase") not in ("Succeeded", "Failed"):
            await self._finish(pod, 137)
        await self.cluster.delete("pods", meta.key(pod), grace_period_s=0, uid=meta.uid(pod))

    async def _status(self, pod: JsonObject, status: JsonObject) -> None:
        change = {"metadata": {"uid": meta.uid(pod)}, "status": status}
        await self.cluster.patch("pods", meta.key(pod), change, "status")


def job(name: str = "work", *, restart: str = "Never", **spec: Any) -> JsonObject:
    container = {"name": "main", "image": "busybox:1"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": {"spec": {"restartPolicy": restart, "containers": [container]}}, **spec},
    }


def index_of(pod: JsonObject) -> int:
    index = job_pods.completion_index(pod)
    assert index is not None
    return index


async def found(cluster: Cluster, name: str = "work") -> JsonObject:
    result = await cluster.get(JOBS, f"default/{name}")
    assert result is not None
    return result


def said(obj: JsonObject) -> dict[str, tuple[str, str]]:
    """By type of condition: its reason and message, of those that are true."""
    return {
        item["type"]: (item.get("reason", ""), item.get("message", ""))
        for item in meta.status(obj).get("conditions") or ()
        if conditions.is_true(obj, item["type"])
    }


def counts(obj: JsonObject) -> tuple[int, int, int]:
    """(active, succeeded, failed)."""
    status = meta.status(obj)
    return status.get("active", 0), status.get("succeeded", 0), status.get("failed", 0)
