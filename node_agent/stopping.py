"""Ends containers: preStop, SIGTERM, the grace period, SIGKILL; and whole pods, sidecars last.

Upstream `killContainersWithSyncResult` and `terminationOrdering`. Everything here may be cancelled and begun again:
it only ever brings things nearer to being stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from argosy import logs
from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.hooks import HookError, run_handler
from node_agent.observed import Observed
from node_agent.resources import is_sidecar, named_containers
from node_agent.runtime.runtime import ContainerStatus
from node_agent.seams import Tools
from node_agent.starting import field_path

log = logs.get("node_agent.stop")

MIN_GRACE_S = 2
"""What SIGTERM gets at least after a preStop that took all the time."""


def find_container(pod: JsonObject, name: str) -> JsonObject | None:
    return next((item for item in named_containers(pod) if item["name"] == name), None)


class Stopper:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._pre_stopped: dict[str, None] = {}

    def forget(self, container_id: str) -> None:
        self._pre_stopped.pop(container_id, None)

    async def stop(
        self,
        pod: JsonObject,
        status: ContainerStatus,
        grace_s: int,
        pod_ips: Sequence[str],
        message: str = "",
    ) -> None:
        """End one container within `grace_s`. Raises RuntimeFailure."""
        container = find_container(pod, status.name)
        path = field_path(pod, container) if container else ""
        text = message or f"Stopping container {status.name}"
        self._tools.recorder.event(pod, "Normal", "Killing", text, field_path=path)
        clock = self._tools.host.clock
        begun = clock.monotonic()
        handler = ((container or {}).get("lifecycle") or {}).get("preStop")
        if container is not None and handler and grace_s > 0 and status.id not in self._pre_stopped:
            self._pre_stopped[status.id] = None
            try:
                async with asyncio.timeout(grace_s):
                    await run_handler(self._tools, handler, container, status.id, pod_ips)
            except TimeoutError:
                log.warning("preStop took the whole grace period", pod=meta.key(pod), container=status.name)
            except HookError as error:
                event = f"PreStopHook failed: {error}"
                self._tools.recorder.event(pod, "Warning", "FailedPreStopHook", event, field_path=path)
            left = grace_s - (clock.monotonic() - begun)
            grace_s = max(MIN_GRACE_S, int(left))
        await self._tools.runtime.stop_container(status.id, grace_s)
        log.info("container stopped", pod=meta.key(pod), container=status.name, id=status.id[:12], grace_s=grace_s)

    async def stop_all(self, pod: JsonObject, seen: Observed, grace_s: int) -> None:
        """Main containers at once, then sidecars from the last to the first, then the sandboxes."""
        running = seen.running()
        order = {
            container["name"]: number
            for number, container in enumerate(meta.spec(pod).get("initContainers") or [])
            if is_sidecar(container)
        }
        deadline = self._tools.host.clock.monotonic() + grace_s
        await _all(
            [self.stop(pod, item, grace_s, seen.ips) for item in running if item.name not in order],
        )
        for item in sorted(running, key=lambda status: order.get(status.name, -1), reverse=True):
            if item.name in order:
                left = max(MIN_GRACE_S, int(deadline - self._tools.host.clock.monotonic()))
                await self.stop(pod, item, min(left, max(grace_s, MIN_GRACE_S)), seen.ips)
        for sandbox in seen.sandboxes:
            await self._tools.runtime.stop_sandbox(sandbox.id)


async def _all(steps: Sequence[object]) -> None:
    """Run them side by side to the end, then raise the first failure."""
    results = await asyncio.gather(*steps, return_exceptions=True)  # type: ignore[call-overload]
    for result in results:
        if isinstance(result, BaseException):
            raise result
