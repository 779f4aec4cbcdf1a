"""What the modules of each process load at once: a start is bound by it, sixteen processes on two cores together.

What is needed only later, or not by everyone, is imported where it is used. Heavy libraries are named here; a process
that begins to load one of them at once shows up, and so does a list that is no longer true.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "cryptography", "grpc", "hpack", "jsonpatch", "kubernetes_validate", "numpy", "pyroute2", "yaml")
LOADS = {
    "etcd": ("cryptography",),  # by pysyncobj
    "control_plane.apiserver": ("jsonpatch", "yaml"),
    "control_plane.controllers": (),
    "control_plane.scheduler": ("numpy",),
    "control_plane.dns": (),
    "control_plane.autoscaler": (),
    "control_plane.metrics": (),
    "control_plane.ingress": (),
    "node_agent": (),
    "node_agent.proxy": (),
    "deploy.supervisor": (),
    "argosy.cli": (),
}
LOOK = """
import json, runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_module(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
print("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize("module", LOADS)
def test_each_process_loads_what_it_needs_and_no_more(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOOK, module], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert tuple(name for name in HEAVY if name in loaded) == LOADS[module]
