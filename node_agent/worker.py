"""One pod on this node: a task that brings what runs to what the object says, pass by pass.

Every pass looks at the runtime afresh, so nothing is lost with the process: a new agent finds the containers of the
old one and goes on. Deleting a pod interrupts whatever pass is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from argosy import logs
from argosy.client import Resource
from argosy.host import parse_rfc3339
from argosy.objects import meta
from argosy.objects.pod_qos import qos_class
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from node_agent import backoff
from node_agent.allocation import allocation_of, grows
from node_agent.environment import ConfigError
from node_agent.images import Images
from node_agent.observed import Observed
from node_agent.observing import Observer
from node_agent.plan import Health, Kill, Plan, plan
from node_agent.probes.manager import Probes
from node_agent.reporter import Reporter
from node_agent.resizer import Judge, Resizer
from node_agent.runtime.runtime import RuntimeFailure, SandboxConfig, State
from node_agent.seams import Tools, VolumeError
from node_agent.starting import Starter, StartError, field_path
from node_agent.status import Inputs, Waiting, pod_status, rejected_status
from node_agent.stopping import Stopper, find_container

log = logs.get("node_agent.pod")

IDLE_S = 60.0
"""A pod that needs nothing is looked at again after so long, should a notice have been lost."""
RETRY_MIN_S = 0.5
RETRY_MAX_S = 10.0
QUIET_RETRIES = 4
PARALLEL_SANDBOXES = 8
"""Sandboxes that are made at the same time on one node."""
DEFAULT_GRACE_S = 30
EVICTION_GRACE_S = 1
TERMINAL = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Parts:
    """What all workers of a node share."""

    tools: Tools
    images: Images
    starter: Starter
    stopper: Stopper
    probes: Probes
    crashes: backoff.Backoff
    pods: Resource
    admit: Callable[[JsonObject], tuple[str, str] | None]
    """(reason, message) when the node cannot take a pod that it has not taken yet."""
    judge_resize: Judge
    """Whether the node can grant what a pod asks for now."""
    freed: Callable[[], None]
    """To be called when a pod gave something back: others may wait for it to grow."""
    network_ready: Callable[[], str]
    """Why pods cannot get an address yet; empty when they can."""
    sandbox_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL_SANDBOXES))


class PodWorker:
    def __init__(self, parts: Parts, pod: JsonObject, *, orphan: bool = False) -> None:
        """`orphan`: found in the runtime without an object; it is only ended."""
        self._parts = parts
        self._tools = parts.tools
        self.uid = meta.uid(pod)
        self.reporter = Reporter(parts.pods, parts.tools.host, pod)
        self.observer = Observer(parts.tools.runtime, self.uid, parts.tools.settings.host_ips)
        self.ended = False
        """Nothing of it is left here; the object may still wait for finalizers."""
        self.accepted = bool(meta.status(pod).get("startTime"))
        self.resizer = Resizer(parts.tools, pod, accepted=self.accepted)
        self.rejected = False
        self._orphan = orphan
        self._waiting: dict[str, Waiting] = {}
        self._messages: dict[str, str] = {}
        self._failure: tuple[str, str] | None = None
        self._eviction = ""
        self._eviction_grace_s = EVICTION_GRACE_S
        self._settled = False
        self._volume_failures = 0
        self._sandbox_failures = 0
        self._blocked: tuple[str, str] | None = None
        self._wake = asyncio.Event()
        self._step: asyncio.Task[float] | None = None
        self._orderly = False
        """The last pass came to its end: what runs is what it saw."""
        self._step_mode: int | None = None
        self._interrupted = False
        self._retry_s = RETRY_MIN_S
        if orphan:
            self.reporter.stop_reporting()

    @property
    def pod(self) -> JsonObject:
        """As it runs here: with the resources that it was granted, whatever it asks for by now."""
        return self.resizer.granted(self.reporter.pod)

    @property
    def is_active(self) -> bool:
        """Its requests count against the node."""
        return not (self.ended or self.rejected or meta.status(self.reporter.local).get("phase") in TERMINAL)

    def update(self, pod: JsonObject) -> None:
        self.reporter.observed(pod)
        self._changed()

    def object_gone(self) -> None:
        """The object was removed from the API: what still runs is ended."""
        self._orphan = True
        self.reporter.stop_reporting()
        self._changed()

    def evict(self, message: str, grace_s: int = EVICTION_GRACE_S) -> None:
        """The node cannot bear it any longer: it ends soon and has Failed."""
        if not self._eviction:
            self._eviction, self._eviction_grace_s = message, grace_s
            if self._step is not None and self._step_mode is None:
                self._interrupted = True
                self._step.cancel()
            self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def reconsider(self) -> None:
        """Another pod gave something back: a resize that waits may have room now. Raises OSError."""
        if self._step is None and self._orderly and self._mode() is None and self.is_active:
            self.resizer.consider(self.reporter.pod, self.observer.last, self._parts.judge_resize)
        self._wake.set()

    def _changed(self) -> None:
        if self._step is not None and self._step_mode != self._mode():
            self._interrupted = True
            self._step.cancel()
        self._wake.set()

    def _mode(self) -> int | None:
        """None while the pod should run, else the grace period to end it with."""
        if not (self._orphan or meta.is_deleting(self.pod)):
            return None
        grace = meta.metadata(self.pod).get("deletionGracePeriodSeconds")
        if grace is None or self._orphan:
            grace = meta.spec(self.pod).get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
        return max(1, int(grace)) if self._orphan else max(0, int(grace))

    async def run(self) -> None:
        """Until the pod has ended and its object is gone, or cancelled. No failure of a pass ends it."""
        reporting = asyncio.get_running_loop().create_task(self.reporter.run(), name=f"status {self.uid}")
        try:
            while True:
                self._wake.clear()
                delay_s = await self._guarded_pass()
                if self.ended:
                    return
                try:
                    async with asyncio.timeout(delay_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            self._parts.probes.forget(self.uid)
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def _guarded_pass(self) -> float:
        """Seconds until the next pass without a wake-up."""
        mode = self._mode()
        self._interrupted = self._orderly = False
        step = asyncio.get_running_loop().create_task(self._pass(mode), name=f"pod {self.uid}")
        self._step, self._step_mode = step, mode
        try:
            delay_s = await step
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            self._interrupted = False
            return 0.0
        except RuntimeFailure as failure:
            log.warning("runtime call failed", pod=meta.key(self.pod), error=failure.message)
        except OSError as error:
            log.warning("node operation failed", pod=meta.key(self.pod), error=error)
        except Exception:
            log.exception("pod pass failed", pod=meta.key(self.pod))
        else:
            self._retry_s, self._orderly = RETRY_MIN_S, True
            return delay_s
        finally:
            self._step = None
            if step.done() is False:
                step.cancel()
        pause_s = self._retry_s * (0.5 + self._tools.host.rng.random())
        self._retry_s = min(RETRY_MAX_S, self._retry_s * 2)
        return pause_s

    async def _pass(self, mode: int | None) -> float:
        seen = await self.observer.look()
        if mode is not None:
            await self._terminate(seen, mode)
            return IDLE_S
        if self.rejected or (meta.status(self.reporter.local).get("phase") in TERMINAL):
            return await self._settle(seen)
        if not self.accepted:
            refused = self._parts.admit(self.pod)
            if refused is not None:
                return self._reject(*refused)
            self.resizer.admitted(self.reporter.pod)
            self.accepted = True
            self._report(seen)
        before = self.pod
        if self.resizer.consider(self.reporter.pod, seen, self._parts.judge_resize) and grows(before, self.pod):
            self._parts.freed()
        if self._eviction:
            return await self._fail(seen, "Evicted", self._eviction, "Warning", self._eviction_grace_s)
        overdue_s = self._overdue_s()
        if overdue_s is not None and overdue_s <= 0:
            message = "Pod was active on the node longer than the specified deadline"
            return await self._fail(seen, "DeadlineExceeded", message, "Normal", self._grace_s())
        delay_s = await self._advance(seen)
        return delay_s if overdue_s is None else min(delay_s, overdue_s)

    # Running

    async def _advance(self, seen: Observed) -> float:
        """Set up what the pod needs, then carry out plans until one asks for nothing."""
        pod = self.pod
        if not meta.spec(pod).get("hostNetwork"):
            missing = self._parts.network_ready()
            if missing and seen.ready_sandbox is None:
                self._tools.recorder.event(pod, "Warning", "NetworkNotReady", f"network is not ready: {missing}")
                return RETRY_MIN_S
        self._tools.cgroups.make(self.uid, qos_class(pod), self.resizer.limits(pod, seen))
        log_directory = self._tools.files.prepare(pod)
        try:
            await self._tools.volumes.set_up(pod, self._parts.starter.surroundings(pod, seen.ips))
            self._volume_failures, self._blocked = 0, None
        except ConfigError as error:
            log.info("pod waits", pod=meta.key(pod), error=error)
            self._report(seen)
            return RETRY_MIN_S
        except VolumeError as error:
            if not error.stale:
                return self._volume_failed(seen, error)
            self._volume_complaint(error)
        self._parts.probes.sync(pod, seen)
        resize_s = await self.resizer.carry_out(self.reporter.pod, seen)
        todo = plan(pod, seen, self._health(seen))
        retry_s = await self._carry_out(todo, seen, log_directory)
        seen = await self.observer.look()
        self._parts.probes.sync(pod, seen)
        await self._prune(seen)
        self._report(seen)
        if meta.status(self.reporter.local).get("phase") in TERMINAL:
            return 0.0
        again = plan(pod, seen, self._health(seen))
        if retry_s is None and resize_s is None and (_asks(again) or self.resizer.is_over(self.reporter.pod, seen)):
            return 0.0
        delays = [IDLE_S, self._tools.volumes.refresh_s(pod), retry_s, resize_s]
        return min(delay for delay in delays if delay is not None)

    def _volume_failed(self, seen: Observed, error: VolumeError) -> float:
        message = self._volume_complaint(error)
        if message:
            self._blocked = ("FailedMount", message)
        self._report(seen)
        if error.final:
            return backoff.MAX_S
        return min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(self._volume_failures - 1, 8))

    def _volume_complaint(self, error: VolumeError) -> str:
        """Tell of it, unless it may pass by itself; gives what was said."""
        self._volume_failures += 1
        if error.quiet and self._volume_failures <= QUIET_RETRIES:
            return ""
        message = f'MountVolume.SetUp failed for volume "{error.volume}" : {error.message}'
        self._tools.recorder.event(self.pod, "Warning", "FailedMount", message)
        log.info("volume is not ready", pod=meta.key(self.pod), volume=error.volume, error=error.message)
        return message

    def _health(self, seen: Observed) -> Health:
        health = self._parts.probes.health(self.uid, seen)
        return replace(health, resized=self.resizer.must_restart(self.reporter.pod, seen))

    async def _carry_out(self, todo: Plan, seen: Observed, log_directory: str) -> float | None:
        """Do one plan; seconds until what waits (back-off, a failed start) can go on, None when nothing waits."""
        pod = self.pod
        if todo.kill_pod:
            if todo.create_sandbox and seen.sandbox is not None:
                message = "Pod sandbox changed, it will be killed and re-created."
                self._tools.recorder.event(pod, "Normal", "SandboxChanged", message)
            if seen.sandboxes:
                await self._parts.stopper.stop_all(pod, seen, self._grace_s())
                seen = await self.observer.look()
            if not todo.create_sandbox:
                return None
        for kill in todo.kill:
            await self._kill(kill, seen)
        if todo.kill:
            seen = await self.observer.look()
        config = await self._sandbox_config(todo, seen, log_directory)
        if config is None:
            return RETRY_MAX_S
        if todo.create_sandbox:
            if not await self._create_sandbox(config):
                self._sandbox_failures += 1
                return min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(self._sandbox_failures, 8))
            self._sandbox_failures = 0
            seen = await self.observer.look()
            self._report(seen)
        sandbox = seen.ready_sandbox
        if sandbox is None:
            return RETRY_MIN_S
        delays: list[float] = []
        for container in (*todo.ephemeral, *todo.init, *todo.start):
            delay_s = await self._start(container, sandbox.id, config, seen)
            if delay_s is not None:
                delays.append(delay_s)
        return min(delays) if delays else None

    async def _sandbox_config(self, todo: Plan, seen: Observed, log_directory: str) -> SandboxConfig | None:
        attempt = todo.sandbox_attempt if todo.create_sandbox or seen.sandbox is None else seen.sandbox.attempt
        try:
            return await self._parts.starter.sandbox_config(self.pod, attempt, log_directory)
        except (ConfigError, ApiError) as error:
            message = f"Failed to create pod sandbox: {error}"
            self._tools.recorder.event(self.pod, "Warning", "FailedCreatePodSandBox", message)
            return None

    async def _create_sandbox(self, config: SandboxConfig) -> bool:
        try:
            async with self._parts.sandbox_slots:
                sandbox_id = await self._tools.runtime.run_sandbox(config)
        except RuntimeFailure as failure:
            message = f"Failed to create pod sandbox: {failure.message}"
            self._tools.recorder.event(self.pod, "Warning", "FailedCreatePodSandBox", message)
            log.warning("sandbox was not created", pod=meta.key(self.pod), error=failure.message)
            return False
        log.info("sandbox created", pod=meta.key(self.pod), id=sandbox_id[:12], attempt=config.attempt)
        return True

    async def _kill(self, kill: Kill, seen: Observed) -> None:
        grace_s = self._grace_s()
        container = find_container(self.pod, kill.container.name)
        if container is not None and kill.container.id in self._parts.probes.failures(self.uid):
            kind = self._parts.probes.failures(self.uid)[kill.container.id]
            grace_s = int((container.get(f"{kind}Probe") or {}).get("terminationGracePeriodSeconds") or grace_s)
        await self._parts.stopper.stop(self.pod, kill.container, grace_s, seen.ips, kill.message)
        if kill.container.id in self.resizer.must_restart(self.reporter.pod, seen):
            self._parts.crashes.forget(f"{self.uid}_{kill.container.name}")

    def _grace_s(self) -> int:
        return int(meta.spec(self.pod).get("terminationGracePeriodSeconds", DEFAULT_GRACE_S))

    async def _start(
        self, container: JsonObject, sandbox_id: str, config: SandboxConfig, seen: Observed
    ) -> float | None:
        """Start one container unless its back-off runs; seconds to wait, or None when it was started."""
        name = container["name"]
        now = self._tools.host.clock.now()
        latest = seen.latest(name)
        key = f"{self.uid}_{name}"
        if latest is not None and latest.state is State.EXITED:
            wait_s = self._parts.crashes.wait_s(key, latest.finished_at, now)
            if wait_s > 0:
                self._crash_loop(container, self._parts.crashes.delay_s(key))
                return wait_s
            self._parts.crashes.failed(key, now)
        try:
            container_id = await self._parts.starter.start(self.reporter.local, container, sandbox_id, config, seen)
        except StartError as error:
            self._waiting[name] = Waiting(error.reason, error.message)
            log.info("container waits", pod=meta.key(self.pod), container=name, reason=error.reason)
            return error.retry_s
        self._waiting.pop(name, None)
        log.info("container started", pod=meta.key(self.pod), container=name, id=container_id[:12])
        return None

    def _crash_loop(self, container: JsonObject, delay_s: float) -> None:
        name, pod = container["name"], self.pod
        shown = f"{meta.name(pod)}_{meta.namespace(pod)}({self.uid})"
        message = f"back-off {backoff.text(delay_s)} restarting failed container={name} pod={shown}"
        before = self._waiting.get(name)
        self._waiting[name] = Waiting("CrashLoopBackOff", message)
        if before is None or before.reason != "CrashLoopBackOff":
            event = f"Back-off restarting failed container {name} in pod {shown}"
            self._tools.recorder.event(pod, "Warning", "BackOff", event, field_path=field_path(pod, container))

    async def _prune(self, seen: Observed) -> None:
        """Remove dead containers beyond those kept for their logs, and sandboxes that hold nothing."""
        names = dict.fromkeys(item.name for item in seen.containers)
        kept: dict[str, None] = {}
        for name in names:
            dead = [item for item in seen.history(name) if item.state is State.EXITED]
            latest = seen.latest(name)
            allowance = self._tools.settings.dead_containers_kept + (1 if dead and latest is dead[0] else 0)
            for item in dead[allowance:]:
                await self._tools.runtime.remove_container(item.id)
                self._tools.files.forget_attempt(self.pod, name, item.attempt)
                self._messages.pop(item.id, None)
                self._parts.stopper.forget(item.id)
            kept.update((item.id, None) for item in seen.history(name) if item not in dead[allowance:])
        holding = {seen.sandbox_of.get(container_id) for container_id in kept}
        for sandbox in seen.sandboxes[1:]:
            if not sandbox.ready and sandbox.id not in holding:
                await self._tools.runtime.remove_sandbox(sandbox.id)

    # Ending

    def _overdue_s(self) -> float | None:
        """Seconds left of activeDeadlineSeconds."""
        deadline_s = meta.spec(self.pod).get("activeDeadlineSeconds")
        started = meta.status(self.reporter.local).get("startTime")
        if deadline_s is None or not started:
            return None
        return parse_rfc3339(started) + float(deadline_s) - self._tools.host.clock.now()

    async def _fail(self, seen: Observed, reason: str, message: str, kind: str, grace_s: int) -> float:
        """End a pod that should run; it has Failed for good. `kind` is the event's type."""
        self._tools.recorder.event(self.pod, kind, reason, message)
        self._failure = (reason, message)
        await self._parts.stopper.stop_all(self.pod, seen, grace_s)
        self._report(await self.observer.look(), terminal=True)
        return 0.0

    def _reject(self, reason: str, message: str) -> float:
        self.rejected = True
        self._tools.recorder.event(self.pod, "Warning", reason, message)
        log.info("pod rejected", pod=meta.key(self.pod), reason=reason)
        self.reporter.report(
            rejected_status(self.pod, reason, f"Pod was rejected: {message}", self._tools.host.clock.now())
        )
        return IDLE_S

    async def _settle(self, seen: Observed) -> float:
        """An ended pod that is still an object keeps its dead containers and logs, and nothing else."""
        if self._settled:
            return IDLE_S
        self._parts.probes.forget(self.uid)
        if seen.running() or any(sandbox.ready for sandbox in seen.sandboxes):
            await self._parts.stopper.stop_all(self.pod, seen, self._grace_s())
            seen = await self.observer.look()
        if not self.rejected:
            self._report(seen, terminal=True)
        self._tools.volumes.tear_down(self.uid)
        self._tools.cgroups.remove(self.uid)
        self._settled = True
        return IDLE_S

    async def _terminate(self, seen: Observed, grace_s: int) -> None:
        """End everything, tell the last status, clear the node, and let the object go."""
        self._parts.probes.ending(self.uid)
        await self._parts.stopper.stop_all(self.pod, seen, grace_s)
        seen = await self.observer.look()
        if not self.reporter.gone:
            if not self.rejected:
                self._report(seen, terminal=True)
            await self.reporter.written()
        self._parts.probes.forget(self.uid)
        self._tools.volumes.tear_down(self.uid)
        for container in seen.containers:
            await self._tools.runtime.remove_container(container.id)
            self._parts.stopper.forget(container.id)
        for sandbox in seen.sandboxes:
            await self._tools.runtime.remove_sandbox(sandbox.id)
        self._tools.cgroups.remove(self.uid)
        self._tools.files.remove(self.uid)
        self._parts.images.forget(self.uid)
        self._parts.crashes.forget(f"{self.uid}_")
        await self.reporter.delete()
        log.info("pod ended", pod=meta.key(self.pod), uid=self.uid)
        self.ended = True

    # Status

    def _report(self, seen: Observed, *, terminal: bool = False) -> None:
        pod = self.reporter.local
        for container in seen.containers:
            if container.state is State.EXITED and container.id not in self._messages:
                spec = find_container(pod, container.name)
                self._messages[container.id] = self._tools.files.termination_message(pod, spec, container)
            if container.state is State.RUNNING and seen.latest(container.name) is container:
                self._waiting.pop(container.name, None)
        settings = self._tools.settings
        inputs = Inputs(
            seen=seen,
            now=self._tools.host.clock.now(),
            host_ips=settings.host_ips,
            runtime_name=settings.runtime_name,
            waiting={} if terminal else self._waiting,
            ready=self._parts.probes.ready(self.uid),
            started=self._parts.probes.started(self.uid),
            messages=self._messages,
            failure=self._failure,
            blocked=self._blocked,
            allocated=allocation_of(self.pod),
            actual=self.resizer.actual(self.reporter.pod, seen),
            resize=() if terminal else self.resizer.conditions(),
            terminal=terminal,
        )
        self.reporter.report(pod_status(pod, inputs))
        if terminal:
            self._parts.freed()


def _asks(todo: Plan) -> bool:
    return bool(todo.kill_pod or todo.create_sandbox or todo.kill or todo.init or todo.start or todo.ephemeral)
