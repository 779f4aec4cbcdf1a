"""Quotas are counted, given back, and not overspent by way of two API servers; custom resources count too."""

import asyncio
from typing import Any

from argosy.client import Client
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from tests.unit.controllers.cluster import ADMIN_API, MANAGER_API, Cluster, run
from tests.unit.controllers.test_controllers_collection import config_map
from tests.unit.controllers.test_controllers_custom import WIDGETS, define, widget

NAME = "resourcequota-controller"


def quota(name: str = "q", scopes: tuple[str, ...] = (), **hard: str) -> JsonObject:
    named = {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}
    spec: JsonObject = {"hard": named, **({"scopes": list(scopes)} if scopes else {})}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}


def pod(name: str, **spec: Any) -> JsonObject:
    container = {"name": "c", "image": "c:1", "resources": {"requests": {"cpu": "500m"}}}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


async def used(cluster: Cluster, name: str = "q") -> dict[str, str]:
    found = await cluster.get("resourcequotas", f"default/{name}")
    assert found is not None
    return dict(found["status"]["used"])


async def is_refused(cluster: Cluster, plural: str, obj: JsonObject) -> bool:
    try:
        await cluster.create(plural, obj)
    except ApiError as error:
        return error.code == 403 and "exceeded quota" in error.message
    return False


def test_what_is_there_is_counted_and_what_goes_is_given_back() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(NAME)
        await cluster.settle(2)
        await cluster.create("configmaps", config_map("a"))
        await cluster.create("pods", pod("p"))
        await cluster.create("resourcequotas", quota(pods="1", requests_cpu="1", configmaps="2", count__pods="9"))
        await cluster.settle(2)
        assert await used(cluster) == {"pods": "1", "requests.cpu": "500m", "configmaps": "1", "count/pods": "1"}
        assert await is_refused(cluster, "pods", pod("q"))
        await cluster.delete("pods", "default/p")
        await cluster.delete("configmaps", "default/a")
        await cluster.settle(3)
        assert await used(cluster) == {"pods": "0", "requests.cpu": "0", "configmaps": "0", "count/pods": "0"}
        await cluster.create("pods", pod("q"))
        assert (await used(cluster))["pods"] == "1"

    run(body)


def test_finished_pods_are_given_back_and_scopes_are_kept_apart() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(NAME)
        await cluster.settle(2)
        await cluster.create("resourcequotas", quota("long", ("NotTerminating",), pods="5"))
        await cluster.create("resourcequotas", quota("short", ("Terminating",), pods="1"))
        await cluster.settle(2)
        await cluster.create("pods", pod("a"))
        await cluster.create("pods", pod("b", activeDeadlineSeconds=60))
        assert await used(cluster, "long") == await used(cluster, "short") == {"pods": "1"}
        assert await is_refused(cluster, "pods", pod("c", activeDeadlineSeconds=60))
        found = await cluster.get("pods", "default/b")
        assert found is not None
        await cluster.resource("pods").update_status({**found, "status": {"phase": "Succeeded"}})
        await cluster.settle(3)
        assert await used(cluster, "short") == {"pods": "0"}
        assert await used(cluster, "long") == {"pods": "1"}

    run(body)


def test_custom_resources_are_counted() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(NAME)
        await cluster.create("resourcequotas", quota(count__widgets_example_com="1"))
        await cluster.settle(2)
        assert await used(cluster) == {"count/widgets.example.com": "0"}
        await define(cluster)
        await cluster.create(WIDGETS, widget("one"))
        assert await used(cluster) == {"count/widgets.example.com": "1"}
        assert await is_refused(cluster, WIDGETS, widget("two"))
        await cluster.settle(40)
        assert await used(cluster) == {"count/widgets.example.com": "1"}
        await cluster.delete(WIDGETS, "default/one")
        await cluster.settle(5)
        assert await used(cluster) == {"count/widgets.example.com": "0"}

    run(body)


def test_a_count_that_was_lost_is_found_again() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(NAME, resource_quota_sync_period=20.0)
        await cluster.create("resourcequotas", quota(configmaps="5"))
        await cluster.settle(2)
        await cluster.create("configmaps", config_map("a"))
        for _ in range(2):
            try:
                await cluster.create("configmaps", config_map("a"))
            except ApiError as error:
                assert error.reason == "AlreadyExists"
        assert await used(cluster) == {"configmaps": "3"}
        await cluster.settle(30)
        assert await used(cluster) == {"configmaps": "1"}

    run(body)


def test_two_api_servers_cannot_overspend() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(NAME)
        await cluster.create("resourcequotas", quota(configmaps="7"))
        await cluster.settle(2)
        one = cluster.client.resource("", "v1", "configmaps")
        two = Client(cluster.network.host("second"), [MANAGER_API]).resource("", "v1", "configmaps")
        assert ADMIN_API != MANAGER_API
        made = 0

        async def create(number: int) -> None:
            nonlocal made
            try:
                await (one if number % 2 else two).create(config_map(f"c{number}"))
            except ApiError as error:
                assert error.code == 403, error.status
            else:
                made += 1

        await asyncio.gather(*(create(number) for number in range(24)))
        assert (made, await used(cluster)) == (7, {"configmaps": "7"})
        await cluster.settle(20)
        assert await used(cluster) == {"configmaps": "7"}

    run(body)


def test_a_pod_that_shrinks_gives_back_when_its_node_has_done_it() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(NAME)
        await cluster.settle(2)
        await cluster.create("resourcequotas", quota(requests_cpu="1"))
        await cluster.settle(2)
        made = await cluster.create("pods", pod("p"))
        large = {"requests": {"cpu": "500m"}}
        told = {"name": "c", "allocatedResources": large["requests"], "resources": large}
        made = await cluster.resource("pods").update_status(
            {**made, "status": {**made["status"], "phase": "Running", "containerStatuses": [told]}}
        )
        small = {"requests": {"cpu": "100m"}}
        container = {**made["spec"]["containers"][0], "resources": small}
        asked = {**made, "spec": {**made["spec"], "containers": [container]}}
        made = await cluster.resource("pods").update(asked, subresource="resize")
        await cluster.settle(3)
        assert await used(cluster) == {"requests.cpu": "500m"}
        told = {"name": "c", "allocatedResources": small["requests"], "resources": small}
        await cluster.resource("pods").update_status(
            {**made, "status": {**made["status"], "containerStatuses": [told]}}
        )
        await cluster.settle(3)
        assert await used(cluster) == {"requests.cpu": "100m"}

    run(body)
