"""One run: load comes, pods and nodes follow, load ends, all goes back; its timeline is what was seen."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from argosy.testing import Cluster
from tests.spike.observer import Observer
from tests.spike.timeline import Outcome, Second, Timeline
from tests.spike.ways import Way

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    *("--node-cpus", "0.9", "--node-group", "burst=0:2,cpus=1,memory=1Gi"),
    *("--flag", "metrics:--metric-resolution=3"),
    *("--flag", "autoscaler:--horizontal-pod-autoscaler-sync-period=3"),
    *("--flag", "autoscaler:--horizontal-pod-autoscaler-cpu-initialization-period=5"),
    *("--flag", "autoscaler:--event-driven-scaling"),
    *("--flag", "autoscaler:--scan-interval=1"),
    *("--flag", "autoscaler:--node-delete-delay-after-taint=1"),
    *("--flag", "autoscaler:--scale-down-unneeded-time=10"),
    *("--flag", "autoscaler:--scale-down-delay-after-add=10"),
)
QUIET_S = 3.0
"""So much of how it was before is in the picture."""
BACK_S = 120.0
LOAD_BEGINS_S = 60.0
LOAD_ENDS_S = 120.0


def start_cluster(kubectl: str) -> Cluster:
    return Cluster.start(nodes=1, stores=1, flags=FLAGS, kubectl=kubectl)


class Run:
    def __init__(self, cluster: Cluster, way: Way, rate: float, load_s: float) -> None:
        self._cluster, self._way = cluster, way
        self._rate, self._load_s = rate, load_s
        self._observer = Observer(cluster.client, way.app)
        self._begun = threading.Event()

    def go(self) -> Timeline:
        """Steps that did not happen in time are missing in the timeline, no error. Raises AssertionError when there
        is nothing to scale, or nothing to load it with."""
        self._way.prepare(self._cluster)
        observer, timeline = self._observer, self._observer.timeline
        observer.start()
        try:
            observer.wait(lambda _: False, timeout_s=QUIET_S)
            self._way.before_load(self._cluster, observer, self._load_s)
            self._under_load()
            observer.wait(timeline.is_back, timeout_s=BACK_S)
        finally:
            observer.stop()
        return timeline

    def _under_load(self) -> None:
        timeline, observer = self._observer.timeline, self._observer
        node = self._cluster.processes()["node-1"].pid
        command = self._way.load(self._cluster, self._rate)
        process = subprocess.Popen(
            ["nsenter", f"--net=/proc/{node}/ns/net", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdin is not None and process.stdout is not None
        lines: Sequence[str] = process.stdout  # type: ignore[assignment]
        reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        try:
            reader.start()
            # Its own start takes a while on a machine with much to do.
            assert self._begun.wait(LOAD_BEGINS_S), "the load did not begin"
            timeline.load_from_s = observer.now_s()
            observer.wait(lambda _: process.poll() is not None, timeout_s=self._load_s)
            timeline.load_to_s = observer.now_s()
            process.stdin.close()
            reader.join(timeout=LOAD_ENDS_S)
        finally:
            process.kill()
            process.wait()
        assert timeline.outcome is not None, "the load told no result"

    def _read(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._begun.set()
            take(self._observer.timeline, json.loads(line), self._observer.now_s())
        self._begun.set()


def take(timeline: Timeline, said: dict[str, Any], at_s: float) -> None:
    """A line of the load: of one second, or, with `seconds`, of the whole; pure but for the timeline."""
    if "seconds" in said:
        timeline.outcome = Outcome(
            said["sent"], said["failed"], said["p50_ms"], said["p99_ms"], tuple(said["errors"])
        )
        return
    timeline.seconds.append(
        Second(
            at_s,
            done=said["answered"],
            failed=said["failed"],
            p50_ms=said["p50_ms"],
            p99_ms=said["p99_ms"],
            doing=len(said["answers"]),
            queued=said.get("queued", 0),
        )
    )
