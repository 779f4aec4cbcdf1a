"""What the benches share: one cluster for those that need one, clocks, statistics."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from argosy.testing import Cluster
from tests.bench import usage
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "deploy" / "examples"
STEP = re.compile(r"✓ (?P<what>.*?)\s+(?P<seconds>[\d.]+) s$", re.MULTILINE)


class CannotMeasure(Exception):
    """Something that a bench needs is not there; the message says what."""


@dataclass(frozen=True)
class Start:
    """How long one `argosy up` took, from the command to its end."""

    wall_s: float
    cpu_s: float
    """Of the command and of the cluster's processes."""
    steps: dict[str, float]


@dataclass
class Bench:
    """One run of the runner. `close` takes the cluster down."""

    name: str = field(default_factory=lambda: f"bench-{os.getpid()}")
    _cluster: Cluster | None = None
    _folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="argosy-bench-")))

    @property
    def folder(self) -> Path:
        """For files; it goes at the end."""
        return self._folder

    def need_root(self) -> None:
        if os.geteuid() != 0:
            raise CannotMeasure("a real cluster needs root")

    def cluster(self) -> Cluster:
        """The cluster of 3 nodes and 3 store members, started if it is not there."""
        if self._cluster is None:
            self.need_root()
            self.start()
        assert self._cluster is not None
        return self._cluster

    def start(self, *flags: str) -> Start:
        """A new cluster in place of the one that is there; `flags` are of `argosy up`."""
        self.stop()
        cluster = Cluster(self.name, self._folder / "kubeconfig", shutil.which("kubectl") or "kubectl")
        self._cluster = cluster
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.monotonic()
        printed = cluster.argosy("up", "--no-uplink", "--port", str(free_ports(1)[0]), *flags, timeout_s=180.0)
        wall_s = time.monotonic() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        command_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        running_s = usage.cpu_s(usage.tree(self.supervisor_pid()).values())
        steps = {match["what"]: float(match["seconds"]) for match in STEP.finditer(printed)}
        return Start(wall_s, command_s + running_s, steps)

    def supervisor_pid(self) -> int:
        return self.cluster().processes()["supervisor"].pid

    def stop(self) -> None:
        if self._cluster is not None:
            self._cluster.argosy("down", timeout_s=120.0)
            self._cluster = None

    def close(self) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def in_node(self, node: str, *command: str) -> list[str]:
        """The command line that runs `command` in a node's network."""
        pid = self.cluster().processes()[node].pid
        return ["nsenter", f"--net=/proc/{pid}/ns/net", *command]


def need(*programs: str) -> None:
    """Raises CannotMeasure naming what is not installed."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise CannotMeasure(f"not installed: {', '.join(missing)} (deploy/install.sh installs what there is)")


def until(check: Callable[[], bool], what: str, timeout_s: float = 60.0, poll_s: float = 0.02) -> None:
    """Raises CannotMeasure when it is not so in time."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() >= deadline:
            raise CannotMeasure(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(poll_s)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def python(module: str, *flags: str) -> list[str]:
    return [sys.executable, "-m", module, *flags]


def terminate(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what a bench started: asked first, killed after 20 s."""
    for process in processes:
        process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        if process.poll() is None:
            process.kill()
            process.wait()
