"""Create, read, update, patch and delete: what comes out of the API after what went in."""

from __future__ import annotations

import asyncio

import pytest

from argosy.client import EventType, PatchType
from argosy.objects.status import ApiError


def config_map(name="cm", namespace="default", **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def pod(name="p", node="", **metadata):
    spec = {"containers": [{"name": "c", "image": "nginx:1"}]}
    if node:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": spec,
    }


async def refused(awaitable, code):
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value.status
    return caught.value


def test_create_sets_what_is_the_servers_and_reads_give_it_back(with_api):
    async def body(api):
        made = await api.configmaps.create(config_map(a="1"))
        data = made["metadata"]
        assert data["uid"] and data["creationTimestamp"].endswith("Z") and int(data["resourceVersion"]) > 0
        assert data["managedFields"][0]["fieldsV1"] == {"f:data": {".": {}, "f:a": {}}}
        assert await api.configmaps.get("cm", namespace="default") == made
        listed = await api.configmaps.list(namespace="default")
        assert listed.items == [made]
        assert int(listed.resource_version) >= int(data["resourceVersion"])
        await refused(api.configmaps.create(config_map()), 409)
        error = await refused(api.configmaps.get("nope", namespace="default"), 404)
        assert error.message == 'configmaps "nope" not found'

    with_api(body)


def test_generate_name_gives_fresh_names(with_api):
    async def body(api):
        obj = config_map()
        obj["metadata"] = {"generateName": "cm-", "namespace": "default"}
        names = {(await api.configmaps.create(obj))["metadata"]["name"] for _ in range(5)}
        assert len(names) == 5
        assert all(name.startswith("cm-") and len(name) == 8 for name in names)

    with_api(body)


def test_stale_updates_conflict_and_blind_ones_do_not(with_api):
    async def body(api):
        first = await api.configmaps.create(config_map(a="1"))
        second = await api.configmaps.update({**first, "data": {"a": "2"}})
        error = await refused(api.configmaps.update({**first, "data": {"a": "3"}}), 409)
        assert error.reason == "Conflict"
        assert "please apply your changes to the latest version and try again" in error.message
        third = await api.configmaps.update(config_map(a="4"))
        assert int(third["metadata"]["resourceVersion"]) > int(second["metadata"]["resourceVersion"])
        assert third["metadata"]["uid"] == first["metadata"]["uid"]
        other = {**third, "metadata": {**third["metadata"], "uid": "another"}}
        await refused(api.configmaps.update(other), 409)

    with_api(body)


def test_a_write_that_changes_nothing_keeps_the_resource_version(with_api):
    async def body(api):
        made = await api.configmaps.create(config_map(a="1"))
        again = await api.configmaps.update(made)
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        same = await api.configmaps.patch("cm", {"data": {"a": "1"}}, namespace="default")
        assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    with_api(body)


def test_patches_of_all_kinds(with_api):
    async def body(api):
        await api.configmaps.create(config_map(a="1"))
        await api.configmaps.patch("cm", {"data": {"b": "2"}}, namespace="default")
        operations = [{"op": "replace", "path": "/data/a", "value": "3"}]
        await api.configmaps.patch("cm", operations, namespace="default", type=PatchType.JSON)
        done = await api.configmaps.patch("cm", {"data": {"b": None}}, namespace="default", type=PatchType.STRATEGIC)
        assert done["data"] == {"a": "3"}
        stale = {"metadata": {"resourceVersion": "1"}, "data": {"x": "y"}}
        await refused(api.configmaps.patch("cm", stale, namespace="default"), 409)
        wrong = [{"op": "test", "path": "/data/a", "value": "no"}]
        await refused(api.configmaps.patch("cm", wrong, namespace="default", type=PatchType.JSON), 422)

    with_api(body)


def test_concurrent_patches_all_arrive(with_api):
    async def body(api):
        await api.configmaps.create(config_map())
        await asyncio.gather(
            *(api.configmaps.patch("cm", {"data": {f"k{i}": str(i)}}, namespace="default") for i in range(20))
        )
        assert len((await api.configmaps.get("cm", namespace="default"))["data"]) == 20

    with_api(body)


def test_server_side_apply_creates_merges_and_conflicts(with_api):
    async def body(api):
        made = await api.configmaps.apply(config_map(a="1"), field_manager="one")
        assert made["metadata"]["managedFields"][0]["operation"] == "Apply"
        await api.configmaps.apply(config_map(b="2"), field_manager="two")
        error = await refused(api.configmaps.apply(config_map(a="9"), field_manager="two"), 409)
        assert error.status["details"]["causes"][0]["reason"] == "FieldManagerConflict"
        forced = await api.configmaps.apply(config_map(a="9"), field_manager="two", force=True)
        assert forced["data"] == {"a": "9"}, "b was two's and is no longer applied"

    with_api(body)


def test_generation_counts_changes_of_the_spec(with_api):
    async def body(api):
        deployments = api.client().resource("apps", "v1", "deployments")
        made = await deployments.create(deployment())
        assert made["metadata"]["generation"] == 1
        labelled = await deployments.patch("d", {"metadata": {"labels": {"x": "y"}}}, namespace="default")
        assert labelled["metadata"]["generation"] == 1
        scaled = await deployments.patch("d", {"spec": {"replicas": 3}}, namespace="default")
        assert scaled["metadata"]["generation"] == 2
        status = {**scaled, "status": {"replicas": 3}, "spec": {**scaled["spec"], "replicas": 9}}
        after = await deployments.update_status(status)
        assert (after["metadata"]["generation"], after["spec"]["replicas"], after["status"]["replicas"]) == (2, 3, 3)
        main = await deployments.update({**after, "status": {"replicas": 77}})
        assert main["status"]["replicas"] == 3

    with_api(body)


def deployment(name="d", replicas=1):
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
        },
    }


def test_scale_reads_and_writes_replicas(with_api):
    async def body(api):
        deployments = api.client().resource("apps", "v1", "deployments")
        await deployments.create(deployment(replicas=2))
        scale = await deployments.get("d", namespace="default", subresource="scale")
        assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 2}, "app=d")
        scale["spec"]["replicas"] = 5
        await deployments.update(scale, subresource="scale")
        assert (await deployments.get("d", namespace="default"))["spec"]["replicas"] == 5
        scale["spec"]["replicas"] = 6
        await refused(deployments.update(scale, subresource="scale"), 409)
        patch = {"spec": {"replicas": 7}}
        await deployments.patch("d", patch, namespace="default", subresource="scale")
        assert (await deployments.get("d", namespace="default"))["metadata"]["generation"] == 3

    with_api(body)


def test_pods_are_deleted_gracefully_once_bound(with_api):
    async def body(api):
        await api.account()
        await api.pods.create(pod("free"))
        gone = await api.pods.delete("free", namespace="default")
        assert gone["kind"] == "Pod"
        await refused(api.pods.get("free", namespace="default"), 404)
        await api.pods.create(pod("bound", node="n1"))
        marked = await api.pods.delete("bound", namespace="default", grace_period_s=20)
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
        assert marked["metadata"]["generation"] == 2
        longer = await api.pods.delete("bound", namespace="default", grace_period_s=60)
        assert longer["metadata"]["deletionGracePeriodSeconds"] == 20
        shorter = await api.pods.delete("bound", namespace="default", grace_period_s=5)
        assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
        assert shorter["metadata"]["deletionTimestamp"] < marked["metadata"]["deletionTimestamp"]
        await api.pods.delete("bound", namespace="default", grace_period_s=0)
        await refused(api.pods.get("bound", namespace="default"), 404)

    with_api(body)


def test_finalizers_hold_a_deleted_object_until_the_last_is_gone(with_api):
    async def body(api):
        obj = config_map(a="1")
        obj["metadata"]["finalizers"] = ["example.com/a"]
        await api.configmaps.create(obj)
        marked = await api.configmaps.delete("cm", namespace="default")
        assert marked["metadata"]["deletionTimestamp"]
        more = {"metadata": {"finalizers": ["example.com/a", "example.com/b"]}}
        await refused(api.configmaps.patch("cm", more, namespace="default"), 422)
        await api.configmaps.patch("cm", {"metadata": {"finalizers": None}}, namespace="default")
        await refused(api.configmaps.get("cm", namespace="default"), 404)

    with_api(body)


def test_propagation_becomes_finalizers(with_api):
    async def body(api):
        deployments = api.client().resource("apps", "v1", "deployments")
        for name, policy, finalizer in (("f", "Foreground", "foregroundDeletion"), ("o", "Orphan", "orphan")):
            await deployments.create(deployment(name))
            marked = await deployments.delete(name, namespace="default", propagation=policy)
            assert marked["metadata"]["finalizers"] == [finalizer]
        await deployments.create(deployment("b"))
        done = await deployments.delete("b", namespace="default", propagation="Background")
        assert (done["kind"], done["status"]) == ("Status", "Success")
        await refused(deployments.delete("f", namespace="default", propagation="Sideways"), 422)

    with_api(body)


def test_delete_preconditions(with_api):
    async def body(api):
        made = await api.configmaps.create(config_map())
        await refused(api.configmaps.delete("cm", namespace="default", uid="other"), 409)
        await refused(api.configmaps.delete("cm", namespace="default", resource_version="1"), 409)
        status = await api.configmaps.delete("cm", namespace="default", uid=made["metadata"]["uid"])
        assert status["details"] == {"name": "cm", "kind": "configmaps", "uid": made["metadata"]["uid"]}

    with_api(body)


def test_namespaces_end_by_finalize(with_api):
    async def body(api):
        spaces = api.client().resource("", "v1", "namespaces")
        made = await spaces.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
        assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
        marked = await spaces.delete("n")
        assert marked["status"]["phase"] == "Terminating"
        error = await refused(api.configmaps.create(config_map(namespace="n")), 403)
        assert error.status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
        marked["spec"] = {}
        await spaces.update(marked, subresource="finalize")
        await refused(spaces.get("n"), 404)
        await refused(api.configmaps.create(config_map(namespace="n")), 404)
        await refused(spaces.delete("kube-system"), 403)

    with_api(body)


def test_dry_run_stores_nothing(with_api):
    async def body(api):
        made = await api.configmaps.create(config_map(), dry_run=True)
        assert made["metadata"]["uid"]
        await refused(api.configmaps.get("cm", namespace="default"), 404)
        await api.configmaps.create(config_map(a="1"))
        changed = await api.configmaps.update(config_map(a="2"), dry_run=True)
        assert changed["data"] == {"a": "2"}
        assert (await api.configmaps.get("cm", namespace="default"))["data"] == {"a": "1"}

    with_api(body)


def test_binding_happens_once(with_api):
    async def body(api):
        await api.account()
        await api.pods.create(pod())
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "p", "namespace": "default"},
            "target": {"kind": "Node", "name": "n1"},
        }
        await api.pods.create(binding, name="p", subresource="binding")
        bound = await api.pods.get("p", namespace="default")
        assert bound["spec"]["nodeName"] == "n1"
        assert [item["type"] for item in bound["status"]["conditions"]] == ["PodScheduled"]
        error = await refused(api.pods.create(binding, name="p", subresource="binding"), 409)
        assert "already assigned to node" in error.message

    with_api(body)


def test_eviction_is_refused_by_a_spent_budget(with_api):
    async def body(api):
        await api.account()
        await api.pods.create(pod("p", node="n1", labels={"app": "x"}))
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        await api.pods.patch("p", {"status": status}, namespace="default", subresource="status")
        budgets = api.client().resource("policy", "v1", "poddisruptionbudgets")
        await budgets.create(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "b", "namespace": "default"},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
            }
        )
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": "p", "namespace": "default"},
        }

        async def evict():
            return await api.pods.create(eviction, name="p", subresource="eviction")

        async def budget(allowed):
            healthy = {"currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
            new = {"status": {"observedGeneration": 1, "disruptionsAllowed": allowed, **healthy}}
            await budgets.patch("b", new, namespace="default", subresource="status")

        await refused(evict(), 429)
        await budget(0)
        error = await refused(evict(), 429)
        assert error.status["details"]["causes"][0]["reason"] == "DisruptionBudget"
        await budget(1)
        await evict()
        assert (await api.pods.get("p", namespace="default"))["metadata"]["deletionTimestamp"]
        spent = (await budgets.get("b", namespace="default"))["status"]
        assert spent["disruptionsAllowed"] == 0
        assert "p" in spent["disruptedPods"]

    with_api(body)


def test_an_event_is_served_in_both_groups(with_api):
    async def body(api):
        core = api.client().resource("", "v1", "events")
        newer = api.client().resource("events.k8s.io", "v1", "events")
        await core.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": "e", "namespace": "default"},
                "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
                "reason": "Started",
                "message": "hello",
                "type": "Normal",
            }
        )
        seen = await newer.get("e", namespace="default")
        assert (seen["apiVersion"], seen["note"], seen["regarding"]["name"]) == ("events.k8s.io/v1", "hello", "p")

    with_api(body)


def test_put_creates_leases_but_not_configmaps(with_api):
    async def body(api):
        leases = api.client().resource("coordination.k8s.io", "v1", "leases")
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "l", "namespace": "default"},
            "spec": {"holderIdentity": "me"},
        }
        made = await leases.update(lease)
        assert made["spec"]["holderIdentity"] == "me"
        await refused(api.configmaps.update(config_map("absent")), 404)

    with_api(body)


def test_delete_collection_honours_selectors(with_api):
    async def body(api):
        from argosy.pb import api_pb2 as pb

        for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
            obj = config_map(name)
            obj["metadata"]["labels"] = {"l": label}
            await api.configmaps.create(obj)
        request = pb.DeleteRequest(target=api.configmaps.target(namespace="default"), label_selector="l=x")
        await api.client().call("Delete", request.SerializeToString(), read=False)
        left = await api.configmaps.list(namespace="default")
        assert [item["metadata"]["name"] for item in left.items] == ["c"]

    with_api(body)


def test_bad_bodies_get_the_status_that_says_why(with_api):
    async def body(api):
        wrong = config_map()
        wrong["data"] = ["list"]
        error = await refused(api.configmaps.create(wrong), 400)
        assert "cannot be handled as a ConfigMap" in error.message
        await refused(api.configmaps.create(config_map("Bad_Name")), 422)
        await refused(api.configmaps.create({**config_map(), "kind": "Secret"}), 400)
        await refused(api.configmaps.create(config_map(a="x" * (3 << 20))), 413)
        await refused(api.configmaps.list(labels="a==b==c"), 400)
        await refused(api.configmaps.list(fields="spec.nope=1"), 400)
        stray = config_map()
        stray["metadata"]["resourceVersion"] = "5"
        await refused(api.configmaps.create(stray), 400)
        await refused(api.client().resource("", "v1", "foos").list(), 404)

    with_api(body)


def test_events_of_a_watch_arrive_as_deleted_with_the_revision_of_the_delete(with_api):
    async def body(api):
        made = await api.configmaps.create(config_map())
        version = made["metadata"]["resourceVersion"]
        watch = api.configmaps.watch(namespace="default", resource_version=version)
        await api.configmaps.delete("cm", namespace="default")
        event = await anext(watch)
        assert event.type is EventType.DELETED
        assert int(event.object["metadata"]["resourceVersion"]) > int(version)
        await watch.aclose()

    with_api(body)
