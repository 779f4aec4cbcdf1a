"""A Deployment that grows with its load, and the nodes it makes come and go: HPA, node autoscaler and a hollow cloud.

The load is a number that the autoscaler is told through the metrics' seam, now and then none at all. Machines of the
cloud are hollow nodes beside the three that are always there; at rest none of them is left.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

import orjson

from argosy.client import Resource
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.autoscaler.nodes.controller import NodeAutoscaler
from control_plane.autoscaler.nodes.hollow import HollowProvider
from control_plane.autoscaler.nodes.provider import Group
from control_plane.autoscaler.nodes.simulation import TO_BE_DELETED
from control_plane.autoscaler.pods.controller import HorizontalPodAutoscalerController
from control_plane.autoscaler.pods.replicas import CalculationError
from control_plane.autoscaler.pods.sources import ApiMetrics
from tests.sim.patience import insist
from tests.sim.world import IMAGE, World

NAMESPACE = "elastic"
NAME = "app"
GROUP = "cloud"
MOST_NODES = 2
MOST_PODS = 5
LOW, HIGH = 5, 50
PER_POD = 10
COMES_AFTER_S = 20.0
NODES = b"/registry/nodes/"
PODS = b"/registry/pods/"
RESOURCES = {
    "namespaces": "",
    "nodes": "",
    "pods": "",
    "deployments": "apps",
    "horizontalpodautoscalers": "autoscaling",
    "poddisruptionbudgets": "policy",
}
VERSIONS = {"horizontalpodautoscalers": "v2"}


class Load(ApiMetrics):
    """What an adapter of external metrics would say."""

    level: ClassVar[int | None] = LOW
    """None: nobody answers."""

    async def external(self, namespace: str, metric: str, labels: str) -> int:
        if Load.level is None:
            raise CalculationError("unable to fetch metrics from external metrics API: nobody answers")
        return 1000 * Load.level


class Cloud(HollowProvider):
    """Outlives the autoscalers that ask it."""

    async def close(self) -> None:
        """It goes on."""


class Machines:
    def __init__(self, world: World) -> None:
        self._world = world
        self._nodes = world.client("cloud").resource("", "v1", "nodes")

    async def start(self, name: str, template: JsonObject) -> None:
        self._world.join(name)

    async def stop(self, name: str) -> None:
        """To its end, whoever asked for it and is gone meanwhile."""
        await asyncio.shield(asyncio.get_running_loop().create_task(self._stop(name)))

    async def _stop(self, name: str) -> None:
        await self._world.leave(name)
        await insist(self._world, f"delete {name}", lambda: self._nodes.delete(name))


class Elastic:
    def __init__(self, world: World) -> None:
        self._world = world
        self._cloud = Cloud(Machines(world), [Group(GROUP, 0, MOST_NODES, 0, template())], COMES_AFTER_S)
        NodeAutoscaler.provider = self._cloud
        HorizontalPodAutoscalerController.metrics_source = Load
        Load.level = LOW
        client = world.client("elastic-user")
        self._of: dict[str, Resource] = {
            plural: client.resource(group, VERSIONS.get(plural, "v1"), plural) for plural, group in RESOURCES.items()
        }

    async def begin(self) -> None:
        for plural, body in (
            ("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            ("deployments", deployment()),
            ("horizontalpodautoscalers", autoscaler()),
            ("poddisruptionbudgets", budget()),
        ):
            await self._create(plural, body)

    async def _create(self, plural: str, body: JsonObject) -> None:
        await insist(self._world, f"create {plural}", lambda: self._of[plural].create(body))

    async def run(self) -> None:
        """Load comes and goes, and once in a while nobody can say how much there is."""
        rng = self._world.rng
        while True:
            for level in (HIGH, None if rng.random() < 0.3 else LOW, LOW):
                Load.level = level
                self._world.trace.line("load", level=level)
                await asyncio.sleep(40 + 60 * rng.random())

    async def settle(self) -> None:
        Load.level = LOW
        self._world.trace.line("load", level=LOW)

    async def at_rest(self) -> str:
        """One pod, which is ready; checks.at_rest sees to it that no node of the cloud is left."""
        if Load.level != LOW:
            return "there is load"
        found = await self._of["deployments"].get(NAME, namespace=NAMESPACE)
        status = meta.status(found)
        if [status.get(key) for key in ("replicas", "readyReplicas", "updatedReplicas")] != [1, 1, 1]:
            return f"{NAME}: {status}"
        hpa = await self._of["horizontalpodautoscalers"].get(NAME, namespace=NAMESPACE)
        if meta.status(hpa).get("desiredReplicas") != 1 or meta.status(hpa).get("currentReplicas") != 1:
            return f"its autoscaler: {meta.status(hpa)}"
        pods = (await self._of["pods"].list(namespace=NAMESPACE)).items
        return "" if len(pods) == 1 else f"pods {[meta.name(pod) for pod in pods]}"

    def check(self) -> None:
        """Nodes came and went, and none went while a pod was on it that could have been moved."""
        world = self._world
        for word in ("increase", "delete"):
            if not any(call.startswith(word) for call in self._cloud.calls):
                world.violation(f"the cloud was never asked to {word}: {self._cloud.calls}")
        nodes: dict[str, JsonObject] = {}
        tainted: dict[str, int] = {}
        pods: dict[bytes, tuple[JsonObject, int]] = {}
        """With the revision at which it was bound."""
        for item in world.ledger.items():
            if item.key.startswith(PODS):
                pod: JsonObject = orjson.loads(item.value) if item.version else {}
                if not pod or not meta.spec(pod).get("nodeName"):
                    pods.pop(item.key, None)
                else:
                    pods[item.key] = (pod, pods[item.key][1] if item.key in pods else item.mod_revision)
            elif item.key.startswith(NODES):
                name = item.key.removeprefix(NODES).decode()
                if item.version:
                    nodes[name] = orjson.loads(item.value)
                    if any(taint["key"] == TO_BE_DELETED for taint in meta.spec(nodes[name]).get("taints") or ()):
                        tainted.setdefault(name, item.mod_revision)
                    else:
                        tainted.pop(name, None)
                elif name in tainted and conditions.is_true(nodes[name], "Ready"):
                    self._check_empty(name, tainted[name], pods, item.mod_revision)

    def _check_empty(self, node: str, since: int, pods: dict[bytes, tuple[JsonObject, int]], revision: int) -> None:
        for key, (pod, bound) in pods.items():
            reference = meta.controller_of(pod)
            finished = meta.status(pod).get("phase") in ("Succeeded", "Failed")
            movable = reference is not None and reference["kind"] != "DaemonSet" and not finished
            if meta.spec(pod)["nodeName"] == node and bound < since and movable and not meta.is_deleting(pod):
                self._world.violation(f"{node} went at {revision} with {key.decode()}, which was there before")


# What is asked for.


def template() -> JsonObject:
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": GROUP, "labels": {"kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {"capacity": amounts, "allocatable": amounts},
    }


def deployment() -> JsonObject:
    container = {
        "name": "c",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "2"}},
    }
    spec = {
        "selector": {"matchLabels": {"app": NAME}},
        "template": {"metadata": {"labels": {"app": NAME}}, "spec": {"containers": [container]}},
    }
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def autoscaler() -> JsonObject:
    metric = {
        "type": "External",
        "external": {"metric": {"name": "load"}, "target": {"type": "AverageValue", "averageValue": str(PER_POD)}},
    }
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
        "minReplicas": 1,
        "maxReplicas": MOST_PODS,
        "metrics": [metric],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 15}},
    }
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}


def budget() -> JsonObject:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": NAME}}}
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}
