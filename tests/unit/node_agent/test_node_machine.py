"""The node's files, cgroups, CNI configuration and routes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.objects.types import JsonObject
from node_agent.cgroups import NodeCgroups, hierarchies
from node_agent.files import LogKeeper, NodeFiles
from node_agent.network import cni
from node_agent.network.routes import wanted_routes
from node_agent.resources import PodLimits
from node_agent.runtime.runtime import ContainerStatus, State
from tests.unit.node_agent.node_world import make_pod

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a network namespace")


def ended(code: int, log_path: str = "", attempt: int = 0) -> ContainerStatus:
    return ContainerStatus("c", "main", attempt, State.EXITED, 1, 2, 3, code, "", "", "i", "i", log_path)


def node_files(folder: Path) -> NodeFiles:
    return NodeFiles(str(folder / "root"), str(folder / "logs"), "cluster.local", str(folder / "resolv.conf"))


def pod_with_uid() -> JsonObject:
    pod = make_pod()
    pod["metadata"]["uid"] = "uid-1"
    return pod


def test_termination_messages(tmp_path: Path) -> None:
    files, pod = node_files(tmp_path), pod_with_uid()
    container = {"name": "main", "terminationMessagePolicy": "FallbackToLogsOnError"}
    folder = files.prepare(pod)
    mounts = {
        mount.container_path: mount.host_path for mount in files.container_mounts(pod, container, 0, ("1.2.3.4",))
    }
    assert "1.2.3.4\tweb\n" in Path(mounts["/etc/hosts"]).read_text()
    log = Path(folder, "main", "0.log")
    lines = [f"2026-01-01T00:00:00Z stderr F line {number}\n" for number in range(100)]
    log.write_text("".join(lines))
    assert files.termination_message(pod, container, ended(0, str(log))) == ""
    message = files.termination_message(pod, container, ended(1, str(log)))
    assert message.startswith("line 20\n") and message.endswith("line 99\n")
    Path(mounts["/dev/termination-log"]).write_text("x" * 5000)
    assert files.termination_message(pod, container, ended(1, str(log))) == "x" * 4096


def test_nothing_of_a_removed_pod_is_left(tmp_path: Path) -> None:
    files, pod = node_files(tmp_path), pod_with_uid()
    files.prepare(pod)
    files.container_mounts(pod, {"name": "main"}, 3, ("1.2.3.4",))
    folder = tmp_path / "logs/default_web_uid-1/main"
    (folder / "3.log").write_text("x")
    (folder / "2.log").write_text("x")
    assert files.last_attempt(pod, "main") == 3 and files.known() == ["uid-1"]
    files.forget_attempt(pod, "main", 2)
    assert os.listdir(folder) == ["3.log"]
    files.remove("uid-1")
    assert files.known() == [] and files.last_attempt(pod, "main") == -1


def test_logs_rotate_and_the_oldest_go(tmp_path: Path) -> None:
    keeper, log = LogKeeper(10, 3), tmp_path / "0.log"
    for number in range(5):
        log.write_text(f"{number} is long enough")
        assert keeper.oversized(ended(0), str(log))
        keeper.rotate(str(log))
    log.write_text("short")
    assert not keeper.oversized(ended(0), str(log))
    assert sorted(os.listdir(tmp_path)) == ["0.log", "0.log.4", "0.log.5"]
    assert (tmp_path / "0.log.5").read_text().startswith("4")


HYBRID = """\
30 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
31 20 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 20 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 20 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def test_hierarchies_are_found() -> None:
    found, is_v2 = hierarchies(HYBRID)
    assert not is_v2 and found["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct" and found["memory"].endswith("/memory")
    assert hierarchies("33 20 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw") == ({"unified": "/sys/fs/cgroup"}, True)


def test_limits_are_written_in_either_version(tmp_path: Path) -> None:
    limits = PodLimits(512, 50_000, 1 << 20)
    one = NodeCgroups("/node", HYBRID.replace("/sys/fs/cgroup", str(tmp_path)))
    one.make("u", "Burstable", limits)
    base = "node/kubepods/burstable/podu"
    assert (tmp_path / "cpu,cpuacct" / base / "cpu.cfs_quota_us").read_text() == "50000"
    assert (tmp_path / "memory" / base / "memory.limit_in_bytes").read_text() == str(1 << 20)
    assert one.parent("u", "Guaranteed") == "/node/kubepods/podu" and one.known() == ["u"]
    two = NodeCgroups("/node", f"33 20 0:29 / {tmp_path}/two rw - cgroup2 cgroup2 rw")
    two.make("u", "BestEffort", PodLimits(2, 0, 0))
    folder = tmp_path / "two/node/kubepods/besteffort/podu"
    assert (folder / "cpu.max").read_text() == "max 100000" and (folder / "memory.max").read_text() == "max"
    assert (folder / "cpu.weight").read_text() == "1"


def test_best_effort_pods_get_what_the_others_leave(tmp_path: Path) -> None:
    limits = PodLimits(2, 0, 0)
    one = NodeCgroups("/node", HYBRID.replace("/sys/fs/cgroup", str(tmp_path)))
    one.make("u", "BestEffort", limits)
    one.make("v", "Burstable", limits)
    one.weigh(1500)
    folder = tmp_path / "cpu,cpuacct/node/kubepods"
    assert (folder / "besteffort/cpu.shares").read_text() == "2"
    assert (folder / "burstable/cpu.shares").read_text() == "1536"
    two = NodeCgroups("/node", f"33 20 0:29 / {tmp_path}/two rw - cgroup2 cgroup2 rw")
    two.weigh(1000)
    two.make("u", "BestEffort", limits)
    two.weigh(1000)
    assert (tmp_path / "two/node/kubepods/besteffort/cpu.weight").read_text() == "1"


def test_cni_configuration(tmp_path: Path) -> None:
    content = cni.conflist(["10.244.1.0/24"], "/run/x", 1400)
    bridge, portmap = content["plugins"]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]] and bridge["mtu"] == 1400
    assert portmap["capabilities"] == {"portMappings": True}
    assert cni.write(str(tmp_path), content) and not cni.write(str(tmp_path), content)
    assert json.loads((tmp_path / cni.FILE_NAME).read_text()) == content
    with pytest.raises(ValueError, match="bits"):
        cni.conflist(["10.244.1.1/24"], "", 0)


def test_addresses_of_dead_sandboxes_are_freed(tmp_path: Path) -> None:
    folder = tmp_path / "argosy"
    folder.mkdir()
    (folder / "10.244.1.2").write_text("alive\r\neth0")
    (folder / "10.244.1.3").write_text("dead\r\neth0")
    (folder / "last_reserved_ip.0").write_text("10.244.1.3")
    assert cni.release(str(tmp_path), ["alive"]) == ["10.244.1.3"]
    assert sorted(os.listdir(folder)) == ["10.244.1.2", "last_reserved_ip.0"]
    assert cni.release(str(tmp_path / "none"), []) == []


def node(name: str, ip: str, *cidrs: str) -> JsonObject:
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]
    return {"metadata": {"name": name}, "spec": {"podCIDRs": list(cidrs)}, "status": {"addresses": addresses}}


def test_routes_lead_to_every_other_node() -> None:
    nodes = [
        node("a", "10.77.3.1", "10.244.0.0/24"),
        node("b", "10.77.3.2", "10.244.1.0/24"),
        node("six", "10.77.3.3", "fd00::/64"),
        node("new", "10.77.3.4"),
        node("odd", "10.77.3.5", "nonsense"),
    ]
    assert wanted_routes(nodes, "a") == {"10.244.1.0/24": "10.77.3.2"}


ROUTES = """
import subprocess
from node_agent.network.routes import apply_routes
def show():
    lines = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(line.split(" dev ")[0] for line in lines if " via " in line)
for words in ("link add lan type bridge", "addr add 10.77.3.1/16 dev lan", "link set lan up",
              "route add 10.9.0.0/24 via 10.77.9.9"):
    subprocess.run(["ip", *words.split()], check=True)
apply_routes({"10.244.1.0/24": "10.77.3.2", "10.244.2.0/24": "10.77.3.3"})
apply_routes({"10.244.1.0/24": "10.77.3.9"})
assert show() == ["10.244.1.0/24 via 10.77.3.9", "10.9.0.0/24 via 10.77.9.9"], show()
try:
    apply_routes({"10.244.5.0/24": "192.0.2.1"})
except OSError as error:
    assert "10.244.5.0/24 via 192.0.2.1" in str(error)
else:
    raise SystemExit("an unreachable gateway was taken")
"""


@pytest.mark.root
@needs_root
def test_only_our_routes_are_kept_in_step() -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", ROUTES], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
