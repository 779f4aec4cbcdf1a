"""The chain under load: CPU rises, more pods, no room, a further node, and back; the steps that `make spike` shows.

A cluster of its own, of one small node and a node group, with the shortened periods of tests/spike: the figures are
of the parts' own work. What upstream's periods add to them, `hpa` shows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from tests.bench.bench import Bench, CannotMeasure
from tests.bench.table import Table
from tests.spike.chain import FLAGS, Run, start_cluster
from tests.spike.ways import OnCpu

RATE = 40.0
LOAD_S = 25.0


def measure(bench: Bench) -> Iterator[Table]:
    bench.need_root()
    cluster = start_cluster(shutil.which("kubectl") or "kubectl")
    try:
        timeline = Run(cluster, OnCpu(), RATE, LOAD_S).go()
    finally:
        cluster.stop()
    outcome = timeline.outcome
    if outcome is None:
        raise CannotMeasure("the load told no result")
    table = Table("load, pods and nodes", ("seconds after the load began, or ended", "seconds"))
    for step in timeline.steps():
        table.add(step.what, step.at_s)
    table.notes.append(
        f"{RATE:.0f} requests/s for {LOAD_S:.0f} s: {outcome.failed} of {outcome.sent} failed, "
        f"p50 {outcome.p50_ms:.0f} ms, p99 {outcome.p99_ms:.0f} ms"
    )
    periods = [
        flag.removeprefix("autoscaler:--") for flag in FLAGS if flag.startswith("autoscaler:--") and "=" in flag
    ]
    table.notes.append(", ".join(periods))
    yield table
