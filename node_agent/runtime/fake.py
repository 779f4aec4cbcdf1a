"""The hollow node's runtime: pods that exist in memory only, on the given clock; no thread, no file, no randomness.

Its containers do what the pod's annotations say (each also as `NAME.CONTAINER` for one container):

    fake.argosy.dev/exit-after-s: "5"     exit that long after the start; without it they run until stopped
    fake.argosy.dev/exit-code: "1"        with that code (0)
    fake.argosy.dev/stop-after-s: "3"     SIGTERM takes effect after that time (0: at once)
    fake.argosy.dev/pull: fail            their image cannot be pulled
    fake.argosy.dev/create: fail          the container cannot be created

What survives the node agent survives here too: keep the object, and a new agent adopts its pods. `crash()` is a node
crash: everything that ran is gone, as after a power cut.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

from argosy.host import Host
from argosy.objects.types import JsonObject
from node_agent.runtime import runtime as rt

PREFIX = "fake.argosy.dev/"
MAX_EVENTS = 1000
SIGTERM_EXIT_CODE = 143
SIGKILL_EXIT_CODE = 137


@dataclass(frozen=True)
class FakeTimes:
    """How long the calls of a hollow runtime take, in seconds."""

    sandbox_s: float = 0.1
    create_s: float = 0.01
    start_s: float = 0.05
    pull_s: float = 0.5


@dataclass
class _FakeContainer:
    row: rt.Container
    status: rt.ContainerStatus
    config: rt.ContainerConfig
    annotations: Mapping[str, str]
    timer: asyncio.TimerHandle | None = None

    def setting(self, name: str) -> str:
        key = PREFIX + name
        return self.annotations.get(f"{key}.{self.row.name}", self.annotations.get(key, ""))


class FakeRuntime:
    def __init__(self, host: Host, *, images: Sequence[str] = (), times: FakeTimes | None = None) -> None:
        self._host = host
        self._times = times or FakeTimes()
        self._sandboxes: dict[str, tuple[rt.Sandbox, rt.SandboxConfig]] = {}
        self._containers: dict[str, _FakeContainer] = {}
        self._images: dict[str, rt.Image] = {}
        self._listeners: list[asyncio.Queue[str]] = []
        self._count = 0
        self._addresses: list[str] = []
        self._used: dict[str, None] = {}
        self.is_up = True
        """False: every call fails, as when containerd is dead; what runs goes on."""
        self.kept: dict[str, JsonObject] = {}
        """What a real node keeps on disk of its pods, by uid: it survives the agent too."""
        self.refuse_update = ""
        """Why containers cannot be updated; empty when they can."""
        self.execs: dict[str, rt.ExecResult] = {}
        """Answers to exec by the command's words joined by spaces; others succeed with no output."""
        for image in images:
            self._add_image(image)

    def set_pod_cidr(self, cidr: str) -> None:
        """Addresses of further sandboxes: .2 and up."""
        hosts = ipaddress.ip_network(cidr).hosts()
        next(hosts)
        self._addresses = [str(address) for address in hosts]

    def crash(self) -> None:
        """The node goes down: every container is dead, no sandbox is left."""
        for container in self._containers.values():
            if container.timer is not None:
                container.timer.cancel()
        self._sandboxes.clear()
        self._containers.clear()
        self._used.clear()

    def sandboxes(self) -> list[rt.Sandbox]:
        """What is there, for tests to compare with what the API says."""
        return [sandbox for sandbox, _ in self._sandboxes.values()]

    def kill(self, container_id: str, exit_code: int, reason: str = "") -> None:
        """A container dies by itself; `reason` such as OOMKilled."""
        self._exit(container_id, exit_code, reason)

    def kill_sandbox(self, sandbox_id: str) -> None:
        """The sandbox dies with everything in it."""
        self._end_sandbox(sandbox_id, SIGKILL_EXIT_CODE)

    # The seam

    async def version(self) -> tuple[str, str]:
        self._check()
        return "fake", "1.0.0"

    async def health(self) -> rt.Health:
        self._check()
        if not self._addresses:
            return rt.Health(True, False, "NetworkReady=false reason:NetworkPluginNotReady message:no pod CIDR")
        return rt.Health(True, True)

    async def list_sandboxes(self, pod_uid: str = "") -> list[rt.Sandbox]:
        self._check()
        return [
            replace(item, ips=(), host_network=False)
            for item, _ in self._sandboxes.values()
            if not pod_uid or item.uid == pod_uid
        ]

    async def sandbox_status(self, sandbox_id: str) -> rt.Sandbox:
        self._check()
        return self._sandbox(sandbox_id)[0]

    async def run_sandbox(self, config: rt.SandboxConfig) -> str:
        self._check()
        await asyncio.sleep(self._times.sandbox_s)
        host_network = config.security.network is rt.Namespace.NODE
        ips: tuple[str, ...] = ()
        if not host_network:
            free = next((address for address in self._addresses if address not in self._used), None)
            if free is None:
                raise rt.RuntimeFailure("no pod address is left")
            self._used[free] = None
            ips = (free,)
        sandbox_id = self._new_id("s")
        sandbox = rt.Sandbox(
            sandbox_id,
            config.name,
            config.namespace,
            config.uid,
            config.attempt,
            True,
            self._host.clock.now(),
            ips,
            host_network,
        )
        self._sandboxes[sandbox_id] = (sandbox, config)
        return sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        self._check()
        if sandbox_id in self._sandboxes:
            self._end_sandbox(sandbox_id, SIGKILL_EXIT_CODE)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        self._check()
        if sandbox_id not in self._sandboxes:
            return
        self._end_sandbox(sandbox_id, SIGKILL_EXIT_CODE)
        for container_id in [key for key, item in self._containers.items() if item.row.sandbox_id == sandbox_id]:
            del self._containers[container_id]
        del self._sandboxes[sandbox_id]

    async def list_containers(self, pod_uid: str = "") -> list[rt.Container]:
        self._check()
        return [item.row for item in self._containers.values() if not pod_uid or item.row.pod_uid == pod_uid]

    async def container_status(self, container_id: str) -> rt.ContainerStatus:
        self._check()
        return self._container(container_id).status

    async def create_container(self, sandbox_id: str, config: rt.ContainerConfig, sandbox: rt.SandboxConfig) -> str:
        self._check()
        await asyncio.sleep(self._times.create_s)
        _, made = self._sandbox(sandbox_id)
        container_id = self._new_id("c")
        now = self._host.clock.now()
        image = self._images.get(config.user_image) or self._images.get(f"{config.user_image}:latest")
        row = rt.Container(container_id, sandbox_id, config.name, sandbox.uid, config.attempt, rt.State.CREATED, now)
        status = rt.ContainerStatus(
            container_id,
            config.name,
            config.attempt,
            rt.State.CREATED,
            now,
            0.0,
            0.0,
            0,
            "",
            "",
            config.user_image,
            image.id if image else config.image,
            config.log_path,
            config.labels,
            config.annotations,
        )
        container = _FakeContainer(row, status, config, made.annotations)
        if container.setting("create") == "fail":
            raise rt.RuntimeFailure("failed to create containerd task: told to fail")
        self._containers[container_id] = container
        return container_id

    async def start_container(self, container_id: str) -> None:
        self._check()
        await asyncio.sleep(self._times.start_s)
        container = self._container(container_id)
        if container.row.state is not rt.State.CREATED:
            raise rt.RuntimeFailure("container is not in created state")
        self._put(container, rt.State.RUNNING, started_at=self._host.clock.now())
        after = container.setting("exit-after-s")
        if after:
            code = int(container.setting("exit-code") or 0)
            container.timer = asyncio.get_running_loop().call_later(
                float(after), self._exit, container_id, code, "Completed" if code == 0 else "Error"
            )
        self._tell(container_id)

    async def update_container(self, container_id: str, resources: rt.Resources) -> None:
        self._check()
        container = self._container(container_id)
        if self.refuse_update or container.row.state is not rt.State.RUNNING:
            raise rt.RuntimeFailure(self.refuse_update or "container is not running")
        container.config = replace(container.config, resources=resources)

    def resources(self, container_id: str) -> rt.Resources:
        """What a container has now, for tests."""
        return self._container(container_id).config.resources

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        self._check()
        container = self._containers.get(container_id)
        if container is None or container.row.state is rt.State.EXITED:
            return
        wanted_s = float(container.setting("stop-after-s") or 0)
        await asyncio.sleep(min(wanted_s, float(timeout_s)))
        self._exit(container_id, SIGTERM_EXIT_CODE if wanted_s <= timeout_s else SIGKILL_EXIT_CODE, "Error")

    async def remove_container(self, container_id: str) -> None:
        self._check()
        container = self._containers.get(container_id)
        if container is not None:
            self._exit(container_id, SIGKILL_EXIT_CODE, "Error")
            del self._containers[container_id]

    async def reopen_log(self, container_id: str) -> None:
        self._check()
        self._container(container_id)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> rt.ExecResult:
        self._check()
        if self._container(container_id).row.state is not rt.State.RUNNING:
            raise rt.RuntimeFailure("container is not running")
        return self.execs.get(" ".join(command), rt.ExecResult(0, b"", b""))

    async def container_stats(self) -> list[rt.ContainerStats]:
        self._check()
        now = self._host.clock.now()
        result: list[rt.ContainerStats] = []
        for container_id, item in self._containers.items():
            if item.row.state is rt.State.RUNNING:
                sandbox = self._sandboxes[item.row.sandbox_id][0]
                result.append(
                    rt.ContainerStats(
                        container_id, item.row.name, sandbox.uid, sandbox.name, sandbox.namespace, now, 0, 0, 0, 0
                    )
                )
        return result

    async def image_status(self, image: str) -> rt.Image | None:
        self._check()
        found = self._images.get(image)
        return found or next((item for item in self._images.values() if item.id == image), None)

    async def list_images(self) -> list[rt.Image]:
        self._check()
        return list(self._images.values())

    async def pull_image(self, image: str, auth: rt.Auth | None, sandbox: rt.SandboxConfig | None) -> str:
        self._check()
        await asyncio.sleep(self._times.pull_s)
        if sandbox is not None and sandbox.annotations.get(PREFIX + "pull") == "fail":
            raise rt.RuntimeFailure(f'failed to resolve reference "{image}": not found', rt.NOT_FOUND)
        self._add_image(image)
        return self._images[image].id

    async def remove_image(self, image_id: str) -> None:
        self._check()
        self._images = {name: image for name, image in self._images.items() if image.id != image_id}

    async def events(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue(MAX_EVENTS)
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    # Inside

    def _check(self) -> None:
        if not self.is_up:
            raise rt.RuntimeFailure("the runtime is down", rt.UNAVAILABLE)

    def _new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count:015d}" + self._host.rng.token(8).hex()

    def _add_image(self, image: str) -> None:
        digest = f"sha256:{image.encode().hex().ljust(64, '0')[:64]}"
        self._images[image] = rt.Image(digest, (image,), (f"{image.rpartition(':')[0]}@{digest}",), 1 << 20)

    def _sandbox(self, sandbox_id: str) -> tuple[rt.Sandbox, rt.SandboxConfig]:
        found = self._sandboxes.get(sandbox_id)
        if found is None:
            raise rt.RuntimeFailure(f"sandbox {sandbox_id} not found", rt.NOT_FOUND)
        return found

    def _container(self, container_id: str) -> _FakeContainer:
        found = self._containers.get(container_id)
        if found is None:
            raise rt.RuntimeFailure(f"container {container_id} not found", rt.NOT_FOUND)
        return found

    def _put(
        self,
        container: _FakeContainer,
        state: rt.State,
        *,
        started_at: float | None = None,
        finished_at: float = 0.0,
        exit_code: int = 0,
        reason: str = "",
    ) -> None:
        container.row = replace(container.row, state=state)
        container.status = replace(
            container.status,
            state=state,
            started_at=container.status.started_at if started_at is None else started_at,
            finished_at=finished_at,
            exit_code=exit_code,
            reason=reason,
        )

    def _exit(self, container_id: str, exit_code: int, reason: str) -> None:
        container = self._containers.get(container_id)
        if container is None or container.row.state is rt.State.EXITED:
            return
        if container.timer is not None:
            container.timer.cancel()
        self._put(
            container,
            rt.State.EXITED,
            finished_at=self._host.clock.now(),
            exit_code=exit_code,
            reason=reason or ("Completed" if exit_code == 0 else "Error"),
        )
        self._tell(container_id)

    def _end_sandbox(self, sandbox_id: str, exit_code: int) -> None:
        sandbox, config = self._sandboxes[sandbox_id]
        if not sandbox.ready:
            return
        for container_id, container in list(self._containers.items()):
            if container.row.sandbox_id == sandbox_id:
                self._exit(container_id, exit_code, "Error")
        for ip in sandbox.ips:
            self._used.pop(ip, None)
        self._sandboxes[sandbox_id] = (replace(sandbox, ready=False), config)
        self._tell(sandbox_id)

    def _tell(self, identifier: str) -> None:
        """A listener that lags loses notices; its relist makes up for it."""
        for queue in self._listeners:
            if not queue.full():
                queue.put_nowait(identifier)
