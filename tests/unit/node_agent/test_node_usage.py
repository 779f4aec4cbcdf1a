"""What a node and its containers use: cgroups of both kinds, and the two documents that say it."""

from pathlib import Path

from node_agent.cgroups import NodeCgroups, NodeUsage
from node_agent.runtime.runtime import ContainerStats
from node_agent.server import authorise
from node_agent.server_summary import resource_metrics, summary


def stats(name: str, pod: str, cpu: int, memory: int) -> ContainerStats:
    return ContainerStats(f"id-{name}", name, f"uid-{pod}", pod, "default", 1_700_000_000.5, cpu, memory, memory, 7)


STATS = [stats("web", "a", 2_500_000_000, 100), stats("side", "a", 500_000_000, 50), stats("web", "b", 1, 3)]
NODE = NodeUsage(9_000_000_000, 4096)


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_usage_of_a_node_with_v1_groups(tmp_path: Path) -> None:
    write(tmp_path / "cpuacct" / "n", cpuacct__usage="123000\n")
    write(
        tmp_path / "memory" / "n",
        memory__usage_in_bytes="5000\n",
        memory__stat="cache 10\ntotal_inactive_file 1200\n",
    )
    mounts = "".join(f"1 2 3:4 / {tmp_path}/{name} rw - cgroup cgroup rw,{name}\n" for name in ("cpuacct", "memory"))
    assert NodeCgroups("/n", mounts).usage() == NodeUsage(123000, 3800)


def test_usage_of_a_node_with_v2_groups(tmp_path: Path) -> None:
    write(
        tmp_path / "n",
        cpu__stat="usage_usec 77\nuser_usec 5\n",
        memory__current="900\n",
        memory__stat="inactive_file 1000\n",
    )
    mounts = f"1 2 3:4 / {tmp_path} rw - cgroup2 cgroup rw\n"
    assert NodeCgroups("n", mounts).usage() == NodeUsage(77_000, 0)


def test_the_summary_says_what_the_node_and_each_container_use() -> None:
    found = summary("node-1", STATS, NODE, 1_700_000_001.0)
    assert found["node"]["cpu"]["usageCoreNanoSeconds"] == 9_000_000_000
    assert found["node"]["memory"]["workingSetBytes"] == 4096
    assert [(pod["podRef"]["name"], len(pod["containers"])) for pod in found["pods"]] == [("a", 2), ("b", 1)]


def test_resource_metrics_are_prometheus_text_with_sums_by_pod() -> None:
    lines = resource_metrics(STATS, NODE, 1_700_000_001.0).splitlines()
    assert 'container_cpu_usage_seconds_total{container="web",namespace="default",pod="a"} 2.5 1700000000500' in lines
    assert 'pod_cpu_usage_seconds_total{namespace="default",pod="a"} 3.0 1700000000500' in lines
    assert 'pod_memory_working_set_bytes{namespace="default",pod="a"} 150 1700000000500' in lines
    assert "node_cpu_usage_seconds_total 9.0 1700000001000" in lines
    assert "node_memory_working_set_bytes 4096 1700000001000" in lines


def test_the_metrics_server_may_read_statistics_and_nothing_else() -> None:
    certificate = {"subject": ((("commonName", "system:metrics-server"),),)}
    assert authorise(certificate, "GET", "/metrics/resource") == ""
    assert authorise(certificate, "GET", "/stats/summary") == ""
    assert authorise(certificate, "GET", "/pods") != ""
    assert authorise(certificate, "POST", "/metrics/resource") != ""
    assert authorise(certificate, "GET", "/exec/default/a/web") != ""
