"""ReplicaSet: as many pods as wanted, of its own, and never more for a cache that lags."""

from argosy.host import parse_rfc3339
from argosy.objects import conditions, meta, status
from control_plane.controllers import pods
from tests.sim.virtual import EPOCH_S
from tests.unit.controllers.world import World, pod, ready_status, replica_set, run

NAME = "replicaset-controller"


def test_it_makes_and_removes_pods_and_tells() -> None:
    async def body(world: World) -> None:
        world.controllers(NAME)
        world.kubelet()
        world.api.put("replicasets", replica_set())
        await world.settle()
        made = world.api.all("pods")
        assert len(made) == 3
        assert all(meta.name(each).startswith("web-") for each in made)
        assert made[0]["metadata"]["ownerReferences"][0] | {"uid": ""} == {
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "",
            "controller": True, "blockOwnerDeletion": True,
        }  # fmt: skip
        found = world.api.one("replicasets", "default/web")
        assert found is not None
        assert found["status"] == {
            "replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "fullyLabeledReplicas": 3,
            "terminatingReplicas": 0, "observedGeneration": 1,
        }  # fmt: skip
        assert sorted(world.events("SuccessfulCreate")) == sorted(f"Created pod: {meta.name(each)}" for each in made)
        world.api.change("replicasets", "default/web", {"spec": {"replicas": 1}})
        await world.settle()
        assert len(world.api.all("pods")) == 1
        assert len(world.events("SuccessfulDelete")) == 2

    run(body)


def test_a_lost_pod_is_replaced_and_a_finished_one_too() -> None:
    async def body(world: World) -> None:
        world.controllers(NAME)
        world.kubelet()
        world.api.put("replicasets", replica_set(replicas=2))
        await world.settle()
        first, second = world.names("pods")
        world.api.remove("pods", f"default/{first}")
        world.api.change("pods", f"default/{second}", {"status": {"phase": "Failed"}})
        await world.settle()
        assert len([each for each in world.api.all("pods") if pods.is_active(each)]) == 2
        assert first not in world.names("pods")

    run(body)


def test_a_watch_that_lags_makes_no_surplus() -> None:
    """The pods' watch is held back while status writes keep waking the controller."""

    async def body(world: World) -> None:
        manager = world.controllers(NAME)
        await world.settle()
        [controller] = manager.controllers
        cache = controller._pods  # type: ignore[attr-defined]
        held: list[object] = []
        apply, cache._apply = cache._apply, held.append
        world.api.put("replicasets", replica_set())
        for number in range(10):
            await world.settle()
            world.api.change("replicasets", "default/web", {"metadata": {"annotations": {"touched": str(number)}}})
        assert len(world.api.all("pods")) == 3
        cache._apply = apply
        for obj in held:
            cache._apply(obj)
        await world.settle()
        assert len(world.api.all("pods")) == 3

    run(body)


def test_it_adopts_orphans_and_releases_what_no_longer_matches() -> None:
    async def body(world: World) -> None:
        world.api.put("pods", pod("orphan", node="node-1", **ready_status(world.host)))
        world.api.put("pods", pod("stranger", labels={"app": "other"}))
        world.controllers(NAME)
        world.api.put("replicasets", replica_set(replicas=2))
        await world.settle()
        orphan = world.api.one("pods", "default/orphan")
        assert orphan is not None and meta.controller_of(orphan) is not None
        stranger = world.api.one("pods", "default/stranger")
        assert stranger is not None and meta.controller_of(stranger) is None
        assert len(world.api.all("pods")) == 3
        world.api.change("pods", "default/orphan", {"metadata": {"labels": {"app": "debug"}}})
        await world.settle()
        orphan = world.api.one("pods", "default/orphan")
        assert orphan is not None and meta.controller_of(orphan) is None
        assert len(world.api.all("pods")) == 4

    run(body)


def test_a_set_that_was_deleted_meanwhile_adopts_nothing() -> None:
    async def body(world: World) -> None:
        manager = world.controllers(NAME)
        world.api.put("replicasets", replica_set(replicas=0))
        await world.settle()
        [controller] = manager.controllers
        controller._sets._remove = lambda _key, _last: None  # type: ignore[attr-defined]
        world.api.remove("replicasets", "default/web")
        world.api.put("pods", pod("orphan", node="node-1"))
        await world.settle()
        orphan = world.api.one("pods", "default/orphan")
        assert orphan is not None and meta.controller_of(orphan) is None

    run(body)


def test_failures_are_told_slowly_and_end() -> None:
    async def body(world: World) -> None:
        quota = status.forbidden("", "pods", "web-x", "exceeded quota")
        world.api.fail = lambda verb, resource, _obj: quota if (verb, resource) == ("create", "pods") else None
        world.controllers(NAME)
        world.kubelet()
        world.api.put("replicasets", replica_set(replicas=100))
        await world.settle(2)
        assert len([call for call in world.api.calls if call[:2] == ("create", "pods")]) < 15
        found = world.api.one("replicasets", "default/web")
        assert found is not None
        failed = conditions.get(found, "ReplicaFailure")
        assert failed is not None
        assert (failed["reason"], failed["message"]) == ("FailedCreate", quota.message)
        assert world.events("FailedCreate") == [f"Error creating: {quota.message}"]
        world.api.fail = lambda _verb, _resource, _obj: None
        await world.settle(20)
        found = world.api.one("replicasets", "default/web")
        assert found is not None
        assert conditions.get(found, "ReplicaFailure") is None
        assert found["status"]["readyReplicas"] == 100

    run(body)


def test_available_only_after_min_ready_seconds() -> None:
    async def body(world: World) -> None:
        world.controllers(NAME)
        world.kubelet()
        world.api.put("replicasets", replica_set(replicas=1, minReadySeconds=30))
        await world.settle(10)
        found = world.api.one("replicasets", "default/web")
        assert found is not None and "availableReplicas" not in found["status"]
        await world.settle(30)
        found = world.api.one("replicasets", "default/web")
        assert found is not None and found["status"]["availableReplicas"] == 1

    run(body)


def test_which_pods_go_first() -> None:
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    unassigned = pod("unassigned")
    pending = pod("pending", node="n1", status={"phase": "Pending"})
    unready = pod("unready", node="n1", status={"phase": "Running"})
    cheap = pod("cheap", node="n1", metadata={"annotations": {pods.DELETION_COST: "-5"}}, **ready)
    crowded = pod("crowded", node="n2", **ready)
    other = pod("other", node="n2", **ready)
    restarting = pod("restarting", node="n1", **ready)
    restarting["status"] = {**ready["status"], "containerStatuses": [{"restartCount": 7}]}
    young = pod("young", node="n1", metadata={"creationTimestamp": "2027-01-15T07:59:50Z"}, **ready)
    old = pod("old", node="n1", metadata={"creationTimestamp": "2026-01-15T08:00:00Z"}, **ready)
    everything = [old, young, restarting, crowded, cheap, unready, pending, unassigned]
    assert parse_rfc3339("2027-01-15T08:00:00Z") == EPOCH_S
    order = pods.deletion_order(everything, [crowded, other], EPOCH_S)
    assert [meta.name(each) for each in order] == [
        "unassigned", "pending", "unready", "cheap", "crowded", "restarting", "young", "old",
    ]  # fmt: skip


def test_a_replication_controller_is_served_by_the_same_code() -> None:
    async def body(world: World) -> None:
        world.controllers("replicationcontroller-controller")
        world.kubelet()
        made = replica_set()
        made |= {"apiVersion": "v1", "kind": "ReplicationController"}
        made["spec"]["selector"] = {"app": "web"}
        world.api.put("pods", pod("stray", labels={"app": "web"}, node="node-1"))
        world.api.put("replicationcontrollers", made)
        await world.settle()
        mine = world.api.all("pods")
        assert len(mine) == 3 and "stray" in world.names("pods")
        assert {(meta.controller_of(each) or {})["kind"] for each in mine} == {"ReplicationController"}
        world.api.change("pods", "default/stray", {"metadata": {"labels": {"app": "free"}}})
        await world.settle()
        found = world.api.one("replicationcontrollers", "default/web")
        assert found is not None and found["status"]["readyReplicas"] == 3
        assert meta.controller_of(world.api.one("pods", "default/stray") or {}) is None
        world.api.change("replicationcontrollers", "default/web", {"spec": {"replicas": 0}})
        await world.settle()
        assert world.names("pods") == ["stray"]

    run(body)
