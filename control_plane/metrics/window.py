"""From what nodes count to what is used now: the last two scrapes of each node, and the rates between them. Pure.

A rate needs two points of the same container: one that restarted meanwhile counts from nothing again, and is left out
until its next scrape. Source: sigs.k8s.io/metrics-server `pkg/storage`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

CPU: Final = "cpu_usage_seconds_total"
MEMORY: Final = "memory_working_set_bytes"

PodKey = tuple[str, str]
"""(namespace, name)"""


@dataclass(frozen=True, slots=True)
class Point:
    """One scrape of one container or node."""

    at_s: float
    cpu_s: float
    """Core-seconds since its start."""
    memory_bytes: int


@dataclass(frozen=True)
class Scrape:
    """One scrape of one node."""

    node: Point | None
    containers: dict[tuple[str, str, str], Point]
    """By (namespace, pod, container)."""


@dataclass(frozen=True)
class Usage:
    """What something uses, between `at_s - window_s` and `at_s`."""

    at_s: float
    window_s: float
    cpu_cores: float
    memory_bytes: int


@dataclass(frozen=True)
class Sample:
    """One line of Prometheus' text form."""

    name: str
    labels: dict[str, str]
    value: float
    at_s: float


@dataclass
class _Half:
    at_s: float = 0.0
    cpu_s: float | None = None
    memory_bytes: int | None = None

    def point(self) -> Point | None:
        if self.cpu_s is None or self.memory_bytes is None:
            return None
        return Point(self.at_s, self.cpu_s, self.memory_bytes)


def scrape(samples: Iterable[Sample]) -> Scrape:
    """Values that make no sense are left out."""
    node = _Half()
    containers: dict[tuple[str, str, str], _Half] = {}
    for sample in samples:
        what, _, rest = sample.name.partition("_")
        if rest not in (CPU, MEMORY) or not 0 <= sample.value < float("inf"):
            continue
        if what == "node":
            half = node
        elif what == "container":
            labels = sample.labels
            key = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
            if not all(key):
                continue
            half = containers.setdefault(key, _Half())
        else:
            continue
        if rest == CPU:
            half.cpu_s, half.at_s = sample.value, sample.at_s
        else:
            half.memory_bytes = int(sample.value)
    whole = {key: point for key, half in containers.items() if (point := half.point()) is not None}
    return Scrape(node.point(), whole)


def between(old: Point | None, new: Point | None) -> Usage | None:
    if old is None or new is None or new.at_s <= old.at_s or new.cpu_s < old.cpu_s:
        return None
    window_s = new.at_s - old.at_s
    return Usage(new.at_s, window_s, (new.cpu_s - old.cpu_s) / window_s, new.memory_bytes)


@dataclass
class Window:
    """The last two scrapes of every node, and what pods and nodes use by them."""

    _scrapes: dict[str, tuple[Scrape, Scrape]] = field(default_factory=dict)
    nodes: dict[str, Usage] = field(default_factory=dict)
    _pods: dict[str, dict[PodKey, dict[str, Usage]]] = field(default_factory=dict)
    _where: dict[PodKey, str] = field(default_factory=dict)

    def add(self, node: str, new: Scrape) -> None:
        """A node was scraped."""
        _, old = self._scrapes.get(node, (new, new))
        self._scrapes[node] = (old, new)
        usage = between(old.node, new.node)
        if usage is not None:
            self.nodes[node] = usage
        pods: dict[PodKey, dict[str, Usage]] = {}
        incomplete = set()
        for (namespace, pod, container), point in new.containers.items():
            found = between(old.containers.get((namespace, pod, container)), point)
            if found is None:
                incomplete.add((namespace, pod))
            else:
                pods.setdefault((namespace, pod), {})[container] = found
        # A pod of which one container is new would look as if it used less than it does.
        for key in incomplete:
            pods.pop(key, None)
        self._put(node, pods)

    def remove(self, node: str) -> None:
        """The node is gone, or does not answer: its last numbers are not its present ones."""
        self._scrapes.pop(node, None)
        self.nodes.pop(node, None)
        self._put(node, {})

    def pod(self, namespace: str, name: str) -> dict[str, Usage] | None:
        """By container."""
        node = self._where.get((namespace, name))
        return None if node is None else self._pods[node].get((namespace, name))

    def _put(self, node: str, pods: dict[PodKey, dict[str, Usage]]) -> None:
        for key in self._pods.pop(node, {}):
            if self._where.get(key) == node:
                del self._where[key]
        self._pods[node] = pods
        self._where.update(dict.fromkeys(pods, node))
