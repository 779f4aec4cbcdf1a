"""What admission adds to objects and what it refuses."""

from __future__ import annotations

import base64

import pytest

from argosy.objects.status import ApiError

TOLERATIONS = [
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for name in ("not-ready", "unreachable")
]
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


async def refused(awaitable, code=403):
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value.status
    return caught.value


def pod(name="p", *, container=None, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "nginx:1", **(container or {})}], **spec},
    }


def test_a_pod_gets_its_account_token_priority_and_tolerations(with_api):
    async def body(api):
        await refused(api.pods.create(pod()))
        await api.account()
        spec = (await api.pods.create(pod()))["spec"]
        assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
        assert spec["tolerations"] == TOLERATIONS
        assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
        (volume,) = spec["volumes"]
        assert volume["name"].startswith("kube-api-access-")
        assert volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3607
        assert spec["containers"][0]["volumeMounts"] == [
            {"name": volume["name"], "readOnly": True, "mountPath": MOUNT}
        ]
        bare = (await api.pods.create(pod("q", automountServiceAccountToken=False)))["spec"]
        assert "volumes" not in bare
        mine = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]
        kept = (await api.pods.create(pod("r", tolerations=mine)))["spec"]["tolerations"]
        assert kept == [*mine, TOLERATIONS[1]]

    with_api(body)


def test_priority_classes_become_numbers(with_api):
    async def body(api):
        await api.account()
        made = await api.pods.create(pod(priorityClassName="system-node-critical"))
        assert made["spec"]["priority"] == 2_000_001_000
        await refused(api.pods.create(pod("q", priorityClassName="nope")))
        await refused(api.pods.create(pod("q", priority=7)))
        classes = api.client().resource("scheduling.k8s.io", "v1", "priorityclasses")
        default = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 5, "globalDefault": True}
        await classes.create({**default, "metadata": {"name": "a"}})
        await classes.list()
        await refused(classes.create({**default, "metadata": {"name": "b"}}))
        assert (await api.pods.create(pod("q")))["spec"]["priority"] == 5

    with_api(body)


def test_limit_ranges_fill_and_bound(with_api):
    async def body(api):
        await api.account()
        ranges = api.client().resource("", "v1", "limitranges")
        container = {"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1"}, "min": {"memory": "16Mi"}}
        await ranges.create(
            {
                "apiVersion": "v1",
                "kind": "LimitRange",
                "metadata": {"name": "l", "namespace": "default"},
                "spec": {"limits": [container, {"type": "Pod", "max": {"memory": "64Mi"}}]},
            }
        )
        await ranges.list()
        little = {"requests": {"memory": "1Mi"}, "limits": {"memory": "32Mi"}}
        error = await refused(api.pods.create(pod(container={"resources": little})))
        assert "minimum memory usage per Container is 16Mi, but request is 1Mi" in error.message
        memory = {"requests": {"memory": "32Mi"}, "limits": {"memory": "32Mi"}}
        made = await api.pods.create(pod(container={"resources": memory}))
        assert made["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "32Mi"}
        assert "cpu limit for container c" in made["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
        much = {"requests": {"memory": "32Mi"}, "limits": {"memory": "32Mi", "cpu": "2"}}
        error = await refused(api.pods.create(pod("q", container={"resources": much})))
        assert "maximum cpu usage per Container is 1, but limit is 2" in error.message
        large = {"requests": {"memory": "80Mi"}, "limits": {"memory": "80Mi"}}
        error = await refused(api.pods.create(pod("q", container={"resources": large})))
        assert "maximum memory usage per Pod is 64Mi" in error.message

    with_api(body)


def test_runtime_classes_bring_overhead_and_scheduling(with_api):
    async def body(api):
        await api.account()
        await refused(api.pods.create(pod(runtimeClassName="vm")))
        classes = api.client().resource("node.k8s.io", "v1", "runtimeclasses")
        await classes.create(
            {
                "apiVersion": "node.k8s.io/v1",
                "kind": "RuntimeClass",
                "metadata": {"name": "vm"},
                "handler": "kata",
                "overhead": {"podFixed": {"cpu": "250m"}},
                "scheduling": {"nodeSelector": {"vm": "yes"}},
            }
        )
        await classes.list()
        spec = (await api.pods.create(pod(runtimeClassName="vm")))["spec"]
        assert (spec["overhead"], spec["nodeSelector"]) == ({"cpu": "250m"}, {"vm": "yes"})
        await refused(api.pods.create(pod("q", runtimeClassName="vm", nodeSelector={"vm": "no"})))

    with_api(body)


def test_debug_containers_come_by_their_subresource_only(with_api):
    async def body(api):
        await api.account()
        made = await api.pods.create(pod())
        debug = {"name": "debug", "image": "busybox:1"}
        made["spec"]["ephemeralContainers"] = [debug]
        await refused(api.pods.update(made), 422)
        changed = await api.pods.update(made, subresource="ephemeralcontainers")
        assert [item["name"] for item in changed["spec"]["ephemeralContainers"]] == ["debug"]
        gone = {**changed, "spec": {**changed["spec"], "ephemeralContainers": []}}
        await refused(api.pods.update(gone, subresource="ephemeralcontainers"), 422)

    with_api(body)


def test_certificate_requests_carry_their_requester_and_are_approved_by_the_permitted(with_api):
    async def body(api):
        pem = b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
        request = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": "csr"},
            "spec": {
                "request": base64.b64encode(pem).decode(),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
                "username": "somebody else",
            },
        }
        requests = api.client().resource("certificates.k8s.io", "v1", "certificatesigningrequests")
        made = await requests.create(request)
        assert made["spec"]["username"] == "kubernetes-admin"
        assert made["spec"]["groups"] == ["system:masters", "system:authenticated"]
        condition = {"type": "Approved", "status": "True", "reason": "Test", "message": "fine"}
        made["status"] = {"conditions": [condition]}
        untouched = await requests.update(made)
        assert not untouched.get("status", {}).get("conditions")
        made["metadata"].pop("resourceVersion")
        approved = await requests.update(made, subresource="approval")
        assert approved["status"]["conditions"][0]["lastUpdateTime"]
        both = {**approved, "status": {"conditions": [condition, {**condition, "type": "Denied"}]}}
        await refused(requests.update(both, subresource="approval"), 422)

    with_api(body)


def test_too_many_calls_at_once_are_told_to_come_again(with_api):
    async def body(api):
        pipeline = api.server.pipeline
        pipeline._free[0] = 0
        error = await refused(api.client("alice").resource("", "v1", "pods").list(), 429)
        assert error.status["details"]["retryAfterSeconds"] == 1
        assert (await api.pods.list()).items == [], "the cluster's admins are not held back"

    with_api(body)
