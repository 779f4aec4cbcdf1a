"""The runtime seam over CRI v1 gRPC: containerd or CRI-O behind a unix socket.

Handed to the agent by its entry point. Prompt exit notices come from containerd's own event service on the same
socket, because GetContainerEvents is not implemented before containerd 1.7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from argosy.pb import containerd_events_pb2 as events_pb
from argosy.pb import cri_pb2 as pb
from argosy.rpc import Channel, Code, RpcError
from node_agent.runtime import runtime as rt
from node_agent.runtime.cri_convert import (
    container_config_message,
    container_from,
    image_from,
    resources_message,
    sandbox_config_message,
    sandbox_from,
    sandbox_status_from,
    stats_from,
    status_from,
)

RUNTIME_SERVICE = "/runtime.v1.RuntimeService/"
IMAGE_SERVICE = "/runtime.v1.ImageService/"
EVENTS_METHOD = "/containerd.services.events.v1.Events/Subscribe"
CALL_TIMEOUT_S = 120.0
READ_TIMEOUT_S = 15.0
PULL_TIMEOUT_S = 900.0
STOP_ATTEMPTS = 5
"""A stop that races the container's own exit can answer `ttrpc: closed`."""

_REASONS = {
    Code.NOT_FOUND: rt.NOT_FOUND,
    Code.UNAVAILABLE: rt.UNAVAILABLE,
    Code.UNIMPLEMENTED: rt.UNSUPPORTED,
    Code.DEADLINE_EXCEEDED: rt.TIMEOUT,
}
M = TypeVar("M", bound=Message)


class CriRuntime:
    """`channel` stays the caller's to close."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def call(
        self, method: str, request: Message, answer: type[M], *, timeout_s: float, service: str = RUNTIME_SERVICE
    ) -> M:
        """One CRI call; the streaming server uses it for Exec, Attach and PortForward. Raises RuntimeFailure."""
        try:
            body = await self._channel.unary(service + method, request.SerializeToString(), timeout_s=timeout_s)
            return answer.FromString(body)
        except RpcError as error:
            raise rt.RuntimeFailure(error.message, _REASONS.get(error.code, "")) from None
        except DecodeError as error:
            raise rt.RuntimeFailure(f"{method}: the runtime's answer cannot be read: {error}") from None

    async def version(self) -> tuple[str, str]:
        got = await self.call("Version", pb.VersionRequest(), pb.VersionResponse, timeout_s=READ_TIMEOUT_S)
        return got.runtime_name, got.runtime_version

    async def health(self) -> rt.Health:
        got = await self.call("Status", pb.StatusRequest(), pb.StatusResponse, timeout_s=READ_TIMEOUT_S)
        conditions = {condition.type: condition for condition in got.status.conditions}
        broken = [
            f"{c.type}={str(c.status).lower()} reason:{c.reason} message:{c.message}"
            for c in conditions.values()
            if not c.status
        ]
        return rt.Health(
            "RuntimeReady" in conditions and conditions["RuntimeReady"].status,
            "NetworkReady" in conditions and conditions["NetworkReady"].status,
            ", ".join(broken),
        )

    async def list_sandboxes(self, pod_uid: str = "") -> list[rt.Sandbox]:
        request = pb.ListPodSandboxRequest()
        if pod_uid:
            request.filter.label_selector[rt.POD_UID_LABEL] = pod_uid
        got = await self.call("ListPodSandbox", request, pb.ListPodSandboxResponse, timeout_s=READ_TIMEOUT_S)
        return [sandbox_from(item) for item in got.items]

    async def sandbox_status(self, sandbox_id: str) -> rt.Sandbox:
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        got = await self.call("PodSandboxStatus", request, pb.PodSandboxStatusResponse, timeout_s=READ_TIMEOUT_S)
        return sandbox_status_from(got.status)

    async def run_sandbox(self, config: rt.SandboxConfig) -> str:
        request = pb.RunPodSandboxRequest(config=sandbox_config_message(config), runtime_handler=config.handler)
        got = await self.call("RunPodSandbox", request, pb.RunPodSandboxResponse, timeout_s=CALL_TIMEOUT_S)
        return got.pod_sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        request = pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._stubborn("StopPodSandbox", request, pb.StopPodSandboxResponse, CALL_TIMEOUT_S)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        request = pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._stubborn("RemovePodSandbox", request, pb.RemovePodSandboxResponse, CALL_TIMEOUT_S)

    async def list_containers(self, pod_uid: str = "") -> list[rt.Container]:
        request = pb.ListContainersRequest()
        if pod_uid:
            request.filter.label_selector[rt.POD_UID_LABEL] = pod_uid
        got = await self.call("ListContainers", request, pb.ListContainersResponse, timeout_s=READ_TIMEOUT_S)
        return [container_from(item) for item in got.containers]

    async def container_status(self, container_id: str) -> rt.ContainerStatus:
        request = pb.ContainerStatusRequest(container_id=container_id)
        got = await self.call("ContainerStatus", request, pb.ContainerStatusResponse, timeout_s=READ_TIMEOUT_S)
        return status_from(got.status)

    async def create_container(self, sandbox_id: str, config: rt.ContainerConfig, sandbox: rt.SandboxConfig) -> str:
        request = pb.CreateContainerRequest(
            pod_sandbox_id=sandbox_id,
            config=container_config_message(config),
            sandbox_config=sandbox_config_message(sandbox),
        )
        got = await self.call("CreateContainer", request, pb.CreateContainerResponse, timeout_s=CALL_TIMEOUT_S)
        return got.container_id

    async def start_container(self, container_id: str) -> None:
        request = pb.StartContainerRequest(container_id=container_id)
        await self.call("StartContainer", request, pb.StartContainerResponse, timeout_s=CALL_TIMEOUT_S)

    async def update_container(self, container_id: str, resources: rt.Resources) -> None:
        request = pb.UpdateContainerResourcesRequest(container_id=container_id, linux=resources_message(resources))
        answer = pb.UpdateContainerResourcesResponse
        await self.call("UpdateContainerResources", request, answer, timeout_s=CALL_TIMEOUT_S)

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        request = pb.StopContainerRequest(container_id=container_id, timeout=timeout_s)
        await self._stubborn("StopContainer", request, pb.StopContainerResponse, timeout_s + CALL_TIMEOUT_S)

    async def remove_container(self, container_id: str) -> None:
        request = pb.RemoveContainerRequest(container_id=container_id)
        await self._stubborn("RemoveContainer", request, pb.RemoveContainerResponse, CALL_TIMEOUT_S)

    async def reopen_log(self, container_id: str) -> None:
        request = pb.ReopenContainerLogRequest(container_id=container_id)
        await self.call("ReopenContainerLog", request, pb.ReopenContainerLogResponse, timeout_s=READ_TIMEOUT_S)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> rt.ExecResult:
        request = pb.ExecSyncRequest(container_id=container_id, cmd=list(command), timeout=max(1, int(timeout_s)))
        got = await self.call("ExecSync", request, pb.ExecSyncResponse, timeout_s=timeout_s + READ_TIMEOUT_S)
        return rt.ExecResult(got.exit_code, got.stdout, got.stderr)

    async def container_stats(self) -> list[rt.ContainerStats]:
        request = pb.ListContainerStatsRequest()
        got = await self.call("ListContainerStats", request, pb.ListContainerStatsResponse, timeout_s=READ_TIMEOUT_S)
        return [stats_from(item) for item in got.stats]

    async def image_status(self, image: str) -> rt.Image | None:
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=image))
        got = await self.call(
            "ImageStatus", request, pb.ImageStatusResponse, timeout_s=READ_TIMEOUT_S, service=IMAGE_SERVICE
        )
        return image_from(got.image) if got.HasField("image") else None

    async def list_images(self) -> list[rt.Image]:
        got = await self.call(
            "ListImages",
            pb.ListImagesRequest(),
            pb.ListImagesResponse,
            timeout_s=READ_TIMEOUT_S,
            service=IMAGE_SERVICE,
        )
        return [image_from(item) for item in got.images]

    async def pull_image(self, image: str, auth: rt.Auth | None, sandbox: rt.SandboxConfig | None) -> str:
        request = pb.PullImageRequest(image=pb.ImageSpec(image=image))
        if auth is not None:
            request.auth.username = auth.username
            request.auth.password = auth.password
            request.auth.server_address = auth.server
            request.auth.identity_token = auth.identity_token
        if sandbox is not None:
            request.sandbox_config.CopyFrom(sandbox_config_message(sandbox))
        got = await self.call(
            "PullImage", request, pb.PullImageResponse, timeout_s=PULL_TIMEOUT_S, service=IMAGE_SERVICE
        )
        return got.image_ref

    async def remove_image(self, image_id: str) -> None:
        request = pb.RemoveImageRequest(image=pb.ImageSpec(image=image_id))
        await self.call(
            "RemoveImage", request, pb.RemoveImageResponse, timeout_s=CALL_TIMEOUT_S, service=IMAGE_SERVICE
        )

    async def events(self) -> AsyncIterator[str]:
        filters = ['topic=="/tasks/start"', 'topic=="/tasks/exit"']
        request = events_pb.SubscribeRequest(filters=filters)
        try:
            async for message in self._channel.stream(EVENTS_METHOD, request.SerializeToString()):
                envelope = events_pb.Envelope.FromString(message)
                task = events_pb.TaskExit.FromString(envelope.event.value)
                if envelope.topic == "/tasks/exit" and task.id != task.container_id:
                    continue
                yield task.container_id
        except RpcError as error:
            raise rt.RuntimeFailure(error.message, _REASONS.get(error.code, "")) from None
        except DecodeError as error:
            raise rt.RuntimeFailure(f"the runtime's event cannot be read: {error}") from None

    async def _stubborn(self, method: str, request: Message, answer: type[M], timeout_s: float) -> None:
        """For calls that end something: what is gone is a success, a broken shim connection is tried again."""
        for attempt in range(STOP_ATTEMPTS):
            try:
                await self.call(method, request, answer, timeout_s=timeout_s)
            except rt.RuntimeFailure as failure:
                if failure.reason == rt.NOT_FOUND:
                    return
                if "ttrpc: closed" not in failure.message or attempt + 1 == STOP_ATTEMPTS:
                    raise
            else:
                return
