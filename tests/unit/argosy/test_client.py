"""The client: errors carry the server's Status, reads go to another server, writes are never sent twice."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import orjson
import pytest

from argosy.builtin_resources import Builtin, BuiltinResources
from argosy.client import SERVICE, Client, retry_conflicts
from argosy.host import SeededRng
from argosy.kinds import KINDS
from argosy.objects import status
from argosy.objects.types import JsonObject
from argosy.pb import api_pb2 as pb
from argosy.pods import Pods
from argosy.rpc import Call, Methods
from argosy.rpc_memory import MemoryNetwork
from tests.sim import virtual
from tests.unit.controllers.memory_api import MemoryApi


def config_map(name: str, **data: str) -> JsonObject:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def run(body: Callable[[MemoryApi, MemoryNetwork, Client], Awaitable[None]]) -> None:
    """Two servers, `a` and `b`, on one state; the client knows both."""

    async def main() -> None:
        api = MemoryApi(virtual.virtual_host(asyncio.get_running_loop(), 1))
        network = MemoryNetwork(SeededRng(1))
        for name in ("a", "b"):
            await network.host(name).serve(f"{name}:6444", api.methods())
        await body(api, network, Client(network.host("one"), ["a:6444", "b:6444"]))

    virtual.run(main())


def test_errors_are_the_servers() -> None:
    async def body(_api: MemoryApi, _network: MemoryNetwork, client: Client) -> None:
        maps = client.resource("", "v1", "configmaps")
        with pytest.raises(status.ApiError) as missing:
            await maps.get("x", namespace="default")
        assert (missing.value.code, missing.value.message) == (404, 'configmaps "x" not found')
        first = await maps.create(config_map("x"))
        await maps.update({**first, "data": {"a": "1"}})
        with pytest.raises(status.ApiError) as stale:
            await maps.update({**first, "data": {"a": "2"}})
        assert stale.value.reason == "Conflict"

    run(body)


def test_reads_go_to_the_next_server_and_writes_do_when_asked_again() -> None:
    async def body(api: MemoryApi, network: MemoryNetwork, client: Client) -> None:
        maps = client.resource("", "v1", "configmaps")
        api.put("configmaps", config_map("x"))
        network.crash("a")
        assert (await maps.get("x", namespace="default"))["metadata"]["name"] == "x"
        await maps.create(config_map("y"))
        network.crash("b")
        with pytest.raises(status.ApiError) as away:
            await maps.get("x", namespace="default")
        assert away.value.code == 503
        with pytest.raises(status.ApiError) as unwritten:
            await maps.create(config_map("z"))
        assert unwritten.value.code == 503
        assert [call[2] for call in api.calls] == ["default/y"]

    run(body)


def test_a_server_that_hangs_is_left_for_the_next_one() -> None:
    async def body(api: MemoryApi, network: MemoryNetwork, client: Client) -> None:
        maps = client.resource("", "v1", "configmaps")

        async def hang(_body: bytes, _call: Call) -> bytes:
            await asyncio.sleep(3600)
            return b""

        network.crash("a")
        await network.host("a").serve("a:6444", Methods(dict.fromkeys(api.methods().unary, hang), {}))
        with pytest.raises(status.ApiError) as late:
            await maps.create(config_map("x"))
        assert late.value.code == 504
        await maps.create(config_map("x"))
        assert [call[2] for call in api.calls] == ["default/x"]

    run(body)


def test_a_collection_is_deleted_in_one_call() -> None:
    async def body(api: MemoryApi, _network: MemoryNetwork, client: Client) -> None:
        for name in ("x", "y"):
            api.put("configmaps", config_map(name))
        gone = await client.resource("", "v1", "configmaps").delete_collection(namespace="default")
        assert len(gone["items"]) == 2
        assert api.all("configmaps") == []

    run(body)


def test_conflicts_are_tried_again_and_then_raised() -> None:
    async def body(api: MemoryApi, _network: MemoryNetwork, client: Client) -> None:
        maps = client.resource("", "v1", "configmaps")
        api.put("configmaps", config_map("x"))
        attempts = 0

        async def attempt() -> JsonObject:
            nonlocal attempts
            attempts += 1
            found = await maps.get("x", namespace="default")
            if attempts < 3:
                api.change("configmaps", "default/x", {"data": {"other": str(attempts)}})
            return await maps.update({**found, "data": {**found["data"], "mine": "1"}})

        written = await retry_conflicts(attempt)
        assert written["data"] == {"other": "2", "mine": "1"}
        attempts = -100
        with pytest.raises(status.ApiError, match="has been modified"):
            await retry_conflicts(attempt, times=3)

    run(body)


def test_reads_are_tried_again_while_patience_lasts() -> None:
    async def body(api: MemoryApi, network: MemoryNetwork, _client: Client) -> None:
        client = Client(network.host("one"), ["a:6444", "b:6444"], patience_s=5.0)
        loop = asyncio.get_running_loop()
        api.put("configmaps", config_map("x"))
        for name in ("a", "b"):
            network.crash(name)

        async def back() -> None:
            await asyncio.sleep(3)
            await network.host("b").serve("b:6444", api.methods())

        coming = asyncio.create_task(back())
        assert await client.configmaps.get("x", namespace="default")
        await coming
        network.crash("b")
        began_s = loop.time()
        with pytest.raises(status.ApiError) as away:
            await client.configmaps.get("x", namespace="default")
        assert away.value.code == 503
        assert 3 < loop.time() - began_s <= 5
        began_s = loop.time()
        with pytest.raises(status.ApiError):
            await client.configmaps.create(config_map("y"))
        assert loop.time() - began_s < 1, "a write is sent once"

    run(body)


def test_every_accessor_is_a_resource_that_is_served() -> None:
    async def body(_api: MemoryApi, _network: MemoryNetwork, client: Client) -> None:
        names = [name for name, value in vars(BuiltinResources).items() if isinstance(value, Builtin)]
        assert len(names) > 30
        for name in (*names, "pods"):
            handle = getattr(client, name)
            kind = KINDS.resource(handle.group, name)
            assert kind is not None, name
            assert (handle.version, handle.plural) == (kind.version, name)

    run(body)


def test_built_in_kinds_are_found_by_any_of_their_names() -> None:
    async def body(_api: MemoryApi, _network: MemoryNetwork, client: Client) -> None:
        for name in ("Deployment", "deployments", "deployment", "deploy", "deployments.apps"):
            found = client.kind(name)
            assert (found.group, found.version, found.plural) == ("apps", "v1", "deployments")
        assert isinstance(client.kind("po"), Pods)
        for wrong in ("Website", "deployments.example.com", ""):
            with pytest.raises(status.ApiError, match="the server doesn't have a resource type") as caught:
                client.kind(wrong)
            assert caught.value.code == 404

    run(body)


def resource(plural: str, kind: str, *short: str) -> JsonObject:
    return {
        "resource": plural,
        "responseKind": {"kind": kind},
        "scope": "Namespaced",
        "verbs": ["get"],
        "singularResource": kind.lower(),
        "shortNames": list(short),
    }


def test_custom_resources_are_found_by_discovery() -> None:
    async def body(_api: MemoryApi, network: MemoryNetwork, _client: Client) -> None:
        def group(name: str, *resources: JsonObject) -> JsonObject:
            return {"metadata": {"name": name}, "versions": [{"version": "v1", "resources": list(resources)}]}

        documents = {
            "/api": [group("", resource("pods", "Pod", "po"))],
            "/apis": [
                group("a.example", resource("sites", "Site", "st")),
                group("b.example", resource("sites", "Site")),
            ],
        }

        async def raw(request: bytes, _call: Call) -> bytes:
            found = {"items": documents[pb.RawRequest.FromString(request).path]}
            return pb.Object(json=orjson.dumps(found)).SerializeToString()

        await network.host("c").serve("c:6444", Methods({SERVICE + "GetRaw": raw}, {}))
        client = Client(network.host("one"), ["c:6444"])
        for name in ("Site", "sites", "site", "st", "sites.a.example"):
            assert (await client.find(name)).group == "a.example"
        assert (await client.find("Site.b.example")).group == "b.example"
        assert isinstance(await client.find("Pod"), Pods)
        with pytest.raises(status.ApiError, match='resource type "absent"'):
            await client.find("absent")
        found = await client.resource_of({"apiVersion": "b.example/v1", "kind": "Site"})
        assert (found.group, found.version, found.plural) == ("b.example", "v1", "sites")
        assert (await client.resource_of({"apiVersion": "batch/v1", "kind": "Job"})).plural == "jobs"
        for version, kind in itertools.product(("", "c.example/v1"), ("Site", "")):
            with pytest.raises(status.ApiError, match="no matches for kind"):
                await client.resource_of({"apiVersion": version, "kind": kind})

    run(body)
