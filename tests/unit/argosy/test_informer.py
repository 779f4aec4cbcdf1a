"""Informers: the cache follows the server through broken watches, lost history and re-created objects."""

import asyncio
from collections.abc import Awaitable, Callable

from argosy.client import Client
from argosy.host import SeededRng
from argosy.informer import InformerFactory, by_label
from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.rpc_memory import MemoryNetwork
from tests.sim import virtual
from tests.unit.controllers.memory_api import MemoryApi


def config_map(name: str, value: str = "", **labels: str) -> JsonObject:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}


def run(body: Callable[[MemoryApi, Client, InformerFactory], Awaitable[None]]) -> None:
    async def main() -> None:
        host = virtual.virtual_host(asyncio.get_running_loop(), 1)
        api = MemoryApi(host)
        network = MemoryNetwork(SeededRng(1))
        client = await api.client(network.host("one"))
        factory = InformerFactory(client, host)
        try:
            await body(api, client, factory)
        finally:
            await factory.stop()

    virtual.run(main())


def record(informer) -> list[tuple[str, str]]:  # type: ignore[no-untyped-def]
    seen: list[tuple[str, str]] = []
    informer.add_handler(
        added=lambda obj: seen.append(("added", meta.name(obj))),
        updated=lambda _old, obj: seen.append(("updated", meta.name(obj))),
        deleted=lambda obj: seen.append(("deleted", meta.name(obj))),
    )
    return seen


def test_it_lists_then_follows() -> None:
    async def body(api: MemoryApi, client: Client, factory: InformerFactory) -> None:
        api.put("configmaps", config_map("a"))
        informer = factory.informer("", "v1", "configmaps")
        assert informer is factory.informer("", "v1", "configmaps")
        seen = record(informer)
        assert not informer.has_synced
        factory.start()
        await informer.wait_synced()
        await client.resource("", "v1", "configmaps").create(config_map("b"))
        api.change("configmaps", "default/a", {"data": {"value": "2"}})
        api.remove("configmaps", "default/b")
        await asyncio.sleep(1)
        assert seen == [("added", "a"), ("added", "b"), ("updated", "a"), ("deleted", "b")]
        assert informer.keys() == ["default/a"]
        found = informer.get("default/a")
        assert found is not None and found["data"]["value"] == "2"
        assert informer.resource_version == str(api.revision)

    run(body)


def test_a_broken_watch_resumes_without_listing() -> None:
    async def body(api: MemoryApi, _client: Client, factory: InformerFactory) -> None:
        informer = factory.informer("", "v1", "configmaps")
        factory.start()
        await informer.wait_synced()
        await asyncio.sleep(1)
        api.break_watches()
        api.put("configmaps", config_map("a"))
        await asyncio.sleep(30)
        assert informer.keys() == ["default/a"]
        assert api.lists == 1

    run(body)


def test_after_410_it_lists_and_reports_what_went_and_what_was_made_anew() -> None:
    async def body(api: MemoryApi, _client: Client, factory: InformerFactory) -> None:
        for name in ("gone", "same", "changed", "renewed"):
            api.put("configmaps", config_map(name))
        informer = factory.informer("", "v1", "configmaps")
        factory.start()
        await informer.wait_synced()
        await asyncio.sleep(1)
        seen = record(informer)
        seen.clear()
        api.break_watches()
        api.remove("configmaps", "default/gone")
        api.remove("configmaps", "default/renewed")
        api.put("configmaps", config_map("renewed"))
        api.put("configmaps", config_map("new"))
        api.change("configmaps", "default/changed", {"data": {"value": "2"}})
        api.compact()
        await asyncio.sleep(30)
        assert sorted(seen) == sorted(
            [
                ("deleted", "gone"),
                ("deleted", "renewed"),
                ("added", "renewed"),
                ("added", "new"),
                ("updated", "changed"),
            ]
        )
        assert seen.index(("deleted", "renewed")) < seen.index(("added", "renewed"))
        assert api.lists == 2

    run(body)


def test_a_name_made_anew_within_the_watch_is_a_delete_and_an_add() -> None:
    async def body(api: MemoryApi, _client: Client, factory: InformerFactory) -> None:
        api.put("configmaps", config_map("a"))
        informer = factory.informer("", "v1", "configmaps")
        factory.start()
        await informer.wait_synced()
        seen = record(informer)
        api.remove("configmaps", "default/a")
        api.put("configmaps", config_map("a"))
        await asyncio.sleep(1)
        assert seen == [("added", "a"), ("deleted", "a"), ("added", "a")]

    run(body)


def test_indexes_follow_changes_and_a_late_index_or_handler_sees_all() -> None:
    async def body(api: MemoryApi, _client: Client, factory: InformerFactory) -> None:
        informer = factory.informer("", "v1", "configmaps")
        informer.add_index("app", by_label("app"))
        factory.start()
        await informer.wait_synced()
        owned = config_map("a", app="web")
        owned["metadata"]["ownerReferences"] = [{"uid": "u1"}, {"uid": "u2"}]
        api.put("configmaps", owned)
        api.put("configmaps", config_map("b", app="db"))
        await asyncio.sleep(1)
        assert [meta.name(obj) for obj in informer.by_index("app", "web")] == ["a"]
        assert [meta.name(obj) for obj in informer.by_owner("u2")] == ["a"]
        api.change("configmaps", "default/a", {"metadata": {"labels": {"app": "db"}, "ownerReferences": None}})
        await asyncio.sleep(1)
        assert informer.by_index("app", "web") == []
        assert informer.by_owner("u2") == []
        assert informer.index_values("app") == ["db"]
        informer.add_index("name", lambda obj: [meta.name(obj)])
        assert len(informer.by_index("name", "b")) == 1
        assert sorted(record(informer)) == [("added", "a"), ("added", "b")]
        assert len(informer.list("default")) == 2
        assert informer.list("other") == []

    run(body)


def test_selectors_narrow_and_leaving_one_is_a_delete() -> None:
    async def body(api: MemoryApi, _client: Client, factory: InformerFactory) -> None:
        api.put("configmaps", config_map("a", app="web"))
        api.put("configmaps", config_map("b"))
        informer = factory.informer("", "v1", "configmaps", labels="app=web")
        seen = record(informer)
        factory.start()
        await informer.wait_synced()
        api.change("configmaps", "default/a", {"metadata": {"labels": {"app": "x"}}})
        await asyncio.sleep(1)
        assert seen == [("added", "a"), ("deleted", "a")]

    run(body)


def test_a_failing_handler_stops_nobody() -> None:
    async def body(api: MemoryApi, _client: Client, factory: InformerFactory) -> None:
        def fail(_obj: JsonObject) -> None:
            raise RuntimeError("broken handler")

        informer = factory.informer("", "v1", "configmaps")
        informer.add_handler(added=fail)
        seen = record(informer)
        factory.start()
        api.put("configmaps", config_map("a"))
        await asyncio.sleep(1)
        assert seen == [("added", "a")]

    run(body)


def test_it_outlives_a_server_that_is_away() -> None:
    async def main() -> None:
        host = virtual.virtual_host(asyncio.get_running_loop(), 1)
        api = MemoryApi(host)
        network = MemoryNetwork(SeededRng(1))
        await network.host("server").serve("api:6444", api.methods())
        client = Client(network.host("one"), ["api:6444"])
        factory = InformerFactory(client, host)
        informer = factory.informer("", "v1", "configmaps")
        factory.start()
        await informer.wait_synced()
        network.crash("server")
        await asyncio.sleep(120)
        api.put("configmaps", config_map("a"))
        await network.host("server").serve("api:6444", api.methods())
        await asyncio.sleep(30)
        assert informer.keys() == ["default/a"]
        await factory.stop()

    virtual.run(main())
