"""The chain that `make spike` shows: load, more pods, a further node, spread traffic, and all the way back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from argosy.testing import Cluster
from tests.spike.__main__ import FLAGS, Run
from tests.spike.timeline import Sample, Timeline, svg, text


def test_the_picture_tells_when_each_step_happened() -> None:
    def sample(at_s: float, wanted: int, ready: int, nodes: int, pending: int = 0) -> Sample:
        return Sample(at_s, 60.0, 0, 5.0, 9.0, wanted, ready, pending, nodes, ready)

    timeline = Timeline(
        [sample(1, 1, 1, 1), sample(5, 3, 1, 1, 1), sample(9, 3, 2, 2), sample(12, 3, 3, 2), sample(30, 1, 1, 1)],
        load_from_s=2,
        load_to_s=20,
    )
    assert dict(timeline.steps()) == {
        "more pods are asked for": 3, "a pod finds no room": 3, "a further node is Ready": 7,
        "all pods asked for are Ready": 10, "all of them answer": 10, "after the load: fewer pods": 10,
        "after the load: as few as before": 10, "after the load: as few nodes as before": 10,
    }  # fmt: skip
    assert "         10 s all of them answer" in text(timeline)
    assert svg(timeline, "a & b").startswith("<svg") and "a &amp; b" in svg(timeline, "a & b")


@pytest.fixture
def small(cluster_kubectl: str) -> Iterator[Cluster]:
    running = Cluster.start(nodes=1, stores=1, flags=FLAGS, kubectl=cluster_kubectl)
    try:
        yield running
    finally:
        running.stop()


def test_pods_and_nodes_follow_the_load(small: Cluster) -> None:
    timeline = Run(small, rate=40.0, load_s=45.0).go(ahead=False)
    print(text(timeline))
    missing = [what for what, at_s in timeline.steps() if at_s is None]
    assert not missing, f"{missing}\n{text(timeline)}"
    assert timeline.failures() == 0, text(timeline)
