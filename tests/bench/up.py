"""`argosy up`, from the command to all nodes Ready (aim: 10 s on 2 cores)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.bench import Bench, Start, median
from tests.bench.table import Table

ROUNDS = 3
AIM_S = 10.0


def measure(bench: Bench) -> Iterator[Table]:
    bench.need_root()
    starts: list[Start] = [bench.start() for _ in range(ROUNDS)]
    table = Table(
        f"argosy up: 3 store members, 3 nodes, to all nodes Ready (median of {ROUNDS})",
        ("", "seconds", "aim at most"),
    )
    table.add("in all", median([item.wall_s for item in starts]), AIM_S)
    for step in starts[0].steps:
        table.add(f"  {step}", median([item.steps.get(step, 0.0) for item in starts]), None)
    table.add("processor time of it", median([item.cpu_s for item in starts]), None)
    table.notes.append("all: " + ", ".join(f"{item.wall_s:.1f}" for item in starts))
    yield table
