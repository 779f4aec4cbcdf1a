"""A pod's life on a node, from binding to the object's end, as the API server sees it."""

import asyncio

from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from node_agent.hollow import HollowFacts
from node_agent.node_status import Level
from node_agent.pressure import NODEFS
from node_agent.runtime.runtime import State
from tests.unit.node_agent.node_world import NODE, World, make_pod, play


def test_a_bound_pod_runs_and_says_so() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        status = world.status("default/web")
        assert status["phase"] == "Running"
        assert status["podIP"] == "10.244.1.2" and status["podIPs"] == [{"ip": "10.244.1.2"}]
        assert status["hostIP"] == "10.77.3.1"
        assert [c["type"] for c in status["conditions"]] == [
            "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
        ]  # fmt: skip
        container = world.container("default/web")
        assert container["ready"] and container["started"] and container["restartCount"] == 0
        assert container["containerID"].startswith("containerd://")
        assert world.events("Started") == ["Container started"]

    play(scene)


def test_a_debug_container_joins_a_running_pod_and_never_starts_again() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(annotations={"fake.argosy.dev/exit-after-s.debugger": "3"}))
        await world.running("default/web")
        debugger = {"name": "debugger", "image": "busybox:1", "targetContainerName": "main"}
        world.api.change("pods", "default/web", {"spec": {"ephemeralContainers": [debugger]}})
        await world.until(lambda: "running" in world.container("default/web", "debugger").get("state", {}))
        await world.until(lambda: "terminated" in world.container("default/web", "debugger")["state"])
        await asyncio.sleep(90)
        assert world.container("default/web", "debugger")["restartCount"] == 0
        assert world.container("default/web")["restartCount"] == 0
        assert world.condition("default/web", "Ready") == "True"
        missing = {"name": "second", "image": "busybox:1", "targetContainerName": "nobody"}
        world.api.change("pods", "default/web", {"spec": {"ephemeralContainers": [debugger, missing]}})
        await world.until(lambda: "waiting" in world.container("default/web", "second").get("state", {}))
        await world.until(
            lambda: (
                world.container("default/web", "second")["state"].get("waiting", {}).get("message")
                == "unable to find target container nobody"
            )
        )

    play(scene)


def test_an_idle_pod_is_not_written_again() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        await asyncio.sleep(1)
        before = len(world.api.calls)
        await asyncio.sleep(200)
        writes = [call for call in world.api.calls[before:] if call[1] != "leases"]
        assert writes == []

    play(scene)


def test_deletion_stops_containers_then_removes_the_object() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(annotations={"fake.argosy.dev/stop-after-s": "3"}))
        await world.running("default/web")
        await world.delete("web")
        await asyncio.sleep(2)
        assert world.pod("default/web") is not None
        await world.until(lambda: world.pod("default/web") is None)
        assert await world.runtime.list_sandboxes() == []
        assert await world.runtime.list_containers() == []
        assert world.events("Killing") == ["Stopping container main"]

    play(scene)


def test_a_shorter_grace_overtakes_a_long_one() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(annotations={"fake.argosy.dev/stop-after-s": "1000"}))
        await world.running("default/web")
        await world.delete("web", grace_s=600)
        await asyncio.sleep(5)
        await world.delete("web", grace_s=1)
        await world.until(lambda: world.pod("default/web") is None, limit_s=10)

    play(scene)


def test_a_pod_with_a_finalizer_ends_here_but_stays_an_object() -> None:
    async def scene(world: World) -> None:
        pod = make_pod()
        pod["metadata"]["finalizers"] = ["example.com/hold"]
        world.api.put("pods", pod)
        await world.running("default/web")
        await world.delete("web")
        await world.until(lambda: world.status("default/web").get("phase") == "Failed")
        await asyncio.sleep(5)
        assert await world.runtime.list_containers() == []
        assert world.pod("default/web") is not None
        writes = len(world.api.calls)
        await asyncio.sleep(100)
        assert [call for call in world.api.calls[writes:] if call[1] == "pods"] == []

    play(scene)


def test_a_crashing_container_backs_off_and_keeps_its_last_state() -> None:
    async def scene(world: World) -> None:
        annotations = {"fake.argosy.dev/exit-after-s": "1", "fake.argosy.dev/exit-code": "3"}
        world.api.put("pods", make_pod(annotations=annotations))
        await world.until(lambda: world.container("default/web").get("restartCount") == 1)
        await world.until(lambda: "waiting" in world.container("default/web")["state"])
        container = world.container("default/web")
        assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert container["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=main")
        assert container["lastState"]["terminated"]["exitCode"] == 3
        assert container["lastState"]["terminated"]["reason"] == "Error"
        assert world.status("default/web")["phase"] == "Running"
        await world.until(lambda: world.container("default/web")["restartCount"] == 4, limit_s=120)
        await world.until(lambda: "waiting" in world.container("default/web")["state"])
        assert "back-off 1m20s" in world.container("default/web")["state"]["waiting"]["message"]
        assert len(await world.runtime.list_containers()) == 2

    play(scene)


def test_a_pod_goes_on_when_its_volume_cannot_be_renewed() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(annotations={"fake.argosy.dev/exit-after-s": "5"}))
        await world.running("default/web")
        world.api.change("pods", "default/web", {"metadata": {"annotations": {"fake.argosy.dev/volumes": "stale"}}})
        await world.until(lambda: world.container("default/web")["restartCount"] >= 2, limit_s=90)
        assert any("told to fail" in message for message in world.events("FailedMount"))

    play(scene)


def test_restart_policies_end_a_pod() -> None:
    async def scene(world: World) -> None:
        ends = {"fake.argosy.dev/exit-after-s": "1"}
        fails = {**ends, "fake.argosy.dev/exit-code": "1"}
        world.api.put("pods", make_pod("never-good", restartPolicy="Never", annotations=ends))
        world.api.put("pods", make_pod("never-bad", restartPolicy="Never", annotations=fails))
        world.api.put("pods", make_pod("once", restartPolicy="OnFailure", annotations=ends))
        world.api.put("pods", make_pod("again", restartPolicy="OnFailure", annotations=fails))
        await world.until(lambda: world.status("default/never-good")["phase"] == "Succeeded")
        await world.until(lambda: world.status("default/never-bad")["phase"] == "Failed")
        await world.until(lambda: world.status("default/once")["phase"] == "Succeeded")
        await world.until(lambda: world.container("default/again")["restartCount"] == 2)
        terminated = world.container("default/never-good")["state"]["terminated"]
        assert terminated["reason"] == "Completed" and terminated["exitCode"] == 0
        await asyncio.sleep(60)
        assert world.container("default/once")["restartCount"] == 0
        assert all(not item.ready for item in await world.runtime.list_sandboxes() if item.name != "again")

    play(scene)


def test_init_containers_run_one_after_the_other() -> None:
    async def scene(world: World) -> None:
        inits = [{"name": "one", "image": "busybox:1"}, {"name": "two", "image": "busybox:1"}]
        ends = {"fake.argosy.dev/exit-after-s.one": "5", "fake.argosy.dev/exit-after-s.two": "5"}
        world.api.put("pods", make_pod(initContainers=inits, annotations=ends))
        await world.until(lambda: "running" in world.container("default/web", "one").get("state", {}))
        assert world.status("default/web")["phase"] == "Pending"
        assert world.container("default/web")["state"] == {"waiting": {"reason": "PodInitializing"}}
        await world.until(lambda: "running" in world.container("default/web", "two").get("state", {}))
        assert world.container("default/web", "one")["state"]["terminated"]["exitCode"] == 0
        await world.running("default/web")
        assert world.condition("default/web", "Initialized") == "True"

    play(scene)


def test_a_failing_init_container_fails_a_pod_that_never_restarts() -> None:
    async def scene(world: World) -> None:
        fails = {"fake.argosy.dev/exit-after-s.one": "1", "fake.argosy.dev/exit-code.one": "7"}
        inits = [{"name": "one", "image": "busybox:1"}]
        world.api.put("pods", make_pod(initContainers=inits, restartPolicy="Never", annotations=fails))
        await world.until(lambda: world.status("default/web").get("phase") == "Failed")
        assert all(item.state is not State.RUNNING for item in await world.runtime.list_containers())

    play(scene)


def test_an_init_container_with_a_policy_of_its_own() -> None:
    async def scene(world: World) -> None:
        init = {"name": "first", "image": "busybox:1"}
        notes = {"fake.argosy.dev/exit-after-s.first": "1", "fake.argosy.dev/exit-code.first": "1"}
        never = make_pod(initContainers=[{**init, "restartPolicy": "Never"}], annotations=notes)
        again = make_pod("again", initContainers=[{**init, "restartPolicy": "OnFailure"}], annotations=notes)
        again["spec"]["restartPolicy"] = "Never"
        world.api.put("pods", never)
        world.api.put("pods", again)
        await world.until(lambda: world.status("default/web").get("phase") == "Failed")
        await world.until(lambda: world.container("default/again", "first").get("restartCount", 0) >= 2)
        assert world.status("default/again")["phase"] == "Pending"

    play(scene)


def test_a_sidecar_starts_first_and_ends_last() -> None:
    async def scene(world: World) -> None:
        sidecar = {"name": "side", "image": "busybox:1", "restartPolicy": "Always"}
        ends = {"fake.argosy.dev/exit-after-s.main": "10"}
        world.api.put("pods", make_pod(initContainers=[sidecar], restartPolicy="Never", annotations=ends))
        await world.running("default/web")
        side, main = world.container("default/web", "side"), world.container("default/web")
        assert side["started"] and side["state"]["running"]["startedAt"] <= main["state"]["running"]["startedAt"]
        await world.until(lambda: world.status("default/web")["phase"] == "Succeeded")
        assert "terminated" in world.container("default/web", "side")["state"]

    play(scene)


def test_a_missing_image_waits_with_its_reason() -> None:
    async def scene(world: World) -> None:
        seen: list[str] = []

        def reason() -> str:
            found = world.container("default/web").get("state", {}).get("waiting", {}).get("reason", "")
            if found and found not in seen:
                seen.append(found)
            return str(found)

        containers = [{"name": "main", "image": "absent:1"}]
        world.api.put("pods", make_pod(containers=containers, annotations={"fake.argosy.dev/pull": "fail"}))
        await world.until(lambda: reason() == "ImagePullBackOff")
        assert seen[-2:] == ["ErrImagePull", "ImagePullBackOff"]
        world.api.change("pods", "default/web", {"metadata": {"annotations": {"fake.argosy.dev/pull": None}}})
        never = make_pod("never", containers=[{"name": "main", "image": "absent:1", "imagePullPolicy": "Never"}])
        bad = make_pod("bad", containers=[{"name": "main", "image": "UPPER CASE"}])
        world.api.put("pods", never)
        world.api.put("pods", bad)
        for name, expected in (("never", "ErrImageNeverPull"), ("bad", "InvalidImageName")):
            await world.until(
                lambda name=name, expected=expected: (
                    world.container(f"default/{name}").get("state", {}).get("waiting", {}).get("reason") == expected
                )
            )

    play(scene)


def test_a_missing_config_map_holds_the_container_until_it_is_there() -> None:
    async def scene(world: World) -> None:
        env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]
        world.api.put("pods", make_pod(containers=[{"name": "main", "image": "busybox:1", "env": env}]))
        await world.until(lambda: "waiting" in world.container("default/web").get("state", {}))
        await world.until(
            lambda: world.container("default/web")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        )
        assert world.container("default/web")["state"]["waiting"]["message"] == 'configmap "settings" not found'
        world.api.put(
            "configmaps",
            {"kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}, "data": {"a": "1"}},
        )
        await world.running("default/web")

    play(scene)


def test_a_pod_that_does_not_fit_is_rejected() -> None:
    async def scene(world: World) -> None:
        def hungry(name: str) -> JsonObject:
            resources = {"requests": {"cpu": "3"}}
            return make_pod(name, containers=[{"name": "main", "image": "busybox:1", "resources": resources}])

        world.api.put("pods", hungry("first"))
        await world.running("default/first")
        world.api.put("pods", hungry("second"))
        await world.until(lambda: world.status("default/second").get("phase") == "Failed")
        status = world.status("default/second")
        assert status["reason"] == "OutOfcpu"
        assert status["message"] == (
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 3000, used: 3000, capacity: 4000"
        )
        assert world.status("default/first")["phase"] == "Running"

    play(scene)


def test_a_deadline_ends_a_pod() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(activeDeadlineSeconds=20))
        await world.running("default/web")
        await world.until(lambda: world.status("default/web")["phase"] == "Failed")
        assert world.status("default/web")["reason"] == "DeadlineExceeded"
        assert all(item.state is State.EXITED for item in await world.runtime.list_containers())

    play(scene)


def test_an_image_change_restarts_the_container() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        old = world.container("default/web")["containerID"]
        world.api.change("pods", "default/web", {"spec": {"containers": [{"name": "main", "image": "other:1"}]}})
        await world.until(lambda: world.container("default/web")["containerID"] != old)
        assert world.events("Killing") == ["Container main definition changed, will be restarted"]

    play(scene)


def test_a_dead_sandbox_is_made_anew() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        (sandbox,) = await world.runtime.list_sandboxes()
        world.runtime.kill_sandbox(sandbox.id)
        await world.until(lambda: world.container("default/web")["restartCount"] == 1)
        await world.running("default/web")
        assert world.events("SandboxChanged") == ["Pod sandbox changed, it will be killed and re-created."]

    play(scene)


def test_a_shortage_is_told_until_it_has_been_over_for_a_while() -> None:
    async def scene(world: World) -> None:
        assert world.agent is not None
        facts = world.agent.machine.facts
        assert isinstance(facts, HollowFacts)

        def short() -> bool:
            return conditions.is_true(world.api.one("nodes", NODE) or {}, "DiskPressure")

        facts.levels = {NODEFS: Level(1, 100)}
        await world.until(short)
        facts.levels = {NODEFS: Level(50, 100)}
        await asyncio.sleep(280)
        assert short()
        await world.until(lambda: not short(), limit_s=60)

    play(scene)


def test_a_node_with_an_agent_is_registered_and_leased() -> None:
    async def scene(world: World) -> None:
        node = world.api.one("nodes", NODE)
        assert node is not None
        assert meta.labels(node)["kubernetes.io/hostname"] == NODE
        assert node["status"]["capacity"]["cpu"] == "4" and node["status"]["allocatable"]["memory"] == "8Gi"
        types = {item["type"]: item["status"] for item in node["status"]["conditions"]}
        assert types == {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
        await world.until(lambda: world.api.one("leases", f"kube-node-lease/{NODE}"))
        lease = world.api.one("leases", f"kube-node-lease/{NODE}")
        assert lease is not None and lease["spec"]["leaseDurationSeconds"] == 40
        node = world.api.one("nodes", NODE)
        assert node is not None
        owner = {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": node["metadata"]["uid"]}
        assert lease["metadata"]["ownerReferences"] == [owner], "or it would outlive its node"
        first = lease["spec"]["renewTime"]
        await asyncio.sleep(11)
        renewed = world.api.one("leases", f"kube-node-lease/{NODE}")
        assert renewed is not None and renewed["spec"]["renewTime"] > first

    play(scene)


def test_a_lease_has_its_node_as_owner_also_when_none_wrote_it_before() -> None:
    async def scene(world: World) -> None:
        world.api.put("leases", {"metadata": {"name": NODE, "namespace": "kube-node-lease"}, "spec": {}})
        world.start()
        await world.until(lambda: (world.api.one("leases", f"kube-node-lease/{NODE}") or {})["spec"])
        lease, node = world.api.one("leases", f"kube-node-lease/{NODE}"), world.api.one("nodes", NODE)
        assert lease is not None and node is not None
        assert [item["uid"] for item in lease["metadata"]["ownerReferences"]] == [node["metadata"]["uid"]]

    play(scene, start=False)


def test_a_lease_is_not_made_while_its_node_is_gone() -> None:
    """It would have no owner, and stay for ever."""

    async def scene(world: World) -> None:
        await world.until(lambda: world.api.one("leases", f"kube-node-lease/{NODE}"))
        world.api.remove("nodes", NODE)
        world.api.remove("leases", f"kube-node-lease/{NODE}")
        await world.until(lambda: world.api.one("leases", f"kube-node-lease/{NODE}"), limit_s=400)
        lease, node = world.api.one("leases", f"kube-node-lease/{NODE}"), world.api.one("nodes", NODE)
        assert lease is not None and node is not None, "the agent registers again before"
        assert [item["uid"] for item in lease["metadata"]["ownerReferences"]] == [node["metadata"]["uid"]]

    play(scene)


def test_resources_that_others_wrote_into_the_node_stay_and_can_be_had() -> None:
    async def scene(world: World) -> None:
        world.api.change("nodes", NODE, {"status": {"capacity": {"example.com/gpu": "2"}}})
        await world.until(
            lambda: meta.status(world.api.one("nodes", NODE))["allocatable"].get("example.com/gpu") == "2"
        )
        limits = {"limits": {"example.com/gpu": "2"}}
        world.api.put("pods", make_pod(containers=[{"name": "main", "image": "busybox:1", "resources": limits}]))
        await world.running("default/web")
        world.api.change("nodes", NODE, {"status": {"capacity": {"example.com/gpu": None}}})
        await world.until(lambda: "example.com/gpu" not in meta.status(world.api.one("nodes", NODE))["allocatable"])

    play(scene)
