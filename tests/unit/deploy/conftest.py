"""What the launcher's tests with real namespaces share: a layout of their own, removed whatever happens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from argosy.host import RealRng
from deploy import cleanup
from deploy.layout import Layout


@pytest.fixture
def layout() -> Iterator[Layout]:
    """Names that no other cluster has; everything below them is gone after the test. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = Layout("unit-" + RealRng().token(3).hex())
    os.makedirs(found.state, mode=0o700)
    os.makedirs(found.run, mode=0o700)
    try:
        yield found
    finally:
        cleanup.remove(found)
        shutil.rmtree(found.logs, ignore_errors=True)
