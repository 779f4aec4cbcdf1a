"""What the recommender knows: how the containers of each autoscaler's pods use resources; checkpoints of it. Pure.

An aggregate belongs to one autoscaler and one container name; what was counted of each pod's container is kept while
the pod is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import meta, quantity
from argosy.objects.types import JsonObject
from control_plane.autoscaler.vertical.histogram import DecayingHistogram
from control_plane.autoscaler.vertical.usage import Aggregate, Container

CHECKPOINT_VERSION: Final = "v3"

AggregateKey = tuple[str, str]
"""(NAMESPACE/NAME of the autoscaler, container name)"""


@dataclass
class Model:
    aggregates: dict[AggregateKey, Aggregate] = field(default_factory=dict)
    _containers: dict[tuple[str, str], Container] = field(default_factory=dict)
    """By (pod uid, container name)."""
    _ended: dict[tuple[str, str], str] = field(default_factory=dict)
    """When each container's last known end was, so that it counts once."""

    def aggregate(self, autoscaler: str, container: str) -> Aggregate:
        return self.aggregates.setdefault((autoscaler, container), Aggregate())

    def containers_of(self, autoscaler: str) -> list[str]:
        """Names of the containers with samples."""
        return sorted(
            name for (key, name), found in self.aggregates.items() if key == autoscaler and not found.is_empty
        )

    def forget_autoscalers(self, kept: set[str]) -> None:
        self.aggregates = {key: found for key, found in self.aggregates.items() if key[0] in kept}

    def forget_pods(self, uids: set[str]) -> None:
        self._containers = {key: found for key, found in self._containers.items() if key[0] in uids}
        self._ended = {key: found for key, found in self._ended.items() if key[0] in uids}

    def observe(self, autoscaler: str, pod: JsonObject, measured: JsonObject) -> None:
        """Count a PodMetrics. Values that make no sense are left out."""
        try:
            at_s = parse_rfc3339(str(measured.get("timestamp")))
        except ValueError:
            return
        requested = {item["name"]: _request(item, "cpu") for item in meta.spec(pod).get("containers") or ()}
        for item in measured.get("containers") or ():
            name, usage = str(item.get("name")), item.get("usage") or {}
            if name not in requested:
                continue
            state = self._containers.setdefault((meta.uid(pod), name), Container())
            to = self.aggregate(autoscaler, name)
            try:
                cpu, memory = quantity.milli(usage["cpu"]) / 1000, float(quantity.value(usage["memory"]))
            except (KeyError, TypeError, quantity.QuantityError):
                continue
            if state.add_cpu(to, cpu, requested[name], at_s):
                state.add_memory(to, memory, at_s)

    def observe_ends(self, autoscaler: str, pod: JsonObject) -> None:
        """Count containers that were killed for want of memory, each end once."""
        requested = {item["name"]: _request(item, "memory") for item in meta.spec(pod).get("containers") or ()}
        for status in meta.status(pod).get("containerStatuses") or ():
            for place in (status.get("state"), status.get("lastState")):
                ended = (place or {}).get("terminated") or {}
                at, key = ended.get("finishedAt"), (meta.uid(pod), str(status.get("name")))
                if ended.get("reason") != "OOMKilled" or not at or self._ended.get(key) == at:
                    continue
                self._ended[key] = at
                state = self._containers.setdefault(key, Container())
                to = self.aggregate(autoscaler, key[1])
                state.ran_out(to, requested.get(key[1], 0.0), parse_rfc3339(at))


def _request(container: JsonObject, resource: str) -> float:
    """Cores or bytes; the limit where there is no request, 0 where there is neither."""
    resources = container.get("resources") or {}
    text = (resources.get("requests") or {}).get(resource, (resources.get("limits") or {}).get(resource))
    if text is None:
        return 0.0
    return quantity.milli(text) / 1000 if resource == "cpu" else float(quantity.value(text))


def checkpoint_name(autoscaler: str, container: str) -> str:
    """`autoscaler` is its name alone."""
    return f"{autoscaler}-{container}"


def checkpoint_status(aggregate: Aggregate, now_s: float) -> JsonObject:
    return {
        "version": CHECKPOINT_VERSION,
        "lastUpdateTime": rfc3339(now_s),
        "firstSampleStart": rfc3339(aggregate.first_s),
        "lastSampleStart": rfc3339(aggregate.last_s),
        "totalSamplesCount": aggregate.samples,
        "cpuHistogram": _saved(aggregate.cpu),
        "memoryHistogram": _saved(aggregate.memory),
    }


def restore(aggregate: Aggregate, status: JsonObject) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError for what is no checkpoint; give it a new aggregate."""
    _load(aggregate.cpu, status["cpuHistogram"])
    _load(aggregate.memory, status["memoryHistogram"])
    aggregate.first_s = parse_rfc3339(status["firstSampleStart"])
    aggregate.last_s = parse_rfc3339(status["lastSampleStart"])
    aggregate.samples = int(status["totalSamplesCount"])


def _saved(histogram: DecayingHistogram) -> JsonObject:
    weights, total, reference_s = histogram.checkpoint()
    saved: JsonObject = {"bucketWeights": {str(bucket): weight for bucket, weight in weights.items()}}
    return {**saved, "totalWeight": total, "referenceTimestamp": rfc3339(reference_s)}


def _load(histogram: DecayingHistogram, saved: JsonObject) -> None:
    weights = {int(bucket): int(weight) for bucket, weight in (saved.get("bucketWeights") or {}).items()}
    histogram.restore(weights, float(saved.get("totalWeight") or 0.0), parse_rfc3339(saved["referenceTimestamp"]))


def matching(pods: Iterable[JsonObject]) -> list[JsonObject]:
    """Those that run or will."""
    return [
        pod
        for pod in pods
        if not meta.is_deleting(pod) and meta.status(pod).get("phase") not in ("Succeeded", "Failed")
    ]
