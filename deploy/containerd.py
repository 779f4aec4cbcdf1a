"""containerd's configuration on a node. Pure text; `deploy.node` writes it into the node.

What it sets and why: no raise of oom_score_adj and no RLIMITs (machines without CAP_SYS_RESOURCE), crun where it
runs, the sandbox image that is loaded at start, a streaming server on a free port of loopback (a node may share the
machine's network), registries by `certs.d`; plugins that are not used are left out (memory, start-up).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

SOCKET: Final = "/run/containerd/containerd.sock"
CONFIG: Final = "/etc/containerd/config.toml"
CERTS: Final = "/etc/containerd/certs.d"
CNI_CONF: Final = "/etc/cni/net.d"
CNI_BIN: Final = ("/usr/lib/cni", "/opt/cni/bin")
PAUSE_IMAGE: Final = "registry.k8s.io/pause:3.9"

_UNUSED = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.native",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
)


def runtime() -> str:
    """`crun` where it is installed and starts, else `runc`."""
    path = shutil.which("crun")
    if path is not None:
        done = subprocess.run([path, "--version"], capture_output=True, check=False)
        if done.returncode == 0:
            return "crun"
    return "runc"


def cni_bin_folder() -> str:
    """The folder with the CNI plugins: Debian's, else upstream's usual one."""
    return next((folder for folder in CNI_BIN if os.path.exists(f"{folder}/bridge")), CNI_BIN[0])


def config(*, default_runtime: str, cni_bin: str) -> str:
    """The configuration file, version 2 (containerd 1.6 and newer read it)."""
    unused = ", ".join(f'"{name}"' for name in _UNUSED)
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [{unused}]

[grpc]
  address = "{SOCKET}"

[metrics]
  address = ""

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  max_concurrent_downloads = 8
  stats_collect_period = 10
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{CNI_CONF}"

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{CERTS}"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "{default_runtime}"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = "/usr/bin/crun"
        SystemdCgroup = false
"""


def hosts(server: str) -> str:
    """`certs.d/HOST/hosts.toml`: the registry called HOST in image names is reached at the URL `server`."""
    return f'''server = "{server}"

[host."{server}"]
  capabilities = ["pull", "resolve"]
'''
