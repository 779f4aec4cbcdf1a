"""pods/resize: what it takes of a pod and what it allows (pkg/apis/core/validation, TestValidatePodResize)."""

from __future__ import annotations

import pytest

from argosy.kinds.pod import POD
from argosy.kinds.pod_resize import resized, validate_resize
from argosy.objects import meta

SMALL = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}}
EXACT = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}


def container(name="c", resources=None, **more):
    return {"name": name, "image": "i", "resources": SMALL if resources is None else resources, **more}


def pod(*containers, init=(), status=None, **spec):
    made = {"metadata": {"name": "p"}, "spec": {"containers": [*containers], **spec}, "status": status or {}}
    if init:
        made["spec"]["initContainers"] = [*init]
    return made


def complaints(new, old):
    return [str(error) for error in validate_resize(resized(new, old), old)]


def test_cpu_and_memory_may_grow_and_shrink_and_limits_may_come():
    old = pod(container(), container("d", {"requests": {"cpu": "1"}}))
    more = {"requests": {"cpu": "150m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}
    new = pod(container(resources=more), container("d", {"requests": {"cpu": "500m"}, "limits": {"cpu": "2"}}))
    assert complaints(new, old) == []
    assert resized(new, old)["spec"]["containers"][0]["resources"] == more


def test_only_resources_and_policies_are_taken():
    old = pod(container())
    new = pod(container(image="other", env=[{"name": "a"}]), nodeName="n", activeDeadlineSeconds=5)
    new["metadata"] = {"name": "p", "labels": {"a": "b"}}
    new["status"] = {"phase": "Failed"}
    assert resized(new, old) == old


def test_nothing_that_is_set_may_be_removed():
    new = pod(container(resources={"requests": {"cpu": "100m"}}))
    assert complaints(new, pod(container())) == [
        "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
        "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
    ]


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (SMALL, {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}, "Burstable"),
        (EXACT, {**EXACT, "requests": {"cpu": "500m", "memory": "1Gi"}}, "Guaranteed"),
        ({}, {"requests": {"cpu": "1"}}, "BestEffort"),
    ],
)
def test_the_qos_class_stays(before, after, shown):
    old = pod(container(resources=before))
    assert complaints(pod(container(resources=after)), old) == [
        f'spec: Invalid value: "{shown}": Pod QOS Class may not change as a result of resizing'
    ]


def test_equal_amounts_in_other_units_keep_a_guaranteed_pod():
    same = {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    assert complaints(pod(container(resources=same)), pod(container(resources=EXACT))) == []


def test_other_resources_and_policies_are_fixed():
    old = pod(container(resizePolicy=[{"resourceName": "cpu", "restartPolicy": "NotRequired"}]))
    storage = {**SMALL, "requests": {**SMALL["requests"], "ephemeral-storage": "1Gi"}}
    only = ["spec: Forbidden: only cpu and memory resources are mutable"]
    assert (
        complaints(pod(container(resources=storage, resizePolicy=old["spec"]["containers"][0]["resizePolicy"])), old)
        == only
    )
    restart = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    assert complaints(pod(container(resizePolicy=restart)), old) == only
    assert complaints(pod(container()), old) == only


def test_containers_stay_in_their_order():
    old = pod(container("a"), container("b"))
    assert complaints(pod(container("b"), container("a")), old) == [
        "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
    ]
    assert complaints(pod(container("a")), old) == [
        "spec.containers: Forbidden: containers may not be added or removed on resize"
    ]


def test_sidecars_are_resized_and_other_init_containers_are_not():
    larger = {**SMALL, "limits": {"cpu": "1", "memory": "1Gi"}}
    sidecar = pod(container(), init=[container("s", restartPolicy="Always")])
    assert complaints(pod(container(), init=[container("s", larger, restartPolicy="Always")]), sidecar) == []
    less = pod(container(), init=[container("s", {"requests": {"cpu": "1"}}, restartPolicy="Always")])
    assert "spec.initContainers[0].resources.limits: Forbidden: resource limits cannot be removed" in complaints(
        less, sidecar
    )
    plain = pod(container(), init=[container("i")])
    assert complaints(pod(container(), init=[container("i", larger)]), plain) == [
        "spec: Forbidden: resources for non-sidecar init containers are immutable"
    ]


def test_pods_that_cannot_be_resized_at_all():
    new = pod(container(resources={**SMALL, "limits": {"cpu": "1", "memory": "1Gi"}}))
    mute = {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}
    assert complaints(new, pod(container(), status=mute)) == [
        "spec: Forbidden: Pod running on node without support for resize"
    ]
    telling = {"containerStatuses": [{"name": "c", "state": {"running": {}}, "resources": {}}]}
    assert complaints(new, pod(container(), status=telling)) == []
    whole = pod(container(), resources={"requests": {"cpu": "1"}})
    assert "pods with pod-level resources cannot be resized" in complaints(new, whole)[0]
    mirror = pod(container())
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert "static pods cannot be resized" in complaints(new, mirror)[0]
    assert "windows pods cannot be resized" in complaints(new, pod(container(), os={"name": "windows"}))[0]


@pytest.mark.parametrize(
    ("policies", "restart", "expected"),
    [
        ([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}], "Always", []),
        ([{"resourceName": "memory", "restartPolicy": "NotRequired"}], "Never", []),
        (
            [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}], "Never",
            ["must be 'NotRequired' when `restartPolicy` is 'Never'"],
        ),
        (
            [{"resourceName": "storage", "restartPolicy": "Sometimes"}], "Always",
            ['Unsupported value: "storage"', 'Unsupported value: "Sometimes"'],
        ),
        (
            [{"resourceName": "cpu", "restartPolicy": "NotRequired"}] * 2, "Always",
            ["spec.containers[0].resizePolicy[1]: Duplicate value"],
        ),
        ([{}], "Always", ["Required value", "Required value"]),
    ],
)  # fmt: skip
def test_resize_policies(policies, restart, expected):
    made = pod(container(resizePolicy=policies), restartPolicy=restart)
    POD.default(made)
    found = [str(error) for error in POD.validate(made) if "resizePolicy" in str(error)]
    assert len(found) == len(expected)
    assert all(text in error for text, error in zip(expected, found, strict=True))


def test_init_containers_have_no_resize_policy_unless_they_are_sidecars():
    policy = [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]
    made = pod(container(), init=[container("i", resizePolicy=policy)])
    POD.default(made)
    assert any("must not be set for init containers" in str(error) for error in POD.validate(made))
    side = pod(container(), init=[container("i", resizePolicy=policy, restartPolicy="Always")])
    POD.default(side)
    assert POD.validate(side) == []
    assert meta.spec(side)["initContainers"][0]["resizePolicy"] == policy
