"""The runner: `python -m tests.bench [NAME…] [--json FILE]` measures and prints; `make bench` runs all of it.

    up         argosy up to all nodes Ready
    idle       memory and processor time of a cluster at rest
    demo       the demo's pods, Ready and answering
    pods       pod start beside the bare CRI calls
    jobs       100 Jobs of one short pod each
    sets       a StatefulSet with volumes, a DaemonSet's pod on a new node
    hpa        the horizontal autoscaler's reaction, with default periods
    api        rates of the API server over REST and gRPC
    watch      events per second to 1 and to 100 watchers
    store      the store beside Debian's etcd-server
    scheduler  pods bound per second
    ingress    requests/s through the ingress beside a plain nginx before the same pods
    proxy      the service rules of 1,000 services
    chain      load, more pods, a further node, and back: the steps of `tests.spike --hpa`

One that cannot run here says why, and the others go on. Everything it started is gone at the end.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
import traceback

from argosy.testing import CommandFailed
from tests.bench.bench import Bench, CannotMeasure
from tests.bench.table import Table, machine

NAMES = (
    *("up", "idle", "demo", "pods", "jobs", "sets", "hpa", "api", "watch"),
    *("store", "scheduler", "ingress", "proxy", "chain"),
)
"""In this order: the cluster is young for `idle`, and gone before `store` and what follows."""
ON_THE_CLUSTER = ("up", "idle", "demo", "pods", "jobs", "sets", "hpa", "api", "watch")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all without one")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too; - prints nothing else")
    given = parser.parse_args()
    unknown = set(given.names) - set(NAMES)
    if unknown:
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    out = sys.stderr if given.json == "-" else sys.stdout
    facts = machine()
    print("  ".join(f"{key}: {value}" for key, value in facts.items() if value), end="\n\n", file=out, flush=True)
    results: dict[str, object] = {}
    failed = False
    bench = Bench()
    try:
        for name in [name for name in NAMES if not given.names or name in given.names]:
            if name not in ON_THE_CLUSTER:
                bench.stop()
            begun = time.monotonic()
            tables: list[Table] = []
            results[name] = tables_json = {"tables": [], "seconds": 0.0, "problem": ""}
            try:
                for table in importlib.import_module(f"tests.bench.{name}").measure(bench):
                    tables.append(table)
                    print(table.text(), file=out, flush=True)
            except Exception as error:
                failed = True
                known = isinstance(error, CannotMeasure | CommandFailed)
                tables_json["problem"] = str(error) if known else "".join(traceback.format_exception(error))
                print(f"{name}: {tables_json['problem']}\n", file=out, flush=True)
            tables_json["tables"] = [table.as_json() for table in tables]
            tables_json["seconds"] = round(time.monotonic() - begun, 1)
    finally:
        bench.close()
    if given.json:
        text = json.dumps({"machine": facts, "benches": results}, indent=1)
        if given.json == "-":
            print(text)
        else:
            with open(given.json, "w", encoding="utf-8") as file:
                file.write(text + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
