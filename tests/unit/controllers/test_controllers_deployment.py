"""Deployments end to end over an API in memory: rollouts, undo, pause, recreate, deadlines, history."""

from typing import Any

from argosy.client import EventType
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import deployment_math as math
from tests.unit.controllers.world import World, deployment, run, template

NAMES = ("deployment-controller", "replicaset-controller")


def one(world: World) -> JsonObject:
    found = world.api.one("deployments", "default/web")
    assert found is not None
    return found


def sizes(world: World) -> dict[str, int]:
    """Wanted pods by image."""
    result: dict[str, int] = {}
    for each in world.api.all("replicasets"):
        image = each["spec"]["template"]["spec"]["containers"][0]["image"]
        result[image] = result.get(image, 0) + math.wanted(each)
    return result


def progressing(world: World) -> tuple[str, str]:
    found = conditions.get(one(world), "Progressing")
    assert found is not None
    return found["status"], found["reason"]


def set_image(world: World, image: str) -> None:
    world.api.change("deployments", "default/web", {"spec": {"template": template(image)}})


async def started(world: World, **spec: Any) -> None:
    world.controllers(*NAMES)
    world.kubelet()
    world.api.put("deployments", deployment(**spec))
    await world.settle(10)


def test_a_deployment_comes_up() -> None:
    async def body(world: World) -> None:
        await started(world)
        [replica_set] = world.api.all("replicasets")
        hash_ = meta.labels(replica_set)["pod-template-hash"]
        assert meta.name(replica_set) == f"web-{hash_}"
        assert replica_set["spec"]["selector"] == {"matchLabels": {"app": "web", "pod-template-hash": hash_}}
        assert meta.annotations(replica_set) == {
            math.REVISION: "1", math.DESIRED_REPLICAS: "3", math.MAX_REPLICAS: "4",
        }  # fmt: skip
        assert meta.annotations(one(world)) == {math.REVISION: "1"}
        status = dict(one(world)["status"])
        found = {each["type"]: (each["status"], each["reason"], each["message"]) for each in status.pop("conditions")}
        assert status == {
            "observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
            "terminatingReplicas": 0,
        }  # fmt: skip
        assert found == {
            "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            "Progressing": (
                "True", "NewReplicaSetAvailable", f'ReplicaSet "web-{hash_}" has successfully progressed.',
            ),
        }  # fmt: skip
        assert world.events("ScalingReplicaSet") == [f"Scaled up replica set web-{hash_} from 0 to 3"]

    run(body)


def test_a_rolling_update_keeps_to_its_limits_all_the_way() -> None:
    async def body(world: World) -> None:
        await started(world)
        least, most = [3], [3]

        async def observe() -> None:
            async for event in world.client.resource("", "v1", "pods").watch(
                resource_version=str(world.api.revision)
            ):
                if event.type is not EventType.BOOKMARK:
                    alive = [pod for pod in world.api.all("pods") if not meta.is_deleting(pod)]
                    least.append(sum(conditions.is_true(pod, "Ready") for pod in alive))
                    most.append(len(alive))

        world.start(observe())
        set_image(world, "app:2")
        await world.settle(30)
        assert sizes(world) == {"app:1": 0, "app:2": 3}
        assert min(least) == 3
        assert max(most) == 4
        assert progressing(world) == ("True", "NewReplicaSetAvailable")
        assert meta.annotations(one(world))[math.REVISION] == "2"

    run(body)


def test_undo_takes_the_old_set_again_with_a_new_revision() -> None:
    async def body(world: World) -> None:
        await started(world)
        set_image(world, "app:2")
        await world.settle(30)
        set_image(world, "app:1")
        await world.settle(30)
        assert len(world.api.all("replicasets")) == 2
        assert sizes(world) == {"app:1": 3, "app:2": 0}
        [back] = [each for each in world.api.all("replicasets") if math.wanted(each)]
        assert meta.annotations(back)[math.REVISION] == "3"
        assert meta.annotations(back)[math.REVISION_HISTORY] == "1"
        assert meta.annotations(one(world))[math.REVISION] == "3"

    run(body)


def test_scaling_in_the_middle_of_a_rollout_shares_proportionally() -> None:
    async def body(world: World) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
        await started(world, replicas=10, strategy=strategy)
        world.broken_images.add("app:2")
        set_image(world, "app:2")
        await world.settle(10)
        assert sizes(world) == {"app:1": 8, "app:2": 5}
        world.api.change("deployments", "default/web", {"spec": {"replicas": 15}})
        await world.settle(10)
        assert sizes(world) == {"app:1": 11, "app:2": 7}

    run(body)


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    async def body(world: World) -> None:
        await started(world)
        world.api.change("deployments", "default/web", {"spec": {"paused": True}})
        set_image(world, "app:2")
        await world.settle(10)
        assert progressing(world) == ("Unknown", "DeploymentPaused")
        assert sizes(world) == {"app:1": 3}
        world.api.change("deployments", "default/web", {"spec": {"replicas": 5}})
        await world.settle(10)
        assert sizes(world) == {"app:1": 5}
        assert one(world)["status"]["readyReplicas"] == 5
        world.api.change("deployments", "default/web", {"spec": {"paused": None}})
        await world.settle(30)
        assert sizes(world) == {"app:1": 0, "app:2": 5}
        assert progressing(world) == ("True", "NewReplicaSetAvailable")

    run(body)


def test_recreate_waits_for_the_last_old_pod() -> None:
    async def body(world: World) -> None:
        await started(world, strategy={"type": "Recreate"})
        together = [False]

        async def observe() -> None:
            async for _ in world.client.resource("", "v1", "pods").watch(resource_version=str(world.api.revision)):
                images = {pod["spec"]["containers"][0]["image"] for pod in world.api.all("pods")}
                together.append(len(images) > 1)

        world.start(observe())
        set_image(world, "app:2")
        await world.settle(20)
        assert sizes(world) == {"app:1": 0, "app:2": 3}
        assert len(together) > 6
        assert not any(together)
        assert progressing(world) == ("True", "NewReplicaSetAvailable")

    run(body)


def test_a_stuck_rollout_misses_its_deadline_and_recovers() -> None:
    async def body(world: World) -> None:
        await started(world, progressDeadlineSeconds=60)
        world.broken_images.add("app:2")
        set_image(world, "app:2")
        await world.settle(50)
        assert progressing(world) == ("True", "ReplicaSetUpdated")
        await world.settle(20)
        assert progressing(world) == ("False", "ProgressDeadlineExceeded")
        assert one(world)["status"]["readyReplicas"] == 3
        set_image(world, "app:3")
        await world.settle(30)
        assert progressing(world) == ("True", "NewReplicaSetAvailable")
        assert sizes(world) == {"app:1": 0, "app:2": 0, "app:3": 3}

    run(body)


def test_history_is_trimmed_to_its_limit() -> None:
    async def body(world: World) -> None:
        await started(world, revisionHistoryLimit=1)
        for number in range(2, 5):
            set_image(world, f"app:{number}")
            await world.settle(30)
        await world.settle(10)
        assert sizes(world) == {"app:3": 0, "app:4": 3}

    run(body)


def test_min_ready_seconds_slows_the_rollout() -> None:
    async def body(world: World) -> None:
        await started(world, replicas=2, minReadySeconds=20)
        await world.settle(30)
        assert one(world)["status"]["availableReplicas"] == 2
        set_image(world, "app:2")
        await world.settle(15)
        assert sizes(world) == {"app:1": 2, "app:2": 1}
        await world.settle(60)
        assert sizes(world) == {"app:1": 0, "app:2": 2}

    run(body)


def test_two_templates_with_one_hash_get_two_sets() -> None:
    async def body(world: World) -> None:
        manager = world.controllers(*NAMES)
        world.kubelet()
        await world.settle(1)
        controller = manager.controllers[0]
        make = controller._new_set  # type: ignore[attr-defined]

        def colliding(owner: JsonObject, sets: Any, old: Any) -> JsonObject:
            made = make(owner, sets, old)
            count = meta.status(owner).get("collisionCount", 0)
            made["metadata"]["name"] = f"web-same{count}"
            return made

        controller._new_set = colliding  # type: ignore[attr-defined]
        world.api.put("deployments", deployment())
        await world.settle(10)
        set_image(world, "app:2")
        await world.settle(30)
        assert sizes(world) == {"app:1": 0, "app:2": 3}
        assert sorted(world.names("replicasets")) == ["web-same0", "web-same1"]
        assert one(world)["status"]["collisionCount"] == 1

    run(body)


def test_nothing_is_written_when_nothing_changes() -> None:
    async def body(world: World) -> None:
        await started(world)
        await world.settle(60)
        before = world.api.revision
        world.api.change("deployments", "default/web", {"metadata": {"labels": {"a": "b"}}})
        await world.settle(60)
        assert world.api.revision == before + 1

    run(body)


def test_an_orphaned_set_is_adopted() -> None:
    async def body(world: World) -> None:
        await started(world)
        [replica_set] = world.names("replicasets")
        world.api.remove("deployments", "default/web")
        world.api.change("replicasets", f"default/{replica_set}", {"metadata": {"ownerReferences": None}})
        await world.settle(1)
        world.api.put("deployments", deployment())
        await world.settle(10)
        [adopted] = world.api.all("replicasets")
        assert meta.name(adopted) == replica_set
        owner = meta.controller_of(adopted)
        assert owner is not None and owner["uid"] == meta.uid(one(world))

    run(body)
