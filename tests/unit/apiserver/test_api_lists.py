"""Lists and watches: resource versions, paging, selectors, transitions, bookmarks, expiry."""

from __future__ import annotations

import asyncio

import pytest

from argosy.client import EventType
from argosy.objects.status import ApiError
from argosy.pb import api_pb2 as pb
from control_plane.apiserver.cache import resource as resource_cache


def config_map(name="cm", labels=None, **data):
    metadata = {"name": name, "namespace": "default", **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def refused(awaitable, code):
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value.status
    return caught.value


async def take(watch, count):
    found = []
    while len(found) < count:
        found.append(await asyncio.wait_for(anext(watch), 5.0))
    return found


def names(items):
    return [item["metadata"]["name"] for item in items]


def test_pages_hold_still_while_the_world_changes(with_api):
    async def body(api):
        for number in range(7):
            await api.configmaps.create(config_map(f"cm-{number}"))
        first = await api.configmaps.list(namespace="default", limit=3)
        assert (names(first.items), first.remaining) == (["cm-0", "cm-1", "cm-2"], 4)
        await api.configmaps.delete("cm-4", namespace="default")
        await api.configmaps.create(config_map("cm-41"))
        second = await api.configmaps.list(namespace="default", limit=3, continue_=first.continue_)
        assert (names(second.items), second.remaining) == (["cm-3", "cm-4", "cm-5"], 1)
        assert second.resource_version == first.resource_version
        third = await api.configmaps.list(namespace="default", limit=3, continue_=second.continue_)
        assert (names(third.items), third.continue_) == (["cm-6"], "")

    with_api(body)


def test_a_page_after_compaction_is_expired_with_a_way_on(with_api):
    async def body(api):
        for number in range(4):
            await api.configmaps.create(config_map(f"cm-{number}"))
        first = await api.configmaps.list(namespace="default", limit=2)
        await api.configmaps.create(config_map("cm-11"))
        latest = await api.configmaps.create(config_map("cm-9"))
        await api.server.parts.store.client.compact(int(latest["metadata"]["resourceVersion"]))
        error = await refused(api.configmaps.list(namespace="default", limit=2, continue_=first.continue_), 410)
        assert error.reason == "Expired"
        onwards = error.status["metadata"]["continue"]
        rest = await api.configmaps.list(namespace="default", continue_=onwards)
        assert names(rest.items) == ["cm-11", "cm-2", "cm-3", "cm-9"]

    with_api(body)


def test_resource_version_matches(with_api):
    async def body(api):
        made = await api.configmaps.create(config_map(a="1"))
        version = made["metadata"]["resourceVersion"]
        await api.configmaps.update(config_map(a="2"))

        async def listed(**fields):
            request = pb.ListRequest(target=api.configmaps.target(namespace="default"), **fields)
            answer = pb.ObjectList.FromString(await api.client().call("List", request.SerializeToString(), read=True))
            return list(answer.items), answer.resource_version

        exact, at = await listed(resource_version=version, resource_version_match="Exact")
        assert b'"a":"1"' in exact[0]
        assert at == version
        newer, _ = await listed(resource_version=version, resource_version_match="NotOlderThan")
        assert b'"a":"2"' in newer[0]
        await refused(listed(resource_version_match="Exact"), 422)
        await refused(listed(resource_version="0", resource_version_match="Exact"), 422)
        await refused(listed(resource_version="abc"), 400)

    with_api(body)


def test_a_version_of_the_future_is_refused_after_a_while(with_api, monkeypatch):
    from control_plane.apiserver.verbs import reads

    monkeypatch.setattr(reads, "FUTURE_WAIT_S", 0.05)

    async def body(api):
        error = await refused(api.configmaps.list(resource_version="999999"), 504)
        assert error.message.startswith("Timeout: Too large resource version: 999999, current: ")
        assert error.status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"

    with_api(body)


def test_selectors_turn_changes_into_coming_and_going(with_api):
    async def body(api):
        watch = api.configmaps.watch(namespace="default", labels="app=x")
        reading = asyncio.create_task(take(watch, 3))
        await asyncio.sleep(0)
        await api.configmaps.create(config_map("a", {"app": "x"}))
        await api.configmaps.create(config_map("b", {"app": "y"}))
        left = await api.configmaps.patch("a", {"metadata": {"labels": {"app": "y"}}}, namespace="default")
        await api.configmaps.patch("b", {"metadata": {"labels": {"app": "x"}}}, namespace="default")
        events = await reading
        assert [(event.type, event.object["metadata"]["name"]) for event in events] == [
            (EventType.ADDED, "a"),
            (EventType.DELETED, "a"),
            (EventType.ADDED, "b"),
        ]
        assert events[1].object["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
        assert events[1].object["metadata"]["labels"] == {"app": "x"}, "the last state that was seen"
        await watch.aclose()

    with_api(body)


def test_watch_of_a_nodes_pods_sees_them_come_by_binding(with_api):
    async def body(api):
        await api.account()
        watch = api.pods.watch(fields="spec.nodeName=n1", resource_version="1")
        for name in ("p1", "p2"):
            await api.pods.create(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": name, "namespace": "default"},
                    "spec": {"containers": [{"name": "c", "image": "i:1"}]},
                }
            )
        for name, node in (("p1", "n2"), ("p2", "n1")):
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": name, "namespace": "default"},
                "target": {"kind": "Node", "name": node},
            }
            await api.pods.create(binding, name=name, subresource="binding")
        (event,) = await take(watch, 1)
        assert (event.type, event.object["metadata"]["name"]) == (EventType.ADDED, "p2")
        listed = await api.pods.list(fields="spec.nodeName=n2")
        assert names(listed.items) == ["p1"]
        await watch.aclose()

    with_api(body)


def test_resuming_replays_what_was_missed_and_too_old_is_expired(with_api, monkeypatch):
    monkeypatch.setattr(resource_cache, "RING_BYTES", 0)
    monkeypatch.setattr(resource_cache, "RING_MIN_CHANGES", 5)

    async def body(api):
        first = await api.configmaps.create(config_map(n="0"))
        for number in range(4):
            await api.configmaps.update(config_map(n=str(number + 1)))
        version = first["metadata"]["resourceVersion"]
        watch = api.configmaps.watch(namespace="default", resource_version=version)
        events = await take(watch, 4)
        assert [event.object["data"]["n"] for event in events] == ["1", "2", "3", "4"]
        await watch.aclose()
        for number in range(4):
            await api.configmaps.update(config_map(n=str(number + 10)))
        with pytest.raises(ApiError) as caught:
            await anext(api.configmaps.watch(namespace="default", resource_version=version))
        assert (caught.value.code, caught.value.reason) == (410, "Expired")

    with_api(body)


def test_initial_events_end_with_a_marked_bookmark(with_api):
    async def body(api):
        await api.configmaps.create(config_map("a"))
        watch = api.configmaps.watch(namespace="default", initial_events=True)
        added, bookmark = await take(watch, 2)
        assert (added.type, bookmark.type) == (EventType.ADDED, EventType.BOOKMARK)
        assert bookmark.object["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await api.configmaps.create(config_map("b"))
        (live,) = await take(watch, 1)
        assert live.object["metadata"]["name"] == "b"
        await watch.aclose()

    with_api(body)


def test_bookmarks_tell_the_progress_of_a_quiet_watch(with_api, monkeypatch):
    from control_plane.apiserver.verbs import watching

    monkeypatch.setattr(watching, "BOOKMARK_EVERY_S", 0.05)

    async def body(api):
        await api.configmaps.create(config_map("a"))
        watch = api.configmaps.watch(namespace="kube-system", resource_version="1", bookmarks=True)
        later = await api.configmaps.create(config_map("b"))
        while True:
            (event,) = await take(watch, 1)
            assert event.type is EventType.BOOKMARK
            if int(event.object["metadata"]["resourceVersion"]) >= int(later["metadata"]["resourceVersion"]):
                break
        await watch.aclose()

    with_api(body)


def test_a_watcher_that_falls_behind_is_cut_off_and_the_others_are_not(with_api, monkeypatch):
    from control_plane.apiserver.cache import watcher

    async def body(api):
        cache = api.server.parts.resources.require("", "configmaps").cache
        slow, quick = watcher.Watcher(None, capacity=3), watcher.Watcher(None, capacity=100)
        for item in (slow, quick):
            cache.watch(item, ("", ""), None)
        for number in range(6):
            await api.configmaps.create(config_map(f"cm-{number}"))
        await api.configmaps.list()
        assert slow.closed
        assert not quick.closed
        assert len(quick.take()) == 6
        for item in (slow, quick):
            cache.unwatch(item)
        assert cache.watchers == 0

    with_api(body)


def test_two_servers_on_one_store_see_each_others_writes_at_once(with_api, tmp_path):
    async def body(api):
        from argosy.client import Client
        from argosy.rpc import Tls
        from control_plane.apiserver.config import Config
        from control_plane.apiserver.server import ApiServer

        serving = api.authority.issue("kube-apiserver", hosts=["10.77.2.2"], server=True)
        tls = Tls(api.authority.certificate, serving.certificate, serving.key)
        address = "10.77.2.2:6444"
        config = Config(etcd_servers=("10.77.1.1:2379",), listen_grpc=(address,))
        second = ApiServer(config, api.host, api.network.host("api-2"), tls=tls)
        running = asyncio.create_task(second.run())
        await second.ready.wait()
        admin = api.authority.issue("kubernetes-admin", organizations=["system:masters"])
        client_tls = Tls(api.authority.certificate, admin.certificate, admin.key)
        other = Client(api.network.host("client"), [address], client_tls).resource("", "v1", "configmaps")
        for number in range(20):
            made = await api.configmaps.create(config_map(f"cm-{number}"))
            assert await other.get(f"cm-{number}", namespace="default") == made
            await other.delete(f"cm-{number}", namespace="default")
            await refused(api.configmaps.get(f"cm-{number}", namespace="default"), 404)
        second.stop()
        await running

    with_api(body)


def test_a_read_waits_for_keys_that_are_nobodys(with_api):
    """The store's revision may be a foreign key's: a read asks for progress, else it would wait for ever."""

    async def body(api):
        request = pb_txn(b"elsewhere")
        await api.server.parts.store.client.txn(request)
        assert (await api.configmaps.list()).items == []

    with_api(body)


def pb_txn(key):
    from argosy.pb import etcd_pb2

    request = etcd_pb2.TxnRequest()
    put = request.success.add().request_put
    put.key, put.value = key, b"1"
    return request
