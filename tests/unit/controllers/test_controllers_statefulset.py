"""StatefulSet: names, order, volumes, revisions; what there is after each change."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.host import rfc3339
from argosy.objects import meta, status
from argosy.objects.types import JsonObject
from control_plane.controllers import stateful_plan as planning
from control_plane.controllers import stateful_pods as members
from control_plane.controllers.stateful_plan import Action, Revisions
from tests.unit.controllers.world import World, pod, run, stateful_set, template

NAME = "statefulset-controller"
CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def start(world: World) -> None:
    world.controllers(NAME)
    world.kubelet()


def one(world: World, name: str = "db") -> JsonObject:
    found = world.api.one("statefulsets", f"default/{name}")
    assert found is not None
    return found


def images(world: World) -> dict[str, str]:
    return {
        meta.name(each): meta.spec(each)["containers"][0]["image"]
        for each in world.api.all("pods")
        if not meta.is_deleting(each)
    }


def order(world: World, verb: str, resource: str = "pods") -> list[str]:
    return [key.rpartition("/")[2] for what, kind, key, _ in world.api.calls if (what, kind) == (verb, resource)]


def test_pods_come_in_order_with_names_labels_and_volumes() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("statefulsets", stateful_set(volumeClaimTemplates=[CLAIM], replicas=2))
        await world.settle(0.9)
        assert world.names("pods") == ["db-0"]
        await world.settle()
        first, second = world.api.all("pods")
        revision = one(world)["status"]["updateRevision"]
        assert meta.labels(second) == {
            "app": "db", "statefulset.kubernetes.io/pod-name": "db-1", "apps.kubernetes.io/pod-index": "1",
            "controller-revision-hash": revision,
        }  # fmt: skip
        assert (meta.spec(second)["hostname"], meta.spec(second)["subdomain"]) == ("db-1", "db")
        assert meta.spec(second)["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}]
        owner = meta.controller_of(first)
        assert owner is not None and owner["uid"] == meta.uid(one(world))
        claims = world.api.all("persistentvolumeclaims")
        assert [meta.name(each) for each in claims] == ["data-db-0", "data-db-1"]
        assert meta.labels(claims[0]) == {"app": "db"}
        assert meta.owner_references(claims[0]) == []
        assert one(world)["status"] == {
            "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "currentReplicas": 2,
            "updatedReplicas": 2, "currentRevision": revision, "updateRevision": revision, "collisionCount": 0,
        }  # fmt: skip
        assert sorted(world.events("SuccessfulCreate")) == [
            "create Claim data-db-0 Pod db-0 in StatefulSet db success",
            "create Claim data-db-1 Pod db-1 in StatefulSet db success",
            "create Pod db-0 in StatefulSet db successful",
            "create Pod db-1 in StatefulSet db successful",
        ]

    run(body)


def test_scaling_down_goes_from_the_top_one_by_one_and_keeps_claims() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("statefulsets", stateful_set(volumeClaimTemplates=[CLAIM]))
        await world.settle(10)
        world.api.change("statefulsets", "default/db", {"spec": {"replicas": 1}})
        await world.settle(0.5)
        assert [meta.name(each) for each in world.api.all("pods") if meta.is_deleting(each)] == ["db-2"]
        await world.settle(10)
        assert world.names("pods") == ["db-0"]
        assert order(world, "delete") == ["db-2", "db-1"]
        assert len(world.names("persistentvolumeclaims")) == 3
        world.api.change("statefulsets", "default/db", {"spec": {"replicas": 3}})
        await world.settle(10)
        assert world.names("pods") == ["db-0", "db-1", "db-2"]
        assert len(world.names("persistentvolumeclaims")) == 3

    run(body)


def test_nothing_moves_while_a_pod_is_not_ready() -> None:
    async def body(world: World) -> None:
        start(world)
        world.broken_images.add("bad")
        world.api.put("statefulsets", stateful_set(image="bad"))
        await world.settle(10)
        assert world.names("pods") == ["db-0"]
        world.api.change("statefulsets", "default/db", {"spec": {"replicas": 1}})
        await world.settle()
        assert world.names("pods") == ["db-0"]

    run(body)


def test_parallel_makes_and_removes_all_at_once_ready_or_not() -> None:
    async def body(world: World) -> None:
        start(world)
        world.broken_images.add("bad")
        world.api.put("statefulsets", stateful_set(podManagementPolicy="Parallel", image="bad", replicas=5))
        await world.settle(1)
        assert len(world.names("pods")) == 5
        world.api.change("statefulsets", "default/db", {"spec": {"replicas": 2}})
        await world.settle(0.5)
        assert sum(map(meta.is_deleting, world.api.all("pods"))) == 3
        await world.settle()
        assert world.names("pods") == ["db-0", "db-1"]

    run(body)


def test_a_lost_or_finished_pod_comes_again_under_its_name() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("statefulsets", stateful_set())
        await world.settle(10)
        before = {meta.name(each): meta.uid(each) for each in world.api.all("pods")}
        await world.client.resource("", "v1", "pods").delete("db-1", namespace="default")
        world.api.change("pods", "default/db-2", {"status": {"phase": "Failed"}})
        await world.settle(10)
        after = {meta.name(each): meta.uid(each) for each in world.api.all("pods")}
        assert after["db-0"] == before["db-0"]
        assert after["db-1"] != before["db-1"] and after["db-2"] != before["db-2"]
        assert one(world)["status"]["readyReplicas"] == 3

    run(body)


def test_no_second_pod_of_an_ordinal_while_the_first_ends() -> None:
    async def body(world: World) -> None:
        world.controllers(NAME)
        world.api.put("statefulsets", stateful_set(replicas=1))
        await world.settle()
        world.api.change("pods", "default/db-0", {"spec": {"nodeName": "node-1"}, "status": {"phase": "Running"}})
        await world.client.resource("", "v1", "pods").delete("db-0", namespace="default")
        await world.settle(600)
        assert [meta.is_deleting(each) for each in world.api.all("pods")] == [True]
        world.api.remove("pods", "default/db-0")
        await world.settle()
        assert [meta.is_deleting(each) for each in world.api.all("pods")] == [False]

    run(body)


def test_a_new_template_rolls_from_the_top_and_back_again() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("statefulsets", stateful_set())
        await world.settle(10)
        first = one(world)["status"]["updateRevision"]
        world.api.change("statefulsets", "default/db", {"spec": {"template": template("app:2", app="db")}})
        await world.settle(1)
        found = one(world)["status"]
        assert found["currentRevision"] == first != found["updateRevision"]
        await world.settle(30)
        assert order(world, "delete") == ["db-2", "db-1", "db-0"]
        assert set(images(world).values()) == {"app:2"}
        found = one(world)["status"]
        assert found["currentRevision"] == found["updateRevision"] != first
        assert (found["currentReplicas"], found["updatedReplicas"]) == (3, 3)
        world.api.change("statefulsets", "default/db", {"spec": {"template": template("app:1", app="db")}})
        await world.settle(30)
        assert one(world)["status"]["currentRevision"] == first
        numbers = {meta.name(each): each["revision"] for each in world.api.all("controllerrevisions")}
        assert numbers == {first: 3, found["updateRevision"]: 2}

    run(body)


def test_partition_and_on_delete_hold_pods_back() -> None:
    async def body(world: World) -> None:
        start(world)
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
        world.api.put("statefulsets", stateful_set(updateStrategy=rolling))
        await world.settle(10)
        world.api.change("statefulsets", "default/db", {"spec": {"template": template("app:2", app="db")}})
        await world.settle(20)
        assert images(world) == {"db-0": "app:1", "db-1": "app:1", "db-2": "app:2"}
        # Below the partition a pod that is deleted comes back as it was.
        await world.client.resource("", "v1", "pods").delete("db-0", namespace="default")
        await world.client.resource("", "v1", "pods").delete("db-2", namespace="default")
        await world.settle(20)
        assert images(world) == {"db-0": "app:1", "db-1": "app:1", "db-2": "app:2"}
        found = one(world)["status"]
        assert (found["currentReplicas"], found["updatedReplicas"]) == (2, 1)
        world.api.change(
            "statefulsets", "default/db", {"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}}
        )
        await world.settle(20)
        assert images(world)["db-1"] == "app:1"
        await world.client.resource("", "v1", "pods").delete("db-1", namespace="default")
        await world.settle(20)
        assert images(world) == {"db-0": "app:1", "db-1": "app:2", "db-2": "app:2"}

    run(body)


def test_max_unavailable_takes_several_at_once() -> None:
    async def body(world: World) -> None:
        start(world)
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": "50%"}}
        world.api.put(
            "statefulsets", stateful_set(replicas=4, podManagementPolicy="Parallel", updateStrategy=rolling)
        )
        await world.settle(10)
        world.api.change("statefulsets", "default/db", {"spec": {"template": template("app:2", app="db")}})
        await world.settle(0.5)
        assert [meta.name(each) for each in world.api.all("pods") if meta.is_deleting(each)] == ["db-2", "db-3"]
        await world.settle(20)
        assert set(images(world).values()) == {"app:2"}

    run(body)


def test_an_update_that_breaks_stops_and_parallel_sets_recover() -> None:
    async def body(world: World) -> None:
        start(world)
        world.broken_images.add("bad")
        world.api.put("statefulsets", stateful_set(podManagementPolicy="Parallel"))
        await world.settle(10)
        world.api.change("statefulsets", "default/db", {"spec": {"template": template("bad", app="db")}})
        await world.settle(30)
        assert images(world) == {"db-0": "app:1", "db-1": "app:1", "db-2": "bad"}
        world.api.change("statefulsets", "default/db", {"spec": {"template": template("app:3", app="db")}})
        await world.settle(30)
        assert set(images(world).values()) == {"app:3"}

    run(body)


def test_min_ready_seconds_delay_the_next_pod() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("statefulsets", stateful_set(replicas=2, minReadySeconds=20))
        await world.settle(15)
        assert world.names("pods") == ["db-0"]
        assert one(world)["status"]["availableReplicas"] == 0
        await world.settle(30)
        assert world.names("pods") == ["db-0", "db-1"]
        assert one(world)["status"]["availableReplicas"] == 2

    run(body)


def test_ordinals_may_start_elsewhere() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("statefulsets", stateful_set(replicas=2, ordinals={"start": 5}))
        await world.settle(10)
        assert world.names("pods") == ["db-5", "db-6"]
        world.api.change("statefulsets", "default/db", {"spec": {"ordinals": {"start": 6}}})
        await world.settle(10)
        assert world.names("pods") == ["db-6", "db-7"]

    run(body)


def test_history_is_limited_and_keeps_what_pods_use() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("statefulsets", stateful_set(replicas=1, revisionHistoryLimit=1))
        for number in range(2, 6):
            await world.settle(10)
            world.api.change(
                "statefulsets", "default/db", {"spec": {"template": template(f"app:{number}", app="db")}}
            )
        await world.settle(20)
        kept = sorted(each["revision"] for each in world.api.all("controllerrevisions"))
        assert kept == [4, 5]

    run(body)


def test_a_revision_of_that_name_of_another_owner_is_avoided() -> None:
    async def body(world: World) -> None:
        set_ = world.api.put("statefulsets", stateful_set(replicas=1))
        from control_plane.controllers import history

        taken = history.made(set_, history.HASH_LABEL, 1, 0)
        taken["metadata"].pop("ownerReferences")
        taken["metadata"]["labels"] = {}
        taken["data"] = {"spec": {"template": {"$patch": "replace"}}}
        world.api.put("controllerrevisions", taken)
        start(world)
        await world.settle(10)
        found = one(world)["status"]
        assert found["collisionCount"] == 1
        assert found["updateRevision"] != meta.name(taken)
        assert found["readyReplicas"] == 1

    run(body)


def test_orphans_of_its_names_are_adopted_and_others_left_alone() -> None:
    async def body(world: World) -> None:
        orphan = pod("db-0", labels={"app": "db"}, node="node-1")
        stranger = pod("other", labels={"app": "db"}, node="node-1")
        for each in (orphan, stranger):
            world.api.put("pods", each)
        start(world)
        world.api.put("statefulsets", stateful_set(replicas=1, updateStrategy={"type": "OnDelete"}))
        await world.settle(10)
        adopted, left = (world.api.one("pods", f"default/{name}") for name in ("db-0", "other"))
        assert adopted is not None and left is not None
        assert (meta.controller_of(adopted) or {}).get("kind") == "StatefulSet"
        assert meta.controller_of(left) is None
        world.api.change("pods", "default/db-0", {"metadata": {"labels": {"app": "free"}}})
        await world.settle(10)
        released = world.api.one("pods", "default/db-0")
        assert released is not None and meta.controller_of(released) is None

    run(body)


@pytest.mark.parametrize("deleted", [False, True])
def test_retention_policy_gives_claims_their_owners(deleted: bool) -> None:
    async def body(world: World) -> None:
        start(world)
        policy = {"whenDeleted": "Delete" if deleted else "Retain", "whenScaled": "Delete"}
        world.api.put(
            "statefulsets",
            stateful_set(replicas=2, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy),
        )
        await world.settle(10)
        set_uid = meta.uid(one(world))

        def owners(name: str) -> list[str]:
            claim = world.api.one("persistentvolumeclaims", f"default/{name}")
            assert claim is not None
            return [each["uid"] for each in meta.owner_references(claim)]

        assert owners("data-db-1") == ([set_uid] if deleted else [])
        second = world.api.one("pods", "default/db-1")
        assert second is not None
        world.api.change("statefulsets", "default/db", {"spec": {"replicas": 1}})
        await world.settle(0.5)
        assert owners("data-db-1") == [meta.uid(second)]
        assert owners("data-db-0") == ([set_uid] if deleted else [])
        # The pod is gone, its claim not yet: the next pod of that name waits, or it would lose its data later.
        await world.settle(5)
        world.api.change("statefulsets", "default/db", {"spec": {"replicas": 2}})
        await world.settle(10)
        assert world.names("pods") == ["db-0"]
        world.api.remove("persistentvolumeclaims", "default/data-db-1")
        await world.settle(10)
        assert world.names("pods") == ["db-0", "db-1"]
        assert owners("data-db-1") == ([set_uid] if deleted else [])
        keep = {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}}}
        world.api.change("statefulsets", "default/db", keep)
        await world.settle(10)
        assert owners("data-db-0") == owners("data-db-1") == []

    run(body)


def test_a_claim_that_something_else_controls_is_left_alone() -> None:
    other = {"apiVersion": "x/v1", "kind": "Thing", "name": "t", "uid": "u", "controller": True}
    set_ = stateful_set(persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete", "whenScaled": "Delete"})
    set_["metadata"]["uid"] = "s"
    claim = {"metadata": {"name": "data-db-0", "ownerReferences": [other]}}
    assert members.claim_owners(set_, pod("db-0"), claim) is None


def test_a_claim_that_cannot_be_made_is_told_and_tried_again() -> None:
    async def body(world: World) -> None:
        start(world)
        refused = status.forbidden("", "persistentvolumeclaims", "data-db-0", "exceeded quota")

        def fail(verb: str, resource: str, _obj: JsonObject) -> status.ApiError | None:
            return refused if (verb, resource) == ("create", "persistentvolumeclaims") else None

        world.api.fail = fail
        world.api.put("statefulsets", stateful_set(replicas=1, volumeClaimTemplates=[CLAIM]))
        await world.settle(5)
        assert world.names("pods") == []
        told = world.events("FailedCreate")
        assert "create Claim data-db-0 for Pod db-0 in StatefulSet db failed error: " + refused.message in told
        assert "create Pod db-0 in StatefulSet db failed error: " + refused.message in told
        world.api.fail = lambda *_: None
        await world.settle(60)
        assert world.names("pods") == ["db-0"]

    run(body)


def test_a_claim_that_went_missing_is_made_again_for_a_pending_pod() -> None:
    async def body(world: World) -> None:
        world.controllers(NAME)
        world.api.put("statefulsets", stateful_set(replicas=1, volumeClaimTemplates=[CLAIM]))
        await world.settle()
        world.api.remove("persistentvolumeclaims", "default/data-db-0")
        await world.settle()
        assert world.names("persistentvolumeclaims") == ["data-db-0"]

    run(body)


def test_labels_that_make_a_member_are_put_back() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("statefulsets", stateful_set(replicas=1))
        await world.settle(10)
        world.api.change("pods", "default/db-0", {"metadata": {"labels": {members.POD_NAME_LABEL: "x"}}})
        await world.settle()
        found = world.api.one("pods", "default/db-0")
        assert found is not None and meta.labels(found)[members.POD_NAME_LABEL] == "db-0"
        assert world.events("SuccessfulUpdate") == ["update Pod db-0 in StatefulSet db successful"]

    run(body)


def test_a_set_that_is_being_deleted_only_counts() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("statefulsets", stateful_set(replicas=2))
        await world.settle(10)
        world.api.change(
            "statefulsets",
            "default/db",
            {"metadata": {"deletionTimestamp": rfc3339(world.host.clock.now()), "finalizers": ["x"]}},
        )
        world.api.remove("pods", "default/db-1")
        await world.settle()
        assert world.names("pods") == ["db-0"]
        assert one(world)["status"]["replicas"] == 1

    run(body)


def test_names_and_ordinals() -> None:
    assert members.parent_and_ordinal("a-b-12") == ("a-b", 12)
    assert members.parent_and_ordinal("a-99999999999") == ("", -1)
    assert members.parent_and_ordinal("a-9999999999") == ("a", -1)
    assert members.parent_and_ordinal("web") == ("", -1)
    assert members.parent_and_ordinal("web-x") == ("", -1)


def made_pods(set_: JsonObject, revision: str, states: str) -> list[JsonObject]:
    """One letter a pod: r ready, p pending, f failed, d being deleted (and ready), . none."""
    result = []
    for ordinal, state in enumerate(states):
        if state == ".":
            continue
        each: JsonObject = members.new_pod(set_, ordinal, revision)
        each["metadata"]["uid"] = f"u{ordinal}"
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        each["status"] = {"phase": "Running", "conditions": [ready]}
        if state in "pf":
            each["status"] = {"phase": "Pending" if state == "p" else "Failed"}
        if state == "d":
            each["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        result.append(each)
    return result


@pytest.mark.parametrize(
    ("states", "replicas", "policy", "expected"),
    [
        ("", 3, "OrderedReady", ["create db-0"]),
        ("r", 3, "OrderedReady", ["create db-1"]),
        ("p", 3, "OrderedReady", []),
        ("d", 3, "OrderedReady", []),
        ("rf", 3, "OrderedReady", ["delete db-1"]),
        (".r", 3, "OrderedReady", ["create db-0"]),
        ("", 3, "Parallel", ["create db-0", "create db-1", "create db-2"]),
        ("fdp", 3, "Parallel", ["delete db-0"]),
        ("rrr", 1, "OrderedReady", ["delete db-2"]),
        ("rrd", 1, "OrderedReady", []),
        ("rrp", 1, "OrderedReady", ["delete db-2"]),
        ("rpr", 1, "OrderedReady", ["delete db-2"]),
        ("rpp", 1, "OrderedReady", []),
        ("prr", 1, "OrderedReady", []),
        ("prr", 1, "Parallel", ["delete db-2", "delete db-1"]),
        ("ppd", 0, "Parallel", ["delete db-1", "delete db-0"]),
    ],
)
def test_plans(states: str, replicas: int, policy: str, expected: list[str]) -> None:
    set_ = stateful_set(replicas=replicas, podManagementPolicy=policy)
    set_["metadata"]["uid"] = "s"
    revision = {"metadata": {"name": "r1"}, "data": {"spec": {"template": set_["spec"]["template"]}}}
    found = planning.plan(
        set_, Revisions(revision, revision), made_pods(set_, "r1", states), lambda _name: None, 1767225600.0
    )
    steps: list[Any] = [step for phase in found.phases for step in phase]
    assert [f"{step.action.value} {meta.name(step.pod)}" for step in steps] == expected
    assert all(step.action is not Action.UPDATE for step in steps)
