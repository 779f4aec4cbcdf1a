"""The scheduler's rules, in the order in which nodes are ruled out. A new one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from argosy.objects.selectors import NOTHING, Selector
from argosy.objects.types import JsonObject
from control_plane.scheduler.plugins.base import Filter, Score
from control_plane.scheduler.plugins.image_locality import ImageLocality
from control_plane.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from control_plane.scheduler.plugins.node_affinity import NodeAffinity
from control_plane.scheduler.plugins.node_name import NodeName
from control_plane.scheduler.plugins.node_ports import NodePorts
from control_plane.scheduler.plugins.node_resources_balanced import NodeResourcesBalancedAllocation
from control_plane.scheduler.plugins.node_resources_fit import NodeResourcesFit
from control_plane.scheduler.plugins.node_unschedulable import NodeUnschedulable
from control_plane.scheduler.plugins.pod_topology_spread import PodTopologySpread
from control_plane.scheduler.plugins.taint_toleration import TaintToleration
from control_plane.scheduler.plugins.volume_binding import VolumeBinding, VolumeRestrictions, VolumeZone
from control_plane.scheduler.volume_claims import VolumeClaims


@dataclass(frozen=True)
class Profile:
    """Which rules apply; the weights are upstream's defaults."""

    filters: tuple[Filter, ...]
    scores: tuple[Score, ...]


def default_profile(
    default_selector: Callable[[JsonObject], Selector] = lambda _pod: NOTHING, claims: VolumeClaims | None = None
) -> Profile:
    """`default_selector`: the pods that a pod without constraints of its own is spread from. `claims`: of pods."""
    taints, affinity, fit = TaintToleration(), NodeAffinity(), NodeResourcesFit()
    spread, company = PodTopologySpread(default_selector), InterPodAffinity()
    return Profile(
        filters=(
            *(NodeUnschedulable(), NodeName(), taints, affinity, NodePorts(), fit),
            *((VolumeRestrictions(claims), VolumeBinding(claims), VolumeZone(claims)) if claims is not None else ()),
            *(spread, company),
        ),
        scores=(taints, affinity, spread, company, fit, NodeResourcesBalancedAllocation(), ImageLocality()),
    )
