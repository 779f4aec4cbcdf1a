"""The node agent on real containers: containerd, CNI and cgroups, in namespaces that end with the test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCENES = ("whole_pod", "agent_restart", "node_crash", "limits")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("containerd"), reason="needs root and containerd"
)


def remove_cgroups(name: str) -> None:
    for mount, folders, _ in os.walk("/sys/fs/cgroup"):
        if name not in folders:
            continue
        for path, _, _ in os.walk(os.path.join(mount, name), topdown=False):
            os.rmdir(path)


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("scene", SCENES)
def test_on_a_real_node(scene: str, tmp_path: Path) -> None:
    cgroup = f"argosy-node-test-{os.getpid()}"
    command = [
        *("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child"),
        *(sys.executable, "-m", "tests.unit.node_agent.real_node", scene, str(tmp_path), f"/{cgroup}"),
    ]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    finally:
        remove_cgroups(cgroup)
    log = (tmp_path / "agent.log").read_text() if (tmp_path / "agent.log").exists() else ""
    assert done.returncode == 0, f"{done.stderr[-4000:]}\n{log[-6000:]}"
