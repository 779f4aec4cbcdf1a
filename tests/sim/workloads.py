"""StatefulSets, DaemonSets and Jobs beside the scenario's Deployment: somebody who changes them, and what must hold.

`Workloads.run` scales, rolls out, deletes and resizes pods and makes Jobs while faults happen; `at_rest` says what is
missing for everything to be as asked; `watch` looks at the nodes all the while; `check` reads the ledger afterwards.
They live in a namespace of their own, ask for no processor and take their volumes from a few made beforehand.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import orjson

from argosy.client import PatchType, Resource
from argosy.objects import conditions, meta, quantity
from argosy.objects.types import JsonObject
from node_agent.runtime.fake import PREFIX
from node_agent.runtime.runtime import RuntimeFailure
from tests.sim.patience import insist
from tests.sim.world import IMAGE, NODES, World

NAMESPACE = "work"
SETS = ("db", "cache")
"""The first ordered and with claims, the second parallel and without."""
GONE = "temp"
"""A StatefulSet with claims that is deleted again."""
DAEMON = "agent"
MAX_REPLICAS = 3
SIZES = ("24Mi", "48Mi", "96Mi")
COMPLETIONS = 4
MAX_JOBS = 5
STOP_S = 3
LOOK_S = 0.5
VOLUMES = 2 * MAX_REPLICAS
PODS = f"/registry/pods/{NAMESPACE}/".encode()
GONE_CLAIMS = f"/registry/persistentvolumeclaims/{NAMESPACE}/data-{GONE}-".encode()
JOBS = f"/registry/batch/jobs/{NAMESPACE}/".encode()

RESOURCES = {
    "namespaces": "",
    "persistentvolumes": "",
    "persistentvolumeclaims": "",
    "pods": "",
    "services": "",
    "statefulsets": "apps",
    "daemonsets": "apps",
    "controllerrevisions": "apps",
    "jobs": "batch",
    "endpointslices": "discovery.k8s.io",
}
OWNERS = ("statefulsets", "daemonsets", "jobs", "services")
OWNED = ("pods", "controllerrevisions", "persistentvolumeclaims", "endpointslices")


class Workloads:
    def __init__(self, world: World) -> None:
        self._world = world
        client = world.client("worker")
        self._of: dict[str, Resource] = {
            plural: client.resource(group, "v1", plural) for plural, group in RESOURCES.items()
        }
        self._replicas = dict.fromkeys(SETS, 2)
        self._versions = dict.fromkeys((*SETS, DAEMON), 1)
        self._jobs: dict[str, None] = {}
        self._dropped: dict[str, None] = {}
        self._made = 0

    async def begin(self) -> None:
        await self._create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        for number in range(VOLUMES):
            await self._create("persistentvolumes", volume(f"volume-{number}"))
        for name in SETS:
            await self._create("services", headless(name))
            await self._create(
                "statefulsets", stateful_set(name, 2, 1, parallel=name == "cache", claims=name == "db")
            )
        await self._create("statefulsets", stateful_set(GONE, 2, 1, parallel=True, claims=True))
        await self._create("daemonsets", daemon_set(1))

    async def run(self) -> None:
        rng = self._world.rng
        while True:
            await asyncio.sleep(15 + 30 * rng.random())
            match rng.choice(("scale", "roll out", "delete pod", "resize", "job", "drop")):
                case "scale":
                    self._replicas[rng.choice(SETS)] = rng.randrange(MAX_REPLICAS + 1)
                    await self._ask()
                case "roll out":
                    self._versions[rng.choice((*SETS, DAEMON))] += 1
                    await self._ask()
                case "delete pod":
                    name = f"{rng.choice(SETS)}-0"
                    self._world.trace.line("delete", pod=name)
                    await self._delete("pods", name)
                case "resize":
                    await self._resize(f"{rng.choice(SETS)}-0", rng.choice(SIZES))
                case "job" if len(self._jobs) < MAX_JOBS:
                    await self._job(f"job-{self._made}")
                case _:
                    await self._drop()

    async def settle(self) -> None:
        """The last word."""
        for name in self._jobs:
            await self._make(name)
        for name in self._dropped:
            await self._delete("jobs", name)
        while self._made < 2:
            await self._job(f"job-{self._made}")
        await self._drop()
        await self._ask()
        for name in SETS:
            await self._resize(f"{name}-0", self._world.rng.choice(SIZES[1:]))

    async def _job(self, name: str) -> None:
        self._made += 1
        self._jobs[name] = None
        await self._make(name)

    async def _make(self, name: str) -> None:
        """Again, if that was interrupted."""
        self._world.trace.line("job", name=name)
        number = int(name.removeprefix("job-"))
        await self._create("jobs", job(name, indexed=number % 2 == 1, for_s=1 + 7 * number % 20))

    async def _drop(self) -> None:
        """The oldest Job, and the set that is to go; with all that is theirs."""
        await self._delete("statefulsets", GONE)
        if len(self._jobs) > 2:
            name = next(iter(self._jobs))
            del self._jobs[name]
            self._dropped[name] = None
            await self._delete("jobs", name)

    async def _ask(self) -> None:
        self._world.trace.line("wanted", **self._replicas, versions=self._versions)
        for name in SETS:
            await self._patch(
                "statefulsets", name, {"replicas": self._replicas[name], **_version(self._versions[name])}
            )
        await self._patch("daemonsets", DAEMON, _version(self._versions[DAEMON]))

    async def _resize(self, name: str, memory: str) -> None:
        """What of it comes to the pod, its node carries out."""
        self._world.trace.line("resize", pod=name, memory=memory)
        container = {"name": "c", "resources": {"limits": {"memory": memory}}}
        change = {"spec": {"containers": [container]}}
        await insist(
            self._world,
            f"resize {name}",
            lambda: self._of["pods"].patch(
                name, change, namespace=NAMESPACE, type=PatchType.STRATEGIC, subresource="resize"
            ),
        )

    async def _create(self, plural: str, body: JsonObject) -> None:
        await insist(self._world, f"create {plural}", lambda: self._of[plural].create(body))

    async def _delete(self, plural: str, name: str) -> None:
        of = self._of[plural]
        await insist(
            self._world, f"delete {name}", lambda: of.delete(name, namespace=NAMESPACE, propagation="Background")
        )

    async def _patch(self, plural: str, name: str, spec: JsonObject) -> None:
        of = self._of[plural]
        await insist(self._world, f"patch {name}", lambda: of.patch(name, {"spec": spec}, namespace=NAMESPACE))

    # What must hold.

    async def at_rest(self) -> str:
        """What is still missing for everything to be as asked for; empty when it is."""
        found = {plural: (await self._of[plural].list(namespace=NAMESPACE)).items for plural in (*OWNERS, *OWNED)}
        said = leftovers(found)
        if said:
            return said
        pods = found["pods"]
        for name in SETS:
            said = self._set_at_rest(name, found, [pod for pod in pods if meta.labels(pod).get("app") == name])
            if said:
                return said
        claims = sorted(meta.name(each) for each in found["persistentvolumeclaims"])
        if all(meta.name(each) in SETS for each in found["statefulsets"]) and any(
            not claim.startswith("data-db-") for claim in claims
        ):
            return f"claims {claims}"
        return (
            self._daemon_at_rest([pod for pod in pods if meta.labels(pod).get("app") == DAEMON])
            or self._jobs_at_rest(found["jobs"], pods)
            or self._nodes_at_rest(pods)
            or self._sizes_at_rest([pod for pod in pods if meta.labels(pod).get("app") in (*SETS, DAEMON)])
        )

    def _set_at_rest(self, name: str, found: Mapping[str, Sequence[JsonObject]], pods: Sequence[JsonObject]) -> str:
        wanted = self._replicas[name]
        names = sorted(meta.name(pod) for pod in pods)
        version = str(self._versions[name])
        if names != [f"{name}-{ordinal}" for ordinal in range(wanted)] or not all(_fit(pod, version) for pod in pods):
            return f"{wanted} of {name} {version} wanted, pods: {names}"
        status = next(meta.status(each) for each in found["statefulsets"] if meta.name(each) == name)
        counts = [status.get(key, 0) for key in ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")]
        if counts != [wanted] * 4:
            return f"{name}: {status}"
        ready = sorted(pod["status"]["podIP"] for pod in pods)
        served = sorted(
            address
            for each in found["endpointslices"]
            if meta.labels(each).get("kubernetes.io/service-name") == name
            for endpoint in each.get("endpoints") or ()
            if endpoint["conditions"]["ready"]
            for address in endpoint["addresses"]
        )
        return "" if served == ready else f"{name}: ready pods {ready}, endpoint slices {served}"

    def _daemon_at_rest(self, pods: Sequence[JsonObject]) -> str:
        version = str(self._versions[DAEMON])
        nodes = sorted(str(meta.spec(pod).get("nodeName")) for pod in pods)
        if nodes == list(NODES) and all(_fit(pod, version) for pod in pods):
            return ""
        return f"{DAEMON} {version} is on {nodes}, fit: {[_fit(pod, version) for pod in pods]}"

    def _jobs_at_rest(self, jobs: Sequence[JsonObject], pods: Sequence[JsonObject]) -> str:
        names = sorted(map(meta.name, jobs))
        if names != sorted(self._jobs):
            return f"jobs {names}, wanted {list(self._jobs)}"
        for each in jobs:
            status, name = meta.status(each), meta.name(each)
            indexes = status.get("completedIndexes") if meta.spec(each)["completionMode"] == "Indexed" else None
            if not conditions.is_true(each, "Complete") or status.get("succeeded") != COMPLETIONS:
                return f"{name}: {status}"
            if indexes not in (None, f"0-{COMPLETIONS - 1}"):
                return f"{name}: indexes {indexes}"
            busy = [meta.name(pod) for pod in pods if _owner(pod) == meta.uid(each) and not _finished(pod)]
            if busy:
                return f"{name} is complete, {busy} are not"
        return ""

    def _nodes_at_rest(self, pods: Sequence[JsonObject]) -> str:
        """What runs is what is there."""
        known = {meta.uid(pod): None for pod in pods if not _finished(pod)}
        ran = [
            box.name for name in NODES for box in self._world.runtimes[name].sandboxes()
            if box.ready and box.namespace == NAMESPACE and box.uid not in known
        ]  # fmt: skip
        return f"{ran} run on their nodes, without a pod" if ran else ""

    def _sizes_at_rest(self, pods: Sequence[JsonObject]) -> str:
        """Every container has what its pod asks for: by its status, and on its node."""
        for pod in pods:
            (container,), (status,) = meta.spec(pod)["containers"], meta.status(pod)["containerStatuses"]
            asked = container["resources"]
            runtime = self._world.runtimes[meta.spec(pod)["nodeName"]]
            try:
                has = runtime.resources(status["containerID"].rpartition("/")[2]).memory_limit_bytes
            except RuntimeFailure as failure:
                return f"{meta.name(pod)}: {failure}"
            wrong = has != quantity.value(asked["limits"]["memory"])
            waits = [item for item in meta.status(pod)["conditions"] if str(item.get("type")).startswith("PodResize")]
            if status.get("resources") != asked or wrong or waits:
                return f"{meta.name(pod)} asks for {asked}, has {has}, says {status.get('resources')} {waits}"
        return ""

    def check(self) -> None:
        """No Job was ever done more often than asked: by its status, and by its pods."""
        world = self._world
        done: dict[str, dict[str, str]] = {}
        for item in world.ledger.items(JOBS):
            status = orjson.loads(item.value).get("status") or {} if item.version else {}
            if int(status.get("succeeded") or 0) > COMPLETIONS:
                world.violation(f"{item.key!r} at {item.mod_revision}: {status}")
        for item in world.ledger.items(PODS):
            pod: JsonObject = orjson.loads(item.value) if item.version else {}
            reference = meta.controller_of(pod) if pod else None
            if reference is None or reference["kind"] != "Job" or meta.status(pod).get("phase") != "Succeeded":
                continue
            index = meta.annotations(pod).get("batch.kubernetes.io/job-completion-index", "")
            done.setdefault(f"{reference['name']} {reference['uid']}", {})[meta.uid(pod)] = index
        if not done:
            world.violation("no Job was done")
        if not any(item.version for item in world.ledger.items(GONE_CLAIMS)):
            world.violation(f"{GONE} never had a claim")
        for name, pods in done.items():
            indexes = [index for index in pods.values() if index]
            if len(pods) > COMPLETIONS or len(indexes) != len(dict.fromkeys(indexes)):
                world.violation(f"{name} succeeded {len(pods)} times, indexes {sorted(indexes)}")


class Ordinals:
    """Looks, as long as the world lasts, that at most one pod of each ordinal runs, whatever the API says."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(LOOK_S)

    def _look(self) -> None:
        ran = Counter(
            box.name
            for runtime in self._world.runtimes.values()
            for box in runtime.sandboxes()
            if box.ready and box.namespace == NAMESPACE
        )
        for name, count in ran.items():
            if count > 1:
                self._world.violation(f"{count} pods {name} run at the same time")


def leftovers(found: Mapping[str, Sequence[JsonObject]]) -> str:
    """Objects of an owner that there is no more."""
    owners = {meta.uid(each): None for plural in OWNERS for each in found[plural]}
    for plural in OWNED:
        for each in found[plural]:
            for reference in meta.owner_references(each):
                if reference["uid"] not in owners:
                    return f"{plural} {meta.name(each)} is left of {reference['kind']} {reference['name']}"
            if plural == "pods" and meta.controller_of(each) is None:
                return f"pod {meta.name(each)} belongs to nobody"
    return ""


def _owner(pod: JsonObject) -> str:
    return str((meta.controller_of(pod) or {}).get("uid"))


def _finished(pod: JsonObject) -> bool:
    return meta.status(pod).get("phase") in ("Succeeded", "Failed")


def _fit(pod: JsonObject, version: str) -> bool:
    ready = conditions.is_true(pod, "Ready") and not meta.is_deleting(pod)
    return ready and meta.labels(pod).get("version") == version


# What is asked for.


def _version(version: int) -> JsonObject:
    return {"template": {"metadata": {"labels": {"version": str(version)}}}}


def _template(name: str, version: int, **spec: object) -> JsonObject:
    container = {"name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent"}
    container["resources"] = {"requests": {"memory": "16Mi"}, "limits": {"memory": SIZES[0]}}
    return {
        "metadata": {
            "labels": {"app": name, "version": str(version)},
            "annotations": {f"{PREFIX}stop-after-s": str(STOP_S)},
        },
        "spec": {"containers": [container], **spec},
    }


def volume(name: str) -> JsonObject:
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": f"/volumes/{name}"},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def headless(name: str) -> JsonObject:
    metadata = {"name": name, "namespace": NAMESPACE}
    spec = {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def stateful_set(name: str, replicas: int, version: int, *, parallel: bool, claims: bool) -> JsonObject:
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    spec = {
        "replicas": replicas,
        "serviceName": name,
        "selector": {"matchLabels": {"app": name}},
        "podManagementPolicy": "Parallel" if parallel else "OrderedReady",
        "template": _template(name, version),
        "volumeClaimTemplates": [claim] if claims else [],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}


def daemon_set(version: int) -> JsonObject:
    metadata = {"name": DAEMON, "namespace": NAMESPACE}
    spec = {"selector": {"matchLabels": {"app": DAEMON}}, "template": _template(DAEMON, version)}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec}


def job(name: str, *, indexed: bool, for_s: int) -> JsonObject:
    """A pod is replaced only when it has failed: else one that is on its way out could still succeed."""
    template = _template(name, 1, restartPolicy="Never")
    template["metadata"]["annotations"][f"{PREFIX}exit-after-s"] = str(for_s)
    spec = {
        "completions": COMPLETIONS,
        "parallelism": 2,
        "completionMode": "Indexed" if indexed else "NonIndexed",
        "backoffLimit": 100,
        "podReplacementPolicy": "Failed",
        "template": template,
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
