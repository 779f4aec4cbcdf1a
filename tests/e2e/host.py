"""What of a cluster can be seen on the host, found without the product's own means of finding it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

FOLDERS = ("/var/lib/argosy", "/run/argosy")


def processes(name: str) -> list[int]:
    """Processes that are in the cluster's control groups or name its folders on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            groups = (entry / "cgroup").read_text()
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mine = f"/argosy/{name}/" in groups or f"argosy/{name}/" in line or f"argosy-{name}-" in line
            if mine or f"deploy.supervisor --name {name} " in line:
                found.append(int(entry.name))
    return sorted(found)


def traces(name: str) -> list[str]:
    """Everything there is of a cluster but its logs: empty after `argosy down`."""
    found = [f"process {pid}" for pid in processes(name)]
    with contextlib.suppress(FileNotFoundError):
        found += [f"namespace {item}" for item in os.listdir("/run/netns") if item.startswith(f"argosy-{name}-")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if f"argosy/{name}/" in line or f"argosy-{name}-" in line]
    for folder in ("/sys/fs/cgroup", *Path("/sys/fs/cgroup").glob("*/")):
        if Path(folder, "argosy", name).exists():
            found.append(f"control group {folder}/argosy/{name}")
    found += [f"folder {folder}/{name}" for folder in FOLDERS if Path(folder, name).exists()]
    found += [f"file {path}" for folder in FOLDERS for path in Path(folder).glob(f".*{name}*")]
    return found


def network() -> str:
    """The host's own links, addresses, routes and rules: no cluster may change them."""
    commands = (
        ("ip", "-o", "addr"),
        ("ip", "route"),
        ("iptables-save", "-t", "nat"),
        ("iptables-save", "-t", "filter"),
        ("nft", "list", "ruleset"),
    )
    text = ""
    for command in commands:
        text += subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))
