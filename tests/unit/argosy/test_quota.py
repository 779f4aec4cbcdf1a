"""What objects use, in the names of quotas."""

import pytest

from argosy import quota
from argosy.kinds.resource_quota import RESOURCE_QUOTA


def pod(*containers, **spec):
    made = [{"name": f"c{i}", "resources": resources} for i, resources in enumerate(containers)]
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": made, **spec}}


def used(group, plural, obj):
    return {name: str(value) for name, value in quota.usage_of(group, plural, obj, 1000.0).items()}


def test_a_pod_uses_what_its_containers_ask_for():
    ask = {"requests": {"cpu": "100m", "memory": "1Gi", "example.org/gpu": "2"}, "limits": {"cpu": "1"}}
    assert used("", "pods", pod(ask, ask)) == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "200m",
        "requests.cpu": "200m",
        "limits.cpu": "2",
        "memory": "2Gi",
        "requests.memory": "2Gi",
        "requests.example.org/gpu": "4",
    }


def test_init_containers_and_sidecars_count_at_the_peak():
    def asks(cpu, **rest):
        return {"name": "i", "resources": {"requests": {"cpu": cpu}}, **rest}

    sidecar = asks("2", restartPolicy="Always")
    made = pod({"requests": {"cpu": "1"}}, initContainers=[sidecar, asks("3")], overhead={"cpu": "100m"})
    assert used("", "pods", made)["cpu"] == "5100m"
    made = pod({"requests": {"cpu": "1"}}, initContainers=[sidecar])
    assert used("", "pods", made)["cpu"] == "3"


def test_pods_that_are_over_are_only_counted():
    for status in ("Succeeded", "Failed"):
        assert used("", "pods", {**pod({}), "status": {"phase": status}}) == {"count/pods": "1"}
    going = pod({})
    going["metadata"] |= {"deletionTimestamp": "1970-01-01T00:16:00Z", "deletionGracePeriodSeconds": 30}
    assert used("", "pods", going) == {"count/pods": "1"}
    going["metadata"]["deletionTimestamp"] = "1970-01-01T00:17:00Z"
    assert used("", "pods", going)["pods"] == "1"


def test_services_and_claims():
    ports = [{"port": 1, "nodePort": 30001}, {"port": 2}]
    found = used("", "services", {"spec": {"type": "LoadBalancer", "ports": ports}})
    assert (found["services.loadbalancers"], found["services.nodeports"]) == ("1", "2")
    bare = {"spec": {"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": False}}
    assert used("", "services", bare)["services.nodeports"] == "1"
    assert used("", "services", {"spec": {"ports": ports}})["services.nodeports"] == "0"
    claim = {"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "3Gi"}}}}
    assert used("", "persistentvolumeclaims", claim) == {
        "count/persistentvolumeclaims": "1",
        "persistentvolumeclaims": "1",
        "requests.storage": "3Gi",
        "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "fast.storageclass.storage.k8s.io/requests.storage": "3Gi",
    }
    assert used("", "secrets", {}) == {"count/secrets": "1", "secrets": "1"}
    assert used("example.org", "widgets", {}) == {"count/widgets.example.org": "1"}


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("pods", "pods"), ("cpu", "pods"), ("requests.memory", "pods"), ("limits.cpu", "pods"),
        ("requests.example.org/gpu", "pods"), ("hugepages-2Mi", "pods"), ("requests.hugepages-2Mi", "pods"),
        ("count/pods", "pods"), ("services.nodeports", "services"), ("requests.storage", "persistentvolumeclaims"),
        ("fast.storageclass.storage.k8s.io/requests.storage", "persistentvolumeclaims"), ("secrets", "secrets"),
    ],
)  # fmt: skip
def test_each_name_is_about_one_resource(name, about):
    kinds = ("pods", "services", "persistentvolumeclaims", "secrets", "configmaps")
    assert [plural for plural in kinds if quota.is_tracked(name, "", plural)] == [about]


def within(made, *scopes, **selector):
    spec = {"scopes": list(scopes)}
    if selector:
        spec["scopeSelector"] = {"matchExpressions": [{"scopeName": "PriorityClass", **selector}]}
    return quota.covers({"spec": spec}, "", "pods", made)


def test_scopes_choose_pods():
    best, burst = pod({}), pod({"requests": {"cpu": "1"}})
    ending, classy = pod({}, activeDeadlineSeconds=5), pod({}, priorityClassName="high")
    assert within(best) and within(best, "BestEffort", "NotTerminating") and not within(best, "NotBestEffort")
    assert within(burst, "NotBestEffort") and not within(burst, "BestEffort")
    assert within(ending, "Terminating") and not within(ending, "NotTerminating")
    assert within(classy, "PriorityClass") and not within(best, "PriorityClass")
    assert within(classy, operator="In", values=["high"]) and not within(classy, operator="NotIn", values=["high"])
    assert within(best, operator="DoesNotExist") and not within(best, operator="In", values=["high"])
    term = {"podAffinityTerm": {"namespaces": ["x"]}}
    far = pod({}, affinity={"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}})
    assert within(far, "CrossNamespacePodAffinity") and not within(best, "CrossNamespacePodAffinity")
    assert not quota.covers({"spec": {"scopes": ["BestEffort"]}}, "", "secrets", {})


def test_what_containers_leave_open():
    made = pod({"requests": {"cpu": "1"}}, {})
    names = ["requests.cpu", "limits.memory", "pods", "requests.ephemeral-storage"]
    assert quota.unsaid(made, names) == "must specify limits.memory for: c0,c1; requests.cpu for: c1"
    assert quota.unsaid(pod({"requests": {"cpu": "1"}}), ["cpu"]) == ""


def test_charging():
    full = {"status": {"hard": {"pods": "2", "cpu": "1"}, "used": {"pods": "1", "cpu": "800m"}}}
    one = {"pods": quota.ONE, "cpu": quota.quantity.parse("300m"), "memory": quota.ONE}
    new, exceeded = quota.charge(full, one)
    assert quota.shown(new) == "cpu=1100m,pods=2"
    assert {name: tuple(map(str, values)) for name, values in exceeded.items()} == {"cpu": ("300m", "800m", "1")}
    assert quota.lowers(full, {"pods": "0"}) and not quota.lowers(full, {"pods": "1", "cpu": "900m"})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"hard": {"nonsense": "1"}}, "must be a standard resource for quota"),
        ({"scopes": ["Nowhere"]}, "unsupported scope"),
        ({"scopes": ["BestEffort", "NotBestEffort"], "hard": {"pods": "1"}}, "conflicting scopes"),
        ({"scopes": ["BestEffort"], "hard": {"cpu": "1"}}, "unsupported scope applied to resource"),
        ({"scopes": ["Terminating"], "hard": {"secrets": "1"}}, "unsupported scope applied to resource"),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}},
            "must be at least one value",
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "BestEffort", "operator": "In", "values": ["x"]}]}},
            "must be 'Exist' only operator",
        ),
    ],
)
def test_bad_quotas_are_refused(spec, said):
    assert any(said in str(failure) for failure in RESOURCE_QUOTA.validate({"spec": spec}))


def test_a_pod_that_is_resized_counts_for_the_most_of_it():
    made = pod({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}})
    held = {"requests": {"cpu": "3"}, "limits": {"cpu": "4"}}
    status = {"name": "c0", "allocatedResources": {"cpu": "2"}, "resources": held}
    made["status"] = {"containerStatuses": [status]}
    assert (used("", "pods", made)["cpu"], used("", "pods", made)["limits.cpu"]) == ("3", "4")
    larger = pod({"requests": {"cpu": "8"}, "limits": {"cpu": "9"}})
    larger["status"] = made["status"]
    assert (used("", "pods", larger)["cpu"], used("", "pods", larger)["limits.cpu"]) == ("8", "9")
    never = [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]
    larger["status"] = {**made["status"], "conditions": never}
    assert (used("", "pods", larger)["cpu"], used("", "pods", larger)["limits.cpu"]) == ("3", "4")
