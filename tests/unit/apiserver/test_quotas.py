"""ResourceQuota and LimitRange on a whole API server: what is charged, what is too much, and two at once."""

from __future__ import annotations

import asyncio

import pytest

from argosy.objects.status import ApiError


async def refused(awaitable, code=403):
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value.status
    return caught.value.message


def quotas_of(api):
    return api.client().resource("", "v1", "resourcequotas")


async def quota(api, name="q", used=None, **hard):
    """A quota that was counted already."""
    named = {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}
    metadata = {"name": name, "namespace": "default"}
    made = await quotas_of(api).create(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": named}}
    )
    status = {"hard": named, "used": used or dict.fromkeys(named, "0")}
    await quotas_of(api).update_status({**made, "status": status})
    await api.server.parts.feeder.consistent()


async def used(api, name="q"):
    return (await quotas_of(api).get(name, namespace="default"))["status"]["used"]


def config_map(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


def pod(name, **resources):
    container = {"name": "c", "image": "c:1", "resources": resources}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def test_what_is_created_is_charged_until_it_is_too_much(with_api):
    async def body(api):
        await quota(api, configmaps="2", count__configmaps="5", secrets="1")
        await api.configmaps.create(config_map("a"))
        await api.configmaps.create(config_map("b"), dry_run=True)
        assert await used(api) == {"configmaps": "1", "count/configmaps": "1", "secrets": "0"}
        await api.configmaps.create(config_map("b"))
        said = await refused(api.configmaps.create(config_map("c")))
        assert said == (
            'configmaps "c" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, '
            "limited: configmaps=2"
        )
        assert await used(api) == {"configmaps": "2", "count/configmaps": "2", "secrets": "0"}

    with_api(body)


def test_pods_must_say_what_is_counted(with_api):
    async def body(api):
        await api.account()
        await quota(api, pods="2", requests_cpu="1", limits_memory="1Gi")
        said = await refused(api.pods.create(pod("a")))
        assert said == (
            'pods "a" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c'
        )
        whole = {"requests": {"cpu": "600m"}, "limits": {"memory": "512Mi", "cpu": "1"}}
        await api.pods.create(pod("a", **whole))
        assert await used(api) == {"pods": "1", "requests.cpu": "600m", "limits.memory": "512Mi"}
        said = await refused(api.pods.create(pod("b", **whole)))
        assert "requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1" in said

    with_api(body)


def test_a_quota_that_was_not_counted(with_api):
    async def body(api):
        metadata = {"name": "new", "namespace": "default"}
        spec = {"hard": {"configmaps": "0"}}
        await quotas_of(api).create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec})
        await api.server.parts.feeder.consistent()
        await api.configmaps.create(config_map("a"))
        await quota(api, "half", used={"secrets": "0"}, configmaps="1")
        said = await refused(api.configmaps.create(config_map("b")))
        assert said.endswith("status unknown for quota: half, resources: configmaps")

    with_api(body)


def test_changes_are_charged_for_what_is_more(with_api):
    async def body(api):
        await quota(api, services_nodeports="2", services="5")
        services = api.client().resource("", "v1", "services")
        spec = {"type": "NodePort", "ports": [{"name": "a", "port": 1}]}
        metadata = {"name": "s", "namespace": "default"}
        await services.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        assert await used(api) == {"services.nodeports": "1", "services": "1"}
        two = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
        await services.patch("s", {"spec": {"ports": two}}, namespace="default")
        assert await used(api) == {"services.nodeports": "2", "services": "1"}
        three = [*two, {"name": "c", "port": 3}]
        said = await refused(services.patch("s", {"spec": {"ports": three}}, namespace="default"))
        assert "requested: services.nodeports=1, used: services.nodeports=2, limited: services.nodeports=2" in said

    with_api(body)


def test_many_at_once_cannot_overspend(with_api):
    async def body(api):
        await quota(api, configmaps="5")
        await quota(api, "other", configmaps="100")
        results = await asyncio.gather(
            *(api.configmaps.create(config_map(f"c{number}")) for number in range(30)), return_exceptions=True
        )
        made = [result for result in results if isinstance(result, dict)]
        assert len(made) == 5
        assert all(isinstance(result, dict) or result.code == 403 for result in results)
        assert await used(api) == {"configmaps": "5"}

    with_api(body)


def limits_of(api, *items):
    ranges = api.client().resource("", "v1", "limitranges")
    metadata = {"name": "l", "namespace": "default"}
    return ranges.create(
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": list(items)}}
    )


def test_limit_ranges_bound_containers_pods_and_claims(with_api):
    async def body(api):
        await api.account()
        await limits_of(
            api,
            {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "4"}},
            {"type": "Pod", "max": {"memory": "1Gi"}},
            {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}},
        )
        await api.server.parts.feeder.consistent()
        fine = {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}}
        await api.pods.create(pod("fine", **fine))
        cases = [
            ({"requests": {"cpu": "50m"}, "limits": {"cpu": "60m", "memory": "1"}},
             "minimum cpu usage per Container is 100m, but request is 50m"),
            ({"requests": {"cpu": "500m"}, "limits": {"cpu": "3", "memory": "1"}},
             "maximum cpu usage per Container is 2, but limit is 3"),
            ({"requests": {"cpu": "100m"}, "limits": {"cpu": "2", "memory": "1"}},
             "cpu max limit to request ratio per Container is 4, but provided ratio is 20.000000"),
            ({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}},
             "maximum memory usage per Pod is 1Gi.  No limit is specified"),
            ({"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "2Gi"}},
             "maximum memory usage per Pod is 1Gi, but limit is 2Gi"),
        ]  # fmt: skip
        for resources, expected in cases:
            said = await refused(api.pods.create(pod("bad", **resources)))
            assert expected in said, said
        claims = api.client().resource("", "v1", "persistentvolumeclaims")
        metadata = {"name": "c", "namespace": "default"}
        for size, expected in (("512Mi", "but request is 512Mi"), ("3Gi", "usage per PersistentVolumeClaim is 2Gi")):
            spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
            claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
            said = await refused(claims.create(claim))
            assert expected in said, said

    with_api(body)
