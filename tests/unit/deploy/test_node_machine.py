"""A node is a machine: its own root, network, processes and limits; it crashes as a whole and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from deploy import builtin_images, cgroups, children, cleanup, containerd, launch, netns, node
from deploy.cluster import ClusterConfig, NodeConfig, save
from deploy.lan import Lan
from deploy.layout import Layout, control_ip, node_ip
from deploy.place import Member, on_lan

pytestmark = pytest.mark.root


@pytest.fixture
def lan(layout: Layout) -> Lan:
    found = Lan(layout)
    found.ensure(
        [
            Member("cp-1", control_ip(1)),
            Member("node-1", node_ip(1), is_node=True),
            Member("node-2", node_ip(2), is_node=True),
        ]
    )
    return found


def config(layout: Layout) -> ClusterConfig:
    found = ClusterConfig(layout.name)
    for number in (1, 2):
        found = found.with_node(NodeConfig(f"node-{number}", number, 0.5, 512 << 20))
    return found


def boot(layout: Layout, number: int) -> int:
    """A node whose PID 1 runs nothing but containerd."""
    found = config(layout)
    save(found, layout)
    item = found.nodes[number - 1]
    os.makedirs(f"{layout.node(item.name)}/pki", exist_ok=True)
    return node.start(layout, found, on_lan(layout, found), item)


def inside(pid: int, *command: str) -> str:
    return netns.tool(["nsenter", "--target", str(pid), "--all", "--", *command])


def test_what_runs_in_nodes_is_compiled_on_the_host(tmp_path: Path) -> None:
    for package in ("argosy", "node_agent", "control_plane"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "module.py").write_text("x = 1\n")
    (tmp_path / "node_agent" / "broken.py").write_text("x = \n")
    node.compile_packages(str(tmp_path))
    assert sorted(item.relative_to(tmp_path).parts[0] for item in tmp_path.glob("*/__pycache__/*.pyc")) == [
        "argosy",
        "node_agent",
    ]


def test_members_reach_each_other_and_nothing_else(layout: Layout, lan: Lan) -> None:
    path = layout.namespace_path("cp-1")
    netns.tool(["nsenter", f"--net={path}", "--", "busybox", "ping", "-c", "1", "-W", "2", node_ip(2)])
    with pytest.raises(netns.CommandError):
        # TEST-NET-1: there is no uplink.
        netns.tool(["nsenter", f"--net={path}", "--", "busybox", "ping", "-c", "1", "-W", "1", "192.0.2.1"])


def test_pod_routes_lead_through_the_lan(layout: Layout, lan: Lan) -> None:
    netns.batch(["addr add 10.244.7.1/32 dev lo"], layout.namespace("node-2"))
    lan.set_pod_routes({"10.244.7.0/24": node_ip(2)})
    path = layout.namespace_path("cp-1")
    netns.tool(["nsenter", f"--net={path}", "--", "busybox", "ping", "-c", "1", "-W", "2", "10.244.7.1"])
    lan.remove_pod_routes(["10.244.7.0/24"])
    with pytest.raises(netns.CommandError):
        netns.tool(["nsenter", f"--net={path}", "--", "busybox", "ping", "-c", "1", "-W", "1", "10.244.7.1"])


def test_what_is_half_there_is_made_anew(layout: Layout, lan: Lan) -> None:
    before = os.stat(layout.namespace_path("node-1")).st_ino
    lan.ensure([Member("node-1", node_ip(1), is_node=True)])
    assert os.stat(layout.namespace_path("node-1")).st_ino == before, "what is whole is kept"
    os.unlink(f"{layout.run}/lan/node-1")
    lan.ensure([Member("node-1", node_ip(1), is_node=True)])
    path = layout.namespace_path("node-1")
    netns.tool(["nsenter", f"--net={path}", "--", "busybox", "ping", "-c", "1", "-W", "2", node_ip(2)])


def test_a_node_is_a_machine_of_its_own(layout: Layout, lan: Lan) -> None:
    pid = boot(layout, 1)
    assert inside(pid, "hostname").strip() == "node-1"
    assert inside(pid, "cat", "/proc/1/comm").startswith("python")
    assert "10.77.3.1/16" in inside(pid, "ip", "addr", "show", "eth0")
    inside(pid, "sh", "-c", "echo mine >/etc/argosy/mine; echo kept >/var/kept")
    assert not os.path.exists("/etc/argosy/mine"), "the host's root is not touched"
    assert os.listdir(f"/proc/{pid}/root/run/netns") == [], "the host's namespaces are not seen"
    assert not os.path.exists(f"/proc/{pid}/root{layout.pki}"), "nor the cluster's keys"


def test_a_nodes_group_is_its_root_and_has_its_limits(layout: Layout, lan: Lan) -> None:
    pid = boot(layout, 1)
    if cgroups.is_unified(cgroups.hierarchies()):
        assert inside(pid, "cat", "/sys/fs/cgroup/memory.max").strip() == str(512 << 20)
        assert inside(pid, "cat", "/sys/fs/cgroup/cpu.max").split() == ["50000", "100000"]
    else:
        assert inside(pid, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes").strip() == str(512 << 20)
        assert inside(pid, "cat", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip() == "50000"
    assert pid in cgroups.pids(layout.node_cgroup("node-1"))
    # What eats more than the node has is killed, and the host does not notice.
    done = subprocess.run(
        ["nsenter", "--target", str(pid), "--all", "--", "busybox", "tail", "/dev/zero"],
        capture_output=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: join(layout.node_cgroup("node-1")),
    )
    assert done.returncode == -signal.SIGKILL


def join(group: str) -> None:
    """Move the calling process into a group's memory hierarchy."""
    for item in cgroups.usable(cgroups.hierarchies()):
        if item.version == 2 or item.options == "memory":
            leaf = "/init" if item.version == 2 else ""
            Path(f"{item.path}/{group}{leaf}/cgroup.procs").write_text("0")


def test_a_crash_takes_everything_but_the_disk(layout: Layout, lan: Lan) -> None:
    pid = boot(layout, 1)
    inside(pid, "sh", "-c", "echo kept >/var/kept; echo lost >/etc/lost")
    os.kill(pid, signal.SIGKILL)
    group = layout.node_cgroup("node-1")
    assert cleanup.wait_until(lambda: not cgroups.pids(group), 5.0)
    lan.remove_member("node-1")
    lan.ensure([Member("node-1", node_ip(1), is_node=True)])
    pid = boot(layout, 1)
    assert inside(pid, "cat", "/var/kept").strip() == "kept"
    assert inside(pid, "sh", "-c", "cat /etc/lost 2>/dev/null || echo gone").strip() == "gone"


def test_containerd_runs_and_takes_images(layout: Layout, lan: Lan) -> None:
    pid = boot(layout, 1)
    running = children.watch(pid)
    assert running is not None
    with open(layout.children_file, "w", encoding="utf-8") as file:
        json.dump({"node-1": {"pid": pid, "ticks": running.ticks, "fds": {}}}, file)
    archive = f"{layout.images}/builtin.tar"
    builtin_images.write_archive(archive)
    assert launch.load_images(layout, [archive], ["node-1"]) == ["node-1"]
    sock = f"/proc/{pid}/root{containerd.SOCKET}"
    names = netns.tool(["ctr", "--address", sock, "--namespace", "k8s.io", "images", "ls", "-q"]).split()
    assert {
        containerd.PAUSE_IMAGE,
        "docker.io/library/busybox:latest",
        "docker.io/library/busybox:1.35",
        "docker.io/myregistry/api:v2.1.0",
        "docker.io/myregistry/api:v2.2.0",
    } <= set(names)
    with pytest.raises(launch.LaunchError, match="node-1"):
        launch.load_images(layout, ["/etc/hostname"], ["node-1"])


def test_a_service_inside_that_dies_is_started_again(layout: Layout, lan: Lan) -> None:
    pid = boot(layout, 1)

    def containerd_pid() -> int:
        with open(f"/proc/{pid}/root/run/argosy/init.json", encoding="utf-8") as file:
            return next(int(item["pid"]) for item in json.load(file)["services"] if item["name"] == "containerd")

    assert cleanup.wait_until(lambda: os.path.exists(f"/proc/{pid}/root/run/argosy/init.json"), 5.0)
    assert cleanup.wait_until(lambda: containerd_pid() > 0, 5.0)
    first = containerd_pid()
    inside(pid, "kill", "-9", str(first))
    assert cleanup.wait_until(lambda: containerd_pid() not in (0, first), 5.0)


def test_sigterm_ends_a_node_in_order(layout: Layout, lan: Lan) -> None:
    pid = boot(layout, 1)
    running = children.watch(pid)
    assert running is not None
    running.kill(signal.SIGTERM)
    assert cleanup.wait_until(lambda: children.start_ticks(pid) == 0, 10.0)
    assert cleanup.wait_until(lambda: not cgroups.pids(layout.node_cgroup("node-1")), 5.0)
