"""exec, attach, port-forward and logs of real containers, by every kubectl that the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def remove_cgroups(name: str) -> None:
    for mount, folders, _ in os.walk("/sys/fs/cgroup"):
        if name in folders:
            for path, _, _ in os.walk(os.path.join(mount, name), topdown=False):
                os.rmdir(path)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("containerd"), reason="needs root and containerd")
def test_streams_of_real_containers(tmp_path: Path) -> None:
    cgroup = f"argosy-net-test-{os.getpid()}"
    command = [
        *("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child"),
        *(sys.executable, "-m", "tests.unit.streaming.real_streams", str(tmp_path), f"/{cgroup}"),
    ]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    finally:
        remove_cgroups(cgroup)
    log = (tmp_path / "agent.log").read_text() if (tmp_path / "agent.log").exists() else ""
    assert done.returncode == 0, f"{done.stderr[-4000:]}\n{log[-4000:]}"
