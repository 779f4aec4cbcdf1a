"""One real node for one test: containerd and the node agent in namespaces of their own, the API in memory.

Run as `unshare --net --mount --pid --uts --fork --kill-child python -m tests.unit.node_agent.real_node SCENE FOLDER`:
it is PID 1 of the node, so its end is the end of everything in it. `test_real_node.py` starts it and removes the
cgroups that it made.
"""

import asyncio
import ctypes
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from argosy import logs
from argosy.host import SeededRng, real_host
from argosy.http import StreamHttp
from argosy.objects import conditions
from argosy.rpc import GrpcNetwork
from argosy.rpc_memory import MemoryNetwork
from deploy import builtin_images, containerd
from node_agent.agent import NodeAgent
from node_agent.cgroups import NodeCgroups
from node_agent.config import Config
from node_agent.facts import BootMark, MachineFacts
from node_agent.files import LogKeeper, NodeFiles
from node_agent.machine import Machine
from node_agent.network.node_network import CniNetwork
from node_agent.probes.prober import NodeProber
from node_agent.runtime.cri import CriRuntime
from node_agent.volumes.node_volumes import NodeVolumes
from tests.unit.node_agent.node_world import NODE, NodeApi, World

NODE_IP = "10.77.3.1"
TMPFS = (
    "/run",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/etc/cni",
    "/var/log/pods",
    "/etc/containerd",
    "/var/lib/cni",
)
ROOT = "/var/lib/kubelet"


def run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, timeout=60)


def become_node() -> None:
    run("mount", "--make-rprivate", "/")
    run("mount", "--make-rshared", "/")
    run("mount", "-t", "proc", "proc", "/proc")
    subprocess.run(["umount", "/sys/fs/cgroup/unified"], capture_output=True, check=False)
    for folder in TMPFS:
        os.makedirs(folder, exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", folder)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "eth0", "type", "bridge")
    run("ip", "addr", "add", f"{NODE_IP}/16", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    run("hostname", NODE)
    with open(containerd.CONFIG, "w", encoding="utf-8") as file:
        file.write(containerd.config(default_runtime=containerd.runtime(), cni_bin=containerd.cni_bin_folder()))


class RealWorld(World):
    """`World` with a real runtime under the agent."""

    def __init__(self, host: Any, api: NodeApi, client: Any, cgroup: str, folder: str) -> None:
        super().__init__(host, api, client)
        self.network = GrpcNetwork()
        self.cri = CriRuntime(self.network.dial(f"unix:{containerd.SOCKET}"))
        self.cgroup = cgroup
        self.folder = folder
        self.containerd: subprocess.Popen[bytes] | None = None

    def start_containerd(self) -> None:
        with open(f"{self.folder}/containerd.log", "ab") as log:
            self.containerd = subprocess.Popen(["containerd", "--config", containerd.CONFIG], stdout=log, stderr=log)

    async def runtime_up(self) -> None:
        while True:
            try:
                await self.cri.version()
                return
            except Exception:
                await asyncio.sleep(0.05)

    def start(self, **changes: Any) -> NodeAgent:
        config = Config(
            node_name=NODE,
            node_ip=NODE_IP,
            api_servers=("memory",),
            cgroup_root=self.cgroup,
            root_dir=ROOT,
            **changes,
        )
        http = StreamHttp()
        machine = Machine(
            runtime=self.cri,
            volumes_of=lambda objects: NodeVolumes(ROOT, objects, self.host.clock),
            files=NodeFiles(ROOT, "/var/log/pods", "cluster.local", "/etc/resolv.conf"),
            cgroups=NodeCgroups(self.cgroup),
            facts=MachineFacts(config, NodeCgroups(self.cgroup)),
            network=CniNetwork(config),
            prober=NodeProber(self.cri, http, self.network),
            http=http,
            boots=BootMark(ROOT),
            logs=LogKeeper(config.container_log_max_bytes, config.container_log_max_files),
        )
        self.agent = NodeAgent(config, self.host, self.client, machine)
        self._task = asyncio.get_running_loop().create_task(self.agent.run())
        return self.agent

    async def sh(self, key: str, script: str, container: str = "main") -> str:
        """Run a shell command in a container."""
        identity = self.container(key, container)["containerID"].rpartition("//")[2]
        result = await self.cri.exec_sync(identity, ["sh", "-c", script], 20.0)
        return (result.stdout + result.stderr).decode().strip()


def load_images(folder: str) -> None:
    archive = f"{folder}/images.tar"
    builtin_images.write_archive(archive)
    done = subprocess.run(
        ["ctr", "--address", containerd.SOCKET, "-n", "k8s.io", "images", "import", archive],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


async def play(scene: Callable[[RealWorld], Awaitable[None]], cgroup: str, folder: str) -> None:
    host = real_host()
    network = MemoryNetwork(SeededRng(1))
    api = NodeApi(host)
    client = await api.client(network.host("node"))
    world = RealWorld(host, api, client, cgroup, folder)
    world.start_containerd()
    await world.runtime_up()
    await asyncio.get_running_loop().run_in_executor(None, load_images, folder)
    try:
        world.start()
        await world.until(lambda: conditions.is_true(api.one("nodes", NODE) or {}, "Ready"))
        await scene(world)
    finally:
        await world.stop()
        for sandbox in await world.cri.list_sandboxes():
            await world.cri.remove_sandbox(sandbox.id)
        if world.agent is not None:
            for uid in world.agent.machine.cgroups.known():
                world.agent.machine.cgroups.remove(uid)
        if world.containerd is not None:
            world.containerd.terminate()
            world.containerd.wait(20)


def main() -> None:
    from tests.unit.node_agent import real_scenes

    name, folder, cgroup = sys.argv[1:4]
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    become_node()
    logs.setup("info", f"{folder}/agent.log")
    asyncio.run(play(getattr(real_scenes, name), cgroup, folder))


if __name__ == "__main__":
    main()
