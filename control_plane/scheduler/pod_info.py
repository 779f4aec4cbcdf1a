"""A pod as the scheduler reads it: everything that plugins ask for, worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from argosy.objects import meta
from argosy.objects.selectors import SelectorError
from argosy.objects.types import JsonObject
from argosy.scheduling import pod_affinity, resources, spread
from argosy.scheduling.pod_affinity import NO_TERMS, Terms
from argosy.scheduling.ports import HostPort, host_ports
from argosy.scheduling.spread import Constraint


@dataclass(frozen=True)
class PodInfo:
    pod: JsonObject
    key: str
    uid: str

    @staticmethod
    def of(pod: JsonObject) -> PodInfo:
        return PodInfo(pod, meta.key(pod), meta.uid(pod))

    @property
    def namespace(self) -> str:
        return meta.namespace(self.pod)

    @cached_property
    def spec(self) -> JsonObject:
        return meta.spec(self.pod)

    @property
    def node_name(self) -> str:
        return str(self.spec.get("nodeName") or "")

    @property
    def priority(self) -> int:
        return int(self.spec.get("priority") or 0)

    @property
    def deleting(self) -> bool:
        return meta.is_deleting(self.pod)

    @property
    def tolerations(self) -> list[JsonObject]:
        return self.spec.get("tolerations") or []

    @cached_property
    def requests(self) -> resources.Amounts:
        return resources.pod_requests(self.pod)

    @cached_property
    def score_requests(self) -> tuple[int, int]:
        """(cpu thousandths, memory bytes) for comparing nodes."""
        return resources.pod_requests_for_scores(self.pod)

    @cached_property
    def host_ports(self) -> tuple[HostPort, ...]:
        return host_ports(self.pod)

    @cached_property
    def terms(self) -> Terms:
        try:
            return pod_affinity.terms(self.pod)
        except SelectorError:
            return NO_TERMS

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        try:
            return spread.constraints(self.pod)
        except SelectorError:
            return ()

    @cached_property
    def images(self) -> tuple[str, ...]:
        containers = [*(self.spec.get("initContainers") or ()), *(self.spec.get("containers") or ())]
        return tuple(str(item.get("image", "")) for item in containers)
