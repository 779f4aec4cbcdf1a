"""Simulated seeds run beside the other tests: they want processors, the end-to-end tests mostly wait.

The pool starts with the session, on all seeds that are selected and at the lowest priority; the simulation's tests
come last and collect what it found.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.pool import Job, Pool

POOL = pytest.StashKey[Pool]()
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.is_relative_to(HERE))


def pytest_collection_finish(session: pytest.Session) -> None:
    selected = [item for item in session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]

    def parameters(test: str, name: str) -> list:
        return [
            item.callspec.params[name]
            for item in selected
            if item.originalname == test and "pool" in item.fixturenames
        ]

    replays = parameters("test_replay", "seed")
    seeds = dict.fromkeys([*parameters("test_seed", "seed"), *replays])
    planted = parameters("test_planted", "bug")
    if session.config.option.collectonly or not (seeds or planted):
        return
    pool = session.config.stash[POOL] = Pool()
    pool.__enter__()
    pool.submit(*(Job(seed) for seed in seeds))
    pool.submit(*(Job(seed, hash_seed=1) for seed in replays))
    pool.submit(*(Job(0, bug) for bug in planted))


def pytest_sessionfinish(session: pytest.Session) -> None:
    pool = session.config.stash.get(POOL, None)
    if pool is not None:
        pool.__exit__(None, None, None)


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Pool:
    """Works on all selected seeds since the session began, in their order."""
    return request.config.stash[POOL]
