"""`make spike`: load comes, pods become more, a node is started for them, traffic spreads; then all of it goes back.

    python -m tests.spike [--hpa] [--ahead] [--queue] [--load-s 60] [--rate 40] [--svg spike.svg]

Three ways, all of them unless some are named: `--hpa`, pods follow the CPU; `--ahead`, a schedule has the pods there
before the load; `--queue`, workers follow the length of a queue in Redis, from none and to none. Each has a cluster
of its own with shortened times, which is removed at its end. At last the lag of all is printed side by side.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.e2e import clients
from tests.spike.chain import Run, start_cluster
from tests.spike.picture import svg, text
from tests.spike.timeline import Timeline, comparison
from tests.spike.ways import Skipped, Way, all_ways


def run(way: Way, rate: float, load_s: float) -> Timeline:
    """Raises Skipped."""
    way.need()
    cluster = start_cluster(clients.newest())
    try:
        return Run(cluster, way, rate, load_s).go()
    finally:
        cluster.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.spike", description=__doc__.partition("\n")[0])
    ways = all_ways()
    for way in ways:
        parser.add_argument(f"--{way.name}", action="append_const", dest="names", const=way.name, help=way.title)
    parser.add_argument("--load-s", type=float, default=60.0, help="seconds of load")
    parser.add_argument("--rate", type=float, default=40.0, help="requests per second; 3/8 as many items of a queue")
    parser.add_argument("--svg", type=Path, default=Path("spike.svg"), help="where pictures go: spike-hpa.svg, …")
    options = parser.parse_args()
    if options.load_s < 1 or options.rate <= 0:
        parser.error("--load-s is to be at least 1, --rate more than 0")
    if os.geteuid() != 0:
        print("a real cluster needs root", file=sys.stderr)
        return 2
    runs: list[tuple[str, Timeline]] = []
    for way in ways:
        if options.names and way.name not in options.names:
            continue
        try:
            timeline = run(way, options.rate, options.load_s)
        except Skipped as reason:
            print(f"{way.title}: skipped, {reason}\n", flush=True)
            continue
        runs.append((way.title, timeline))
        print(f"{way.title}: load for {options.load_s:.0f} s\n\n{text(timeline)}\n")
        picture = options.svg.with_stem(f"{options.svg.stem}-{way.name}")
        picture.write_text(svg(timeline, way.title), encoding="utf-8")
        print(f"{picture} has the picture\n", flush=True)
    if runs:
        print(comparison(runs).text())
    missing = [
        step.what for _, timeline in runs for step in timeline.steps() if step.at_s is None and not step.optional
    ]
    if missing:
        print(f"did not happen: {', '.join(missing)}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
