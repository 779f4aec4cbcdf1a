"""`make spike`: load comes, pods become more, a node is started for them, traffic spreads; then all of it goes back.

    python -m tests.spike [--ahead] [--load-s 60] [--rate 40] [--svg spike.svg]

`--ahead` does it with pre-warming: the pods are there before the load, as by a schedule. A cluster of its own is
started with shortened times, and removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from argosy.host import RealClock
from argosy.testing import Cluster
from tests.e2e import clients
from tests.spike.timeline import Sample, Timeline, svg, text

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "spike.yaml"
FLAGS = (
    *("--node-cpus", "0.9", "--node-group", "burst=0:2,cpus=1,memory=1Gi"),
    *("--flag", "metrics:--metric-resolution=3"),
    *("--flag", "autoscaler:--horizontal-pod-autoscaler-sync-period=3"),
    *("--flag", "autoscaler:--horizontal-pod-autoscaler-cpu-initialization-period=5"),
    *("--flag", "autoscaler:--scan-interval=1"),
    *("--flag", "autoscaler:--node-delete-delay-after-taint=1"),
    *("--flag", "autoscaler:--scale-down-unneeded-time=10"),
    *("--flag", "autoscaler:--scale-down-delay-after-add=10"),
)
QUIET_S = 8.0
BACK_S = 120.0
AHEAD_REPLICAS = 5


class Run:
    """One run on one cluster; `timeline` is what was seen."""

    def __init__(self, cluster: Cluster, rate: float, load_s: float) -> None:
        self._cluster = cluster
        self._rate = rate
        self._load_s = load_s
        self._clock = RealClock()
        self._pause = threading.Event()
        self._latest: dict[str, Any] = {}
        self.timeline = Timeline()

    def go(self, *, ahead: bool) -> Timeline:
        cluster = self._cluster
        cluster.kubectl("apply", "-f", str(EXAMPLE))
        cluster.wait("deployment/shop", "condition=Available")
        if ahead:
            cluster.kubectl(
                "patch", "hpa", "shop", "--type=merge", "-p", json.dumps({"spec": {"minReplicas": AHEAD_REPLICAS}})
            )
            cluster.eventually(lambda: self._pods()[1] >= AHEAD_REPLICAS, timeout_s=120, what="pods are there ahead")
        address = cluster.get("service", "shop")["spec"]["clusterIP"]
        began_s = self._clock.monotonic()
        with self._load(f"http://{address}/cgi-bin/buy", began_s):
            self._watch(began_s, QUIET_S + self._load_s, until=None)
        if ahead:
            self._at_least(1)
        first = self.timeline.samples[0]
        self._latest = {}
        self._watch(
            began_s,
            QUIET_S + self._load_s + BACK_S,
            until=lambda item: item.ready <= 1 and item.nodes <= (1 if ahead else first.nodes),
        )
        return self.timeline

    def _at_least(self, replicas: int) -> None:
        change = json.dumps({"spec": {"minReplicas": replicas}})
        self._cluster.kubectl("patch", "hpa", "shop", "--type=merge", "-p", change)

    @contextlib.contextmanager
    def _load(self, url: str, began_s: float):  # type: ignore[no-untyped-def]
        pid = self._cluster.processes()["node-1"].pid
        script = str(Path(__file__).with_name("load.py"))
        line = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, script, url, str(self._rate)]
        self._watch(began_s, QUIET_S, until=None)
        process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.timeline.load_from_s = self._clock.monotonic() - began_s

        def read() -> None:
            assert process.stdout is not None
            for each in process.stdout:
                self._latest = json.loads(each)
                for error in self._latest["errors"]:
                    self.timeline.errors[error] = self.timeline.errors.get(error, 0) + 1

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield
        finally:
            self.timeline.load_to_s = self._clock.monotonic() - began_s
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=30)
            reader.join(timeout=5)
            process.kill()

    def _pods(self) -> tuple[int, int, int]:
        """Wanted, ready and waiting."""
        wanted = int(self._cluster.get("deployment", "shop")["spec"]["replicas"])
        ready = waiting = 0
        for pod in self._cluster.get("pods", "-l", "app=shop")["items"]:
            said = {item["type"]: item for item in pod["status"].get("conditions", ())}
            if "deletionTimestamp" in pod["metadata"]:
                continue
            ready += said.get("Ready", {}).get("status") == "True"
            waiting += said.get("PodScheduled", {}).get("reason") == "Unschedulable"
        return wanted, ready, waiting

    def _watch(self, began_s: float, until_s: float, until: Any) -> None:
        while (now_s := self._clock.monotonic() - began_s) < until_s:
            wanted, ready, waiting = self._pods()
            nodes = sum(
                1
                for node in self._cluster.get("nodes")["items"]
                if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", ()))
            )
            latest = self._latest
            sample = Sample(
                now_s,
                latest.get("answered", 0),
                latest.get("failed", 0),
                latest.get("p50_ms", 0.0),
                latest.get("p99_ms", 0.0),
                wanted,
                ready,
                waiting,
                nodes,
                len(latest.get("by", {})),
            )
            self.timeline.samples.append(sample)
            if until is not None and until(sample):
                return
            self._pause.wait(max(0.0, 1.0 - (self._clock.monotonic() - began_s - now_s)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.spike")
    parser.add_argument("--ahead", action="store_true", help="pods are there before the load, as by a schedule")
    parser.add_argument("--load-s", type=float, default=60.0, help="seconds of load")
    parser.add_argument("--rate", type=float, default=40.0, help="requests per second")
    parser.add_argument("--svg", default="spike.svg", help="where the picture goes")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("a real cluster needs root", file=sys.stderr)
        return 2
    cluster = Cluster.start(nodes=1, stores=1, flags=FLAGS, kubectl=clients.newest())
    try:
        timeline = Run(cluster, options.rate, options.load_s).go(ahead=options.ahead)
    finally:
        cluster.stop()
    title = "with pods ahead of the load" if options.ahead else "pods and nodes follow the load"
    print(f"{options.rate:.0f} requests/s for {options.load_s:.0f} s: {title}\n")
    print(text(timeline))
    Path(options.svg).write_text(svg(timeline, title), encoding="utf-8")
    print(f"\n{options.svg} has the picture")
    return 0


if __name__ == "__main__":
    sys.exit(main())
