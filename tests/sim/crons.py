"""A CronJob whose Jobs take longer than its period and must not overlap, and Services that come and go."""

from __future__ import annotations

import asyncio

import orjson

from argosy.client import Resource
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from node_agent.runtime.fake import PREFIX
from tests.sim.patience import insist
from tests.sim.world import IMAGE, World

NAMESPACE = "cron"
NAME = "tick"
RUNS_S = 75
KEPT = 2
"""Finished Jobs that stay."""
JOBS = f"/registry/batch/jobs/{NAMESPACE}/".encode()
RESOURCES = {"namespaces": "", "pods": "", "services": "", "jobs": "batch", "cronjobs": "batch"}


class Crons:
    def __init__(self, world: World) -> None:
        self._world = world
        client = world.client("cron-user")
        self._of: dict[str, Resource] = {
            plural: client.resource(group, "v1", plural) for plural, group in RESOURCES.items()
        }
        self._services = 0

    async def begin(self) -> None:
        await self._create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        await self._create("cronjobs", cron_job())

    async def run(self) -> None:
        """A Service with an address and a port of its own, for a while."""
        rng = self._world.rng
        while True:
            await asyncio.sleep(20 + 40 * rng.random())
            self._services += 1
            name = f"service-{self._services}"
            await self._create("services", service(name))
            await asyncio.sleep(30 * rng.random())
            await self._delete("services", name)

    async def settle(self) -> None:
        """No more runs, and no Service."""
        suspend = {"spec": {"suspend": True}}
        jobs = self._of["cronjobs"]
        await insist(self._world, "suspend", lambda: jobs.patch(NAME, suspend, namespace=NAMESPACE))
        for number in range(1, self._services + 1):
            await self._delete("services", f"service-{number}")

    async def _create(self, plural: str, body: JsonObject) -> None:
        await insist(self._world, f"create {plural}", lambda: self._of[plural].create(body))

    async def _delete(self, plural: str, name: str) -> None:
        of = self._of[plural]
        await insist(self._world, f"delete {name}", lambda: of.delete(name, namespace=NAMESPACE))

    async def at_rest(self) -> str:
        """All that ran is done, and only so much of it is kept. Runs go on until `settle`."""
        cron = await self._of["cronjobs"].get(NAME, namespace=NAMESPACE)
        if not meta.spec(cron).get("suspend"):
            return ""
        found = (await self._of["jobs"].list(namespace=NAMESPACE)).items
        done = [meta.name(job) for job in found if conditions.is_true(job, "Complete")]
        if len(done) < len(found) or len(done) > KEPT or meta.status(cron).get("active"):
            return f"Jobs {[meta.name(job) for job in found]}, done: {done}, status: {meta.status(cron)}"
        pods = (await self._of["pods"].list(namespace=NAMESPACE)).items
        busy = [meta.name(pod) for pod in pods if meta.status(pod).get("phase") not in ("Succeeded", "Failed")]
        return f"{busy} are not done" if busy else ""

    def check(self) -> None:
        """Never two at a time, and none twice."""
        world = self._world
        active: dict[bytes, None] = {}
        times: dict[str, str] = {}
        for item in world.ledger.items(JOBS):
            job: JsonObject = orjson.loads(item.value) if item.version else {}
            if not job or conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed"):
                active.pop(item.key, None)
                continue
            active[item.key] = None
            if len(active) > 1:
                world.violation(f"{list(active)} run at the same time, at {item.mod_revision}")
                return
            if times.setdefault(meta.name(job), meta.uid(job)) != meta.uid(job):
                world.violation(f"{meta.name(job)} was started twice")
        if not times:
            world.violation(f"{NAME} never ran")


def cron_job() -> JsonObject:
    container = {"name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent"}
    template = {
        "metadata": {"annotations": {f"{PREFIX}exit-after-s": str(RUNS_S)}},
        "spec": {"containers": [container], "restartPolicy": "Never"},
    }
    spec = {
        "schedule": "* * * * *",
        "concurrencyPolicy": "Forbid",
        "successfulJobsHistoryLimit": KEPT,
        "jobTemplate": {"spec": {"backoffLimit": 100, "template": template}},
    }
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}


def service(name: str) -> JsonObject:
    metadata = {"name": name, "namespace": NAMESPACE}
    spec = {"type": "NodePort", "selector": {"app": "nothing"}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
