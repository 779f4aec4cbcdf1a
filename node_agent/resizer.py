"""Resizes one pod in place: grants what it asks for when the node has it, then sets its containers' groups.

Order, as upstream's `doPodResizeAction`: the pod's own group is as wide as the old and the new containers need while
they are changed, and only then as narrow as the new ones. What was granted is kept in the pod's folder (upstream: a
checkpoint), with what running containers had then: a container without a note was started with what is granted now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from argosy import logs
from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects.pod_qos import qos_class
from argosy.objects.types import JsonObject
from argosy.scheduling.resources import INFEASIBLE, RESIZE_IN_PROGRESS, RESIZE_PENDING
from node_agent import allocation
from node_agent.observed import Observed
from node_agent.resources import PodLimits, container_resources, pod_limits
from node_agent.runtime.runtime import ContainerStatus, RuntimeFailure, State
from node_agent.seams import Tools

log = logs.get("node_agent.resize")

RETRY_S = 10.0
ERROR = "Error"

Judge = Callable[[JsonObject, JsonObject], tuple[str, str] | None]
"""(pod as it asks, pod as it was granted): (Deferred or Infeasible, message), or None when there is room."""


@dataclass(frozen=True)
class Note:
    """What a condition of the resize says."""

    reason: str
    message: str
    generation: int

    def condition(self, type_: str, now_s: float) -> JsonObject:
        made = conditions.make(type_, True, rfc3339(now_s), self.reason, self.message)
        return {**made, "observedGeneration": self.generation} if self.generation else made


class Resizer:
    def __init__(self, tools: Tools, pod: JsonObject, *, accepted: bool) -> None:
        """`accepted`: the node took the pod before, perhaps by a former agent."""
        self._tools = tools
        self._uid = meta.uid(pod)
        self._allocated: dict[str, JsonObject] | None = None
        self._actual: dict[str, JsonObject] = {}
        """By container id, of those that were started before the last change of what is granted."""
        self._seen: tuple[JsonObject, JsonObject] | None = None
        self.pending: Note | None = None
        self.progress: Note | None = None
        if accepted:
            self._load(pod)

    def _load(self, pod: JsonObject) -> None:
        kept = self._tools.files.allocation(self._uid) or {}
        allocated, actual = kept.get("allocated"), kept.get("actual")
        self._allocated = dict(allocated) if isinstance(allocated, dict) else allocation.from_status(pod)
        self._actual = dict(actual) if isinstance(actual, dict) else {}

    def _keep(self) -> None:
        """Raises OSError."""
        self._tools.files.keep_allocation(self._uid, {"allocated": self._allocated, "actual": self._actual})

    def granted(self, pod: JsonObject) -> JsonObject:
        """The pod as it runs here."""
        if self._allocated is None:
            return pod
        if self._seen is None or self._seen[0] is not pod:
            self._seen = (pod, allocation.with_allocation(pod, self._allocated))
        return self._seen[1]

    def admitted(self, pod: JsonObject) -> None:
        """The node takes the pod with what it asks for. Raises OSError."""
        self._grant(pod, allocation.allocation_of(pod))
        self._keep()

    def _grant(self, pod: JsonObject, allocated: dict[str, JsonObject]) -> None:
        self._allocated = allocated
        self._seen = None
        self.granted(pod)

    # Granting

    def consider(self, pod: JsonObject, seen: Observed, judge: Judge) -> bool:
        """Grant what the pod asks for if there is room; whether something new was granted. Raises OSError."""
        wanted, before = allocation.allocation_of(pod), self._allocated
        if before is None or before == wanted:
            self.pending = None
            return False
        running = {item.name: item for item in seen.containers if item.state is State.RUNNING}
        actual = {
            item.id: self._actual.get(item.id, before[item.name]) for item in running.values() if item.name in before
        }
        if all(allocation.same(wanted[name], before.get(name, {})) for name in wanted):
            # The same amounts in other units: what has them has them in these.
            self._actual = {
                key: next((held for held in wanted.values() if allocation.same(held, has)), has)
                for key, has in actual.items()
            }
            self._grant(pod, wanted)
            self._keep()
            self.pending = None
            return False
        refused = judge(pod, self.granted(pod))
        generation = meta.generation(pod)
        if refused is not None:
            self._put_off(pod, Note(*refused, generation))
            return False
        self._actual = actual
        self._grant(pod, wanted)
        self._keep()
        self.pending, self.progress = None, Note("", "", generation)
        message = f"Pod resize started: {allocation.summary(pod, generation)}"
        self._tools.recorder.event(pod, "Normal", "ResizeStarted", message)
        log.info("resize begins", pod=meta.key(pod), generation=generation)
        return True

    def _put_off(self, pod: JsonObject, note: Note) -> None:
        known = conditions.get(pod, RESIZE_PENDING) or {}
        told = (known.get("reason"), known.get("message"), known.get("observedGeneration"))
        if note != self.pending and told != (note.reason, note.message, note.generation):
            event = "ResizeInfeasible" if note.reason == INFEASIBLE else "ResizeDeferred"
            text = allocation.summary(pod, note.generation, note.message)
            self._tools.recorder.event(pod, "Warning", event, f"Pod resize {note.reason}: {text}")
            log.info("resize waits", pod=meta.key(pod), reason=note.reason, why=note.message)
        self.pending = note

    # Carrying out

    def actual(self, pod: JsonObject, seen: Observed) -> dict[str, JsonObject]:
        """What each running container has, by its id."""
        current = {item["name"]: item.get("resources") or {} for item in allocation.resizable(self.granted(pod))}
        return {
            item.id: self._actual.get(item.id, current[item.name])
            for item in seen.containers
            if item.state is State.RUNNING and item.name in current
        }

    def limits(self, pod: JsonObject, seen: Observed) -> PodLimits:
        """Of the pod's own group while its containers are not all as they were granted."""
        has = self.actual(pod, seen)
        present = {item.name: has[item.id] for item in reversed(seen.containers) if item.id in has}
        granted = self.granted(pod)
        return allocation.ceiling(pod_limits(allocation.with_allocation(granted, present)), pod_limits(granted))

    def must_restart(self, pod: JsonObject, seen: Observed) -> dict[str, str]:
        """Ids of running containers that only a new start gives what they were granted, and what is said then."""
        has, found = self.actual(pod, seen), {}
        for container in allocation.resizable(self.granted(pod)):
            status = seen.latest(container["name"])
            if status is not None and status.id in has and allocation.restarts(container, has[status.id]):
                found[status.id] = f"Container {container['name']} resize requires restart"
        return found

    def is_over(self, pod: JsonObject, seen: Observed) -> bool:
        """Nothing is left but to say so, and to narrow the pod's own group."""
        return self.progress is not None and not self._due(self.granted(pod), seen, self.actual(pod, seen))

    async def carry_out(self, pod: JsonObject, seen: Observed) -> float | None:
        """Set running containers' groups; seconds until it is to be tried again, None when nothing is left to do."""
        has, restarting = self.actual(pod, seen), self.must_restart(pod, seen)
        granted = self.granted(pod)
        due = self._due(granted, seen, has)
        if restarting or due:
            self.progress = self.progress or Note("", "", meta.generation(pod))
        live = [(container, status) for container, status in due if status.id not in restarting]
        try:
            self._check_memory(granted, live, has, None if restarting else self.limits(pod, seen))
            for container, status in live:
                await self._update(granted, container, status)
            if restarting:
                return None
            self._tools.cgroups.make(self._uid, qos_class(granted), pod_limits(granted))
        except (RuntimeFailure, MemoryInUse, OSError) as error:
            self._failed(pod, str(error))
            return RETRY_S
        if self.progress is not None:
            generation, self.progress = self.progress.generation, None
            message = f"Pod resize completed: {allocation.summary(granted, generation)}"
            self._tools.recorder.event(pod, "Normal", "ResizeCompleted", message)
            log.info("resize is done", pod=meta.key(pod), generation=generation)
        return None

    def _due(
        self, granted: JsonObject, seen: Observed, has: Mapping[str, JsonObject]
    ) -> list[tuple[JsonObject, ContainerStatus]]:
        """Containers to be changed: those first that give something back."""
        found = []
        for container in allocation.resizable(granted):
            status = seen.latest(container["name"])
            resources = container.get("resources") or {}
            if status is not None and status.id in has and not allocation.same(resources, has[status.id]):
                found.append((container, status))
        return sorted(found, key=lambda pair: not allocation.shrinks_memory(pair[0]["resources"], has[pair[1].id]))

    async def _update(self, granted: JsonObject, container: JsonObject, status: ContainerStatus) -> None:
        """Raises RuntimeFailure, OSError."""
        resources = container_resources(granted, container, self._tools.settings.memory_bytes)
        await self._tools.runtime.update_container(status.id, resources)
        self._actual[status.id] = container.get("resources") or {}
        self._keep()
        log.info("container resized", container=container["name"], id=status.id[:12])

    def _check_memory(
        self,
        granted: JsonObject,
        due: list[tuple[JsonObject, ContainerStatus]],
        has: Mapping[str, JsonObject],
        present: PodLimits | None,
    ) -> None:
        """A limit below what is used now would kill: that is refused and tried again.

        `due` are changed as they run; `present` are the pod's limits now, None when containers start anew before they
        change. Raises MemoryInUse, OSError.
        """
        qos, problems = qos_class(granted), []
        after = pod_limits(granted).memory_limit_bytes
        if due and after and present is not None and after != present.memory_limit_bytes:
            used = self._tools.cgroups.memory_bytes(self._uid, qos)
            if used >= after:
                problems.append(f"attempting to set pod memory limit ({after}) below current usage ({used})")
        for container, status in due:
            limit = allocation.shrinks_memory(container["resources"], has[status.id])
            used = self._tools.cgroups.memory_bytes(self._uid, qos, status.id) if limit else 0
            if limit and used >= limit:
                problems.append(
                    f'attempting to set container "{container["name"]}" memory limit ({limit}) '
                    f"below current usage ({used})"
                )
        if problems:
            text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise MemoryInUse(f"cannot decrease memory limits: {text}")

    def _failed(self, pod: JsonObject, message: str) -> None:
        generation = self.progress.generation if self.progress else meta.generation(pod)
        note = Note(ERROR, message, generation)
        if self.progress is None or self.progress.reason != ERROR:
            text = allocation.summary(self.granted(pod), generation, message)
            self._tools.recorder.event(pod, "Warning", "ResizeError", f"Pod resize error: {text}")
        log.warning("resize failed, is tried again", pod=meta.key(pod), error=message)
        self.progress = note

    # Telling

    def conditions(self) -> list[JsonObject]:
        now_s = self._tools.host.clock.now()
        notes = ((RESIZE_PENDING, self.pending), (RESIZE_IN_PROGRESS, self.progress))
        return [note.condition(type_, now_s) for type_, note in notes if note is not None]


class MemoryInUse(Exception):
    """More memory is used than a new limit would allow."""
