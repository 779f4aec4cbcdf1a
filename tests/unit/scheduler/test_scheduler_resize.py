"""A pod that is being resized counts for the most of what it asks for, was granted and has."""

import asyncio

import pytest

from argosy.host import Host
from argosy.objects.types import JsonObject
from argosy.scheduling import resources
from control_plane.scheduler.scheduler import Scheduler
from tests.unit.scheduler.scheduler_world import FakeApi, node, pod, run


def resizing(asked: str, allocated: str, actual: str, reason: str = "", name: str = "p") -> JsonObject:
    made = pod(name, asked, nodeName="n")
    status = {"name": "c", "allocatedResources": {"cpu": allocated}, "resources": {"requests": {"cpu": actual}}}
    pending = [{"type": "PodResizePending", "status": "True", "reason": reason}] if reason else []
    return {**made, "status": {"phase": "Running", "containerStatuses": [status], "conditions": pending}}


@pytest.mark.parametrize(
    ("asked", "allocated", "actual", "reason", "counted"),
    [
        ("1", "1", "1", "", 1000),
        ("2", "1", "1", "Deferred", 2000),
        ("2", "2", "1", "", 2000),
        ("1", "2", "2", "", 2000),
        ("1", "1", "2", "", 2000),
        ("3", "1", "2", "Infeasible", 2000),
    ],
)
def test_requests_while_resizing(asked: str, allocated: str, actual: str, reason: str, counted: int) -> None:
    made = resizing(asked, allocated, actual, reason)
    assert resources.pod_requests(made)["cpu"] == counted
    assert resources.spec_requests(made)["cpu"] == resources.amount("cpu", asked)


def test_a_container_whose_node_says_nothing_counts_by_its_specification() -> None:
    made = {**pod("p", "1"), "status": {"containerStatuses": [{"name": "c", "state": {"waiting": {}}}]}}
    assert resources.pod_requests(made) == {"cpu": 1000}
    assert resources.granted(made) == {}


def test_room_is_held_until_the_resize_is_done_and_then_taken_by_who_waits() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("n", cpu="4"))
        api.put("pods", resizing("1", "3", "3"))
        api.put("pods", pod("waits", "2"))
        await asyncio.sleep(1)
        assert api.where("waits") == ""
        api.put("pods", resizing("1", "1", "1"))
        await asyncio.sleep(5)
        assert api.where("waits") == "n"

    run(check)
