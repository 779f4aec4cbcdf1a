"""One fixture: each store in turn, started once."""

from collections.abc import Iterator

import pytest

from tests.conformance.etcd.backends import NAMES, Backend, backend


@pytest.fixture(scope="session", params=NAMES)
def store(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with backend(request.param) as running:
        yield running
