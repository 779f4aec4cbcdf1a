"""A node of a one-machine cluster: its folders, what it boots with, and how it starts and ends.

`start` leaves a process that is PID 1 of the node's own namespaces (`deploy.boot`, then `node_agent.init`); killing
that process is a node crash. The supervisor calls it; `deploy.cleanup` removes what a node leaves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import node_agent
from deploy import cgroups, children, containerd
from deploy.cluster import ClusterConfig, NodeConfig
from deploy.layout import (
    AGENT_PORT,
    API_GRPC_PORT,
    CLUSTER_CIDR,
    CLUSTER_DOMAIN,
    DNS_SERVICE_IP,
    UPLINK_DNS,
    Layout,
    control_ip,
    node_ip,
)

BOOT: Final = str(Path(__file__).with_name("boot.py"))
PACKAGES: Final = str(Path(node_agent.__file__).resolve().parents[1])
PKI_IN_NODE: Final = "/etc/kubernetes/pki"
LOGS_IN_NODE: Final = "/var/log/argosy"
SERVICES_FILE: Final = "/etc/argosy/services.json"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_TIMEOUT_S: Final = 20.0
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
    return sorted(path for path in wanted if _masked(path))


def _masked(path: str) -> bool:
    return any(path == root or path.startswith(root + "/") for root in _PSEUDO_ROOTS)


def services(config: ClusterConfig, node: NodeConfig, cni_bin: str) -> dict[str, Any]:
    """What the node's PID 1 runs, as `node_agent.init` reads it."""
    ip = node_ip(node.number)
    servers = config.api_servers or tuple(
        f"{control_ip(number)}:{API_GRPC_PORT}" for number in range(1, config.apiservers + 1)
    )
    api = ["--api-servers", ",".join(servers), "--ca", f"{PKI_IN_NODE}/ca.crt"]

    def process(module: str, name: str, *flags: str) -> list[str]:
        return [
            *(sys.executable, "-m", module, "--log-file", f"{LOGS_IN_NODE}/{name}.log", *api),
            *("--certificate", f"{PKI_IN_NODE}/{name}.crt", "--key", f"{PKI_IN_NODE}/{name}.key", *flags),
            *config.flags.get(name, []),
        ]

    agent = process(
        "node_agent",
        "agent",
        *("--node-name", node.name, "--node-ip", ip, "--runtime-endpoint", f"unix:{containerd.SOCKET}"),
        *("--root-dir", "/var/lib/kubelet", "--listen", f"{ip}:{AGENT_PORT}"),
        *("--server-certificate", f"{PKI_IN_NODE}/server.crt", "--server-key", f"{PKI_IN_NODE}/server.key"),
        *("--client-ca", f"{PKI_IN_NODE}/ca.crt", "--node-cpus", f"{node.cpus:g}"),
        *("--node-memory-bytes", str(node.memory_bytes), "--cluster-dns", DNS_SERVICE_IP),
        *("--cluster-domain", CLUSTER_DOMAIN, "--cgroup-root", CGROUP_ROOT),
    )
    proxy = process(
        "node_agent.proxy",
        "proxy",
        *("--node-name", node.name, "--node-ip", ip, "--cluster-cidr", CLUSTER_CIDR),
        *("--proxy-mode", config.proxy_mode),
    )

    def service(name: str, arguments: list[str], log: str, stop_order: int) -> dict[str, Any]:
        return {"name": name, "arguments": arguments, "log": f"{LOGS_IN_NODE}/{log}", "stop_order": stop_order}

    runtime = ["/usr/bin/containerd", "--config", containerd.CONFIG]
    return {
        "services": [
            service("containerd", runtime, "containerd.log", 2),
            service("agent", agent, "agent.err", 0),
            service("proxy", proxy, "proxy.err", 1),
        ],
        "environment": {
            **children.inherited(("PYTHONPATH",)),
            "PATH": f"{PATH}:{cni_bin}",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            **children.FRUGAL,
        },
    }


def files(config: ClusterConfig, node: NodeConfig) -> dict[str, str]:
    """Files written into the node's root at boot."""
    cni_bin = containerd.cni_bin_folder()
    # Without an uplink a look-up must fail at once, not wait for a server that is not there.
    nameserver = UPLINK_DNS if config.uplink else "127.0.0.1"
    result = {
        containerd.CONFIG: containerd.config(default_runtime=containerd.runtime(), cni_bin=cni_bin),
        SERVICES_FILE: json.dumps(services(config, node, cni_bin), indent=1),
        "/etc/hostname": node.name + "\n",
        "/etc/hosts": f"127.0.0.1 localhost\n{node_ip(node.number)} {node.name}\n",
        "/etc/resolv.conf": f"nameserver {nameserver}\n",
    }
    for registry in config.registries:
        name, _, server = registry.partition("=")
        result[f"{containerd.CERTS}/{name}/hosts.toml"] = containerd.hosts(server)
    return result


def boot_spec(layout: Layout, config: ClusterConfig, node: NodeConfig, cgroup_folders: list[str]) -> dict[str, Any]:
    """What `deploy/boot.py` reads."""
    found = cgroups.hierarchies()
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        disks = other_disks(file.read())
    folder = layout.node(node.name)
    binds: list[tuple[str, str, bool]] = [(path, path, False) for path in needed_programs()]
    binds.append((f"{folder}/pki", PKI_IN_NODE, False))
    binds.append((f"{layout.logs}/{node.name}", LOGS_IN_NODE, True))
    return {
        "netns": layout.namespace_path(node.name),
        "cgroups": cgroup_folders,
        "unified": cgroups.is_unified(found),
        "hierarchies": [(os.path.basename(item.path), item.options) for item in cgroups.usable(found)],
        "hostname": node.name,
        "folder": folder,
        "disks": disks,
        "binds": binds,
        "files": files(config, node),
        "init": [sys.executable, "-s", "-S", "-P", "-m", "node_agent.init", SERVICES_FILE],
        "environment": {"PATH": PATH, "PYTHONPATH": PACKAGES, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
    }


def start(layout: Layout, config: ClusterConfig, node: NodeConfig) -> int:
    """Boot a node; gives the host's pid of its PID 1. Its namespace and certificates exist. Raises BootError."""
    folder = layout.node(node.name)
    os.makedirs(f"{folder}/var", mode=0o755, exist_ok=True)
    os.makedirs(f"{layout.logs}/{node.name}", mode=0o755, exist_ok=True)
    group = layout.node_cgroup(node.name)
    try:
        cgroups.kill(group)
        folders = cgroups.make(group, cpus=node.cpus, memory_bytes=node.memory_bytes)
    except OSError as error:
        raise BootError(f"{node.name}: control group: {error}") from None
    spec_file = f"{folder}/boot.json"
    with open(spec_file, "w", encoding="utf-8") as file:
        json.dump(boot_spec(layout, config, node, folders), file, indent=1)
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
