"""A whole cluster at rest: memory and processor time of each process (aims: 900 MB, 15 % of one core).

containerd, its shims and what runs in containers are counted apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from tests.bench import usage
from tests.bench.bench import Bench
from tests.bench.table import Table
from tests.bench.usage import Usage

SETTLE_S = 20.0
QUIET_S = 60.0
AIM_MIB = 900e6 / (1 << 20)
AIM_PERCENT = 15.0


def measure(bench: Bench) -> Iterator[Table]:
    cluster = bench.cluster()
    names = {process.pid: process.name for process in cluster.processes().values() if process.pid}
    root = next(pid for pid, name in names.items() if name == "supervisor")
    time.sleep(SETTLE_S)
    before = usage.tree(root)
    begun = time.monotonic()
    time.sleep(QUIET_S)
    after = usage.tree(root, memory=True)
    yield _table(names, before, after, time.monotonic() - begun)


def _table(
    names: Mapping[int, str], before: Mapping[int, Usage], after: Mapping[int, Usage], seconds: float
) -> Table:
    table = Table(
        f"an idle cluster of 3 nodes: PSS, and processor time over {seconds:.0f} s",
        ("process", "MiB", "% of a core"),
    )
    sums = {False: [0.0, 0.0], True: [0.0, 0.0]}
    rows = []
    for pid, item in after.items():
        earlier = before.get(pid)
        percent = 100 * (item.cpu_s - (earlier.cpu_s if earlier else 0.0)) / seconds
        mib = item.pss_bytes / (1 << 20)
        name = names.get(pid, item.command)
        rows.append((item.is_runtime, name, mib, percent))
        sums[item.is_runtime][0] += mib
        sums[item.is_runtime][1] += percent
    for _, name, mib, percent in sorted(rows):
        table.add(name, mib, percent)
    table.add("in all without containerd", *sums[False])
    table.add("  aim at most", AIM_MIB, AIM_PERCENT)
    table.add("containerd and shims", *sums[True])
    return table
