"""Phases, conditions and patches: pure rules over what the runtime shows."""

import pytest

from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.observed import Observed, observed
from node_agent.patch import status_patch, with_status
from node_agent.plan import Health, container_hash, plan
from node_agent.runtime.runtime import HASH_ANNOTATION, ContainerStatus, Sandbox, State
from node_agent.status import Inputs, Waiting, phase, pod_status
from tests.unit.node_agent.node_world import make_pod, strategic


def state(kind: str, last: int | None = None) -> JsonObject:
    """A container status: `run`, `wait`, or an exit code."""
    content: JsonObject = {"running": {}} if kind == "run" else {"waiting": {}}
    if kind.isdigit():
        content = {"terminated": {"exitCode": int(kind)}}
    before = {} if last is None else {"terminated": {"exitCode": last}}
    return {"state": content, "lastState": before, "started": kind == "run"}


@pytest.mark.parametrize(
    ("policy", "states", "wanted"),
    [
        ("Always", ["wait"], "Pending"),
        ("Always", ["run", "wait"], "Pending"),
        ("Always", ["run", "run"], "Running"),
        ("Always", ["run", "1"], "Running"),
        ("Always", ["0"], "Running"),
        ("OnFailure", ["0", "0"], "Succeeded"),
        ("OnFailure", ["0", "1"], "Running"),
        ("Never", ["0", "1"], "Failed"),
        ("Never", ["0", "0"], "Succeeded"),
        ("Never", ["run", "1"], "Running"),
    ],
)
def test_phase(policy: str, states: list[str], wanted: str) -> None:
    containers = [{"name": str(number)} for number in range(len(states))]
    statuses = [{"name": str(number), **state(kind)} for number, kind in enumerate(states)]
    assert phase(make_pod(containers=containers, restartPolicy=policy), [], statuses, False) == wanted


def test_a_waiting_container_that_ran_before_keeps_the_pod_running() -> None:
    statuses = [{"name": "main", **state("wait", last=1)}]
    assert phase(make_pod(), [], statuses, False) == "Running"


def test_init_containers_decide_before_the_others() -> None:
    pod = make_pod(initContainers=[{"name": "i"}], restartPolicy="Never")
    main = [{"name": "main", **state("wait")}]
    assert phase(pod, [{"name": "i", **state("run")}], main, False) == "Pending"
    assert phase(pod, [{"name": "i", **state("0")}], main, False) == "Pending"
    assert phase(pod, [{"name": "i", **state("1")}], main, False) == "Failed"


def container(identity: str, state_: State, code: int = 0, attempt: int = 0, name: str = "main") -> ContainerStatus:
    spec = {"name": name, "image": "busybox:1"}
    return ContainerStatus(
        identity, name, attempt, state_, 10.0 + attempt, 11.0, 12.0 if state_ is State.EXITED else 0.0, code, "", "",
        "busybox:1", "sha256:1", "", {}, {HASH_ANNOTATION: container_hash(spec)},
    )  # fmt: skip


def seen(*containers: ContainerStatus, ready: bool = True) -> Observed:
    sandbox = Sandbox("s", "web", "default", "u", 0, ready, 1.0, ("10.244.1.2",))
    return observed([sandbox], containers, {item.id: "s" for item in containers})


def inputs(shown: Observed, **more: object) -> Inputs:
    return Inputs(seen=shown, now=100.0, host_ips=("10.77.3.1",), **more)  # type: ignore[arg-type]


def test_a_lost_container_is_told_as_lost() -> None:
    pod = make_pod()
    running = {"name": "main", "containerID": "containerd://x", "restartCount": 2, "lastState": {},
               "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}  # fmt: skip
    pod["status"]["containerStatuses"] = [running]
    (found,) = pod_status(pod, inputs(Observed()))["containerStatuses"]
    assert found["state"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert found["state"]["terminated"]["exitCode"] == 137 and found["restartCount"] == 2


def test_back_off_shows_the_last_end() -> None:
    shown = seen(container("b", State.EXITED, 4, attempt=1), container("a", State.EXITED, 3))
    waits = {"main": Waiting("CrashLoopBackOff", "back-off")}
    (found,) = pod_status(make_pod(), inputs(shown, waiting=waits, messages={"b": "why"}))["containerStatuses"]
    assert found["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert found["lastState"]["terminated"]["exitCode"] == 4 and found["lastState"]["terminated"]["message"] == "why"


def test_a_terminal_phase_never_goes_back() -> None:
    pod = make_pod()
    pod["status"]["phase"] = "Failed"
    assert pod_status(pod, inputs(seen(container("a", State.RUNNING))))["phase"] == "Failed"


def test_a_patch_brings_exactly_the_status_and_then_nothing() -> None:
    pod = make_pod()
    pod["metadata"]["uid"] = "u"
    theirs = {"type": "example.com/gate", "status": "True"}
    pod["status"]["conditions"] = [theirs]
    pod["status"]["podIPs"] = [{"ip": "1.1.1.1"}]
    pod["status"]["message"] = "old"
    shown = seen(container("a", State.RUNNING))
    new = pod_status(pod, inputs(shown, ready={"a": True}, started={"a": True}))
    patch = status_patch(pod, new)
    assert patch is not None and patch["metadata"] == {"uid": "u"}
    patched = strategic(pod, patch)
    assert theirs in patched["status"]["conditions"] and "message" not in patched["status"]
    assert patched["status"]["podIPs"] == [{"ip": "10.244.1.2"}]
    assert status_patch(patched, new) is None
    local = meta.status(with_status(pod, new))
    assert {item["type"] for item in local["conditions"]} == {
        item["type"] for item in patched["status"]["conditions"]
    }


# Plans


def test_a_new_pod_begins_with_its_sandbox() -> None:
    todo = plan(make_pod(), Observed(), Health())
    assert todo.create_sandbox and [item["name"] for item in todo.start] == ["main"] and todo.sandbox_attempt == 0
    first = plan(make_pod(initContainers=[{"name": "i"}, {"name": "j"}]), Observed(), Health())
    assert [item["name"] for item in first.init] == ["i"] and not first.start


def test_a_running_pod_needs_nothing() -> None:
    todo = plan(make_pod(), seen(container("a", State.RUNNING)), Health())
    assert not (todo.kill_pod or todo.kill or todo.start or todo.create_sandbox)


def test_a_second_living_sandbox_means_starting_anew() -> None:
    shown = seen(container("a", State.RUNNING))
    double = observed([*shown.sandboxes, Sandbox("t", "web", "default", "u", 1, True, 2.0, ("10.244.1.3",))], [], {})
    todo = plan(make_pod(), double, Health())
    assert todo.kill_pod and todo.create_sandbox and todo.sandbox_attempt == 2


def test_restart_rules_by_exit_code() -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    pod = make_pod(
        containers=[{"name": "main", "image": "busybox:1", "restartPolicy": "Never", "restartPolicyRules": rules}]
    )
    assert plan(pod, seen(container("a", State.EXITED, 42)), Health()).start
    assert plan(pod, seen(container("a", State.EXITED, 1)), Health()).kill_pod


def test_a_finished_pod_without_a_sandbox_stays_finished() -> None:
    done = seen(container("a", State.EXITED, 0), ready=False)
    assert not plan(make_pod(restartPolicy="OnFailure"), done, Health()).create_sandbox
    assert plan(make_pod(restartPolicy="Always"), done, Health()).create_sandbox
    assert not plan(make_pod(restartPolicy="Never"), done, Health()).create_sandbox
