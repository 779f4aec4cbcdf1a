"""The event recorder: repeats count up, floods are combined and cut, failures never reach the caller."""

import asyncio
from collections.abc import Awaitable, Callable

from argosy.events import EventRecorder
from argosy.host import SeededRng
from argosy.objects import status
from argosy.objects.types import JsonObject
from argosy.rpc_memory import MemoryNetwork
from tests.sim import virtual
from tests.unit.controllers.memory_api import MemoryApi

POD: JsonObject = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "prod", "uid": "u1", "resourceVersion": "7"},
}


def run(body: Callable[[MemoryApi, EventRecorder], Awaitable[None]]) -> None:
    async def main() -> None:
        host = virtual.virtual_host(asyncio.get_running_loop(), 1)
        api = MemoryApi(host)
        client = await api.client(MemoryNetwork(SeededRng(1)).host("one"))
        recorder = EventRecorder(client, host, "tester", node="node-1")
        task = asyncio.get_running_loop().create_task(recorder.run())
        await body(api, recorder)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual.run(main())


def test_repeats_count_up_in_one_event() -> None:
    async def body(api: MemoryApi, recorder: EventRecorder) -> None:
        for _ in range(3):
            recorder.event(POD, "Warning", "BackOff", "Back-off restarting")
            await asyncio.sleep(5)
        [event] = api.all("events", "prod")
        assert event["count"] == 3
        assert event["firstTimestamp"] == "2027-01-15T08:00:00Z"
        assert event["lastTimestamp"] == "2027-01-15T08:00:10Z"
        assert event["source"] == {"component": "tester", "host": "node-1"}
        assert event["involvedObject"] == {
            "apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "prod",
            "resourceVersion": "7", "uid": "u1",
        }  # fmt: skip

    run(body)


def test_a_changed_object_version_is_still_the_same_event() -> None:
    async def body(api: MemoryApi, recorder: EventRecorder) -> None:
        recorder.event(POD, "Normal", "Pulled", "m")
        recorder.event({**POD, "metadata": {**POD["metadata"], "resourceVersion": "8"}}, "Normal", "Pulled", "m")
        await recorder.flush(1)
        [event] = api.all("events")
        assert event["count"] == 2

    run(body)


def test_an_expired_event_is_written_anew() -> None:
    async def body(api: MemoryApi, recorder: EventRecorder) -> None:
        recorder.event(POD, "Normal", "Pulled", "m")
        await recorder.flush(1)
        api.remove("events", f"prod/{api.all('events')[0]['metadata']['name']}")
        recorder.event(POD, "Normal", "Pulled", "m")
        await recorder.flush(1)
        assert [event["count"] for event in api.all("events")] == [2]

    run(body)


def test_many_alike_are_combined_and_a_flood_is_cut() -> None:
    async def body(api: MemoryApi, recorder: EventRecorder) -> None:
        for number in range(40):
            recorder.event(POD, "Warning", "Failed", f"message {number}")
        await recorder.flush(1)
        events = api.all("events")
        assert len(events) == 10
        combined = [event for event in events if event["message"].startswith("(combined from similar events): ")]
        assert [event["count"] for event in combined] == [25 - 9]
        assert recorder.dropped == 15
        recorder.event({**POD, "metadata": {**POD["metadata"], "uid": "u2", "name": "b"}}, "Warning", "Failed", "m")
        await recorder.flush(1)
        assert len(api.all("events")) == 11

    run(body)


def test_cluster_scoped_objects_and_references() -> None:
    async def body(api: MemoryApi, recorder: EventRecorder) -> None:
        recorder.event({"kind": "Node", "name": "node-1", "uid": "node-1"}, "Normal", "Starting", "m")
        await recorder.flush(1)
        [event] = api.all("events", "default")
        assert event["involvedObject"] == {"kind": "Node", "name": "node-1", "uid": "node-1"}

    run(body)


def test_a_failing_api_costs_the_event_only() -> None:
    async def body(api: MemoryApi, recorder: EventRecorder) -> None:
        api.fail = lambda _verb, _resource, _obj: status.forbidden("", "events", "", "no")
        recorder.event(POD, "Normal", "A", "m")
        await recorder.flush(10)
        api.fail = lambda _verb, _resource, _obj: status.unavailable("away")
        recorder.event(POD, "Normal", "B", "m")
        await recorder.flush(60)
        api.fail = lambda _verb, _resource, _obj: None
        recorder.event(POD, "Normal", "C", "m")
        await recorder.flush(10)
        assert [event["reason"] for event in api.all("events")] == ["C"]
        assert recorder.dropped == 2

    run(body)


def test_an_object_whose_name_makes_no_event_name_is_told_of_all_the_same() -> None:
    async def body(api: MemoryApi, recorder: EventRecorder) -> None:
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
        for name in ("system:node", "n" * 250):
            recorder.event({**role, "metadata": {"name": name, "uid": name}}, "Normal", "Seen", "m")
        await recorder.flush(1)
        events = api.all("events", "default")
        assert len(events) == 2
        assert all(":" not in each["metadata"]["name"] and len(each["metadata"]["name"]) == 36 for each in events)

    run(body)
