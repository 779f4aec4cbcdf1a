"""PodDisruptionBudget: says how many pods of an application may be evicted now.

Upstream: `pkg/controller/disruption/disruption.go`. The eviction subresource spends what status.disruptionsAllowed
gives and notes the pod in status.disruptedPods until its deletion is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import conditions, intstr, meta, selectors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.queue import WorkQueue, run_workers
from argosy.selection import selected
from control_plane.controllers import deployment_math as math
from control_plane.controllers import pods as podlib
from control_plane.controllers.base import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    LABEL_INDEX,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Context,
    Controller,
    Loop,
    by_labels,
)
from control_plane.controllers.equality import same
from control_plane.controllers.scales import ScaleError, Scales

UNMANAGED: Final = (
    "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the PDB cannot "
    "be calculated correctly, which may result in undefined behavior. To account for these pods please set "
    '".spec.minAvailable" field of the PDB to an integer value.'
)
DELETION_TIMEOUT_S: Final = 120.0
"""An evicted pod that is still not being deleted counts again after this."""
STALE_S: Final = 120.0
"""A pod that was to be disrupted and is still not being deleted is not to be disrupted any more after this."""
RETRY_S: Final = 30.0
DISRUPTION_TARGET: Final = "DisruptionTarget"
BY_KUBELET: Final = "TerminationByKubelet"


class DisruptionController(Controller):
    name = "disruption-controller"
    watches = (DISRUPTION_BUDGETS, PODS, REPLICA_SETS, DEPLOYMENTS, STATEFUL_SETS, REPLICATION_CONTROLLERS)
    writes = (DISRUPTION_BUDGETS, PODS)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._budgets = self.informer(DISRUPTION_BUDGETS)
        self._pods = self.informer(PODS)
        self._sets = self.informer(REPLICA_SETS)
        self._deployments = self.informer(DEPLOYMENTS)
        self._owners = {
            ("apps", "ReplicaSet"): self._sets,
            ("apps", "Deployment"): self._deployments,
            ("apps", "StatefulSet"): self.informer(STATEFUL_SETS),
            ("", "ReplicationController"): self.informer(REPLICATION_CONTROLLERS),
        }
        self._scales = Scales(self._client)
        self._stale = WorkQueue()
        """Pods that were to be disrupted."""
        self._pods.add_index(LABEL_INDEX, by_labels)
        self.enqueue_changes(self._budgets)
        self._pods.add_handler(added=self._pod_added, updated=self._pod_updated, deleted=self._pod_changed)
        for owners in self._owners.values():
            owners.add_handler(updated=self._scaled)

    def loops(self) -> tuple[Loop, ...]:
        return (lambda: run_workers(self._stale, self._clear_stale, count=1, name=f"{self.name} stale"),)

    # Pods that were to go, and stayed

    async def _clear_stale(self, key: str) -> float | None:
        """A disruption that did not happen within two minutes will not: say so."""
        pod = self._pods.get(key)
        left_s = None if pod is None else stale_in(pod, self.host.clock.now())
        if pod is None or left_s is None or left_s > 0:
            return left_s
        condition = conditions.get(pod, DISRUPTION_TARGET) or {}
        over = {**condition, "status": "False", "lastTransitionTime": rfc3339(self.host.clock.now())}
        try:
            await podlib.write_conditions(self.writer(PODS), pod, [over])
        except ApiError as error:
            if error.code not in (404, 409):
                raise
        return None

    def _pod_added(self, pod: JsonObject) -> None:
        if stale_in(pod, 0.0) is not None:
            self._stale.add(meta.key(pod))
        self._pod_changed(pod)

    def _pod_changed(self, pod: JsonObject) -> None:
        labels = meta.labels(pod)
        for budget in self._budgets.list(meta.namespace(pod)):
            if _selector(budget).matches(labels):
                self.enqueue(budget)

    def _pod_updated(self, old: JsonObject, new: JsonObject) -> None:
        if stale_in(new, 0.0) is not None:
            self._stale.add(meta.key(new))
        if meta.labels(old) != meta.labels(new):
            self._pod_changed(old)
        elif (podlib.is_ready(old), meta.is_deleting(old), podlib.is_terminal(old)) == (
            podlib.is_ready(new),
            meta.is_deleting(new),
            podlib.is_terminal(new),
        ):
            return
        self._pod_changed(new)

    def _scaled(self, old: JsonObject, new: JsonObject) -> None:
        if math.wanted(old) != math.wanted(new):
            for budget in self._budgets.list(meta.namespace(new)):
                self.enqueue(budget)

    async def reconcile(self, key: str) -> float | None:
        budget = self._budgets.get(key)
        if budget is None or meta.is_deleting(budget):
            return None
        now = self.host.clock.now()
        pods = [pod for pod in self._selected(budget) if not podlib.is_terminal(pod)]
        try:
            scales, unmanaged = await self._find_scales(budget, pods)
            expected, desired = requirement(meta.spec(budget), pods, scales)
        except ScaleError as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self.events.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            made = conditions.make("DisruptionAllowed", False, rfc3339(now), "SyncFailed", str(error))
            await self._write(budget, {**meta.status(budget), "disruptionsAllowed": 0}, made)
            return RETRY_S
        if not pods:
            self.events.event(budget, "Normal", "NoPods", "No matching pods found")
        if unmanaged and needs_scale(meta.spec(budget)):
            self.events.event(budget, "Warning", "UnmanagedPods", UNMANAGED)
        disrupted, again_s = still_disrupted(meta.status(budget).get("disruptedPods") or {}, pods, now)
        healthy = sum(
            podlib.is_ready(pod) and not meta.is_deleting(pod) and meta.name(pod) not in disrupted for pod in pods
        )
        allowed = max(0, healthy - desired) if expected > 0 else 0
        status: JsonObject = {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "disruptionsAllowed": allowed,
            "observedGeneration": meta.generation(budget),
        }
        if disrupted:
            status["disruptedPods"] = disrupted
        status["conditions"] = meta.status(budget).get("conditions") or []
        reason = "SufficientPods" if allowed else "InsufficientPods"
        await self._write(budget, status, conditions.make("DisruptionAllowed", allowed > 0, rfc3339(now), reason))
        return again_s

    def _selected(self, budget: JsonObject) -> list[JsonObject]:
        return selected(self._pods, meta.namespace(budget), _selector(budget))

    async def _find_scales(self, budget: JsonObject, pods: Sequence[JsonObject]) -> tuple[dict[str, int], list[str]]:
        """(wanted replicas by the uid of the controllers above the pods; names of pods that nothing
        controls, which do not count). Raises ScaleError."""
        space = meta.namespace(budget)
        scales: dict[str, int] = {}
        unmanaged: list[str] = []
        seen: dict[str, None] = {}
        for pod in pods:
            owner = meta.controller_of(pod)
            if owner is None:
                unmanaged.append(meta.name(pod))
            elif not needs_scale(meta.spec(budget)):
                continue
            elif owner["uid"] not in seen:
                seen[owner["uid"]] = None
                uid, scale = await self._scale_above(owner, space)
                if scale is None:
                    raise ScaleError(f'found no controllers for pod "{meta.name(pod)}"')
                scales[uid] = scale
        return scales, unmanaged

    async def _scale_above(self, owner: JsonObject, space: str) -> tuple[str, int | None]:
        """(uid, wanted replicas) of what decides how many pods there are. Raises ScaleError."""
        group = str(owner.get("apiVersion", "")).rpartition("/")[0]
        informer = self._owners.get((group, str(owner.get("kind"))))
        if informer is None:
            return str(owner["uid"]), await self._scales.wanted(owner, space)
        found = informer.get(f"{space}/{owner['name']}")
        if found is None or meta.uid(found) != owner["uid"]:
            return str(owner["uid"]), None
        above = meta.controller_of(found) if informer is self._sets else None
        if above is None:
            return meta.uid(found), math.wanted(found)
        # Above a ReplicaSet: a Deployment, or somebody else's rollout that has a scale.
        return await self._scale_above(above, space)

    async def _write(self, budget: JsonObject, status: JsonObject, condition: JsonObject) -> None:
        made = {**condition, "observedGeneration": meta.generation(budget)}
        status["conditions"] = conditions.with_condition(status.get("conditions") or (), made)
        if not same(status, meta.status(budget)):
            await self.writer(DISRUPTION_BUDGETS).update_status({**budget, "status": status})


def _selector(budget: JsonObject) -> selectors.Selector:
    """In policy/v1 an empty selector selects every pod of the namespace; none selects none."""
    try:
        return selectors.from_object(meta.spec(budget).get("selector"))
    except selectors.SelectorError:
        return selectors.NOTHING


def stale_in(pod: JsonObject, now: float) -> float | None:
    """Seconds until the pod's disruption will not have happened; None: there is none to wait for.

    A node's own takes as long as it takes.
    """
    condition = conditions.get(pod, DISRUPTION_TARGET)
    if condition is None or condition.get("status") != "True" or condition.get("reason") == BY_KUBELET:
        return None
    if meta.is_deleting(pod) or podlib.is_terminal(pod) or not condition.get("lastTransitionTime"):
        return None
    return max(0.0, parse_rfc3339(condition["lastTransitionTime"]) + STALE_S - now)


def needs_scale(spec: JsonObject) -> bool:
    """Whether the wanted number of pods must be known: a number that must be there needs no share of anything."""
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def requirement(spec: JsonObject, pods: Sequence[JsonObject], scales: Mapping[str, int]) -> tuple[int, int]:
    """(pods that there should be, pods that must be healthy)."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if not needs_scale(spec):
        return len(pods), 1 if least is None else int(least)
    expected = sum(scales.values())
    if most is not None:
        return expected, max(0, expected - intstr.scaled(most, expected, round_up=True))
    return expected, intstr.scaled(least, expected, round_up=True)


def still_disrupted(
    noted: Mapping[str, str], pods: Sequence[JsonObject], now: float
) -> tuple[dict[str, str], float | None]:
    """(evicted pods whose deletion was not seen yet, seconds until one of them counts again)."""
    result: dict[str, str] = {}
    again: list[float] = []
    for pod in pods:
        since = noted.get(meta.name(pod))
        if since is None or meta.is_deleting(pod):
            continue
        left_s = parse_rfc3339(since) + DELETION_TIMEOUT_S - now
        if left_s > 0:
            result[meta.name(pod)] = since
            again.append(left_s)
    return result, min(again) if again else None
