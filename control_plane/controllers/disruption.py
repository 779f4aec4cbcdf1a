"""PodDisruptionBudget: says how many pods of an application may be evicted now.

Upstream: `pkg/controller/disruption/disruption.go`. The eviction subresource spends what status.disruptionsAllowed
gives and notes the pod in status.disruptedPods until its deletion is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import conditions, intstr, meta, selectors
from argosy.objects.types import JsonObject
from control_plane.controllers import deployment_math as math
from control_plane.controllers import pods as podlib
from control_plane.controllers.base import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    LABEL_INDEX,
    PODS,
    REPLICA_SETS,
    Context,
    Controller,
    by_labels,
)
from control_plane.controllers.equality import same

UNMANAGED: Final = (
    "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the PDB cannot "
    "be calculated correctly, which may result in undefined behavior. To account for these pods please set "
    '".spec.minAvailable" field of the PDB to an integer value.'
)
DELETION_TIMEOUT_S: Final = 120.0
"""An evicted pod that is still not being deleted counts again after this."""


class ScaleError(Exception):
    """The wanted number of pods cannot be told; the message says why."""


class DisruptionController(Controller):
    name = "disruption-controller"
    watches = (DISRUPTION_BUDGETS, PODS, REPLICA_SETS, DEPLOYMENTS)
    writes = (DISRUPTION_BUDGETS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._budgets = self.informer(DISRUPTION_BUDGETS)
        self._pods = self.informer(PODS)
        self._sets = self.informer(REPLICA_SETS)
        self._deployments = self.informer(DEPLOYMENTS)
        self._pods.add_index(LABEL_INDEX, by_labels)
        self.enqueue_changes(self._budgets)
        self._pods.add_handler(added=self._pod_changed, updated=self._pod_updated, deleted=self._pod_changed)
        self._deployments.add_handler(updated=self._scaled)
        self._sets.add_handler(updated=self._scaled)

    def _pod_changed(self, pod: JsonObject) -> None:
        labels = meta.labels(pod)
        for budget in self._budgets.list(meta.namespace(pod)):
            if _selector(budget).matches(labels):
                self.enqueue(budget)

    def _pod_updated(self, old: JsonObject, new: JsonObject) -> None:
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
            scales, unmanaged = self._scales(budget, pods)
            expected, desired = requirement(meta.spec(budget), pods, scales)
        except ScaleError as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self.events.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            made = conditions.make("DisruptionAllowed", False, rfc3339(now), "SyncFailed", str(error))
            await self._write(budget, {**meta.status(budget), "disruptionsAllowed": 0}, made)
            return None
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
        selector, space = _selector(budget), meta.namespace(budget)
        exact = selector.exact
        if exact:
            key, value = exact[0]
            candidates = self._pods.by_index(LABEL_INDEX, f"{space}/{key}={value}")
        else:
            candidates = self._pods.list(space)
        return [pod for pod in candidates if selector.matches(meta.labels(pod))]

    def _scales(self, budget: JsonObject, pods: Sequence[JsonObject]) -> tuple[dict[str, int | None], list[str]]:
        """(wanted replicas by the uid of the controllers above the pods, None for one of another kind; names of pods
        that nothing controls, which do not count)."""
        space = meta.namespace(budget)
        scales: dict[str, int | None] = {}
        unmanaged: list[str] = []
        for pod in pods:
            owner = meta.controller_of(pod)
            if owner is None:
                unmanaged.append(meta.name(pod))
                continue
            found = self._sets.get(f"{space}/{owner['name']}") if owner.get("kind") == "ReplicaSet" else None
            above = meta.controller_of(found) if found is not None else None
            if found is not None and above is not None and above.get("kind") == "Deployment":
                found = self._deployments.get(f"{space}/{above['name']}") or found
            scales[str(owner["uid"]) if found is None else meta.uid(found)] = (
                None if found is None else math.wanted(found)
            )
        return scales, unmanaged

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


def needs_scale(spec: JsonObject) -> bool:
    """Whether the wanted number of pods must be known: a number that must be there needs no share of anything."""
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def requirement(spec: JsonObject, pods: Sequence[JsonObject], scales: Mapping[str, int | None]) -> tuple[int, int]:
    """(pods that there should be, pods that must be healthy). Raises ScaleError."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if not needs_scale(spec):
        return len(pods), 1 if least is None else int(least)
    for uid, scale in scales.items():
        if scale is None:
            raise ScaleError(f"the budget selects pods of a controller without a scale (uid {uid})")
    expected = sum(scale or 0 for scale in scales.values())
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
