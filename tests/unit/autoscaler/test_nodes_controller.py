"""The node autoscaler as a whole, in virtual time: what becomes of the cluster, and what is said."""

import pytest
import yaml

from argosy.objects import meta
from control_plane.autoscaler.nodes.provider import ErrorClass
from control_plane.autoscaler.nodes.simulation import DELETION_CANDIDATE, TO_BE_DELETED
from tests.unit.autoscaler.nodes_world import NodesWorld, group, node, run

pytest.importorskip("numpy")


def test_pods_that_fit_nowhere_bring_nodes_and_run_there() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small", most=5))
        cluster.pods(3)
        await cluster.settle(60)
        assert cluster.nodes() == ["small-1", "small-2"]
        assert set(cluster.where().values()) == {"small-1", "small-2"}
        assert cluster.provider.calls == ["increase small 2"]
        assert cluster.events("TriggeredScaleUp") == ["pod triggered scale-up: [{small 0->2 (max: 5)}]"] * 3
        assert "Scale-up: setting group small size to 2 instead of 0 (max: 5)" in cluster.events("ScaledUpGroup")
        assert "Scale-up: group small size set to 2 instead of 0 (max: 5)" in cluster.events("ScaledUpGroup")

    run(body)


def test_nodes_that_are_not_needed_go_down_to_zero() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small"))
        cluster.pods(3)
        await cluster.settle(60)
        for item in cluster.api.all("pods"):
            cluster.api.remove("pods", meta.key(item))
        await cluster.settle(595)
        assert cluster.nodes() == ["small-1", "small-2"]
        assert all(cluster.taints(name) == [DELETION_CANDIDATE] for name in cluster.nodes())
        assert "status: CandidatesPresent" in cluster.status()
        await cluster.settle(60)
        assert cluster.nodes() == []
        assert cluster.provider.listed["small"].target_size == 0
        assert 'Scale-down: removing empty node "small-1"' in cluster.events("ScaleDownEmpty")
        assert "Scale-down: empty node small-2 removed" in cluster.events("ScaleDownEmpty")
        assert "marked the node as toBeDeleted/unschedulable" in cluster.events("ScaleDown")

    run(body)


def test_a_node_in_use_is_drained_when_its_pods_fit_elsewhere() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.api.put("nodes", node("fixed", cpu="4"))
        cluster.begin(group("small"))
        cluster.pods(6)
        await cluster.settle(60)
        assert cluster.nodes() == ["fixed", "small-1"]
        on_small = [name for name, where in cluster.where().items() if where == "small-1"]
        on_fixed = [name for name, where in cluster.where().items() if where == "fixed"]
        for name in (on_small[0], on_fixed[0], on_fixed[1]):
            cluster.api.remove("pods", f"default/{name}")
        await cluster.settle(595)
        assert cluster.nodes() == ["fixed", "small-1"], "half used: over the threshold"
        assert cluster.events("ScaleDown") == []

        cluster.api.remove("pods", f"default/{on_small[1]}")
        cluster.pods(1, first=9, cpu="500m", nodeName="small-1")
        cluster.api.change("pods", "default/web-9", {"status": {"phase": "Running"}})
        await cluster.settle(700)
        assert cluster.nodes() == ["fixed"]
        assert "web-9" not in cluster.where(), "evicted; its controller makes another"
        assert "deleting pod for node scale down" in cluster.events("ScaleDown")
        assert "Scale-down: node small-1 removed with drain" in cluster.events("ScaleDown")

    run(body)


def test_a_group_stays_between_its_bounds_and_pods_are_told_why() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small", least=1, most=2), enforce_node_group_min_size=True)
        await cluster.settle(60)
        assert cluster.nodes() == ["small-1"]
        cluster.pods(9)
        await cluster.settle(60)
        assert len(cluster.nodes()) == 2
        assert "pod didn't trigger scale-up: 1 max node group size reached" in cluster.events("NotTriggerScaleUp")
        for item in cluster.api.all("pods"):
            cluster.api.remove("pods", meta.key(item))
        await cluster.settle(2000)
        assert len(cluster.nodes()) == 1

    run(body)


def test_pods_that_no_group_helps_are_told_why() -> None:
    async def body(cluster: NodesWorld) -> None:
        taint = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
        cluster.begin(group("small"), group("gpu", cpu="64", taints=taint))
        cluster.pods(1, cpu="8")
        await cluster.settle(60)
        assert cluster.nodes() == []
        said = "pod didn't trigger scale-up: 1 Insufficient cpu, 1 node(s) had untolerated taint(s)"
        assert cluster.events("NotTriggerScaleUp") == [said]

    run(body)


def test_expendable_and_young_pods_bring_nothing() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small"), new_pod_scale_up_delay=60.0)
        cluster.pods(1, priority=-11)
        cluster.pods(1, first=1)
        await cluster.settle(50)
        assert cluster.provider.calls == []
        await cluster.settle(30)
        assert cluster.provider.calls == ["increase small 1"]

    run(body)


def test_nodes_that_never_come_are_given_up_and_the_group_left_alone() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small"))
        cluster.provider.faults.never_comes = True
        cluster.pods(1)
        await cluster.settle(890)
        assert cluster.provider.calls == ["increase small 1"], "asked once, not at each look"
        await cluster.settle(60)
        assert cluster.provider.calls == ["increase small 1", "delete small small-1"]
        assert cluster.events("ScaleUpTimedOut") == ["Nodes added to group small failed to register within 900s"]
        assert cluster.events("DeleteUnregistered") == ["Removed unregistered node small-1"]
        assert "status: Backoff" in cluster.status()
        said = "pod didn't trigger scale-up: 1 in backoff after failed scale-up"
        assert said in cluster.events("NotTriggerScaleUp")
        cluster.provider.faults.never_comes = False
        await cluster.settle(360)
        assert cluster.nodes() == ["small-2"], "after five minutes it is tried again"

    run(body)


def test_another_group_is_taken_while_one_fails() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("tight", cpu="1", memory="512Mi"), group("large", cpu="16", memory="64Gi"))
        cluster.provider.faults.cannot_make = ErrorClass.QUOTA_EXCEEDED
        cluster.pods(1)
        await cluster.settle(15)
        assert cluster.provider.calls[:1] == ["increase tight 1"]
        cluster.provider.faults.cannot_make = None
        await cluster.settle(60)
        assert cluster.nodes() == ["large-2"]
        said = "Failed adding 1 nodes to group tight due to QuotaExceeded: there is nothing left"
        assert said in cluster.events("FailedToScaleUpGroup")
        document = yaml.safe_load(cluster.status())
        tight = next(item for item in document["nodeGroups"] if item["name"] == "tight")
        assert tight["scaleUp"]["backoffInfo"]["errorCode"] == "QuotaExceeded"

    run(body)


def test_a_refusal_is_said_and_not_repeated_at_each_look() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small"))
        cluster.provider.faults.refuses = "the project has no more addresses"
        cluster.pods(1)
        await cluster.settle(120)
        text = "Scale-up failed for group small: the project has no more addresses"
        assert cluster.events("FailedToScaleUpGroup") == [text]

    run(body)


def test_a_provider_that_is_away_is_waited_for() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small"))
        cluster.pods(2)
        await cluster.settle(60)
        assert cluster.nodes() == ["small-1"]
        for item in cluster.api.all("pods"):
            cluster.api.remove("pods", meta.key(item))
        cluster.provider.faults.away = True
        await cluster.settle(2000)
        assert cluster.nodes() == ["small-1"]
        assert "the node provider cannot be asked: nobody listens" in cluster.status()
        assert "the node provider cannot be asked: nobody listens" in cluster.events("NodeGroupsHeld")
        cluster.provider.faults.away = False
        await cluster.settle(700)
        assert cluster.nodes() == []

    run(body)


@pytest.mark.parametrize("lie", [-1, 10**9, float("nan")])
def test_a_provider_that_lies_about_sizes_is_not_believed(lie: float) -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small"))
        cluster.pods(2)
        await cluster.settle(60)
        before = list(cluster.provider.calls)
        cluster.provider.faults.says_target = lie  # type: ignore[assignment]
        cluster.pods(4, first=5)
        for name in ("web-0", "web-1"):
            cluster.api.remove("pods", f"default/{name}")
        await cluster.settle(2000)
        assert cluster.provider.calls == before
        assert "node group small is left alone: its target size" in cluster.events("NodeGroupsHeld")[0]
        assert "pod didn't trigger scale-up: 1 not ready for scale-up" in cluster.events("NotTriggerScaleUp")

    run(body)


def test_a_template_that_lies_brings_no_node_after_node() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small", cpu="8"))
        cluster.machines.real = node("real", cpu="1")
        cluster.pods(1, cpu="4")
        await cluster.settle(300)
        assert cluster.provider.calls == ["increase small 1"]
        assert "pod didn't trigger scale-up: 1 Insufficient cpu" in cluster.events("NotTriggerScaleUp")

    run(body)


def test_too_many_nodes_not_ready_stop_everything() -> None:
    async def body(cluster: NodesWorld) -> None:
        for number in range(8):
            cluster.api.put("nodes", node(f"n-{number}", ready=number < 3))
        for number in range(8):
            made = {"metadata": {"creationTimestamp": "2000-01-01T00:00:00Z"}}
            cluster.api.change("nodes", f"n-{number}", made)
        cluster.begin(group("small"))
        cluster.pods(9)
        await cluster.settle(120)
        assert cluster.provider.calls == []
        assert "too many nodes are not ready" in cluster.status()

    run(body)


def test_a_pod_that_comes_in_the_last_moment_keeps_its_node() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small"), node_delete_delay_after_taint=5.0)
        cluster.pods(1)
        await cluster.settle(60)
        cluster.api.remove("pods", "default/web-0")
        for _ in range(1000):
            await cluster.settle(1)
            if TO_BE_DELETED in cluster.taints("small-1"):
                break
        cluster.pods(1, first=7, nodeName="small-1")
        await cluster.settle(30)
        assert cluster.nodes() == ["small-1"]
        assert TO_BE_DELETED not in cluster.taints("small-1")
        failed = cluster.events("ScaleDownFailed")
        assert failed == ["failed to delete empty node: pod default/web-7 has come to it"]

    run(body)


def test_a_deletion_that_is_refused_leaves_the_node_in_use() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small"))
        cluster.pods(1)
        await cluster.settle(60)
        cluster.provider.faults.keeps = True
        cluster.api.remove("pods", "default/web-0")
        await cluster.settle(640)
        assert cluster.events("ScaleDownFailed") == ["failed to delete empty node: deletion is not allowed"]
        assert TO_BE_DELETED not in cluster.taints("small-1")
        cluster.provider.faults.keeps = False
        await cluster.settle(300)
        assert cluster.nodes() == []

    run(body)


def test_the_taint_of_a_leader_that_ended_is_taken_off() -> None:
    async def body(cluster: NodesWorld) -> None:
        taint = [{"key": TO_BE_DELETED, "value": "1", "effect": "NoSchedule"}]
        cluster.api.put("nodes", node("small-1", taints=taint))
        cluster.begin(group("small"))
        await cluster.settle(15)
        assert cluster.taints("small-1") == []

    run(body)


def test_the_status_is_upstreams() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.begin(group("small", least=0, most=5))
        cluster.pods(1)
        await cluster.settle(60)
        document = yaml.safe_load(cluster.status())
        assert document["autoscalerStatus"] == "Running"
        assert document["clusterWide"]["health"]["status"] == "Healthy"
        (found,) = document["nodeGroups"]
        assert found["name"] == "small"
        assert found["health"]["cloudProviderTarget"] == 1
        assert found["health"]["nodeCounts"]["registered"]["ready"] == 1
        assert (found["health"]["minSize"], found["health"]["maxSize"]) == (0, 5)
        assert found["scaleUp"]["status"] == "NoActivity"

    run(body)


def test_the_whole_clusters_limit_holds() -> None:
    async def body(cluster: NodesWorld) -> None:
        cluster.api.put("nodes", node("fixed", cpu="1"))
        cluster.begin(group("small", most=9), max_nodes_total=3)
        cluster.pods(12)
        await cluster.settle(120)
        assert len(cluster.nodes()) == 3
        said = "pod didn't trigger scale-up: 1 max total nodes in cluster reached"
        assert said in cluster.events("NotTriggerScaleUp")

    run(body)
