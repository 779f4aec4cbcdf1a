"""`whole(test)` runs an async test against a path of its own, from API server to runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.unit.streaming.whole_path import Path_, whole_path


@pytest.fixture
def whole(tmp_path: Path) -> Callable[[Callable[[Path_], Awaitable[None]]], None]:
    def run(test: Callable[[Path_], Awaitable[None]]) -> None:
        asyncio.run(whole_path(tmp_path, test))

    return run
