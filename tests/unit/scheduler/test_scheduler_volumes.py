"""Where pods with claims go: the nodes of their volumes, promises that are kept, what is written before binding."""

import asyncio
from typing import Any

from argosy.host import Host
from argosy.objects import conditions, meta, storage
from argosy.objects.types import JsonObject
from control_plane.scheduler.scheduler import Scheduler
from tests.unit.scheduler.scheduler_world import FakeApi, node, pod, run


def claim(name: str, class_name: str = "local", *, volume: str = "", **spec: Any) -> JsonObject:
    notes = {storage.BIND_COMPLETED: "yes"} if volume else {}
    full = {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": class_name, "volumeName": volume, **spec,
    }  # fmt: skip
    metadata = {"name": name, "namespace": "default", "uid": f"claim-{name}", "annotations": notes}
    return {"metadata": metadata, "spec": full, "status": {"phase": "Bound" if volume else "Pending"}}


def volume(name: str, at: str = "", class_name: str = "local", **fields: Any) -> JsonObject:
    spec: JsonObject = {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class_name,
        **fields.pop("spec", {}),
    }  # fmt: skip
    if at:
        spec["nodeAffinity"] = storage.local_affinity(at)
    return {"metadata": {"name": name, "uid": name, **fields}, "spec": spec, "status": {"phase": "Available"}}


def storage_class(name: str, mode: str = storage.WAIT_FOR_FIRST_CONSUMER, **fields: Any) -> JsonObject:
    return {
        "metadata": {"name": name}, "provisioner": storage.NO_PROVISIONER, "volumeBindingMode": mode, **fields,
    }  # fmt: skip


def using(name: str, *claims: str, **spec: Any) -> JsonObject:
    volumes = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]
    return pod(name, volumes=volumes, **spec)


def said(api: FakeApi, name: str) -> str:
    condition = conditions.get(api.pod(name), "PodScheduled")
    return str((condition or {}).get("message", ""))


def bind(api: FakeApi, name: str, volume_name: str) -> None:
    """As the volume binder does."""
    held = api.objects["persistentvolumeclaims", f"default/{name}"]
    notes = {**meta.annotations(held), storage.BIND_COMPLETED: "yes"}
    api.put(
        "persistentvolumeclaims",
        {
            **held,
            "metadata": {**held["metadata"], "annotations": notes},
            "spec": {**held["spec"], "volumeName": volume_name},
            "status": {"phase": "Bound"},
        },
    )


def test_a_bound_claim_ties_its_pod_to_the_volumes_node() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        for number in range(3):
            api.put("nodes", node(f"node-{number}"))
        api.put("persistentvolumes", volume("v", "node-1"))
        api.put("persistentvolumes", volume("elsewhere", "node-9"))
        api.put("persistentvolumeclaims", claim("c", volume="v"))
        api.put("persistentvolumeclaims", claim("far", volume="elsewhere"))
        api.put("persistentvolumeclaims", claim("lost", volume="gone"))
        for name, claims in (("p", ("c",)), ("far", ("far",)), ("both", ("c", "far")), ("lost", ("lost",))):
            api.put("pods", using(name, *claims))
        await asyncio.sleep(1)
        assert api.where("p") == "node-1"
        assert said(api, "far").startswith(
            "0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity."
        )
        assert api.where("both") == ""
        assert "3 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)" in said(api, "lost")

    run(check)


def test_pods_wait_for_claims_that_are_not_ready() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("a"))
        api.put("storageclasses", storage_class("now", storage.IMMEDIATE))
        api.put("persistentvolumeclaims", claim("unbound", "now"))
        deleting = claim("deleting", volume="v")
        deleting["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z"
        api.put("persistentvolumeclaims", deleting)
        api.put("persistentvolumes", volume("v"))
        api.put("pods", using("p1", "unbound"))
        api.put("pods", using("p2", "missing"))
        api.put("pods", using("p3", "deleting"))
        api.put("pods", pod("p4", volumes=[{"name": "s", "ephemeral": {"volumeClaimTemplate": {}}}]))
        await asyncio.sleep(1)
        first = "0/1 nodes are available: "
        assert said(api, "p1").startswith(first + "pod has unbound immediate PersistentVolumeClaims. preemption:")
        assert said(api, "p2").startswith(first + 'persistentvolumeclaim "missing" not found.')
        assert said(api, "p3").startswith(first + 'persistentvolumeclaim "deleting" is being deleted.')
        assert said(api, "p4").startswith(first + "waiting for ephemeral volume controller to create the")
        bind(api, "unbound", "v")
        api.put("persistentvolumeclaims", claim("missing", volume="v"))
        await asyncio.sleep(5)
        assert (api.where("p1"), api.where("p2"), api.where("p3")) == ("a", "a", "")

    run(check)


def test_free_volumes_are_promised_once_and_named_before_the_pod_is_bound() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        for number in range(3):
            api.put("nodes", node(f"node-{number}"))
        api.put("storageclasses", storage_class("local"))
        for number in range(2):
            api.put("persistentvolumes", volume(f"v{number}", f"node-{number}"))
        for number in range(3):
            api.put("persistentvolumeclaims", claim(f"c{number}"))
            api.put("pods", using(f"p{number}", f"c{number}"))
        await asyncio.sleep(1)
        assert api.nodes_of_pods() == {}, "the claims are not bound yet"
        kept = {name: meta.spec(api.objects["persistentvolumes", name])["claimRef"]["name"] for name in ("v0", "v1")}
        assert len(set(kept.values())) == 2
        (late,) = {"c0", "c1", "c2"} - set(kept.values())
        assert "3 node(s) didn't find available persistent volumes to bind" in said(api, late.replace("c", "p"))
        for name, who in kept.items():
            bind(api, who, name)
        await asyncio.sleep(1)
        for name, who in kept.items():
            assert api.where(who.replace("c", "p")) == name.replace("v", "node-")
        api.put("persistentvolumes", volume("v2", "node-2"))
        await asyncio.sleep(12)
        assert meta.spec(api.objects["persistentvolumes", "v2"])["claimRef"]["name"] == late

    run(check)


def test_the_node_is_written_on_claims_whose_volume_is_to_be_made() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("a"))
        api.put("nodes", node("b", cpu="1"))
        terms = [{"matchLabelExpressions": [{"key": storage.HOSTNAME, "values": ["b"]}]}]
        api.put("storageclasses", storage_class("made", provisioner="example.com/x"))
        api.put("storageclasses", storage_class("b-only", provisioner="example.com/x", allowedTopologies=terms))
        api.put("persistentvolumeclaims", claim("c", "made"))
        api.put("persistentvolumeclaims", claim("d", "b-only"))
        api.put("pods", using("p", "c", cpu="2"))
        api.put("pods", using("q", "d"))
        await asyncio.sleep(1)
        chosen = {
            name: storage.selected_node(api.objects["persistentvolumeclaims", f"default/{name}"]) for name in "cd"
        }
        assert chosen == {"c": "a", "d": "b"}
        assert api.nodes_of_pods() == {}
        bind(api, "c", "made-c")
        bind(api, "d", "made-d")
        await asyncio.sleep(1)
        assert (api.where("p"), api.where("q")) == ("a", "b")

    run(check)


def test_a_volume_that_is_never_made_does_not_hold_other_pods_up() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("a"))
        api.put("storageclasses", storage_class("made", provisioner="example.com/x"))
        for number in range(4):
            api.put("persistentvolumeclaims", claim(f"c{number}", "made"))
            api.put("pods", using(f"p{number}", f"c{number}"))
        await asyncio.sleep(1)
        api.put("pods", pod("plain"))
        await asyncio.sleep(1)
        assert api.where("plain") == "a"
        await asyncio.sleep(40)
        assert any("binding volumes: context deadline exceeded" in text for text in api.events("FailedScheduling"))

    run(check, parallel_binds=2, bind_timeout_s=30.0)


def test_read_write_once_pod_and_zones() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("a", labels={"topology.kubernetes.io/zone": "east"}))
        api.put("nodes", node("b", labels={"topology.kubernetes.io/zone": "west"}))
        api.put("persistentvolumes", volume("one"))
        api.put("persistentvolumes", volume("zoned", labels={"topology.kubernetes.io/zone": "west__north"}))
        api.put("persistentvolumeclaims", claim("single", volume="one", accessModes=["ReadWriteOncePod"]))
        api.put("persistentvolumeclaims", claim("zoned", volume="zoned"))
        api.put("pods", using("first", "single"))
        api.put("pods", using("west", "zoned"))
        await asyncio.sleep(1)
        api.put("pods", using("second", "single"))
        await asyncio.sleep(1)
        assert api.where("first") and api.where("west") == "b"
        assert (
            "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
            in said(api, "second")
        )
        api.remove("pods", "default/first")
        await asyncio.sleep(5)
        assert api.where("second")

    run(check)
