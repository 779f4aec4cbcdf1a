"""Runs the probes of every container on the node, and remembers what they say (upstream pkg/kubelet/prober).

A task per probe of a running container: the startup probe first; liveness and readiness wait for its success. A
liveness or startup probe that failed often enough marks its container, and the pod's worker ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from argosy import logs
from argosy.host import Host
from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.observed import Observed
from node_agent.plan import Health
from node_agent.probes.probe import Outcome, Prober, Result, Subject
from node_agent.resources import is_sidecar
from node_agent.runtime.runtime import ContainerStatus, State
from node_agent.seams import Recorder
from node_agent.starting import field_path

log = logs.get("node_agent.probes")

KINDS = ("startup", "liveness", "readiness")
_TITLES = {"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}
_UNKNOWN_RETRIES = 3
FIRST_PROBE_S = 0.3
"""A container is not probed sooner after its start: a server just opening its port would lose a whole period."""


@dataclass
class _Probed:
    """A running container and its probes."""

    container_id: str
    pod_uid: str
    started: bool
    ready: bool
    failed: str = ""
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)


class Probes:
    def __init__(self, host: Host, prober: Prober, recorder: Recorder, changed: Callable[[str], None]) -> None:
        """`changed` is called with a pod's uid when one of its results did."""
        self._host = host
        self._prober = prober
        self._recorder = recorder
        self._changed = changed
        self._pods: dict[str, dict[str, _Probed]] = {}

    def ready(self, pod_uid: str) -> Mapping[str, bool]:
        """By container id."""
        return {item.container_id: item.ready for item in self._pods.get(pod_uid, {}).values()}

    def started(self, pod_uid: str) -> Mapping[str, bool]:
        return {item.container_id: item.started for item in self._pods.get(pod_uid, {}).values()}

    def failures(self, pod_uid: str) -> Mapping[str, str]:
        """Containers that must be ended: `startup` or `liveness` by container id."""
        return {item.container_id: item.failed for item in self._pods.get(pod_uid, {}).values() if item.failed}

    def health(self, pod_uid: str, _seen: Observed) -> Health:
        return Health(self.failures(pod_uid), self.started(pod_uid))

    def sync(self, pod: JsonObject, seen: Observed) -> None:
        """Start the probes of containers that came, end those of containers that went."""
        probed = self._pods.setdefault(meta.uid(pod), {})
        spec = meta.spec(pod)
        current: dict[str, None] = {}
        inits = [container for container in spec.get("initContainers") or [] if is_sidecar(container)]
        for container in [*inits, *(spec.get("containers") or [])]:
            status = seen.active(container["name"])
            if status is None or status.state is not State.RUNNING:
                continue
            current[status.id] = None
            if status.id not in probed:
                probed[status.id] = self._begin(pod, container, status, seen)
        for container_id in [container_id for container_id in probed if container_id not in current]:
            _cancel(probed.pop(container_id))

    def ending(self, pod_uid: str) -> None:
        """The pod is being ended: only readiness still matters."""
        for item in self._pods.get(pod_uid, {}).values():
            for kind in ("startup", "liveness"):
                task = item.tasks.pop(kind, None)
                if task is not None:
                    task.cancel()

    def forget(self, pod_uid: str) -> None:
        for item in self._pods.pop(pod_uid, {}).values():
            _cancel(item)

    def _begin(self, pod: JsonObject, container: JsonObject, status: ContainerStatus, seen: Observed) -> _Probed:
        """A container that this agent's forerunner knew as ready stays so until a probe says otherwise."""
        told = [
            item
            for name in ("initContainerStatuses", "containerStatuses")
            for item in meta.status(pod).get(name) or []
            if str(item.get("containerID", "")).endswith(f"//{status.id}")
        ]
        was_started = any(item.get("started") for item in told)
        was_ready = any(item.get("ready") for item in told)
        item = _Probed(
            status.id,
            meta.uid(pod),
            started=was_started or not container.get("startupProbe"),
            ready=was_ready or not container.get("readinessProbe"),
        )
        subject = Subject(pod, container, status.id, seen.ips)
        for kind in KINDS:
            probe = container.get(f"{kind}Probe")
            if probe and not (kind == "startup" and item.started):
                item.tasks[kind] = asyncio.get_running_loop().create_task(
                    self._run(kind, probe, subject, item, status.started_at), name=f"{kind} probe {status.id[:12]}"
                )
        return item

    async def _run(
        self, kind: str, probe: JsonObject, subject: Subject, item: _Probed, container_started_at: float
    ) -> None:
        period_s = max(1.0, float(probe.get("periodSeconds") or 10))
        timeout_s = max(1.0, float(probe.get("timeoutSeconds") or 1))
        passes_needed = max(1, int(probe.get("successThreshold") or 1))
        failures_allowed = max(1, int(probe.get("failureThreshold") or 3))
        delay_s = max(FIRST_PROBE_S, float(probe.get("initialDelaySeconds") or 0))
        # The runtime's clock may be ahead of this one: what started in the future started now.
        age_s = max(0.0, self._host.clock.now() - container_started_at)
        await asyncio.sleep(max(0.0, delay_s - age_s))
        last = Outcome.UNKNOWN
        run_length = 0
        while True:
            if kind == "startup" or item.started:
                begun = self._host.clock.monotonic()
                result = await self._probe_stubbornly(probe, subject, timeout_s)
                self._tell(kind, subject, result)
                outcome = Outcome.SUCCESS if result.outcome is Outcome.WARNING else result.outcome
                if outcome is not Outcome.UNKNOWN:
                    run_length = run_length + 1 if outcome is last else 1
                    last = outcome
                    needed = passes_needed if outcome is Outcome.SUCCESS else failures_allowed
                    if run_length >= needed and self._conclude(kind, item, outcome):
                        return
                spent_s = self._host.clock.monotonic() - begun
                await asyncio.sleep(max(0.05, period_s - spent_s))
            else:
                await asyncio.sleep(min(period_s, 0.5))

    async def _probe_stubbornly(self, probe: JsonObject, subject: Subject, timeout_s: float) -> Result:
        result = Result(Outcome.UNKNOWN)
        for _ in range(_UNKNOWN_RETRIES):
            result = await self._prober.probe(probe, subject, timeout_s)
            if result.outcome is not Outcome.UNKNOWN:
                break
        return result

    def _conclude(self, kind: str, item: _Probed, outcome: Outcome) -> bool:
        """Take over a settled outcome; whether the probe has done its work."""
        success = outcome is Outcome.SUCCESS
        before = (item.started, item.ready, item.failed)
        if kind == "readiness":
            item.ready = success
        elif not success:
            item.failed = kind
        elif kind == "startup":
            item.started = True
        if before != (item.started, item.ready, item.failed):
            log.info("probe result changed", kind=kind, container=item.container_id[:12], outcome=outcome.value)
            self._changed(item.pod_uid)
        return (kind == "startup" and success) or bool(item.failed)

    def _tell(self, kind: str, subject: Subject, result: Result) -> None:
        path = field_path(subject.pod, subject.container)
        if result.outcome is Outcome.FAILURE:
            message = f"{_TITLES[kind]} probe failed: {result.message}"
            self._recorder.event(subject.pod, "Warning", "Unhealthy", message, field_path=path)
        elif result.outcome is Outcome.UNKNOWN:
            message = f"{_TITLES[kind]} probe errored and resulted in unknown state: {result.message}"
            self._recorder.event(subject.pod, "Warning", "Unhealthy", message, field_path=path)
        elif result.outcome is Outcome.WARNING:
            message = f"{_TITLES[kind]} probe warning: {result.message}"
            self._recorder.event(subject.pod, "Warning", "ProbeWarning", message, field_path=path)


def _cancel(item: _Probed) -> None:
    for task in item.tasks.values():
        task.cancel()
