"""How many pods a metric asks for. Pure: pods, samples and a target in, a number out.

Source: pkg/controller/podautoscaler/replica_calculator.go. Usage is in thousandths (`Quantity.milli`) everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy.host import parse_rfc3339
from argosy.objects import conditions, meta, quantity
from argosy.objects.types import JsonObject

MISSING_USES_PERCENT: Final = 100
"""What a pod without metrics is thought to use when the others ask for fewer pods: all of its request."""


class CalculationError(Exception):
    """No number can be told; the message goes into the condition."""


@dataclass(frozen=True)
class Sample:
    """One pod's usage."""

    milli: int
    at_s: float = 0.0
    """When it was measured, Unix seconds."""
    window_s: float = 0.0
    """Over how long."""


@dataclass(frozen=True)
class Tolerances:
    """By how much the ratio of usage to target may be off before anything is done."""

    up: float = 0.1
    down: float = 0.1

    def cover(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True)
class Readiness:
    """How long young pods are not believed."""

    cpu_initialization_s: float = 300.0
    initial_delay_s: float = 30.0


@dataclass(frozen=True)
class Proposal:
    """What a metric says."""

    replicas: int
    milli: int
    """Present usage: per pod where `per_pod`, else in all."""
    percent: int | None = None
    """Of what the pods request."""
    at_s: float = 0.0


@dataclass
class Groups:
    ready: int = 0
    unready: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def group(
    pods: Sequence[JsonObject], samples: Mapping[str, Sample], resource: str, readiness: Readiness, now_s: float
) -> Groups:
    """Which pods count, by name: ready ones, those that are too young, and those without a sample."""
    result = Groups()
    for pod in pods:
        name = meta.name(pod)
        phase = meta.status(pod).get("phase")
        if meta.is_deleting(pod) or phase == "Failed":
            result.ignored.append(name)
        elif phase == "Pending":
            result.unready.append(name)
        elif name not in samples:
            result.missing.append(name)
        elif resource == "cpu" and _is_too_young(pod, samples[name], readiness, now_s):
            result.unready.append(name)
        else:
            result.ready += 1
    return result


def _is_too_young(pod: JsonObject, sample: Sample, readiness: Readiness, now_s: float) -> bool:
    condition, started = conditions.get(pod, "Ready"), meta.status(pod).get("startTime")
    if condition is None or not started:
        return True
    started_s = parse_rfc3339(started)
    changed_s = parse_rfc3339(condition.get("lastTransitionTime") or started)
    is_unready = condition.get("status") == "False"
    if started_s + readiness.cpu_initialization_s > now_s:
        return is_unready or sample.at_s < changed_s + sample.window_s
    return is_unready and started_s + readiness.initial_delay_s > changed_s


def by_utilization(
    current: int,
    percent: int,
    resource: str,
    container: str,
    pods: Sequence[JsonObject],
    samples: Mapping[str, Sample],
    tolerances: Tolerances,
    readiness: Readiness,
    now_s: float,
) -> Proposal:
    """For a target that is a share of what the pods request. Raises CalculationError."""
    groups, counted = _counted(pods, samples, resource, readiness, now_s)
    requests = {meta.name(pod): _request(pod, resource, container) for pod in pods}
    usage = sum(sample.milli for sample in counted.values())
    requested = sum(requests[name] for name in counted)
    if requested == 0:
        raise CalculationError("no metrics returned matched known pods")
    used_percent = usage * 100 // requested
    filled = {name: requests[name] * max(MISSING_USES_PERCENT, percent) // 100 for name in groups.missing}
    replicas = _decide(
        current,
        groups,
        {name: sample.milli for name, sample in counted.items()},
        filled,
        tolerances,
        lambda milli: sum(milli.values()) * 100 // max(1, sum(requests[name] for name in milli)) / percent,
    )
    return Proposal(replicas, usage // len(counted), used_percent, _when(counted))


def by_average(
    current: int,
    target_milli: int,
    resource: str,
    pods: Sequence[JsonObject],
    samples: Mapping[str, Sample],
    tolerances: Tolerances,
    readiness: Readiness,
    now_s: float,
) -> Proposal:
    """For a target per pod, in thousandths; `resource` is empty for other metrics. Raises CalculationError."""
    groups, counted = _counted(pods, samples, resource, readiness, now_s)
    filled = dict.fromkeys(groups.missing, target_milli)
    usage = {name: sample.milli for name, sample in counted.items()}
    replicas = _decide(
        current, groups, usage, filled, tolerances, lambda milli: sum(milli.values()) // len(milli) / target_milli
    )
    return Proposal(replicas, sum(usage.values()) // len(usage), None, _when(counted))


def by_value(
    current: int, target_milli: int, usage_milli: int, pods: Sequence[JsonObject], tolerances: Tolerances
) -> Proposal:
    """For one value of an object or of the outside world, against a target for all pods together."""
    ratio = usage_milli / target_milli
    if current == 0:
        return Proposal(math.ceil(ratio), usage_milli)
    if tolerances.cover(ratio):
        return Proposal(current, usage_milli)
    ready = sum(1 for pod in pods if meta.status(pod).get("phase") == "Running" and conditions.is_true(pod, "Ready"))
    return Proposal(math.ceil(ratio * ready), usage_milli)


def by_value_per_pod(current: int, target_milli: int, usage_milli: int, tolerances: Tolerances) -> Proposal:
    """For one value, shared out among the pods. `milli` of the answer is per pod."""
    replicas = current
    if current == 0 or not tolerances.cover(usage_milli / (target_milli * current)):
        replicas = math.ceil(usage_milli / target_milli)
    return Proposal(replicas, math.ceil(usage_milli / current) if current else 0)


def _counted(
    pods: Sequence[JsonObject], samples: Mapping[str, Sample], resource: str, readiness: Readiness, now_s: float
) -> tuple[Groups, dict[str, Sample]]:
    if not pods:
        raise CalculationError("no pods returned by selector while calculating replica count")
    groups = group(pods, samples, resource, readiness, now_s)
    left_out = {*groups.ignored, *groups.unready}
    known = {meta.name(pod) for pod in pods}
    counted = {name: sample for name, sample in samples.items() if name in known and name not in left_out}
    if not counted:
        raise CalculationError("did not receive metrics for targeted pods (pods might be unready)")
    return groups, counted


def _decide(
    current: int,
    groups: Groups,
    usage: dict[str, int],
    filled: Mapping[str, int],
    tolerances: Tolerances,
    ratio_of: Callable[[Mapping[str, int]], float],
) -> int:
    """The number of pods, kept where it is as long as pods without samples could turn the decision round.

    `filled` is what those without samples are thought to use when the others ask for fewer pods; when the others ask
    for more, they and the unready ones are thought to use nothing.
    """
    ratio = ratio_of(usage)
    fill_unready = bool(groups.unready) and ratio > 1.0
    if not fill_unready and not groups.missing:
        return current if tolerances.cover(ratio) else math.ceil(ratio * groups.ready)
    if groups.missing:
        usage = {**usage, **(filled if ratio < 1.0 else dict.fromkeys(groups.missing, 0) if ratio > 1.0 else {})}
    if fill_unready:
        usage = {**usage, **dict.fromkeys(groups.unready, 0)}
    with_all = ratio_of(usage)
    if tolerances.cover(with_all) or (ratio < 1.0 < with_all) or (with_all < 1.0 < ratio):
        return current
    replicas = math.ceil(with_all * len(usage))
    if (with_all < 1.0 and replicas > current) or (with_all > 1.0 and replicas < current):
        return current
    return replicas


def _when(samples: Mapping[str, Sample]) -> float:
    return max((sample.at_s for sample in samples.values()), default=0.0)


def _request(pod: JsonObject, resource: str, container: str) -> int:
    """What a pod's containers, or one of them, request, in thousandths. Raises CalculationError."""
    total = 0
    spec = meta.spec(pod)
    sidecars = [item for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"]
    found = False
    for item in (*spec.get("containers", ()), *sidecars):
        if container and item.get("name") != container:
            continue
        found = True
        asked = ((item.get("resources") or {}).get("requests") or {}).get(resource)
        if asked is None:
            raise CalculationError(
                f"missing request for {resource} in container {item.get('name')} of Pod {meta.name(pod)}"
            )
        total += quantity.milli(asked)
    if container and not found:
        raise CalculationError(f"container {container} not present in Pod {meta.name(pod)}")
    return total
