"""Run seeds of the simulation by hand.

python -m tests.sim 17                    # one seed, its trace on stdout
python -m tests.sim 17 --messages         # with every message
python -m tests.sim 17 --plant lying-disk # with a planted bug
python -m tests.sim --seeds 200-999       # many, on all cores; exit status 1 when one fails
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import traceback

from tests.sim import faults, planted
from tests.sim.faults import Fault
from tests.sim.pool import Job, Pool, WorkerDied, encode
from tests.sim.scenario import Outcome, play, warm_up
from tests.sim.trace import Trace


def one(seed: int, messages: bool, kinds: tuple[Fault, ...]) -> int:
    outcome = play(seed, Trace(print, messages), kinds)
    print(summary(outcome))
    return 1 if outcome.violations else 0


def summary(outcome: Outcome) -> str:
    said = "".join(f"\n  {violation}" for violation in outcome.violations) or "ok"
    return (
        f"seed {outcome.seed}: {outcome.virtual_s:.0f} virtual s, {outcome.faults} faults, "
        f"{outcome.acknowledged} writes, {outcome.messages} messages, digest {outcome.digest}: {said}"
    )


def many(seeds: range, workers: int, plant: str) -> int:
    failed: list[int] = []
    with Pool(workers) as pool:
        pool.submit(*(Job(seed, plant) for seed in seeds))
        for seed in seeds:
            try:
                outcome = pool.result(Job(seed, plant))
            except WorkerDied as error:
                print(error, flush=True)
                failed.append(seed)
                continue
            print(summary(outcome), flush=True)
            if outcome.violations:
                failed.append(seed)
    print(f"{len(seeds)} seeds, {len(failed)} failed: {failed}" if failed else f"{len(seeds)} seeds, all well")
    return 1 if failed else 0


def work(kinds: tuple[Fault, ...]) -> int:
    """For tests.sim.pool. A process per seed, forked from one that has compiled schemas and bootstrapped a cluster:
    each begins in the same state, and its garbage goes with it."""
    warm_up()
    gc.collect()
    gc.disable()
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                print(encode(play(int(line), kinds=kinds)), flush=True)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if status:
            return os.waitstatus_to_exitcode(status)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--seeds", help="FIRST-LAST")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--plant", default="", choices=list(planted.ALL))
    parser.add_argument("--messages", action="store_true")
    parser.add_argument("--worker", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, handlers=[logging.NullHandler()])
    if arguments.seeds:
        first, _, last = arguments.seeds.partition("-")
        return many(range(int(first), int(last or first) + 1), arguments.workers, arguments.plant)
    kinds = planted.plant(arguments.plant) if arguments.plant else faults.ALL
    if arguments.worker:
        return work(kinds)
    if arguments.seed is None:
        parser.error("a seed, or --seeds FIRST-LAST")
    return one(arguments.seed, arguments.messages, kinds)


if __name__ == "__main__":
    sys.exit(main())
