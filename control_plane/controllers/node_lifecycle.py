"""Node lifecycle: notices nodes that are gone, marks them and their pods, and taints them so that pods leave.

Keys are nodes. Upstream: `pkg/controller/nodelifecycle/`; the rules are in node_health.py, the evictions themselves
in taint_eviction.py. The taints of conditions follow at once; the evicting taint waits its turn at its zone's rate.
"""

from __future__ import annotations

import asyncio

from argosy import logs
from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import node_health as health
from control_plane.controllers import pods as podlib
from control_plane.controllers.base import LEASES, NODE_INDEX, NODES, PODS, Context, Controller, Loop, by_node

log = logs.get("controllers.nodes")

LEASE_NAMESPACE = "kube-node-lease"


class NodeLifecycleController(Controller):
    name = "node-lifecycle-controller"
    watches = (NODES, LEASES, PODS)
    writes = (NODES, PODS)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        config = self.config
        self._nodes = self.informer(NODES)
        self._leases = self.informer(LEASES)
        self._pods = self.informer(PODS)
        self._pods.add_index(NODE_INDEX, by_node)
        self._signs = health.SignsOfLife(
            self.host.clock, config.node_monitor_grace_period, config.node_startup_grace_period
        )
        self._waiting: dict[str, dict[str, None]] = {}
        """By zone: nodes that wait for their evicting taint, in order."""
        self._next_s: dict[str, float] = {}
        self._disrupted = False
        """Every zone is lost at once: it is rather this side that is cut off."""
        self._nodes.add_handler(added=self._added, updated=self._updated, deleted=self._deleted)

    @property
    def workers(self) -> int:
        return 4

    def loops(self) -> tuple[Loop, ...]:
        return (self._monitor, self._evict)

    def _added(self, node: JsonObject) -> None:
        message = f"Node {meta.name(node)} event: Registered Node {meta.name(node)} in Controller"
        self.events.event(_reference(node), "Normal", "RegisteredNode", message)
        self.enqueue(node)

    def _updated(self, old: JsonObject, new: JsonObject) -> None:
        if _facts(old) != _facts(new):
            self.enqueue(new)

    def _deleted(self, node: JsonObject) -> None:
        message = f"Node {meta.name(node)} event: Removing Node {meta.name(node)} from Controller"
        self.events.event(_reference(node), "Normal", "RemovingNode", message)
        self._signs.forget(node)
        self._stop_waiting(meta.name(node))

    def _stop_waiting(self, name: str) -> None:
        for zone in self._waiting.values():
            zone.pop(name, None)

    # Who is lost.

    async def _monitor(self) -> None:
        while True:
            self._judge_zones()
            for node in self._nodes.list():
                lease = self._leases.get(f"{LEASE_NAMESPACE}/{meta.name(node)}")
                if self._signs.is_lost(node, lease) and not meta.is_deleting(node):
                    await self._mark_lost(node)
            await asyncio.sleep(self.config.node_monitor_period)

    async def _mark_lost(self, node: JsonObject) -> None:
        status = health.lost_status(node, self.host.clock.now())
        if status is None:
            return
        was_ready = health.ready_status(node) == "True"
        try:
            await self.writer(NODES).update_status({**node, "status": status})
        except ApiError as error:
            log.info("a lost node was not marked", node=meta.name(node), error=error.message)
            return
        log.warning("node is lost", node=meta.name(node))
        if was_ready:
            message = f"Node {meta.name(node)} status is now: NodeNotReady"
            self.events.event(_reference(node), "Normal", "NodeNotReady", message)

    # One node's taints and pods.

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            return None
        now = self.host.clock.now()
        wanted = health.scheduling_taints(node, now)
        deserved = health.evicting_taint(node)
        if not deserved or self._disrupted:
            wanted = health.with_evicting_taint(wanted, "", now)
            self._stop_waiting(key)
        elif health.with_evicting_taint(wanted, "", now) != wanted:
            wanted = health.with_evicting_taint(wanted, deserved, now)
        elif not meta.is_deleting(node):
            self._waiting.setdefault(health.zone_of(node), {})[key] = None
        await self._write_taints(node, wanted)
        if deserved == health.UNREACHABLE:
            await self._mark_pods(node)
        return None

    async def _write_taints(self, node: JsonObject, wanted: list[JsonObject]) -> None:
        if wanted == health.taints_of(node):
            return
        metadata = {"uid": meta.uid(node), "resourceVersion": meta.resource_version(node)}
        change = {"metadata": metadata, "spec": {"taints": wanted or None}}
        await self.writer(NODES).patch(meta.name(node), change)

    async def _mark_pods(self, node: JsonObject) -> None:
        """Services must not send anybody to a lost node's pods, whose own word is the last they could give."""
        for pod in self._pods.by_index(NODE_INDEX, meta.name(node)):
            ready = conditions.get(pod, "Ready")
            if ready is None or ready.get("status") != "True" or podlib.is_terminal(pod):
                continue
            new = {**ready, "status": "False", "lastTransitionTime": rfc3339(self.host.clock.now())}
            try:
                await podlib.write_conditions(self.writer(PODS), pod, [new])
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
                continue
            self.events.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    # Zones and the rate of evictions.

    def _judge_zones(self) -> None:
        disrupted = self._all_lost(self._zones())
        if disrupted == self._disrupted:
            return
        log.warning("all nodes are lost: nothing is evicted" if disrupted else "nodes are back: evictions go on")
        if not disrupted:
            self._signs.renew_all()
        self._disrupted = disrupted
        self._waiting.clear()
        for node in self._nodes.list():
            self.enqueue(node)

    def _all_lost(self, zones: dict[str, list[str]]) -> bool:
        states = [health.zone_state(statuses, self.config.unhealthy_zone_threshold) for statuses in zones.values()]
        return bool(states) and all(state is health.Zone.FULL for state in states)

    def _zones(self) -> dict[str, list[str]]:
        zones: dict[str, list[str]] = {}
        for node in self._nodes.list():
            status = health.ready_status(node)
            if status:
                zones.setdefault(health.zone_of(node), []).append(status)
        return zones

    async def _evict(self) -> None:
        """Give each zone's waiting nodes their evicting taint, one at a time."""
        period_s = min(1.0, self.config.node_monitor_period)
        while True:
            await asyncio.sleep(period_s)
            if not any(self._waiting.values()):
                continue
            statuses = self._zones()
            if self._disrupted or self._all_lost(statuses):
                continue
            for zone, waiting in list(self._waiting.items()):
                await self._evict_one(zone, waiting, statuses.get(zone, []))

    async def _evict_one(self, zone: str, waiting: dict[str, None], statuses: list[str]) -> None:
        config, now = self.config, self.host.clock.monotonic()
        state = health.zone_state(statuses, config.unhealthy_zone_threshold)
        rate = health.eviction_rate(
            state,
            len(statuses),
            config.node_eviction_rate,
            config.secondary_node_eviction_rate,
            config.large_cluster_size_threshold,
        )
        if not waiting or rate <= 0 or now < self._next_s.get(zone, 0.0):
            return
        name = next(iter(waiting))
        del waiting[name]
        node = self._nodes.get(name)
        key = health.evicting_taint(node) if node is not None else ""
        if node is None or not key:
            return
        try:
            await self._write_taints(
                node, health.with_evicting_taint(health.taints_of(node), key, self.host.clock.now())
            )
        except ApiError as error:
            log.info("a lost node was not tainted", node=name, error=error.message)
            waiting[name] = None
            return
        self._next_s[zone] = now + 1 / rate
        log.warning("node is being evicted", node=name, taint=key)


def _facts(node: JsonObject) -> tuple[object, ...]:
    """What of a node this controller acts on: heartbeats make no work."""
    statuses = [(each.get("type"), each.get("status")) for each in meta.status(node).get("conditions") or ()]
    return statuses, health.taints_of(node), meta.spec(node).get("unschedulable"), health.zone_of(node)


def _reference(node: JsonObject) -> JsonObject:
    """Node events have always carried the name for a uid; `kubectl describe node` looks for that."""
    return {"kind": "Node", "apiVersion": "v1", "name": meta.name(node), "uid": meta.uid(node) or meta.name(node)}
