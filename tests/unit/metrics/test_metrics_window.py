"""From counters to usage: two scrapes make a rate, and what cannot be told is left out."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.metrics.scraper import samples
from control_plane.metrics.window import Point, Scrape, Window, between, scrape
from node_agent.cgroups import NodeUsage
from node_agent.runtime.runtime import ContainerStats
from node_agent.server_summary import resource_metrics


def scraped(at_s: float, **cpu_s: float) -> Scrape:
    """Containers named POD__CONTAINER in namespace default."""
    containers = {("default", *name.split("__")): Point(at_s, value, 100) for name, value in cpu_s.items()}
    return Scrape(Point(at_s, sum(cpu_s.values()), 1000), containers)  # type: ignore[arg-type]


def cores(window: Window, pod: str) -> dict[str, float]:
    return {name: usage.cpu_cores for name, usage in (window.pod("default", pod) or {}).items()}


def test_a_rate_needs_two_scrapes() -> None:
    window = Window()
    window.add("n", scraped(0, a__web=1.0))
    assert window.pod("default", "a") is None and window.nodes == {}
    window.add("n", scraped(15, a__web=4.0))
    assert cores(window, "a") == {"web": 0.2}
    assert window.nodes["n"].cpu_cores == 0.2 and window.nodes["n"].memory_bytes == 1000


def test_a_pod_with_a_new_container_waits_for_its_second_scrape() -> None:
    window = Window()
    window.add("n", scraped(0, a__web=1.0, a__side=9.0))
    window.add("n", scraped(15, a__web=4.0, a__side=0.1))
    assert window.pod("default", "a") is None, "the side container started over"
    window.add("n", scraped(30, a__web=4.0, a__side=1.6))
    assert cores(window, "a") == {"web": 0.0, "side": 0.1}


def test_what_is_gone_is_forgotten() -> None:
    window = Window()
    for at, cpu in ((0, 0.0), (15, 3.0)):
        window.add("n", scraped(at, a__web=cpu, b__web=cpu))
    window.add("n", scraped(30, b__web=3.0))
    assert window.pod("default", "a") is None and cores(window, "b") == {"web": 0.0}
    window.remove("n")
    assert window.pod("default", "b") is None and window.nodes == {}


def test_a_pod_that_moved_is_the_new_nodes() -> None:
    window = Window()
    for at, cpu in ((0, 0.0), (15, 3.0)):
        window.add("old", scraped(at, a__web=cpu))
        window.add("new", scraped(at, a__web=cpu * 2))
    window.remove("old")
    assert cores(window, "a") == {"web": 0.4}


def test_a_nodes_own_text_is_understood() -> None:
    stats = [ContainerStats("1", "web", "u", "a", "default", 1000.25, 2_500_000_000, 4096, 4096, 0)]
    found = scrape(samples(resource_metrics(stats, NodeUsage(5_000_000_000, 8192), 1001.0)))
    assert found.node == Point(1001.0, 5.0, 8192)
    assert found.containers == {("default", "a", "web"): Point(1000.25, 2.5, 4096)}


def test_values_that_make_no_sense_are_left_out() -> None:
    labels = 'container="c",namespace="n",pod="p"'
    text = "\n".join(
        [
            f"container_cpu_usage_seconds_total{{{labels}}} NaN 1000",
            f"container_memory_working_set_bytes{{{labels}}} 5 1000",
            "node_cpu_usage_seconds_total -1 1000",
            "node_memory_working_set_bytes +Inf 1000",
            'container_cpu_usage_seconds_total{container="c"} 1 1000',
            "",
        ]
    )
    assert scrape(samples(text)) == Scrape(None, {})


points = st.builds(Point, st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 1 << 40))


@given(points, points)
def test_usage_is_never_negative(old: Point, new: Point) -> None:
    found = between(old, new)
    if found is not None:
        assert found.cpu_cores >= 0 and found.window_s > 0
