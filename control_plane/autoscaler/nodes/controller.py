"""The node autoscaler: looks at the cluster every scan interval, asks the provider for nodes, and takes nodes away.

The rules are pure and stand apart: `state` (what is there and what is to come), `scale_up`, `scale_down` and `drain`;
this reads, decides and acts. Source: upstream's core/static_autoscaler.go. When the provider is away, or a group is
said to be what cannot be, nothing is done to it and the status says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from argosy import logs
from argosy.controller import NODE_INDEX, Context, Controller, Loop, ResourceName, by_node
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.rpc import GrpcNetwork
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.nodes import drain, scale_down, scale_up
from control_plane.autoscaler.nodes.drain import Budgets
from control_plane.autoscaler.nodes.provider import NodeProvider, Offer, ProviderError, read
from control_plane.autoscaler.nodes.removal import Removal, set_taint
from control_plane.autoscaler.nodes.scale_down import Going, Unneeded, Verdict, Waiting
from control_plane.autoscaler.nodes.settings import Settings
from control_plane.autoscaler.nodes.simulation import (
    DELETION_CANDIDATE,
    TO_BE_DELETED,
    Simulation,
    daemon_pods,
    fresh_node,
)
from control_plane.autoscaler.nodes.state import GroupState, Registry, created_s, is_healthy
from control_plane.autoscaler.nodes.status import NAMESPACE, Report, StatusText
from control_plane.autoscaler.nodes.wire import WireProvider
from control_plane.scheduler.plugins import default_profile
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.volume_claims import VolumeClaims

log = logs.get("autoscaler.nodes")

PODS = ResourceName("", "v1", "pods")
NODES = ResourceName("", "v1", "nodes")
NAMESPACES = ResourceName("", "v1", "namespaces")
CLAIMS = ResourceName("", "v1", "persistentvolumeclaims")
VOLUMES = ResourceName("", "v1", "persistentvolumes")
CLASSES = ResourceName("storage.k8s.io", "v1", "storageclasses")
DAEMON_SETS = ResourceName("apps", "v1", "daemonsets")
BUDGETS = ResourceName("policy", "v1", "poddisruptionbudgets")
CONFIG_MAPS = ResourceName("", "v1", "configmaps")

UNSCHEDULABLE_INDEX: Final = "unschedulable"
FORGET_REMOVED_S: Final = 900.0
"""A node that the provider took and still shows after so long is looked at anew."""


def _by_unschedulable(pod: JsonObject) -> Iterable[str]:
    return ("",) if scale_up.is_unschedulable(pod) else ()


class NodeAutoscaler(Controller[Config]):
    name = "cluster-autoscaler"
    watches = (PODS, NODES, NAMESPACES, DAEMON_SETS, BUDGETS, CLAIMS, VOLUMES, CLASSES)
    writes = (PODS, NODES, CONFIG_MAPS)
    provider: ClassVar[NodeProvider | None] = None
    """Of a test; else the one that the configuration names is dialled."""

    def __init__(self, context: Context[Config]) -> None:
        super().__init__(context)
        self.settings = Settings.of(self.config)
        self.registry = Registry(self.settings)
        self.waiting = Waiting(self.settings)
        self._provider: NodeProvider = self.provider or WireProvider(GrpcNetwork(), self.config.node_provider)
        self._pods = self.informer(PODS)
        self._nodes = self.informer(NODES)
        self._pods.add_index(NODE_INDEX, by_node)
        self._pods.add_index(UNSCHEDULABLE_INDEX, _by_unschedulable)
        claims = VolumeClaims(context.informers, self._pods, context.client, lambda: None)
        self._profile = default_profile(claims=claims)
        self._status = StatusText()
        self._templates: dict[str, JsonObject] = {}
        """Nodes that groups really had, from the last look in which they had one."""
        self._removals: dict[str, asyncio.Task[bool]] = {}
        self._going: dict[str, str] = {}
        """Nodes that are being removed, or were and are still shown, with their groups."""
        self._removed_s: dict[str, float] = {}
        self._drained: dict[str, None] = {}
        self._last_add_s = self._last_delete_s = self._last_failure_s = float("-inf")
        self._problems: dict[str, str] = {}
        self._log_object: JsonObject = {
            "apiVersion": "v1", "kind": "ConfigMap", "namespace": NAMESPACE,
            "name": self.settings.status_config_map_name,
        }  # fmt: skip

    async def reconcile(self, key: str) -> float | None:
        return None

    def loops(self) -> tuple[Loop, ...]:
        return (self._scan_forever,)

    async def _scan_forever(self) -> None:
        try:
            await self._tidy()
            while True:
                try:
                    await self.scan()
                except (ApiError, ProviderError) as error:
                    log.warning("a look at the nodes failed", error=error.message)
                await asyncio.sleep(self.settings.scan_interval)
        finally:
            for task in self._removals.values():
                task.cancel()
            await asyncio.gather(*self._removals.values(), return_exceptions=True)
            await self._provider.close()

    async def _tidy(self) -> None:
        """Taints of removals that a leader before this one did not finish."""
        for node in list(self._nodes.list()):
            if any(taint.get("key") == TO_BE_DELETED for taint in meta.spec(node).get("taints") or ()):
                try:
                    await set_taint(self.writer(NODES), meta.name(node), TO_BE_DELETED, None, "")
                except ApiError as error:
                    log.warning("a taint was not taken off", node=meta.name(node), error=error.message)

    async def scan(self) -> None:
        """One look. Raises ApiError, ProviderError."""
        now_s = self.host.clock.now()
        report = Report(nodes=list(self._nodes.list()))
        try:
            offer = await read(self._provider)
        except ProviderError as error:
            self._hold(report, f"the node provider cannot be asked: {error.message}")
            await self._tell(report, now_s)
            return
        self._collect(offer, now_s)
        going = {name: name in self._removed_s for name in self._going}
        states, late = self.registry.look(offer, report.nodes, going, now_s)
        report.states = states
        for item in late:
            limit = f"{self.settings.max_node_provision_time:.0f}s"
            text = f"Nodes added to group {item.group} failed to register within {limit}"
            self.events.event(self._log_object, "Warning", "ScaleUpTimedOut", text)
        self._say_problems(states)
        if not is_healthy(report.nodes, self.settings, now_s):
            self._hold(report, "too many nodes are not ready: nothing is done until they are, or are gone")
        elif await self._repair(states, now_s):
            self.waiting.look({}, now_s)
        else:
            self._problems.pop("", None)
            self._remember_templates(states)
            pods = self._wanting(now_s)
            grown = await self._scale_up(pods, states, now_s)
            if grown or any(state.upcoming for state in states.values()):
                report.scale_up = "InProgress"
            if not grown and self.settings.scale_down_enabled:
                await self._scale_down(pods, states, report, now_s)
        pauses = {name: self.registry.backoff.current(name, now_s) for name in states}
        report.pauses = {name: pause for name, pause in pauses.items() if pause is not None}
        await self._tell(report, now_s)

    # ---- what is wrong

    def _hold(self, report: Report, problem: str) -> None:
        report.healthy, report.problem = False, problem
        self.waiting.look({}, 0.0)
        self._complain("", problem)

    def _complain(self, group: str, problem: str) -> None:
        if self._problems.get(group) != problem:
            log.warning("nodes are left as they are", group=group, problem=problem)
            self.events.event(self._log_object, "Warning", "NodeGroupsHeld", problem)
            self._problems[group] = problem

    def _say_problems(self, states: dict[str, GroupState]) -> None:
        for name, state in states.items():
            if state.problem:
                self._complain(name, f"node group {name} is left alone: {state.problem}")
            else:
                self._problems.pop(name, None)

    def _collect(self, offer: Offer, now_s: float) -> None:
        """What became of removals, and which removed nodes the provider has forgotten."""
        for name in [name for name, task in self._removals.items() if task.done()]:
            task = self._removals.pop(name)
            self._drained.pop(name, None)
            if not task.cancelled() and task.exception() is None and task.result():
                self._last_delete_s = now_s
                self._removed_s[name] = now_s
            else:
                self._last_failure_s = now_s
                self._going.pop(name, None)
        shown = {instance.name for instances in offer.instances.values() for instance in instances}
        for name, at_s in list(self._removed_s.items()):
            if (name not in shown and self._nodes.get(name) is None) or now_s - at_s > FORGET_REMOVED_S:
                del self._removed_s[name]
                self._going.pop(name, None)

    async def _repair(self, states: dict[str, GroupState], now_s: float) -> bool:
        """Instances that cannot come are given up, their groups left alone for a while. Whether there were any."""
        found = False
        for name, state in states.items():
            if state.problem:
                continue
            if state.failed:
                first = state.failed[0]
                code = first.error_code or (first.error_class.value if first.error_class else "Other")
                count = len(state.failed)
                text = f"Failed adding {count} nodes to group {name} due to {code}: {first.error_message}"
                self._failed(name, now_s, code, first.error_message, text)
                await self._give_up(name, [item.name for item in state.failed])
                found = True
            for instance in state.overdue:
                if await self._give_up(name, [instance.name]):
                    text = f"Removed unregistered node {instance.name}"
                    self.events.event(self._log_object, "Normal", "DeleteUnregistered", text)
                found = True
            if state.not_coming:
                log.info("nodes that do not come are no longer waited for", group=name, count=state.not_coming)
                try:
                    await self._provider.decrease_target(name, state.not_coming)
                except ProviderError as error:
                    log.warning("a target was not lowered", group=name, error=error.message)
                found = True
        return found

    async def _give_up(self, group: str, names: Sequence[str]) -> bool:
        try:
            await self._provider.delete_nodes(group, names)
        except ProviderError as error:
            text = f"Failed to remove node {', '.join(names)}: {error.message}"
            self.events.event(self._log_object, "Warning", "DeleteUnregisteredFailed", text)
            return False
        return True

    def _failed(self, group: str, now_s: float, code: str, message: str, text: str) -> None:
        self.registry.requests.pop(group, None)
        self.registry.backoff.fail(group, now_s, code, message)
        self.events.event(self._log_object, "Warning", "FailedToScaleUpGroup", text)

    # ---- up

    def _wanting(self, now_s: float) -> list[PodInfo]:
        waiting = self._pods.by_index(UNSCHEDULABLE_INDEX, "")
        born = {meta.uid(pod): created_s(pod, now_s) for pod in waiting}
        return scale_up.wanting(waiting, now_s, born, self.settings)

    def _remember_templates(self, states: dict[str, GroupState]) -> None:
        for name, state in states.items():
            if state.ready:
                self._templates[name] = state.ready[0]
        for name in [name for name in self._templates if name not in states]:
            del self._templates[name]

    def _simulation(self) -> Simulation:
        """The nodes that pods can go to now."""
        nodes = [
            node
            for node in self._nodes.list()
            if conditions.is_true(node, "Ready") and meta.name(node) not in self._going
        ]
        placed = [
            (PodInfo.of(pod), str(meta.spec(pod)["nodeName"]))
            for pod in self._pods.list()
            if meta.spec(pod).get("nodeName") and not drain.is_over(pod)
        ]
        spaces = {meta.name(space): meta.labels(space) for space in self.informer(NAMESPACES).list()}
        return Simulation(nodes, placed, spaces, self._profile)

    async def _scale_up(self, pods: Sequence[PodInfo], states: dict[str, GroupState], now_s: float) -> bool:
        """Whether nodes were asked for."""
        if pods:
            simulation = self._simulation()
            # Those that wait for others to be evicted have their place.
            for info in pods:
                nominated = str(meta.status(info.pod).get("nominatedNodeName") or "")
                if nominated in simulation:
                    simulation.put(info, nominated)
            pods = [info for info in pods if not meta.status(info.pod).get("nominatedNodeName")]
            daemon_sets = list(self.informer(DAEMON_SETS).list())
            for name, state in states.items():
                for number in range(state.upcoming if not state.problem else 0):
                    node = fresh_node(self._template(state), f"upcoming-{name}-{number}")
                    simulation.add_node(node, daemon_pods(node, daemon_sets))
            left = scale_up.left_over(pods, simulation)
            if left and await self._grow_for(left, states, daemon_sets, simulation, now_s):
                return True
        return self.settings.enforce_node_group_min_size and await self._grow_to_minimum(states, now_s)

    def _template(self, state: GroupState) -> JsonObject:
        return self._templates.get(state.group.name) or state.group.template

    async def _grow_for(
        self,
        pods: Sequence[PodInfo],
        states: dict[str, GroupState],
        daemon_sets: Sequence[JsonObject],
        simulation: Simulation,
        now_s: float,
    ) -> bool:
        made = scale_up.plan(
            pods,
            {name: state.group for name, state in states.items()},
            {name: self._template(state) for name, state in states.items()},
            {name: reason for name, state in states.items() if (reason := self._not_now(name, state, now_s))},
            daemon_sets,
            simulation,
            self._room(states),
            self.settings,
            self.host.rng,
        )
        grown = made.option is not None and await self._increase(
            made.option.group.name, made.option.nodes, states, now_s
        )
        if made.option is not None and grown:
            group, nodes = made.option.group, made.option.nodes
            sizes = f"{group.target_size}->{group.target_size + nodes} (max: {group.max_size})"
            for info in made.option.pods:
                text = f"pod triggered scale-up: [{{{group.name} {sizes}}}]"
                self.events.event(info.pod, "Normal", "TriggeredScaleUp", text)
        for info in pods:
            if info.uid in made.reasons:
                text = f"pod didn't trigger scale-up: {made.refusal(info.uid)}"
                self.events.event(info.pod, "Normal", "NotTriggerScaleUp", text)
        return grown

    def _not_now(self, name: str, state: GroupState, now_s: float) -> str:
        if self.registry.backoff.current(name, now_s) is not None:
            return scale_up.BACKOFF
        if state.problem or not is_healthy(state.registered, self.settings, now_s):
            return scale_up.NOT_READY
        return ""

    def _room(self, states: dict[str, GroupState]) -> int:
        """How many nodes the cluster may still get."""
        limit = self.settings.max_nodes_total
        if not limit:
            return self.settings.max_nodes_per_scaleup
        coming = sum(state.upcoming - len(state.starting) for state in states.values())
        return limit - len(self._nodes) - max(0, coming)

    async def _increase(self, name: str, count: int, states: dict[str, GroupState], now_s: float) -> bool:
        group = states[name].group
        new = group.target_size + count
        sizes = f"{new} instead of {group.target_size} (max: {group.max_size})"
        text = f"Scale-up: setting group {name} size to {sizes}"
        self.events.event(self._log_object, "Normal", "ScaledUpGroup", text)
        try:
            await self._provider.increase(name, count)
        except ProviderError as error:
            text = f"Scale-up failed for group {name}: {error.message}"
            if error.busy:
                self.events.event(self._log_object, "Warning", "FailedToScaleUpGroup", text)
            else:
                self._failed(name, now_s, error.code, error.message, text)
            return False
        self.registry.asked(name, count, now_s)
        self._last_add_s = now_s
        self.events.event(self._log_object, "Normal", "ScaledUpGroup", f"Scale-up: group {name} size set to {sizes}")
        return True

    async def _grow_to_minimum(self, states: dict[str, GroupState], now_s: float) -> bool:
        grown = False
        for name, state in states.items():
            missing = min(state.group.min_size - state.group.target_size, self._room(states))
            if missing > 0 and not self._not_now(name, state, now_s):
                grown = await self._increase(name, missing, states, now_s) or grown
        return grown

    # ---- down

    async def _scale_down(
        self, pods: Sequence[PodInfo], states: dict[str, GroupState], report: Report, now_s: float
    ) -> None:
        verdict = self._judge(pods, states) if any(state.registered for state in states.values()) else Verdict()
        self.waiting.look(verdict.unneeded, now_s)
        for item in verdict.unneeded.values():
            report.candidates = {**report.candidates, item.group: [*report.candidates.get(item.group, ()), item.name]}
        if not self._cooling(now_s):
            going = Going(len(self._drained), len(self._removals))
            for item in self.waiting.due(verdict, states, going, now_s):
                self._remove(item)
        await self._mark(verdict, states)
        log.debug("nodes that stay", why=verdict.unremovable)

    def _judge(self, pods: Sequence[PodInfo], states: dict[str, GroupState]) -> Verdict:
        simulation = self._simulation()
        # Pods that are about to be scheduled need their place as much as those that run.
        scale_up.left_over(pods, simulation)
        names = [meta.name(node) for state in states.values() for node in state.registered]
        pods_on = {name: self._pods.by_index(NODE_INDEX, name) for name in names}
        return scale_down.judge(states, pods_on, self._budgets(), simulation, self.settings)

    def _budgets(self) -> Budgets:
        return Budgets(self.informer(BUDGETS).list())

    def _cooling(self, now_s: float) -> bool:
        settings = self.settings
        return (
            now_s - self._last_add_s < settings.scale_down_delay_after_add
            or now_s - self._last_delete_s < settings.scale_down_delay_after_delete
            or now_s - self._last_failure_s < settings.scale_down_delay_after_failure
        )

    def _remove(self, item: Unneeded) -> None:
        removal = Removal(
            item,
            provider=self._provider,
            nodes=self.writer(NODES),
            pods=self.writer(PODS),
            pods_on=lambda name: self._pods.by_index(NODE_INDEX, name),
            budgets=self._budgets,
            recorder=self.events,
            log_object=self._log_object,
            host=self.host,
            settings=self.settings,
        )
        self._going[item.name] = item.group
        if not item.move.empty:
            self._drained[item.name] = None
        self._removals[item.name] = asyncio.get_running_loop().create_task(removal.run(), name=f"remove {item.name}")

    async def _mark(self, verdict: Verdict, states: dict[str, GroupState]) -> None:
        """Nodes that may go are the last that the scheduler takes."""
        left = self.settings.max_bulk_soft_taint_count
        for state in states.values():
            for node in state.registered:
                name = meta.name(node)
                marked = any(taint.get("key") == DELETION_CANDIDATE for taint in meta.spec(node).get("taints") or ())
                wanted = name in verdict.unneeded
                if marked == wanted or name in self._going or left <= 0:
                    continue
                left -= 1
                value = str(int(self.host.clock.now())) if wanted else None
                try:
                    await set_taint(self.writer(NODES), name, DELETION_CANDIDATE, value, "PreferNoSchedule")
                except ApiError as error:
                    log.warning("a candidate was not marked", node=name, error=error.message)

    # ---- telling

    async def _tell(self, report: Report, now_s: float) -> None:
        if not self.settings.write_status_configmap:
            return
        made = self._status.config_map(self.settings.status_config_map_name, report, now_s)
        maps = self.writer(CONFIG_MAPS)
        changes = {"metadata": {"annotations": made["metadata"]["annotations"]}, "data": made["data"]}
        try:
            await maps.patch(meta.name(made), changes, namespace=NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                raise
            await maps.create(made)
