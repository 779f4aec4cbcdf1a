"""A node that is not there: the whole agent on a fake runtime, for the simulator and for scale tests.

    runtime = FakeRuntime(host, images=["busybox:1"])
    agent = hollow_agent("node-1", "10.77.3.1", host, client, runtime)
    await agent.run()

Nothing in it touches a file, a socket, a thread or real time. Probes succeed, unless the pod's annotation
`fake.argosy.dev/ready`, `…/live` or `…/started` is "false".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argosy.client import Client
from argosy.host import Host
from argosy.http import MemoryHttp
from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.agent import NodeAgent
from node_agent.config import Config
from node_agent.environment import Surroundings
from node_agent.machine import Machine, ObjectSource
from node_agent.node_status import Capacity, Level, SystemInfo
from node_agent.probes.probe import Outcome, Result, Subject
from node_agent.resources import PodLimits
from node_agent.runtime.fake import PREFIX, FakeRuntime
from node_agent.runtime.runtime import ContainerStatus, Dns, Mount
from node_agent.seams import VolumeError


class NoVolumes:
    """Mounts nothing. An emptyDir holds what annotation `fake.argosy.dev/uses-bytes.VOLUME` says."""

    def __init__(self, source: ObjectSource) -> None:
        self._source = source

    async def set_up(self, pod: JsonObject, around: Surroundings) -> None:
        """Nothing is mounted. Annotation `fake.argosy.dev/volumes` = fail or stale makes it fail so."""
        told = meta.annotations(pod).get(PREFIX + "volumes")
        if told:
            raise VolumeError("v", "told to fail", stale=told == "stale")

    def mounts(self, pod: JsonObject, container: JsonObject, env: Mapping[str, str]) -> list[Mount]:
        return []

    async def usage_bytes(self, pod: JsonObject) -> Mapping[str, int]:
        key, notes = f"{PREFIX}uses-bytes.", meta.annotations(pod)
        return {name.removeprefix(key): int(value) for name, value in notes.items() if name.startswith(key)}

    def refresh_s(self, pod: JsonObject) -> float | None:
        return None

    def tear_down(self, pod_uid: str) -> None:
        """Nothing was mounted."""

    def known(self) -> list[str]:
        return []


class NoFiles:
    def __init__(self, kept: dict[str, JsonObject]) -> None:
        """`kept` outlives the agent, as a disk would."""
        self._kept = kept

    def allocation(self, uid: str) -> JsonObject | None:
        return self._kept.get(uid)

    def keep_allocation(self, uid: str, content: JsonObject) -> None:
        self._kept[uid] = content

    def prepare(self, pod: JsonObject) -> str:
        return f"/var/log/pods/{meta.namespace(pod)}_{meta.name(pod)}_{meta.uid(pod)}"

    def container_mounts(
        self, pod: JsonObject, container: JsonObject, attempt: int, pod_ips: Sequence[str]
    ) -> list[Mount]:
        return []

    def termination_message(self, pod: JsonObject, container: JsonObject | None, status: ContainerStatus) -> str:
        return meta.annotations(pod).get(PREFIX + "termination-message", "")

    def last_attempt(self, pod: JsonObject, container_name: str) -> int:
        return -1

    def log_bytes(self, pod: JsonObject, container_name: str) -> int:
        return 0

    def node_dns(self) -> Dns:
        return Dns()

    def forget_attempt(self, pod: JsonObject, container_name: str, attempt: int) -> None:
        """There is no log."""

    def remove(self, uid: str) -> None:
        self._kept.pop(uid, None)

    def known(self) -> list[str]:
        return []


class NoCgroups:
    def parent(self, pod_uid: str, qos: str) -> str:
        return f"/kubepods/{qos.lower()}/pod{pod_uid}"

    def make(self, pod_uid: str, qos: str, limits: PodLimits) -> None:
        """There are none."""

    def memory_bytes(self, pod_uid: str, qos: str, container_id: str = "") -> int:
        return 0

    def weigh(self, burstable_milli: int) -> None:
        """There are none."""

    def remove(self, pod_uid: str) -> None:
        """There are none."""

    def known(self) -> list[str]:
        return []


class HollowFacts:
    def __init__(self, cpus: float, memory_bytes: int) -> None:
        self._capacity = Capacity(cpus, memory_bytes, 100 << 30)
        self.levels: dict[str, Level] = {}
        """Tests set them."""

    def capacity(self) -> Capacity:
        return self._capacity

    def signals(self) -> Mapping[str, Level]:
        return self.levels

    def system(self) -> SystemInfo:
        return SystemInfo(kernel="0.0-hollow", os_image="Hollow", boot_id="hollow", machine_id="hollow")


class HollowNetwork:
    """Every pod address is reachable; the pod range goes to the fake runtime."""

    def __init__(self, runtime: FakeRuntime) -> None:
        self._runtime = runtime

    def configure(self, pod_cidrs: Sequence[str]) -> None:
        self._runtime.set_pod_cidr(pod_cidrs[0])

    async def route(self, nodes: Sequence[JsonObject]) -> None:
        """There is nothing to route."""

    def release(self, sandbox_ids: Sequence[str]) -> None:
        """The fake runtime keeps its own."""

    async def close(self) -> None:
        """Nothing is open."""


class HollowProber:
    """Success, unless the pod's annotations say otherwise; asked anew each time, so a test may change them."""

    def __init__(self, agent: Sequence[NodeAgent]) -> None:
        self._agent = agent

    async def probe(self, probe: JsonObject, subject: Subject, timeout_s: float) -> Result:
        pod = subject.pod
        for agent in self._agent:
            pod = agent.pods.get(meta.namespace(pod), meta.name(pod)) or pod
        for kind, word in (("readinessProbe", "ready"), ("livenessProbe", "live"), ("startupProbe", "started")):
            if subject.container.get(kind) is probe and meta.annotations(pod).get(PREFIX + word) == "false":
                return Result(Outcome.FAILURE, f"annotation {PREFIX}{word} is false")
        return Result(Outcome.SUCCESS)


class HollowBoots:
    def __init__(self, fresh: bool) -> None:
        self._fresh = fresh

    def is_new(self) -> bool:
        return self._fresh

    def remember(self) -> None:
        self._fresh = False


def hollow_config(name: str, ip: str, **changes: object) -> Config:
    return Config(node_name=name, node_ip=ip, api_servers=("memory",), **changes)  # type: ignore[arg-type]


def hollow_agent(
    name: str,
    ip: str,
    host: Host,
    client: Client,
    runtime: FakeRuntime,
    *,
    cpus: float = 4.0,
    memory_bytes: int = 8 << 30,
    config: Config | None = None,
) -> NodeAgent:
    """One hollow node's agent. `runtime` outlives it: hand it to the next agent after a crash of this one."""
    agents: list[NodeAgent] = []
    machine = Machine(
        runtime=runtime,
        volumes_of=NoVolumes,
        files=NoFiles(runtime.kept),
        cgroups=NoCgroups(),
        facts=HollowFacts(cpus, memory_bytes),
        network=HollowNetwork(runtime),
        prober=HollowProber(agents),
        http=MemoryHttp(),
        boots=HollowBoots(fresh=False),
    )
    agent = NodeAgent(config or hollow_config(name, ip), host, client, machine)
    agents.append(agent)
    return agent
