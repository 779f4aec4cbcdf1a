"""pods/resize through a whole API server: every verb, who may, and what quotas, ranges and the node say."""

from __future__ import annotations

import pytest

from argosy.client import PatchType
from argosy.objects.status import ApiError

RESOURCES = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}


async def refused(awaitable, code):
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value.status
    return caught.value


def pod(name="p", **spec):
    container = {"name": "c", "image": "i:1", "resources": RESOURCES}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], **spec},
    }


def change(**requests):
    return {"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}


def resources_of(found):
    return found["spec"]["containers"][0]["resources"]


async def node(api, cpu="2", memory="1Gi"):
    nodes = api.client().resource("", "v1", "nodes")
    metadata = {"name": "n", "labels": {"kubernetes.io/os": "linux"}}
    made = await nodes.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    made["status"] = {"allocatable": {"cpu": cpu, "memory": memory, "pods": "10"}}
    await nodes.update(made, subresource="status")
    await nodes.list()


def test_every_verb_resizes_and_counts_a_generation(with_api):
    async def body(api):
        await api.account()
        made = await api.pods.create(pod())
        assert made["metadata"]["generation"] == 1
        new = await api.pods.patch(
            "p", change(cpu="200m"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"
        )
        assert resources_of(new) == {**RESOURCES, "requests": {"cpu": "200m", "memory": "64Mi"}}
        assert new["metadata"]["generation"] == 2
        path = "/spec/containers/0/resources/requests/cpu"
        steps = [{"op": "replace", "path": path, "value": "300m"}]
        new = await api.pods.patch("p", steps, type=PatchType.JSON, namespace="default", subresource="resize")
        assert (resources_of(new)["requests"]["cpu"], new["metadata"]["generation"]) == ("300m", 3)
        new["spec"]["containers"][0]["resources"]["requests"]["memory"] = "65536Ki"
        same = await api.pods.update(new, subresource="resize")
        assert same["metadata"]["generation"] == 3
        same["spec"]["containers"][0]["resources"]["limits"]["memory"] = "96Mi"
        same["metadata"]["labels"] = {"ignored": "yes"}
        new = await api.pods.update(same, subresource="resize")
        assert resources_of(new)["limits"] == {"cpu": "500m", "memory": "96Mi"}
        assert "labels" not in new["metadata"]
        assert resources_of(await api.pods.get("p", namespace="default", subresource="resize")) == resources_of(new)
        applied = {"apiVersion": "v1", "kind": "Pod", **change(cpu="400m")}
        new = await api.pods.patch(
            "p",
            applied,
            type=PatchType.APPLY,
            namespace="default",
            subresource="resize",
            field_manager="me",
            force=True,
        )
        assert resources_of(new)["requests"] == {"cpu": "400m", "memory": "64Mi"}
        owner = next(item for item in new["metadata"]["managedFields"] if item["manager"] == "me")
        assert owner["subresource"] == "resize"
        claimed = owner["fieldsV1"]["f:spec"]["f:containers"]['k:{"name":"c"}']
        assert claimed == {"f:resources": {"f:requests": {"f:cpu": {}}}}
        stale = {**new, "metadata": {**new["metadata"], "resourceVersion": made["metadata"]["resourceVersion"]}}
        await refused(api.pods.update(stale, subresource="resize"), 409)

    with_api(body)


def test_the_pod_itself_stays_as_it_is(with_api):
    async def body(api):
        await api.account()
        await api.pods.create(pod())
        error = await refused(
            api.pods.patch("p", change(cpu="200m"), type=PatchType.STRATEGIC, namespace="default"), 422
        )
        assert "pod updates may not change fields other than" in error.message
        with_policy = {"name": "c", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}
        for where in ("", "resize"):
            patch = {"spec": {"containers": [with_policy]}}
            await refused(
                api.pods.patch("p", patch, type=PatchType.STRATEGIC, namespace="default", subresource=where), 422
            )
        found = await refused(
            api.pods.patch("p", change(cpu="1"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"),
            422,
        )
        assert "must be less than or equal to cpu limit of 500m" in found.message
        nobody = api.client("jane", "devs").resource("", "v1", "pods")
        await refused(
            nobody.patch("p", change(cpu="2m"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"),
            403,
        )

    with_api(body)


def test_editors_may_resize_and_node_agents_may_not(with_api):
    async def body(api):
        await api.account()
        await node(api)
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "b", "namespace": "default"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        bindings = api.client().resource("rbac.authorization.k8s.io", "v1", "rolebindings")
        await bindings.create(binding)
        await bindings.list()
        await api.pods.create(pod(nodeName="n"))
        jane = api.client("jane", "devs").resource("", "v1", "pods")
        new = await jane.patch(
            "p", change(cpu="200m"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"
        )
        assert resources_of(new)["requests"]["cpu"] == "200m"
        agent = api.client("system:node:n", "system:nodes").resource("", "v1", "pods")
        await refused(
            agent.patch("p", change(cpu="300m"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"),
            403,
        )

    with_api(body)


def test_a_bound_pod_does_not_outgrow_its_node(with_api):
    async def body(api):
        await api.account()
        await node(api, cpu="400m")
        await api.pods.create(pod(nodeName="n"))
        error = await refused(
            api.pods.patch(
                "p", change(cpu="450m"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"
            ),
            403,
        )
        assert error.message == (
            'pods "p" is forbidden: Node didn\'t have enough allocatable resources: '
            "cpu, requested: 450, allocatable: 400"
        )
        assert [cause["reason"] for cause in error.status["details"]["causes"]] == ["NodeCapacity"]
        new = await api.pods.patch(
            "p", change(cpu="400m"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"
        )
        assert resources_of(new)["requests"]["cpu"] == "400m"
        await api.pods.create(pod("free"))
        await api.pods.patch(
            "free", change(cpu="450m"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"
        )

    with_api(body)


def test_quotas_and_limit_ranges_hold_for_resizes(with_api):
    async def body(api):
        await api.account()
        quotas = api.client().resource("", "v1", "resourcequotas")
        made = await quotas.create(
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "q", "namespace": "default"},
                "spec": {"hard": {"requests.cpu": "250m"}},
            }
        )
        made["status"] = {"hard": {"requests.cpu": "250m"}, "used": {"requests.cpu": "0"}}
        await quotas.update(made, subresource="status")
        ranges = api.client().resource("", "v1", "limitranges")
        await ranges.create(
            {
                "apiVersion": "v1",
                "kind": "LimitRange",
                "metadata": {"name": "l", "namespace": "default"},
                "spec": {"limits": [{"type": "Container", "min": {"memory": "32Mi"}}]},
            }
        )
        await quotas.list()
        await ranges.list()
        await api.pods.create(pod())
        error = await refused(
            api.pods.patch(
                "p", change(cpu="300m"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"
            ),
            403,
        )
        assert "exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=100m" in error.message
        await api.pods.patch(
            "p", change(cpu="250m"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"
        )
        assert (await quotas.get("q", namespace="default"))["status"]["used"] == {"requests.cpu": "250m"}
        error = await refused(
            api.pods.patch(
                "p", change(memory="16Mi"), type=PatchType.STRATEGIC, namespace="default", subresource="resize"
            ),
            403,
        )
        assert "minimum memory usage per Container is 32Mi, but request is 16Mi" in error.message

    with_api(body)
