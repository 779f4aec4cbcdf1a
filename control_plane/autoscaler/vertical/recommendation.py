"""From what was used to what should be requested: target and bounds, within the resource policy. Pure.

Source: VPA `pkg/recommender/logic`, `pkg/utils/vpa/capping.go`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from argosy.objects import quantity
from argosy.objects.types import JsonObject
from control_plane.autoscaler.vertical.usage import Aggregate

CPU: Final = "cpu"
MEMORY: Final = "memory"
RESOURCES: Final = (CPU, MEMORY)
ALL_CONTAINERS: Final = "*"


@dataclass(frozen=True)
class Settings:
    """Upstream's flags and defaults."""

    target_percentile: float = 0.9
    lower_percentile: float = 0.5
    upper_percentile: float = 0.95
    safety_margin: float = 0.15
    pod_min_cpu_milli: float = 25.0
    pod_min_memory_mb: float = 250.0


@dataclass(frozen=True)
class Amounts:
    cpu_milli: int
    memory_bytes: int

    def quantities(self) -> JsonObject:
        return {CPU: quantity.of_milli(self.cpu_milli), MEMORY: str(self.memory_bytes)}

    def of(self, resource: str) -> int:
        """Thousandths of a core, or bytes."""
        return self.cpu_milli if resource == CPU else self.memory_bytes


@dataclass(frozen=True)
class Recommendation:
    lower: Amounts
    target: Amounts
    upper: Amounts


def recommend(aggregate: Aggregate, containers: int, settings: Settings = Settings()) -> Recommendation:
    """For one container of a pod of `containers`; `aggregate` is not empty."""
    confidence = max(aggregate.confidence, 1e-9)
    share = 1.0 / max(1, containers)
    least = (settings.pod_min_cpu_milli * share, settings.pod_min_memory_mb * 1e6 * share)

    def amounts(percentile: float, multiplier: float) -> Amounts:
        factor = (1 + settings.safety_margin) * multiplier
        cpu = aggregate.cpu.percentile(percentile) * 1000 * factor
        memory = aggregate.memory.percentile(percentile) * factor
        return Amounts(math.ceil(max(cpu, least[0])), math.ceil(max(memory, least[1])))

    # With little to go by the bounds are wide: a twentieth of the truth after a minute, close to it after a week.
    return Recommendation(
        amounts(settings.lower_percentile, (1 + 0.001 / confidence) ** -2.0),
        amounts(settings.target_percentile, 1.0),
        amounts(settings.upper_percentile, 1 + 1 / confidence),
    )


def policy_of(autoscaler_spec: JsonObject, container: str) -> JsonObject:
    """The resource policy that holds for a container: its own, or that for all."""
    policies = (autoscaler_spec.get("resourcePolicy") or {}).get("containerPolicies") or []
    for name in (container, ALL_CONTAINERS):
        for policy in policies:
            if policy.get("containerName") == name:
                return dict(policy)
    return {}


def controlled(policy: JsonObject) -> tuple[str, ...]:
    """Which resources are set."""
    listed = policy.get("controlledResources")
    return RESOURCES if listed is None else tuple(name for name in RESOURCES if name in listed)


def capped(amounts: Amounts, policy: JsonObject) -> JsonObject:
    """Quantities within minAllowed and maxAllowed; only those resources that are controlled."""
    return {name: text for name, text in _bounded(amounts, policy).items() if name in controlled(policy)}


def _bounded(amounts: Amounts, policy: JsonObject) -> JsonObject:
    return {name: _within(name, amounts.of(name), policy) for name in RESOURCES}


def _within(name: str, amount: int, policy: JsonObject) -> str:
    read = quantity.milli if name == CPU else quantity.value
    least, most = (policy.get("minAllowed") or {}).get(name), (policy.get("maxAllowed") or {}).get(name)
    if least is not None:
        amount = max(amount, read(least))
    if most is not None:
        amount = min(amount, read(most))
    return quantity.of_milli(amount) if name == CPU else str(amount)


def container_recommendation(name: str, found: Recommendation, spec: JsonObject) -> JsonObject | None:
    """The entry of status.recommendation.containerRecommendations; None where the policy switches it off."""
    policy = policy_of(spec, name)
    if policy.get("mode") == "Off":
        return None
    uncapped = {key: text for key, text in found.target.quantities().items() if key in controlled(policy)}
    return {
        "containerName": name,
        "lowerBound": capped(found.lower, policy),
        "target": capped(found.target, policy),
        "uncappedTarget": uncapped,
        "upperBound": capped(found.upper, policy),
    }


def scaled_limits(resources: JsonObject, new_requests: Mapping[str, str]) -> JsonObject:
    """Limits that keep their proportion to the requests (controlledValues RequestsAndLimits)."""
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    result: JsonObject = {}
    for name, text in new_requests.items():
        limit = limits.get(name)
        if limit is None:
            continue
        request = requests.get(name, limit)
        read = quantity.milli if name == CPU else quantity.value
        before = read(request)
        if before <= 0:
            continue
        amount = math.ceil(read(limit) * read(text) / before)
        result[name] = quantity.of_milli(amount) if name == CPU else str(amount)
    return result


def within_limits(resources: JsonObject, new_requests: Mapping[str, str]) -> JsonObject:
    """Requests that stay below limits which are left as they are (controlledValues RequestsOnly)."""
    limits = resources.get("limits") or {}
    return {
        name: text if name not in limits or quantity.compare(text, limits[name]) <= 0 else str(limits[name])
        for name, text in new_requests.items()
    }
