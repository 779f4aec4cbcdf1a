"""The whole cluster under seeded faults: what was acknowledged survives, watches have no gaps, and everything comes
back to what was asked for. tests/sim/scenario.py says what a seed is.

Replay one with `.venv/bin/python -m tests.sim SEED`, or `pytest tests/sim/test_world.py -k 'seed[SEED]'`.
"""

from __future__ import annotations

import pytest

from tests.sim.pool import Job, Pool
from tests.sim.scenario import DURATION_S, FAULTS, WRITES

pytestmark = pytest.mark.timeout(1200)

SEEDS = range(200)
REPLAYED = range(10)
PLANT_SEEDS = (*range(6), 13, 26, 39)
"""Each planted bug must show in one of these; 0 and the last three have all workloads."""
PLANTED = (
    "stock-truncation",
    "lost-store-event",
    "lost-api-event",
    "repeated-store-event",
    "early-acknowledgement",
    "lone-majority",
    "unconfirmed-reads",
    "lying-disk",
    "second-of-an-ordinal",
    "forgotten-dependents",
    "kept-watch",
    "kept-claim",
    "overlapping-runs",
    "undrained-node",
)


@pytest.mark.parametrize("seed", SEEDS)
def test_seed(pool: Pool, seed: int) -> None:
    outcome = pool.result(Job(seed))
    replay = f"seed {seed} failed; replay it with: PYTHONHASHSEED=0 .venv/bin/python -m tests.sim {seed}"
    assert not outcome.violations, "\n".join((replay, *outcome.violations))
    assert outcome.virtual_s >= DURATION_S >= 600
    assert outcome.faults >= FAULTS >= 5
    assert outcome.acknowledged >= WRITES >= 1000


@pytest.mark.parametrize("seed", REPLAYED)
def test_replay(pool: Pool, seed: int) -> None:
    """Another process, with another hash seed, sends the same messages at the same moments."""
    assert pool.result(Job(seed, hash_seed=1)) == pool.result(Job(seed))


@pytest.mark.parametrize("bug", PLANTED)
def test_planted(pool: Pool, bug: str) -> None:
    """A planted bug is caught."""
    for seed in PLANT_SEEDS:
        pool.submit(Job(seed, bug))
        if pool.result(Job(seed, bug)).violations:
            return
    pytest.fail(f"no seed of {PLANT_SEEDS} notices {bug}")
