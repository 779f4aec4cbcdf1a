"""The scheduler's rules once more, the slow way: node by node and pod by pod, with no columns and no indexes."""

import math
from collections import Counter

from argosy.objects import meta, selectors
from argosy.objects.types import JsonObject
from argosy.scheduling import node_affinity, pod_affinity, ports, resources, spread, taints

HARD = ("NoSchedule", "NoExecute")


class Model:
    def __init__(
        self, nodes: list[JsonObject], placed: list[tuple[JsonObject, str]], spaces: dict[str, dict[str, str]]
    ) -> None:
        self.nodes = {meta.name(node): node for node in nodes}
        self.placed = placed
        self.spaces = spaces

    def on(self, name: str) -> list[JsonObject]:
        return [pod for pod, node in self.placed if node == name]

    def feasible(self, pod: JsonObject) -> set[str]:
        return {name for name in self.nodes if self.fits(pod, name)}

    def fits(self, pod: JsonObject, name: str) -> bool:
        return all(
            rule(pod, name)
            for rule in (
                self.schedulable, self.tolerated, self.asked_for, self.ports_free, self.resources_left, self.even,
                self.company,
            )
        )  # fmt: skip

    def schedulable(self, pod: JsonObject, name: str) -> bool:
        cordoned = meta.spec(self.nodes[name]).get("unschedulable")
        return not cordoned or taints.node_tolerates_unschedulable(meta.spec(pod).get("tolerations") or [])

    def tolerated(self, pod: JsonObject, name: str) -> bool:
        listed = meta.spec(self.nodes[name]).get("taints") or []
        return taints.first_untolerated(listed, meta.spec(pod).get("tolerations") or []) is None

    def asked_for(self, pod: JsonObject, name: str) -> bool:
        return node_affinity.matches(pod, meta.labels(self.nodes[name]), name)

    def ports_free(self, pod: JsonObject, name: str) -> bool:
        taken = [port for other in self.on(name) for port in ports.host_ports(other)]
        return not ports.any_conflict(ports.host_ports(pod), taken)

    def resources_left(self, pod: JsonObject, name: str) -> bool:
        has = resources.allocatable(self.nodes[name])
        used: Counter[str] = Counter()
        for other in self.on(name):
            used.update(resources.pod_requests(other))
        if len(self.on(name)) + 1 > has.get("pods", 0):
            return False
        return all(
            used[key] + value <= has.get(key, 0) for key, value in resources.pod_requests(pod).items() if value
        )

    def domain(self, name: str, key: str) -> str | None:
        return meta.labels(self.nodes[name]).get(key)

    def count(self, group: pod_affinity.PodGroup, names: list[str], with_deleting: bool) -> int:
        return sum(
            group.matches(other, self.spaces)
            for other, node in self.placed
            if node in names and (with_deleting or not meta.is_deleting(other))
        )

    def even(self, pod: JsonObject, name: str) -> bool:
        hard = [item for item in spread.constraints(pod) if item.hard]
        for item in hard:
            if self.domain(name, item.topology_key) is None:
                return False
        for item in hard:
            eligible = [
                node for node in self.nodes
                if all(self.domain(node, other.topology_key) is not None for other in hard)
                and (not item.honour_affinity or self.asked_for(pod, node))
                and (not item.honour_taints or self.tolerated(pod, node))
            ]  # fmt: skip
            by_domain: dict[str | None, list[str]] = {}
            for node in eligible:
                by_domain.setdefault(self.domain(node, item.topology_key), []).append(node)
            counts = {domain: self.count(item.group, names, False) for domain, names in by_domain.items()}
            least = min(counts.values(), default=0) if len(counts) >= item.min_domains else 0
            own = item.group.matches(pod, self.spaces)
            if counts.get(self.domain(name, item.topology_key), 0) + own - least > item.max_skew:
                return False
        return True

    def neighbours(self, name: str, key: str) -> list[JsonObject]:
        domain = self.domain(name, key)
        if domain is None:
            return []
        return [other for other, node in self.placed if node in self.nodes and self.domain(node, key) == domain]

    def company(self, pod: JsonObject, name: str) -> bool:
        terms = pod_affinity.terms(pod)
        for term in terms.required_anti:
            if any(term.group.matches(other, self.spaces) for other in self.neighbours(name, term.topology_key)):
                return False
        for other, node in self.placed:
            if node not in self.nodes:
                continue
            for term in pod_affinity.terms(other).required_anti:
                here, there = self.domain(name, term.topology_key), self.domain(node, term.topology_key)
                if here is not None and here == there and term.group.matches(pod, self.spaces):
                    return False
        if not terms.required:
            return True

        def wanted(other: JsonObject) -> bool:
            return all(term.group.matches(other, self.spaces) for term in terms.required)

        if any(self.domain(name, term.topology_key) is None for term in terms.required):
            return False
        if all(any(wanted(other) for other in self.neighbours(name, term.topology_key)) for term in terms.required):
            return True
        anywhere = any(
            wanted(other) and self.domain(node, term.topology_key) is not None
            for other, node in self.placed if node in self.nodes for term in terms.required
        )  # fmt: skip
        return not anywhere and wanted(pod)

    # Scores

    def scores(self, pod: JsonObject, names: list[str], default: selectors.Selector) -> dict[str, int]:
        parts = [
            (3, self._normal({n: self._disliked(pod, n) for n in names}, reverse=True)),
            (2, self._normal({n: node_affinity.preference(pod, meta.labels(self.nodes[n]), n) for n in names})),
            (2, self._spread(pod, names, default)),
            (2, self._near(pod, names)),
            (1, {n: self._least(pod, n) for n in names}),
            (1, {n: self._balance(pod, n) for n in names}),
        ]
        return {name: sum(weight * part[name] for weight, part in parts) for name in names}

    def _disliked(self, pod: JsonObject, name: str) -> int:
        listed = meta.spec(self.nodes[name]).get("taints") or []
        return taints.count_untolerated_preferences(listed, meta.spec(pod).get("tolerations") or [])

    def _normal(self, raw: dict[str, int], reverse: bool = False) -> dict[str, int]:
        top = max(raw.values(), default=0)
        if top == 0:
            return dict.fromkeys(raw, 100 if reverse else 0)
        return {name: 100 - value * 100 // top if reverse else value * 100 // top for name, value in raw.items()}

    def _least(self, pod: JsonObject, name: str) -> int:
        has = resources.allocatable(self.nodes[name])
        used = [0, 0]
        for other in [*self.on(name), pod]:
            cpu, memory = resources.pod_requests_for_scores(other)
            used = [used[0] + cpu, used[1] + memory]
        found = [
            max(0, has.get(key, 0) - amount) * 100 // has[key]
            for key, amount in zip(("cpu", "memory"), used, strict=True)
            if has.get(key)
        ]
        return sum(found) // len(found) if found else 0

    def _balance(self, pod: JsonObject, name: str) -> int:
        wanted = resources.pod_requests(pod)
        if not wanted.get("cpu") and not wanted.get("memory"):
            return 0
        has = resources.allocatable(self.nodes[name])
        shares = []
        for key in ("cpu", "memory"):
            used = sum(resources.pod_requests(other).get(key, 0) for other in [*self.on(name), pod])
            shares.append(min(1.0, used / max(1, has.get(key, 0))))
        return int((1 - abs(shares[0] - shares[1]) / 2) * 100)

    def _spread(self, pod: JsonObject, names: list[str], default: selectors.Selector) -> dict[str, int]:
        written = spread.constraints(pod)
        soft = [item for item in written if not item.hard]
        if not written:
            soft = list(spread.default_constraints(pod, default))
        if not soft:
            return dict.fromkeys(names, 0)
        keys = [item.topology_key for item in soft if not item.default]
        taken = [name for name in names if all(self.domain(name, key) is not None for key in keys)]
        if not taken:
            return dict.fromkeys(names, 0)
        raw: dict[str, float] = dict.fromkeys(names, 0.0)
        for item in soft:
            domains = {self.domain(name, item.topology_key) for name in taken} - {None}
            size = len(taken) if item.topology_key == spread.HOSTNAME else len(domains)
            for name in names:
                domain = self.domain(name, item.topology_key)
                if domain is None:
                    continue
                if item.topology_key == spread.HOSTNAME:
                    there = [name]
                else:
                    there = [
                        node for node in self.nodes
                        if self.domain(node, item.topology_key) == domain
                        and all(self.domain(node, key) is not None for key in keys)
                        and (not item.honour_affinity or self.asked_for(pod, node))
                        and (not item.honour_taints or self.tolerated(pod, node))
                    ]  # fmt: skip
                raw[name] += self.count(item.group, there, False) * math.log(size + 2) + item.max_skew - 1
        rounded = {name: round(raw[name]) for name in names}
        low, high = min(rounded[name] for name in taken), max(rounded[name] for name in taken)
        return {
            name: 0 if name not in taken else 100 if high == 0 else 100 * (high + low - rounded[name]) // high
            for name in names
        }

    def _near(self, pod: JsonObject, names: list[str]) -> dict[str, int]:
        terms = pod_affinity.terms(pod)
        raw = dict.fromkeys(names, 0)
        for name in names:
            for sign, wishes in ((1, terms.preferred), (-1, terms.preferred_anti)):
                for term in wishes:
                    found = [
                        o for o in self.neighbours(name, term.topology_key) if term.group.matches(o, self.spaces)
                    ]
                    raw[name] += sign * term.weight * len(found)
            for other, node in self.placed:
                if node not in self.nodes:
                    continue
                held = pod_affinity.terms(other)
                for weight, term in [
                    *((1, term) for term in held.required),
                    *((term.weight, term) for term in held.preferred),
                    *((-term.weight, term) for term in held.preferred_anti),
                ]:
                    domain = self.domain(name, term.topology_key)
                    if (
                        domain is not None
                        and domain == self.domain(node, term.topology_key)
                        and term.group.matches(pod, self.spaces)
                    ):
                        raw[name] += weight
        low, high = min(raw.values()), max(raw.values())
        return {name: 0 if low == high else (value - low) * 100 // (high - low) for name, value in raw.items()}
