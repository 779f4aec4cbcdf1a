"""The cluster as the scheduler sees it: nodes as rows of numpy columns, changed in place as events arrive.

A placement is one vector operation per rule over all nodes, and costs nothing per pod that is already there. Whoever
places a pod adds it at once (`put_pod`), so that the next one sees it; the informer's later word replaces it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.scheduling import resources
from argosy.scheduling.pod_affinity import PodGroup, Term
from argosy.scheduling.taints import HARD, PREFER_NO_SCHEDULE
from control_plane.scheduler.columns import Columns, Ints, Mask
from control_plane.scheduler.groups import GroupCounts, GroupIndex
from control_plane.scheduler.label_columns import LabelColumns
from control_plane.scheduler.pod_info import PodInfo

Taint = tuple[str, str, str]
"""(key, value, effect)"""
NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True)
class HeldTerm:
    """A wish of pods that run already: it concerns pods that come near them."""

    term: Term
    sort: str
    """required_anti, required, preferred or preferred_anti."""


def _held_terms(info: PodInfo) -> list[HeldTerm]:
    terms = info.terms
    if terms.empty:
        return []
    return [
        HeldTerm(term, sort)
        for sort, group in (
            ("required_anti", terms.required_anti),
            ("required", terms.required),
            ("preferred", terms.preferred),
            ("preferred_anti", terms.preferred_anti),
        )
        for term in group
    ]


class Snapshot:
    """Rows are numbers; `names[row]` is the node there, empty for a free row."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.names: list[str] = []
        self.rows: dict[str, int] = {}
        self.nodes: dict[str, JsonObject] = {}
        self.namespace_labels: dict[str, Mapping[str, str]] = {}
        self.labels = LabelColumns(self.columns, self._all_labels)
        self.ports: dict[tuple[str, int], dict[int, dict[str, str]]] = {}
        """(protocol, port) to row to pod uid to address."""
        self.images: dict[str, dict[int, int]] = {}
        """Image name to row to bytes."""
        self.held_terms: GroupIndex[HeldTerm] = GroupIndex(self.namespace_labels)
        self.taints: dict[Taint, int] = {}
        """Taints that some node has, and how many do."""
        self._groups = GroupCounts(self.columns, self.namespace_labels)
        self._held: dict[HeldTerm, int] = {}
        self._resources: dict[str, None] = {}
        self._free: list[int] = []
        self._pods: dict[str, tuple[PodInfo, str]] = {}
        self._by_node: dict[str, dict[str, PodInfo]] = {}
        self._row_images: dict[int, tuple[str, ...]] = {}
        self._row_taints: dict[int, tuple[Taint, ...]] = {}

    # What plugins read

    @property
    def alive(self) -> Mask:
        """Rows that are nodes."""
        return self.columns.mask("alive")

    @property
    def unschedulable(self) -> Mask:
        return self.columns.mask("unschedulable")

    def allocatable(self, resource: str) -> Ints:
        return self.columns.ints(("allocatable", resource))

    def used(self, resource: str) -> Ints:
        return self.columns.ints(("used", resource))

    def used_for_scores(self, resource: str) -> Ints:
        return self.columns.ints(("score", resource))

    @property
    def pod_counts(self) -> Ints:
        return self.columns.ints("pods")

    def tainted(self, taint: Taint) -> Mask:
        return self.columns.mask(("taint", taint))

    def hard_taints(self) -> list[Taint]:
        return [taint for taint in self.taints if taint[2] in HARD]

    def soft_taints(self) -> list[Taint]:
        return [taint for taint in self.taints if taint[2] == PREFER_NO_SCHEDULE]

    def group_counts(self, *groups: PodGroup, with_deleting: bool) -> Ints:
        """Per row how many pods are in all of `groups`."""
        return self._groups.counts(groups, self._placed(), with_deleting=with_deleting)

    def held_counts(self, held: HeldTerm) -> Ints:
        """Per row how many pods hold that term."""
        return self.columns.ints(("held", held))

    def node(self, row: int) -> JsonObject:
        return self.nodes[self.names[row]]

    def pods_on(self, name: str) -> list[PodInfo]:
        return list(self._by_node.get(name, {}).values())

    def placement(self, uid: str) -> str:
        """The node that a pod was put on; empty when none."""
        found = self._pods.get(uid)
        return found[1] if found else ""

    def __len__(self) -> int:
        return len(self.rows)

    # What changes it

    def put_node(self, node: JsonObject) -> None:
        """A node is new or changed."""
        name = meta.name(node)
        row = self.rows.get(name)
        new = row is None
        if row is None:
            row = self._take_row(name)
        self.nodes[name] = node
        self.alive[row] = True
        self.unschedulable[row] = bool(meta.spec(node).get("unschedulable"))
        amounts = resources.allocatable(node)
        for resource in self._known_resources(amounts):
            self.allocatable(resource)[row] = amounts.get(resource, 0)
        self.labels.set_row(row, meta.labels(node))
        self._set_taints(row, node)
        self._set_images(row, node)
        if new:
            for info in self._by_node.get(name, {}).values():
                self._count(row, info, 1)

    def remove_node(self, name: str) -> None:
        """Its pods are remembered, should it come back before they go."""
        row = self.rows.pop(name, None)
        if row is None:
            return
        for info in self._by_node.get(name, {}).values():
            self._count(row, info, -1)
        self._set_taints(row, {})
        self._set_images(row, {})
        del self.nodes[name]
        self.names[row] = ""
        self.columns.clear_row(row)
        self._free.append(row)

    def put_pod(self, info: PodInfo, node_name: str) -> None:
        """A pod is, or will be, on that node; a former word about it is replaced."""
        self.remove_pod(info.uid)
        self._pods[info.uid] = (info, node_name)
        self._by_node.setdefault(node_name, {})[info.uid] = info
        row = self.rows.get(node_name)
        if row is not None:
            self._count(row, info, 1)

    def remove_pod(self, uid: str) -> bool:
        """False when it was not there."""
        found = self._pods.pop(uid, None)
        if found is None:
            return False
        info, node_name = found
        pods = self._by_node[node_name]
        del pods[uid]
        if not pods:
            del self._by_node[node_name]
        row = self.rows.get(node_name)
        if row is not None:
            self._count(row, info, -1)
        return True

    def put_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        if self.namespace_labels.get(name) != labels:
            self.namespace_labels[name] = dict(labels)
            self._groups.forget_namespace_selectors()

    def remove_namespace(self, name: str) -> None:
        if self.namespace_labels.pop(name, None) is not None:
            self._groups.forget_namespace_selectors()

    # Inside

    def _take_row(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
            self.names[row] = name
        else:
            row = len(self.names)
            self.names.append(name)
            if row >= self.columns.capacity:
                self.columns.grow()
        self.rows[name] = row
        return row

    def _known_resources(self, amounts: Mapping[str, int]) -> list[str]:
        """What this node offers, and what any node ever offered: a resource that goes away must become 0."""
        self._resources.update(dict.fromkeys(amounts))
        return list(self._resources)

    def _all_labels(self) -> Iterator[tuple[int, Mapping[str, str]]]:
        for name, row in self.rows.items():
            yield row, meta.labels(self.nodes[name])

    def _placed(self) -> Iterator[tuple[int, JsonObject]]:
        for info, name in self._pods.values():
            row = self.rows.get(name)
            if row is not None:
                yield row, info.pod

    def _count(self, row: int, info: PodInfo, by: int) -> None:
        self.pod_counts[row] += by
        for resource, amount in info.requests.items():
            self.used(resource)[row] += by * amount
        cpu, memory = info.score_requests
        self.used_for_scores(resources.CPU)[row] += by * cpu
        self.used_for_scores(resources.MEMORY)[row] += by * memory
        for port in info.host_ports:
            self._count_port(row, info.uid, port.protocol, port.port, port.address, by)
        self._groups.change(row, info.pod, by)
        for held in _held_terms(info):
            self._count_held(row, held, by)

    def _count_port(self, row: int, uid: str, protocol: str, port: int, address: str, by: int) -> None:
        rows = self.ports.setdefault((protocol, port), {})
        if by > 0:
            rows.setdefault(row, {})[f"{uid}/{address}"] = address
            return
        holders = rows.get(row, {})
        holders.pop(f"{uid}/{address}", None)
        if not holders:
            rows.pop(row, None)
        if not rows:
            del self.ports[protocol, port]

    def _count_held(self, row: int, held: HeldTerm, by: int) -> None:
        total = self._held.get(held, 0) + by
        if total == 0:
            del self._held[held]
            self.held_terms.remove(held, held.term.group)
            self.columns.drop(("held", held))
            return
        if held not in self._held:
            self.held_terms.add(held, held.term.group)
        self._held[held] = total
        self.held_counts(held)[row] += by

    def _set_taints(self, row: int, node: JsonObject) -> None:
        new = tuple(
            dict.fromkeys(
                (str(taint.get("key", "")), str(taint.get("value") or ""), str(taint.get("effect", "")))
                for taint in meta.spec(node).get("taints") or ()
            )
        )
        old = self._row_taints.get(row, ())
        if new == old:
            return
        self._row_taints[row] = new
        for taint in old:
            self.tainted(taint)[row] = False
            self.taints[taint] -= 1
        for taint in new:
            self.tainted(taint)[row] = True
            self.taints[taint] = self.taints.get(taint, 0) + 1
        for taint in old:
            if self.taints.get(taint) == 0:
                del self.taints[taint]
                self.columns.drop(("taint", taint))

    def _set_images(self, row: int, node: JsonObject) -> None:
        sizes = {
            str(name): int(image.get("sizeBytes") or 0)
            for image in meta.status(node).get("images") or ()
            for name in image.get("names") or ()
        }
        for name in self._row_images.get(row, ()):
            if name not in sizes:
                rows = self.images.get(name, {})
                rows.pop(row, None)
                if not rows:
                    self.images.pop(name, None)
        for name, size in sizes.items():
            self.images.setdefault(name, {})[row] = size
        self._row_images[row] = tuple(sizes)
