"""How many pods of a group each node holds, kept up as pods come and go; and which groups a pod is in.

Topology spread and inter-pod affinity ask for counts of pods by selector. Counting them anew for each pod would be a
walk over the cluster; here a selector that was asked for once is a column, and a pod finds its selectors by an index.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.scheduling.pod_affinity import PodGroup
from control_plane.scheduler.columns import Columns, Ints

T = TypeVar("T", bound=Hashable)

MAX_GROUPS = 2048
"""Columns kept; the least recently asked for makes room."""

NamespaceLabels = Mapping[str, Mapping[str, str]]


class GroupIndex(Generic[T]):
    """Things that concern groups of pods, found from a pod without asking every selector."""

    def __init__(self, namespace_labels: NamespaceLabels) -> None:
        self._namespace_labels = namespace_labels
        self._by_pair: dict[tuple[str, str, str], dict[T, PodGroup]] = {}
        self._others: dict[T, PodGroup] = {}

    def add(self, item: T, group: PodGroup) -> None:
        for place in self._places(group):
            place[item] = group

    def remove(self, item: T, group: PodGroup) -> None:
        pairs = self._pairs(group)
        if pairs is None:
            self._others.pop(item, None)
            return
        for pair in pairs:
            place = self._by_pair.get(pair)
            if place is not None:
                place.pop(item, None)
                if not place:
                    del self._by_pair[pair]

    def matching(self, pod: JsonObject) -> list[T]:
        """The items whose group the pod is in."""
        found: dict[T, None] = {}
        space = meta.namespace(pod)
        if self._by_pair:
            for key, value in meta.labels(pod).items():
                for item, group in self._by_pair.get((space, key, value), {}).items():
                    if group.matches(pod, self._namespace_labels):
                        found[item] = None
        for item, group in self._others.items():
            if group.matches(pod, self._namespace_labels):
                found[item] = None
        return list(found)

    def _pairs(self, group: PodGroup) -> list[tuple[str, str, str]] | None:
        exact = group.selector.exact
        if not exact or not group.namespace_selector.nothing:
            return None
        key, value = exact[0]
        return [(space, key, value) for space in group.namespaces]

    def _places(self, group: PodGroup) -> list[dict[T, PodGroup]]:
        pairs = self._pairs(group)
        if pairs is None:
            return [self._others]
        return [self._by_pair.setdefault(pair, {}) for pair in pairs]


Key = tuple[tuple[PodGroup, ...], bool]
"""Pods in all of these groups; whether those being deleted count."""


class GroupCounts:
    """Columns of pod counts per node, one for each combination of groups that was asked for."""

    def __init__(self, columns: Columns, namespace_labels: NamespaceLabels) -> None:
        self._columns = columns
        self._namespace_labels = namespace_labels
        self._keys: OrderedDict[Key, None] = OrderedDict()
        self._index: GroupIndex[Key] = GroupIndex(namespace_labels)

    def counts(
        self, groups: tuple[PodGroup, ...], placed: Iterable[tuple[int, JsonObject]], *, with_deleting: bool
    ) -> Ints:
        """Per row how many pods are in all of `groups`. `placed` is read only when the column is new."""
        key = (groups, with_deleting)
        if key in self._keys:
            self._keys.move_to_end(key)
            return self._columns.ints(("group", key))
        if len(self._keys) >= MAX_GROUPS:
            self._drop(next(iter(self._keys)))
        self._keys[key] = None
        self._index.add(key, groups[0])
        column = self._columns.ints(("group", key))
        for row, pod in placed:
            if self._counts(key, pod) and groups[0].matches(pod, self._namespace_labels):
                column[row] += 1
        return column

    def change(self, row: int, pod: JsonObject, by: int) -> None:
        """A pod came to (1) or left (-1) a row."""
        for key in self._index.matching(pod):
            if self._counts(key, pod):
                self._columns.ints(("group", key))[row] += by

    def forget_namespace_selectors(self) -> None:
        """Labels of a namespace changed: columns that depend on them are made anew when asked for."""
        for key in list(self._keys):
            if any(not group.namespace_selector.nothing for group in key[0]):
                self._drop(key)

    def _counts(self, key: Key, pod: JsonObject) -> bool:
        groups, with_deleting = key
        if not with_deleting and meta.is_deleting(pod):
            return False
        return all(group.matches(pod, self._namespace_labels) for group in groups[1:])

    def _drop(self, key: Key) -> None:
        del self._keys[key]
        self._index.remove(key, key[0][0])
        self._columns.drop(("group", key))
