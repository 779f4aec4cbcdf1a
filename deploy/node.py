"""A node: its folders, what it boots with, and how it starts and ends.

`start` leaves a process that is PID 1 of the node's own namespaces (`deploy.boot`, then `node_agent.init`); killing
that process is a node crash. The supervisor calls it; `deploy.cleanup` removes what a node leaves.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import node_agent
from argosy import fault_controls
from argosy.config import FAULT_CONTROLS
from deploy import builtin_images, cgroups, children, containerd, disks, netns
from deploy.cluster import ClusterConfig, NodeConfig
from deploy.layout import AGENT_PORT, Layout
from deploy.place import Place

BOOT: Final = str(Path(__file__).with_name("boot.py"))
PACKAGES: Final = str(Path(node_agent.__file__).resolve().parents[1])
PKI_IN_NODE: Final = "/etc/kubernetes/pki"
OWN_PKI: Final = "/var/lib/kubelet/pki"
LOGS_IN_NODE: Final = "/var/log/argosy"
CONTROLS_IN_NODE: Final = "/run/argosy/controls"
SERVICES_FILE: Final = "/etc/argosy/services.json"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_TIMEOUT_S: Final = 20.0
CONTROLLED: Final = ("agent", "proxy")
"""Services whose clock faults can set off."""
SHARED_DISK: Final = ("--eviction-hard", "memory.available<100Mi", "--image-gc-high-threshold", "100")
"""Nodes on one machine share its disk with everything else there: how full it is says nothing of them."""
CGROUP_ROOT: Final = "/"
"""The root of the cgroup namespace: the node's own group."""

_PSEUDO_ROOTS: Final = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var")  # noqa: S108
_DISK_KINDS: Final = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "overlay", "erofs", "squashfs")


class BootError(Exception):
    """A node did not come up; the message says at which step."""


@dataclass(frozen=True)
class Mounts:
    """What of the host a node's root must show besides its root file system."""

    disks: list[str] = field(default_factory=list)
    binds: list[tuple[str, str, bool]] = field(default_factory=list)


def other_disks(mountinfo: str) -> list[str]:
    """Mount points of other disks below `/`, parents first, from the text of /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        path = left.split()[4].encode().decode("unicode_escape")
        if path != "/" and right.split()[0] in _DISK_KINDS and not _masked(path):
            found.append(path)
    return sorted(set(found))


def needed_programs() -> list[str]:
    """Folders that Python and this project run from, where the node's own /var, /tmp and /run would hide them."""
    wanted = {PACKAGES, sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))}
    spec = importlib.util.find_spec("uvloop")
    if spec is not None and spec.origin:
        # An environment may hold links to packages that are elsewhere.
        wanted.add(os.path.dirname(os.path.dirname(os.path.realpath(spec.origin))))
    return sorted(path for path in wanted if _masked(path))


def compile_packages(root: str = PACKAGES) -> None:
    """Bytecode of what runs inside nodes, written once on the host.

    No process outside of a node loads the node agent, and what a node writes is gone with it: without this, each
    boot of each node would compile it anew, half a second of processor time. A folder that cannot be written is fine.
    """
    import compileall

    for package in ("argosy", "node_agent"):
        compileall.compile_dir(f"{root}/{package}", quiet=2)


def _masked(path: str) -> bool:
    return any(path == root or path.startswith(root + "/") for root in _PSEUDO_ROOTS)


@dataclass(frozen=True)
class Credentials:
    """Where a node's processes find who they are: paths in the node without `.crt` and `.key`."""

    agent: str
    proxy: str
    server: str
    renewed_by_node: bool
    """Requested from the cluster by the node itself, and anew before they end."""


LAID_OUT: Final = Credentials(f"{PKI_IN_NODE}/agent", f"{PKI_IN_NODE}/proxy", f"{PKI_IN_NODE}/server", False)
"""By `deploy.certificates`, on the machine that has the cluster's authority."""
JOINED: Final = Credentials(f"{OWN_PKI}/agent", f"{OWN_PKI}/agent", f"{OWN_PKI}/server", True)
"""On a machine that joined: its keys never leave it, and it has no other identity than the node's."""


def credentials(config: ClusterConfig) -> Credentials:
    return LAID_OUT if config.has_control_plane else JOINED


def services(config: ClusterConfig, place: Place, node: NodeConfig, cni_bin: str) -> dict[str, Any]:
    """What the node's PID 1 runs, as `node_agent.init` reads it."""
    ip, known = place.nodes[node.name].ip, credentials(config)
    api = ["--api-servers", ",".join(place.servers), "--ca", f"{PKI_IN_NODE}/ca.crt"]

    def process(module: str, name: str, identity: str, *flags: str) -> list[str]:
        return [
            *(sys.executable, "-m", module, "--log-file", f"{LOGS_IN_NODE}/{name}.log", *api),
            *("--certificate", f"{identity}.crt", "--key", f"{identity}.key", *flags),
            *(FAULT_CONTROLS, f"{CONTROLS_IN_NODE}/{name}.ctl"),
            *config.flags.get(name, []),
        ]

    agent = process(
        "node_agent",
        "agent",
        known.agent,
        *("--node-name", node.name, "--node-ip", ip, "--runtime-endpoint", f"unix:{containerd.SOCKET}"),
        *("--root-dir", "/var/lib/kubelet", "--listen", f"{ip}:{AGENT_PORT}"),
        *("--server-certificate", f"{known.server}.crt", "--server-key", f"{known.server}.key"),
        *(["--rotate-certificates"] if known.renewed_by_node else []),
        *("--client-ca", f"{PKI_IN_NODE}/ca.crt", "--node-cpus", f"{node.cpus:g}"),
        *("--node-memory-bytes", str(node.memory_bytes), "--cluster-dns", config.cluster_dns),
        *("--cluster-domain", config.cluster_domain, "--cgroup-root", CGROUP_ROOT),
        *(("--node-labels", ",".join(node.labels)) if node.labels else ()),
        *(("--register-with-taints", ",".join(node.taints)) if node.taints else ()),
        *("--pinned-images", ",".join(builtin_images.names())),
        *(SHARED_DISK if config.is_on_lan and not node.disk_bytes else ()),
    )
    proxy = process(
        "node_agent.proxy",
        "proxy",
        known.proxy,
        *("--node-name", node.name, "--node-ip", ip, "--cluster-cidr", config.cluster_cidr),
        *("--proxy-mode", config.proxy_mode),
    )

    def service(
        name: str, arguments: list[str], log: str, stop_order: int, restart_on: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        return {
            "name": name,
            "arguments": arguments,
            "log": f"{LOGS_IN_NODE}/{log}",
            "stop_order": stop_order,
            "restart_on": restart_on if known.renewed_by_node else (),
            "hold": f"{CONTROLS_IN_NODE}/{name}.hold",
        }

    runtime = ["/usr/bin/containerd", "--config", containerd.CONFIG]
    return {
        "services": [
            service("containerd", runtime, "containerd.log", 2),
            service("agent", agent, "agent.err", 0, (f"{known.agent}.crt", f"{known.server}.crt")),
            service("proxy", proxy, "proxy.err", 1, (f"{known.proxy}.crt",)),
        ],
        "environment": {
            **children.inherited(("PYTHONPATH",)),
            "PATH": f"{PATH}:{cni_bin}",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            **children.FRUGAL,
        },
    }


def files(config: ClusterConfig, place: Place, node: NodeConfig) -> dict[str, str]:
    """Files written into the node's root at boot."""
    cni_bin = containerd.cni_bin_folder()
    here = place.nodes[node.name]
    result = {
        containerd.CONFIG: containerd.config(default_runtime=containerd.runtime(), cni_bin=cni_bin),
        SERVICES_FILE: json.dumps(services(config, place, node, cni_bin), indent=1),
        "/etc/hostname": node.name + "\n",
        "/etc/hosts": here.hosts,
        "/etc/resolv.conf": "".join(f"nameserver {server}\n" for server in here.nameservers),
    }
    for registry in config.registries:
        name, _, server = registry.partition("=")
        result[f"{containerd.CERTS}/{name}/hosts.toml"] = containerd.hosts(server)
    return result


def boot_spec(
    layout: Layout, config: ClusterConfig, place: Place, node: NodeConfig, cgroup_folders: list[str]
) -> dict[str, Any]:
    """What `deploy/boot.py` reads."""
    found = cgroups.hierarchies()
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        disks = other_disks(file.read())
    folder = layout.node(node.name)
    binds: list[tuple[str, str, bool]] = [(path, path, False) for path in needed_programs()]
    binds.append((f"{folder}/pki", PKI_IN_NODE, False))
    binds.append((f"{layout.logs}/{node.name}", LOGS_IN_NODE, True))
    binds.append((layout.controls(node.name), CONTROLS_IN_NODE, False))
    return {
        "netns": place.nodes[node.name].namespace,
        "cgroups": cgroup_folders,
        "unified": cgroups.is_unified(found),
        "hierarchies": [(os.path.basename(item.path), item.options) for item in cgroups.usable(found)],
        "hostname": node.name,
        "folder": folder,
        "disks": disks,
        "binds": binds,
        "files": files(config, place, node),
        "init": [sys.executable, "-s", "-S", "-P", "-m", "node_agent.init", SERVICES_FILE],
        "environment": {"PATH": PATH, "PYTHONPATH": PACKAGES, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
    }


def start(layout: Layout, config: ClusterConfig, place: Place, node: NodeConfig) -> int:
    """Boot a node; gives the host's pid of its PID 1. Its network and certificates exist. Raises BootError."""
    folder = layout.node(node.name)
    os.makedirs(f"{layout.logs}/{node.name}", mode=0o755, exist_ok=True)
    group = layout.node_cgroup(node.name)
    try:
        disks.ensure(disks.of_node(layout, node.name), node.disk_bytes)
        for service in CONTROLLED:
            fault_controls.ensure(f"{layout.controls(node.name)}/{service}.ctl")
        cgroups.kill(group)
        folders = cgroups.make(group, cpus=node.cpus, memory_bytes=node.memory_bytes)
    except (OSError, netns.CommandError) as error:
        raise BootError(f"{node.name}: disk, control group or fault controls: {error}") from None
    spec_file = f"{folder}/boot.json"
    with open(spec_file, "w", encoding="utf-8") as file:
        json.dump(boot_spec(layout, config, place, node, folders), file, indent=1)
    with open(layout.log(node.name), "ab") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", BOOT, spec_file],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=BOOT_TIMEOUT_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BootError(f"{node.name}: not booted after {BOOT_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise BootError(f"{node.name}: could not boot; see {layout.log(node.name)}")
    return int(done.stdout)
