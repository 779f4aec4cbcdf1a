"""Which container of which pod a request to the kubelet API means.

`server.py` asks here. The pods come from the agent (`Pods`), the containers from the runtime, so that the answer is
right even while the pod's status lags behind.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from argosy.objects.types import JsonObject
from node_agent.runtime.runtime import NOT_FOUND, Container, ContainerStatus, RuntimeFailure, Sandbox, State


class Pods(Protocol):
    """The pods of this node."""

    def get(self, namespace: str, name: str) -> JsonObject | None: ...

    def list(self) -> Sequence[JsonObject]: ...


class Containers(Protocol):
    """The part of the runtime that finds containers."""

    async def list_containers(self, pod_uid: str = "") -> list[Container]: ...

    async def container_status(self, container_id: str) -> ContainerStatus: ...

    async def list_sandboxes(self, pod_uid: str = "") -> list[Sandbox]: ...


class LookupFailure(Exception):
    """`code` is the HTTP code for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class ContainerRef:
    id: str
    log_path: str
    running: bool


class Lookup:
    """Raises LookupFailure, and RuntimeFailure when the runtime is away."""

    def __init__(self, pods: Pods, runtime: Containers) -> None:
        self._pods = pods
        self._runtime = runtime

    def pod(self, namespace: str, name: str, uid: str = "") -> JsonObject:
        pod = self._pods.get(namespace, name)
        if pod is None or (uid and pod["metadata"].get("uid") != uid):
            raise LookupFailure(404, f'pod "{name}" does not exist')
        return pod

    async def running(self, namespace: str, name: str, uid: str, container: str) -> ContainerRef:
        """The container to exec in or attach to."""
        pod = self.pod(namespace, name, uid)
        found = await self._attempts(pod, container)
        ref = await self._ref(found[0]) if found else None
        if ref is None or not ref.running:
            raise LookupFailure(500, f'container not found ("{container}")')
        return ref

    async def logged(self, namespace: str, name: str, container: str, *, previous: bool) -> ContainerRef:
        """The container whose log is meant: the latest one that ran, or the one before."""
        pod = self.pod(namespace, name)
        spec = pod.get("spec") or {}
        kinds = ("containers", "initContainers", "ephemeralContainers")
        if container not in {item["name"] for kind in kinds for item in spec.get(kind) or ()}:
            raise LookupFailure(404, f'container "{container}" not found in pod "{name}"')
        found = await self._attempts(pod, container)
        ran = [item for item in found if item.state in (State.RUNNING, State.EXITED, State.UNKNOWN)]
        if previous:
            earlier = self._earlier(pod, container, ran)
            if earlier is None:
                raise LookupFailure(400, f'previous terminated container "{container}" in pod "{name}" not found')
            return _with_log(await self._ref(earlier))
        if not ran:
            gone = ((_container_status(pod, container).get("state") or {}).get("terminated") or {}).get("containerID")
            if gone:
                raise LookupFailure(400, f"unable to retrieve container logs for {gone}")
            reason = _waiting_reason(pod, container)
            raise LookupFailure(400, f'container "{container}" in pod "{name}" is waiting to start: {reason}')
        return _with_log(await self._ref(ran[0]))

    async def sandbox(self, namespace: str, name: str, uid: str) -> str:
        """The id of the pod's running sandbox."""
        pod = self.pod(namespace, name, uid)
        ready = [item for item in await self._runtime.list_sandboxes(_uid(pod)) if item.ready]
        if not ready:
            raise LookupFailure(500, f'pod "{name}" is not running')
        return max(ready, key=lambda item: (item.attempt, item.created_at)).id

    async def is_running(self, container_id: str) -> bool:
        try:
            return (await self._runtime.container_status(container_id)).state is State.RUNNING
        except RuntimeFailure:
            return False

    async def _attempts(self, pod: JsonObject, container: str) -> list[Container]:
        """Newest first."""
        found = [item for item in await self._runtime.list_containers(_uid(pod)) if item.name == container]
        return sorted(found, key=lambda item: (item.attempt, item.created_at), reverse=True)

    def _earlier(self, pod: JsonObject, container: str, ran: list[Container]) -> Container | None:
        """The run that the status calls the last one; without such a status, the newest that is over."""
        status = _container_status(pod, container)
        wanted = str(((status.get("lastState") or {}).get("terminated") or {}).get("containerID", ""))
        wanted = wanted.rpartition("//")[2]
        for item in ran:
            if wanted and item.id == wanted:
                return item
        current_over = bool(ran) and ran[0].state is not State.RUNNING
        restarts = current_over and "waiting" in (status.get("state") or {})
        candidates = ran if restarts else ran[1:]
        return next((item for item in candidates if item.state is not State.RUNNING), None)

    async def _ref(self, container: Container) -> ContainerRef:
        try:
            status = await self._runtime.container_status(container.id)
        except RuntimeFailure as failure:
            if failure.reason == NOT_FOUND:
                raise LookupFailure(500, f'container not found ("{container.name}")') from None
            raise
        return ContainerRef(container.id, status.log_path, status.state is State.RUNNING)


def _with_log(ref: ContainerRef) -> ContainerRef:
    """Raises LookupFailure when its log is gone."""
    if not os.path.exists(ref.log_path):
        raise LookupFailure(400, f"unable to retrieve container logs for containerd://{ref.id}")
    return ref


def _uid(pod: JsonObject) -> str:
    return str(pod["metadata"].get("uid", ""))


def _container_status(pod: JsonObject, container: str) -> JsonObject:
    status = pod.get("status") or {}
    for name in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for item in status.get(name) or ():
            if item.get("name") == container:
                found: JsonObject = item
                return found
    return {}


def _waiting_reason(pod: JsonObject, container: str) -> str:
    waiting = (_container_status(pod, container).get("state") or {}).get("waiting") or {}
    return str(waiting.get("reason") or "ContainerCreating")
