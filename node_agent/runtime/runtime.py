"""What the node agent asks of a container runtime, in the agent's own words.

`cri.py` speaks it to containerd or CRI-O, `fake.py` is the hollow node's. Values are plain frozen dataclasses, so
that nothing above this seam knows the wire; times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_UID_LABEL = "io.kubernetes.pod.uid"
CONTAINER_NAME_LABEL = "io.kubernetes.container.name"
HASH_ANNOTATION = "io.kubernetes.container.hash"
RESTART_COUNT_ANNOTATION = "io.kubernetes.container.restartCount"
TERMINATION_PATH_ANNOTATION = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY_ANNOTATION = "io.kubernetes.container.terminationMessagePolicy"
GRACE_ANNOTATION = "io.kubernetes.pod.terminationGracePeriod"


class RuntimeFailure(Exception):
    """A call to the runtime that failed; `reason` is one of the words below or empty."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


NOT_FOUND = "NotFound"
UNAVAILABLE = "Unavailable"
UNSUPPORTED = "Unsupported"
TIMEOUT = "Timeout"


class Namespace(Enum):
    """Whose Linux namespace a container joins."""

    POD = 0
    CONTAINER = 1
    NODE = 2
    TARGET = 3
    """That of the container `target_id`."""


class State(Enum):
    CREATED = 0
    RUNNING = 1
    EXITED = 2
    UNKNOWN = 3


class Profile(Enum):
    RUNTIME_DEFAULT = 0
    UNCONFINED = 1
    LOCALHOST = 2


class Propagation(Enum):
    PRIVATE = 0
    HOST_TO_CONTAINER = 1
    BIDIRECTIONAL = 2


@dataclass(frozen=True)
class SecurityProfile:
    type: Profile = Profile.RUNTIME_DEFAULT
    localhost_ref: str = ""


@dataclass(frozen=True)
class PortMapping:
    protocol: str
    """TCP, UDP or SCTP."""
    container_port: int
    host_port: int
    host_ip: str = ""


@dataclass(frozen=True)
class Dns:
    servers: Sequence[str] = ()
    searches: Sequence[str] = ()
    options: Sequence[str] = ()


@dataclass(frozen=True)
class Mount:
    container_path: str
    host_path: str
    readonly: bool = False
    propagation: Propagation = Propagation.PRIVATE


@dataclass(frozen=True)
class Resources:
    """0 leaves a value to the runtime."""

    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 0
    memory_limit_bytes: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True)
class Security:
    """Who a container's processes are, and what they may do."""

    privileged: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_username: str = ""
    supplemental_groups: Sequence[int] = ()
    readonly_rootfs: bool = False
    no_new_privileges: bool = False
    add_capabilities: Sequence[str] = ()
    drop_capabilities: Sequence[str] = ()
    seccomp: SecurityProfile = SecurityProfile(Profile.UNCONFINED)
    apparmor: SecurityProfile | None = None
    masked_paths: Sequence[str] = ()
    readonly_paths: Sequence[str] = ()
    network: Namespace = Namespace.POD
    pid: Namespace = Namespace.CONTAINER
    ipc: Namespace = Namespace.POD
    target_id: str = ""


@dataclass(frozen=True)
class SandboxConfig:
    name: str
    namespace: str
    uid: str
    attempt: int
    hostname: str
    log_directory: str
    cgroup_parent: str
    dns: Dns | None
    ports: Sequence[PortMapping] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    security: Security = Security()
    handler: str = ""
    """The RuntimeClass's handler; empty: the runtime's default."""


@dataclass(frozen=True)
class ContainerConfig:
    name: str
    attempt: int
    image: str
    """The reference that ImageStatus or PullImage gave."""
    user_image: str
    """The reference as the pod has it."""
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    working_dir: str = ""
    env: Sequence[tuple[str, str]] = ()
    mounts: Sequence[Mount] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""
    """Relative to the sandbox's log directory."""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: Resources = Resources()
    security: Security = Security()


@dataclass(frozen=True)
class Sandbox:
    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    ready: bool
    created_at: float
    ips: Sequence[str] = ()
    """Known after `sandbox_status` only."""
    host_network: bool = False


@dataclass(frozen=True)
class Container:
    """A row of `list_containers`."""

    id: str
    sandbox_id: str
    name: str
    pod_uid: str
    attempt: int
    state: State
    created_at: float


@dataclass(frozen=True)
class ContainerStatus:
    id: str
    name: str
    attempt: int
    state: State
    created_at: float
    started_at: float
    finished_at: float
    exit_code: int
    reason: str
    message: str
    image: str
    image_ref: str
    """The image's digest or id."""
    log_path: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    id: str
    tags: Sequence[str]
    digests: Sequence[str]
    size_bytes: int
    uid: int | None = None
    username: str = ""
    pinned: bool = False
    """Never to be deleted, says the runtime."""


@dataclass(frozen=True)
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Health:
    """What `RuntimeReady` and `NetworkReady` say."""

    runtime_ready: bool
    network_ready: bool
    message: str = ""
    """Why one of them is false."""


@dataclass(frozen=True)
class ContainerStats:
    id: str
    name: str
    pod_uid: str
    pod_name: str
    pod_namespace: str
    at: float
    cpu_nanoseconds: int
    working_set_bytes: int
    rss_bytes: int
    writable_bytes: int


@dataclass(frozen=True)
class Auth:
    username: str = ""
    password: str = ""
    server: str = ""
    identity_token: str = ""


class Runtime(Protocol):
    """Every call raises RuntimeFailure."""

    async def version(self) -> tuple[str, str]:
        """(name, version), such as ("containerd", "1.6.20~ds1")."""

    async def health(self) -> Health: ...

    async def list_sandboxes(self, pod_uid: str = "") -> list[Sandbox]: ...

    async def sandbox_status(self, sandbox_id: str) -> Sandbox: ...

    async def run_sandbox(self, config: SandboxConfig) -> str:
        """Its id."""

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kills what runs in it and frees its network; idempotent."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Idempotent; containers in it go with it."""

    async def list_containers(self, pod_uid: str = "") -> list[Container]: ...

    async def container_status(self, container_id: str) -> ContainerStatus: ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        """Its id."""

    async def start_container(self, container_id: str) -> None: ...

    async def update_container(self, container_id: str, resources: Resources) -> None:
        """Set a running container's groups; its OOM score stays."""

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        """SIGTERM, and SIGKILL after `timeout_s`; returns when it is dead. Idempotent."""

    async def remove_container(self, container_id: str) -> None:
        """Idempotent."""

    async def reopen_log(self, container_id: str) -> None: ...

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Raises RuntimeFailure with reason TIMEOUT."""

    async def container_stats(self) -> list[ContainerStats]: ...

    async def image_status(self, image: str) -> Image | None: ...

    async def list_images(self) -> list[Image]: ...

    async def pull_image(self, image: str, auth: Auth | None, sandbox: SandboxConfig | None) -> str:
        """The reference to create containers with."""

    async def remove_image(self, image_id: str) -> None:
        """With all its tags; idempotent."""

    def events(self) -> AsyncIterator[str]:
        """Ids of containers and sandboxes that started or exited, as it happens.

        Raises RuntimeFailure when the stream breaks, with reason UNSUPPORTED where there is none.
        """
