"""Topology spread constraints: how evenly a group of pods is to lie over zones, nodes or other domains.

Rules: KEP-895 and the PodTopologySpread plugin.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.objects import meta, selectors
from argosy.objects.selectors import Selector
from argosy.objects.types import JsonObject
from argosy.scheduling.pod_affinity import PodGroup, with_label_keys

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
HARD = "DoNotSchedule"


@dataclass(frozen=True)
class Constraint:
    group: PodGroup
    topology_key: str
    max_skew: int
    hard: bool
    min_domains: int = 1
    honour_affinity: bool = True
    """Only nodes that the pod's own node affinity allows are counted."""
    honour_taints: bool = False
    """Only nodes whose taints the pod tolerates are counted."""
    default: bool = False
    """Not written in the pod: of the cluster's defaults."""


def _group(pod: JsonObject, selector: Selector) -> PodGroup:
    return PodGroup(selector, frozenset({meta.namespace(pod)}), selectors.NOTHING)


def constraints(pod: JsonObject) -> tuple[Constraint, ...]:
    """What the pod asks for. Raises SelectorError."""
    result = []
    for item in (pod.get("spec") or {}).get("topologySpreadConstraints") or ():
        selector = with_label_keys(
            selectors.from_object(item.get("labelSelector")), pod, item.get("matchLabelKeys") or [], []
        )
        result.append(
            Constraint(
                group=_group(pod, selector),
                topology_key=str(item.get("topologyKey", "")),
                max_skew=int(item.get("maxSkew", 1)),
                hard=item.get("whenUnsatisfiable") == HARD,
                min_domains=int(item.get("minDomains") or 1),
                honour_affinity=item.get("nodeAffinityPolicy", "Honor") == "Honor",
                honour_taints=item.get("nodeTaintsPolicy", "Ignore") == "Honor",
            )
        )
    return tuple(result)


def default_constraints(pod: JsonObject, selector: Selector) -> tuple[Constraint, ...]:
    """What pods without constraints of their own get, as a wish: even over zones and nodes.

    `selector` stands for the services and the controller that the pod belongs to.
    """
    if selector.nothing or selector.everything:
        return ()
    group = _group(pod, selector)
    return (
        Constraint(group, HOSTNAME, max_skew=3, hard=False, default=True),
        Constraint(group, ZONE, max_skew=5, hard=False, default=True),
    )
