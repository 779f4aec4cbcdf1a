"""Starts one container, or one sandbox: image, configuration, create, start, postStart (upstream `startContainer`).

Failures become a `StartError` with the reason that the container's waiting state shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from argosy import logs
from argosy.objects import meta
from argosy.objects.pod_qos import qos_class
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from node_agent.dns import pod_dns, sandbox_hostname
from node_agent.environment import RUNTIME_CLASS, ConfigError, Surroundings, environment, expand
from node_agent.hooks import HookError, run_handler
from node_agent.images import ImageError, Images
from node_agent.observed import Observed
from node_agent.plan import container_hash
from node_agent.resources import all_containers, container_resources
from node_agent.runtime import runtime as rt
from node_agent.seams import Tools, VolumeError
from node_agent.security import container_security, sandbox_security, share_target
from node_agent.status import restart_count

log = logs.get("node_agent.start")

RETRY_S = 5.0
POST_START_GRACE_S = 2


class StartError(Exception):
    """A container that did not start; `reason` is its waiting reason, `retry_s` when to try again."""

    def __init__(self, reason: str, message: str, retry_s: float = RETRY_S) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_s = retry_s


def field_path(pod: JsonObject, container: JsonObject) -> str:
    """Where the container stands in the pod, for events."""
    for field in ("containers", "initContainers", "ephemeralContainers"):
        if any(item["name"] == container["name"] for item in meta.spec(pod).get(field) or []):
            return f"spec.{field}{{{container['name']}}}"
    return ""


def pod_labels(pod: JsonObject) -> dict[str, str]:
    return {
        **meta.labels(pod),
        rt.POD_NAME_LABEL: meta.name(pod),
        rt.POD_NAMESPACE_LABEL: meta.namespace(pod),
        rt.POD_UID_LABEL: meta.uid(pod),
    }


class Starter:
    def __init__(self, tools: Tools, images: Images) -> None:
        self._tools = tools
        self._images = images

    async def sandbox_config(self, pod: JsonObject, attempt: int, log_directory: str) -> rt.SandboxConfig:
        """Raises ConfigError and ApiError."""
        spec, settings = meta.spec(pod), self._tools.settings
        host_network = bool(spec.get("hostNetwork"))
        ports = [
            rt.PortMapping(
                str(port.get("protocol") or "TCP"),
                int(port["containerPort"]),
                int(port["hostPort"]),
                str(port.get("hostIP") or ""),
            )
            for container in all_containers(pod)
            for port in container.get("ports") or []
            if port.get("hostPort") and not host_network
        ]
        context = spec.get("securityContext") or {}
        return rt.SandboxConfig(
            name=meta.name(pod),
            namespace=meta.namespace(pod),
            uid=meta.uid(pod),
            attempt=attempt,
            hostname="" if host_network else sandbox_hostname(pod, settings.cluster_domain),
            log_directory=log_directory,
            cgroup_parent=self._tools.cgroups.parent(meta.uid(pod), qos_class(pod)),
            dns=pod_dns(pod, self._tools.files.node_dns(), settings.cluster_dns, settings.cluster_domain),
            ports=tuple(ports),
            labels=pod_labels(pod),
            annotations=dict(meta.annotations(pod)),
            sysctls={item["name"]: str(item["value"]) for item in context.get("sysctls") or []},
            security=sandbox_security(pod),
            handler=await self._handler(pod),
        )

    async def _handler(self, pod: JsonObject) -> str:
        name = str(meta.spec(pod).get("runtimeClassName") or "")
        if not name:
            return ""
        found = await self._tools.lookup(RUNTIME_CLASS, "", name)
        if found is None:
            raise ConfigError(f'RuntimeClass "{name}" not found')
        return str(found.get("handler", ""))

    def surroundings(self, pod: JsonObject, pod_ips: Sequence[str]) -> Surroundings:
        """Raises ConfigError before services were read once."""
        settings = self._tools.settings
        services = self._tools.services()
        if services is None:
            raise ConfigError("services have not yet been read at least once, cannot construct envvars")
        ips = settings.host_ips if meta.spec(pod).get("hostNetwork") else pod_ips
        return Surroundings(ips, settings.host_ips, settings.allocatable, services)

    async def start(
        self, pod: JsonObject, container: JsonObject, sandbox_id: str, sandbox: rt.SandboxConfig, seen: Observed
    ) -> str:
        """The new container's id, running. Raises StartError, and RuntimeFailure when the runtime is away."""
        path = field_path(pod, container)
        try:
            image = await self._images.ensure(pod, container, sandbox, path)
        except ImageError as error:
            raise StartError(error.reason, error.message, error.retry_s) from None
        attempt = self._attempt(pod, container, seen)
        try:
            config = await self._config(pod, container, attempt, image, seen)
        except (ConfigError, ApiError, VolumeError, OSError) as error:
            self._warn(pod, "Failed", f"Error: {error}", path)
            raise StartError("CreateContainerConfigError", str(error)) from None
        try:
            container_id = await self._tools.runtime.create_container(sandbox_id, config, sandbox)
        except rt.RuntimeFailure as failure:
            if failure.reason == rt.UNAVAILABLE:
                raise
            self._warn(pod, "Failed", f"Error: {failure.message}", path)
            raise StartError("CreateContainerError", failure.message) from None
        self._tools.recorder.event(pod, "Normal", "Created", "Container created", field_path=path)
        try:
            await self._tools.runtime.start_container(container_id)
        except rt.RuntimeFailure as failure:
            if failure.reason == rt.UNAVAILABLE:
                raise
            self._warn(pod, "Failed", f"Error: {failure.message}", path)
            raise StartError("RunContainerError", failure.message) from None
        self._tools.recorder.event(pod, "Normal", "Started", "Container started", field_path=path)
        await self._post_start(pod, container, container_id, seen.ips, path)
        return container_id

    def _warn(self, pod: JsonObject, reason: str, message: str, path: str) -> None:
        self._tools.recorder.event(pod, "Warning", reason, message, field_path=path)

    def _attempt(self, pod: JsonObject, container: JsonObject, seen: Observed) -> int:
        """One more than the last, from the runtime, or the API server's memory and the logs when it forgot."""
        latest = seen.latest(container["name"])
        if latest is not None:
            return restart_count(latest) + 1
        status = meta.status(pod)
        fields = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        known = [item for field in fields for item in status.get(field) or []]
        for item in known:
            if item.get("name") == container["name"] and item.get("containerID"):
                return int(item.get("restartCount") or 0) + 1
        return self._tools.files.last_attempt(pod, container["name"]) + 1

    async def _config(
        self, pod: JsonObject, container: JsonObject, attempt: int, image: rt.Image, seen: Observed
    ) -> rt.ContainerConfig:
        name, pod_ips = container["name"], seen.ips
        if (container.get("lifecycle") or {}).get("stopSignal"):
            raise ConfigError("lifecycle.stopSignal is not supported on this node")
        env = await environment(pod, container, self.surroundings(pod, pod_ips), self._tools.lookup)
        values = dict(env)
        mounts = self._tools.volumes.mounts(pod, container, values)
        mounted = {mount.container_path for mount in mounts}
        for mount in self._tools.files.container_mounts(pod, container, attempt, pod_ips):
            if mount.container_path not in mounted:
                mounts.append(mount)
        lifetime = meta.metadata(pod).get("deletionGracePeriodSeconds")
        if lifetime is None:
            lifetime = meta.spec(pod).get("terminationGracePeriodSeconds", 30)
        return rt.ContainerConfig(
            name=name,
            attempt=attempt,
            image=image.id,
            user_image=str(container.get("image", "")),
            command=[expand(str(word), values) for word in container.get("command") or []],
            args=[expand(str(word), values) for word in container.get("args") or []],
            working_dir=str(container.get("workingDir") or ""),
            env=env,
            mounts=mounts,
            labels={
                rt.CONTAINER_NAME_LABEL: name,
                rt.POD_NAME_LABEL: meta.name(pod),
                rt.POD_NAMESPACE_LABEL: meta.namespace(pod),
                rt.POD_UID_LABEL: meta.uid(pod),
            },
            annotations={
                rt.HASH_ANNOTATION: container_hash(container),
                rt.RESTART_COUNT_ANNOTATION: str(attempt),
                rt.TERMINATION_PATH_ANNOTATION: str(
                    container.get("terminationMessagePath") or "/dev/termination-log"
                ),
                rt.TERMINATION_POLICY_ANNOTATION: str(container.get("terminationMessagePolicy") or "File"),
                rt.GRACE_ANNOTATION: str(lifetime),
            },
            log_path=f"{name}/{attempt}.log",
            stdin=bool(container.get("stdin")),
            stdin_once=bool(container.get("stdinOnce")),
            tty=bool(container.get("tty")),
            resources=container_resources(pod, container, self._tools.settings.memory_bytes),
            security=share_target(container_security(pod, container, image), container, seen),
        )

    async def _post_start(
        self, pod: JsonObject, container: JsonObject, container_id: str, pod_ips: Sequence[str], path: str
    ) -> None:
        handler = (container.get("lifecycle") or {}).get("postStart")
        if not handler:
            return
        try:
            await run_handler(self._tools, handler, container, container_id, pod_ips)
        except HookError as error:
            self._warn(pod, "FailedPostStartHook", f"PostStartHook failed: {error}", path)
            grace = int(meta.spec(pod).get("terminationGracePeriodSeconds") or POST_START_GRACE_S)
            await self._tools.runtime.stop_container(container_id, grace)
            raise StartError("PostStartHookError", str(error)) from None
