"""The state in a ConfigMap, as upstream writes it since 1.30: YAML under `status`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from argosy.host import rfc3339
from argosy.objects import conditions
from argosy.objects.types import JsonObject
from control_plane.autoscaler.nodes.backoff import Pause
from control_plane.autoscaler.nodes.state import GroupState

NAMESPACE: Final = "kube-system"
LAST_UPDATED: Final = "cluster-autoscaler.kubernetes.io/last-updated"


@dataclass
class Report:
    """What one look came to."""

    healthy: bool = True
    problem: str = ""
    """Why nothing is done."""
    scale_up: str = "NoActivity"
    states: Mapping[str, GroupState] = field(default_factory=dict)
    pauses: Mapping[str, Pause] = field(default_factory=dict)
    candidates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Nodes that are not needed, by group."""
    nodes: Sequence[JsonObject] = ()


class StatusText:
    """Remembers when each part last changed."""

    def __init__(self) -> None:
        self._changed: dict[str, tuple[str, float]] = {}

    def config_map(self, name: str, report: Report, now_s: float) -> JsonObject:
        import yaml

        text = yaml.safe_dump(self.document(report, now_s), sort_keys=False, default_flow_style=False)
        stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f000 +0000 UTC")
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE, "annotations": {LAST_UPDATED: stamp}},
            "data": {"status": text},
        }

    def document(self, report: Report, now_s: float) -> dict[str, Any]:
        candidates = sum(len(names) for names in report.candidates.values())
        registered = [node for state in report.states.values() for node in state.registered]
        unregistered = sum(len(state.unregistered) for state in report.states.values())
        overdue = sum(len(state.overdue) for state in report.states.values())
        whole = {
            "health": self._part(
                "health",
                "Healthy" if report.healthy else "Unhealthy",
                now_s,
                nodeCounts=_counts(report.nodes or registered, 0, 0, unregistered, overdue),
                **({"reason": report.problem} if report.problem else {}),
            ),
            "scaleUp": self._part("scaleUp", report.scale_up, now_s),
            "scaleDown": self._part("scaleDown", _down(candidates), now_s, candidates=candidates),
        }
        for part in whole.values():
            if part.get("candidates") == 0:
                del part["candidates"]
        return {
            "time": datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f000 +0000 UTC"),
            "autoscalerStatus": "Running" if report.states else "Initializing",
            "clusterWide": whole,
            "nodeGroups": [self._group(name, state, report, now_s) for name, state in report.states.items()],
        }

    def _group(self, name: str, state: GroupState, report: Report, now_s: float) -> dict[str, Any]:
        group, names = state.group, list(report.candidates.get(name, ()))
        pause = report.pauses.get(name)
        up = "Backoff" if pause else "InProgress" if state.upcoming else "NoActivity"
        health: dict[str, Any] = {
            "nodeCounts": _counts(
                state.registered,
                len(state.starting),
                len(state.going),
                len(state.unregistered),
                len(state.overdue),
            ),
            "cloudProviderTarget": group.target_size,
            "minSize": group.min_size,
            "maxSize": group.max_size,
        }
        if state.problem:
            health["reason"] = state.problem
        info = {"backoffInfo": {"errorCode": pause.code, "errorMessage": pause.message}} if pause else {}
        down = {"candidates": len(names)} if names else {}
        word = "Unhealthy" if state.problem else "Healthy"
        return {
            "name": name,
            "health": self._part(f"{name}/health", word, now_s, **health),
            "scaleUp": self._part(f"{name}/scaleUp", up, now_s, **info),
            "scaleDown": self._part(f"{name}/scaleDown", _down(len(names)), now_s, **down),
        }

    def _part(self, key: str, word: str, now_s: float, **more: object) -> dict[str, Any]:
        before, since_s = self._changed.get(key, ("", now_s))
        if before != word:
            since_s = now_s
            self._changed[key] = (word, now_s)
        return {"status": word, **more, "lastProbeTime": rfc3339(now_s), "lastTransitionTime": rfc3339(since_s)}


def _down(candidates: int) -> str:
    return "CandidatesPresent" if candidates else "NoCandidates"


def _counts(
    nodes: Iterable[JsonObject], starting: int, going: int, unregistered: int, overdue: int
) -> dict[str, Any]:
    listed = list(nodes)
    ready = sum(conditions.is_true(node, "Ready") for node in listed)
    registered: dict[str, Any] = {"total": len(listed), "ready": ready, "notStarted": starting}
    if going:
        registered["beingDeleted"] = going
    registered["unready"] = {"total": max(0, len(listed) - ready - starting), "resourceUnready": 0}
    return {"registered": registered, "longUnregistered": overdue, "unregistered": unregistered}
