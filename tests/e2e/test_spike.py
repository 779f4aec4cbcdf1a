"""The chain that `make spike` shows: load, more pods, a further node, spread traffic, and all the way back.

One of its three ways; tests/unit/spike has what they share, test_autoscaling the queue's scaler.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from argosy.testing import Cluster
from tests.spike.chain import Run, start_cluster
from tests.spike.picture import text
from tests.spike.ways import OnCpu


@pytest.fixture
def small(cluster_kubectl: str) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("a real cluster needs root")
    running = start_cluster(cluster_kubectl)
    try:
        yield running
    finally:
        running.stop()


def test_pods_and_nodes_follow_the_load(small: Cluster) -> None:
    timeline = Run(small, OnCpu(), rate=40.0, load_s=40.0).go()
    print(text(timeline))
    missing = [step.what for step in timeline.steps() if step.at_s is None]
    assert not missing, f"{missing}\n{text(timeline)}"
    assert timeline.outcome is not None and timeline.outcome.sent > 1000
    assert timeline.outcome.failed == 0, text(timeline)
    assert None not in timeline.latencies(), text(timeline)
