"""Jobs on the real API server: completion, failure, limits, suspension, and that every pod counts once."""

import itertools
from typing import Any

import pytest

from argosy.host import parse_rfc3339
from argosy.objects import meta, status
from argosy.objects.types import JsonObject
from control_plane.controllers import job_pods
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.job_world import JOBS, Kubelet, counts, found, job, said

BACKOFF = ("FailureTarget", ("BackoffLimitExceeded", "Job has reached the specified backoff limit"))
REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")


def test_a_job_runs_to_completion_and_counts_each_pod_once() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        kubelet = Kubelet(cluster)
        made = await cluster.create(JOBS, job(completions=7, parallelism=3))
        uid = meta.uid(made)
        assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        assert made["metadata"]["labels"] == made["spec"]["template"]["metadata"]["labels"]
        await cluster.settle(1.5)
        seen = await found(cluster)
        assert counts(seen)[0] == 3
        await cluster.settle(20)
        done = await found(cluster)
        assert said(done) == {"SuccessCriteriaMet": REACHED, "Complete": REACHED}
        assert counts(done) == (0, 7, 0)
        assert done["status"]["uncountedTerminatedPods"] == {}
        assert (done["status"]["ready"], done["status"]["terminating"]) == (0, 0)
        assert done["status"]["completionTime"] >= done["status"]["startTime"]
        pods = await cluster.list("pods")
        assert len(pods) == 7 and kubelet.most_active == 3
        assert not any(job_pods.is_tracked(pod) for pod in pods)
        assert pods[0]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "work"
        assert await cluster.events("Completed") == ["Job completed"]
        assert len(await cluster.events("SuccessfulCreate")) == 7

    run(body)


def test_failures_are_retried_with_growing_pauses_up_to_the_limit() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster).exit_code = lambda _pod: 1
        await cluster.create(JOBS, job(backoffLimit=2))
        await cluster.settle(120)
        failed = await found(cluster)
        assert counts(failed) == (0, 0, 3)
        assert said(failed) == {"FailureTarget": BACKOFF[1], "Failed": BACKOFF[1]}
        assert await cluster.events("BackoffLimitExceeded") == [BACKOFF[1][1]]
        times = sorted(parse_rfc3339(each["metadata"]["creationTimestamp"]) for each in await cluster.list("pods"))
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert 11 <= gaps[0] <= 14 and 21 <= gaps[1] <= 24, "each ran for 2 s, then 10 s and 20 s passed"

    run(body)


def test_pods_that_restart_in_place_count_by_their_restarts() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster).exit_code = lambda _pod: None
        await cluster.create(JOBS, job(restart="OnFailure", backoffLimit=3))
        await cluster.settle(3)
        [pod] = await cluster.list("pods")
        item: JsonObject = {
            "name": "main", "image": "busybox:1", "imageID": "", "ready": True, "restartCount": 2,
            "state": {"running": {}},
        }  # fmt: skip
        await cluster.patch("pods", meta.key(pod), {"status": {"containerStatuses": [item]}}, "status")
        await cluster.settle(3)
        assert said(await found(cluster)) == {}
        item["restartCount"] = 3
        await cluster.patch("pods", meta.key(pod), {"status": {"containerStatuses": [item]}}, "status")
        await cluster.settle(10)
        failed = await found(cluster)
        assert set(said(failed)) == {"FailureTarget", "Failed"} and counts(failed) == (0, 0, 1)
        assert await cluster.list("pods") == []

    run(body)


def test_a_deadline_ends_the_job_and_its_pods() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        kubelet = Kubelet(cluster)
        kubelet.exit_code = lambda _pod: None
        kubelet.ends_after_s = 5.0
        await cluster.create(JOBS, job(parallelism=2, completions=2, activeDeadlineSeconds=10))
        await cluster.settle(13)
        late = await found(cluster)
        reason = ("DeadlineExceeded", "Job was active longer than specified deadline")
        assert said(late) == {"FailureTarget": reason}, "not Failed while pods still end"
        assert late["status"]["terminating"] == 2
        await cluster.settle(10)
        late = await found(cluster)
        assert said(late) == {"FailureTarget": reason, "Failed": reason}
        assert counts(late) == (0, 0, 2)
        assert await cluster.list("pods") == []

    run(body)


def test_a_suspended_job_gives_up_its_pods_and_begins_anew() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        kubelet = Kubelet(cluster)
        kubelet.runs_s = 30
        await cluster.create(JOBS, job(suspend=True, parallelism=2, completions=2, activeDeadlineSeconds=60))
        await cluster.settle(3)
        held = await found(cluster)
        assert said(held) == {"Suspended": ("JobSuspended", "Job suspended")}
        assert "startTime" not in held["status"] and await cluster.list("pods") == []
        node = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}}
        await cluster.patch(JOBS, "default/work", node)
        await cluster.patch(JOBS, "default/work", {"spec": {"suspend": False}})
        await cluster.settle(10)
        first = (await found(cluster))["status"]["startTime"]
        pods = await cluster.list("pods")
        assert len(pods) == 2 and pods[0]["spec"]["nodeSelector"] == {"disk": "ssd"}
        with pytest.raises(status.ApiError, match="field is immutable"):
            await cluster.patch(JOBS, "default/work", {"spec": {"template": {"spec": {"nodeSelector": None}}}})
        await cluster.patch(JOBS, "default/work", {"spec": {"suspend": True}})
        await cluster.settle(10)
        held = await found(cluster)
        assert "Suspended" in said(held) and await cluster.list("pods") == []
        assert counts(held) == (0, 0, 0), "pods that a suspension ends did not fail"
        await cluster.settle(100)
        await cluster.patch(JOBS, "default/work", {"spec": {"suspend": False}})
        await cluster.settle(40)
        done = await found(cluster)
        assert "Complete" in said(done) and done["status"]["startTime"] > first
        assert [len(await cluster.events(name)) for name in ("Suspended", "Resumed")] == [1, 1]

    run(body)


def test_a_work_queue_is_done_when_one_pod_is() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        kubelet = Kubelet(cluster)
        first: list[str] = []

        def exit_code(pod: JsonObject) -> int | None:
            first.append(meta.name(pod))
            return 0 if len(first) == 1 else None

        kubelet.exit_code = exit_code
        await cluster.create(JOBS, job(parallelism=3))
        await cluster.settle(10)
        seen = await found(cluster)
        assert counts(seen) == (2, 1, 0) and said(seen) == {}
        for pod in await cluster.list("pods"):
            if meta.status(pod)["phase"] == "Running":
                await kubelet._finish(pod, 0)
        await cluster.settle(5)
        assert counts(await found(cluster)) == (0, 3, 0)
        assert "Complete" in said(await found(cluster))

    run(body)


def test_parallelism_can_be_changed() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster).exit_code = lambda _pod: None
        await cluster.create(JOBS, job(parallelism=4, completions=10))
        await cluster.settle(3)
        await cluster.patch(JOBS, "default/work", {"spec": {"parallelism": 1}})
        await cluster.settle(5)
        assert counts(await found(cluster)) == (1, 0, 0)
        assert len(await cluster.list("pods")) == 1
        await cluster.patch(JOBS, "default/work", {"spec": {"parallelism": 0}})
        await cluster.settle(5)
        assert counts(await found(cluster)) == (0, 0, 0)
        with pytest.raises(status.ApiError, match="field is immutable"):
            await cluster.patch(JOBS, "default/work", {"spec": {"completions": 3}})

    run(body)


def test_a_job_that_goes_lets_go_of_its_pods() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller", "garbage-collector-controller")
        Kubelet(cluster).exit_code = lambda _pod: None
        for name, how in (("first", "Background"), ("second", "Foreground"), ("third", "Orphan")):
            await cluster.create(JOBS, job(name))
            await cluster.settle(5)
            await cluster.delete(JOBS, f"default/{name}", propagation=how)
            await cluster.settle(20)
            assert await cluster.get(JOBS, f"default/{name}") is None
        pods = await cluster.list("pods")
        assert [job_pods.is_tracked(pod) for pod in pods] == [False], "the orphan is left, and nothing holds it"

    run(body)


def test_a_job_made_anew_under_its_old_name_starts_from_nothing() -> None:
    """Its failures, pauses and pods are not its predecessor's."""

    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller", "garbage-collector-controller")
        kubelet = Kubelet(cluster)
        kubelet.exit_code = lambda _pod: 1
        await cluster.create(JOBS, job(backoffLimit=4))
        await cluster.settle(60)
        assert counts(await found(cluster))[2] >= 2
        kubelet.exit_code = lambda _pod: 0
        await cluster.delete(JOBS, "default/work", propagation="Background")
        await cluster.create(JOBS, job())
        await cluster.settle(6)
        assert counts(await found(cluster)) == (0, 1, 0), "at once, without a pause"
        await cluster.settle(10)
        assert len(await cluster.list("pods")) == 1

    run(body)


def test_orphans_are_adopted_and_strangers_released() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster).exit_code = lambda _pod: None
        await cluster.create(JOBS, job(parallelism=1, completions=1))
        await cluster.settle(3)
        [pod] = await cluster.list("pods")
        key = meta.key(pod)
        await cluster.patch("pods", key, {"metadata": {"ownerReferences": None, "finalizers": None}})
        await cluster.settle(5)
        [again] = await cluster.list("pods")
        assert meta.uid(again) == meta.uid(pod)
        assert meta.controller_of(again) is not None and job_pods.is_tracked(again)
        await cluster.patch("pods", key, {"metadata": {"labels": dict.fromkeys(meta.labels(pod))}})
        await cluster.settle(5)
        stranger = await cluster.get("pods", key)
        assert stranger is not None and meta.controller_of(stranger) is None
        assert not job_pods.is_tracked(stranger), "nobody would remove it later"
        assert len(await cluster.list("pods")) == 2

    run(body)


def test_a_job_of_another_controller_is_left_alone() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        await cluster.create(JOBS, job(managedBy="example.com/queue"))
        await cluster.create(JOBS, job("own", managedBy="kubernetes.io/job-controller"))
        await cluster.settle()
        assert (await found(cluster))["status"] == {}
        assert counts(await found(cluster, "own")) == (1, 0, 0)

    run(body)


def test_pods_that_cannot_be_made_are_told() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster)
        made = job(parallelism=50, completions=50)
        made["spec"]["template"]["spec"]["serviceAccountName"] = "nobody"
        await cluster.create(JOBS, made)
        await cluster.settle(3)
        messages = await cluster.events("FailedCreate")
        assert 1 <= len(messages) <= 3, "one is tried at a time"
        assert 'serviceaccount "nobody" not found' in messages[0]
        assert counts(await found(cluster)) == (0, 0, 0)
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "nobody", "namespace": "default"},
        }
        await cluster.create("serviceaccounts", account)
        await cluster.settle(60)
        assert counts(await found(cluster)) == (0, 50, 0)

    run(body)


@pytest.mark.parametrize("after_s", [0.3, 2.1, 3.0, 3.4, 4.0, 5.2])
def test_a_controller_that_dies_at_any_moment_loses_and_doubles_nothing(after_s: float) -> None:
    """Its successor counts on: no pod is missed, none is counted twice, none is held for ever."""

    async def body(cluster: Cluster) -> None:
        codes = iter([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
        Kubelet(cluster).exit_code = lambda _pod: next(codes, 0)
        first = cluster.controllers("job-controller")
        await cluster.settle(1)
        await cluster.create(JOBS, job(completions=6, parallelism=4))
        await cluster.settle(after_s)
        await cluster.crash(first)
        cluster.controllers("job-controller")
        await cluster.settle(80)
        done = await found(cluster)
        assert counts(done) == (0, 6, 2) and "Complete" in said(done)
        pods = await cluster.list("pods")
        assert len(pods) == 8 and not any(job_pods.is_tracked(pod) for pod in pods)

    run(body)


def test_writes_that_fail_are_made_up_for() -> None:
    """The controller's API server is cut off between and during its syncs."""

    async def body(cluster: Cluster) -> None:
        manager = cluster.controllers("job-controller")
        Kubelet(cluster)
        await cluster.create(JOBS, job(completions=5, parallelism=2))
        [controller] = [each for each in manager.controllers if each.name == "job-controller"]
        patch: Any = controller._patch_finalizer  # type: ignore[attr-defined]
        failing = iter([True, False, True, True])

        async def sometimes(pod: JsonObject) -> None:
            if next(failing, False):
                raise status.unavailable("cut off")
            await patch(pod)

        controller._patch_finalizer = sometimes  # type: ignore[attr-defined]
        await cluster.settle(60)
        done = await found(cluster)
        assert counts(done) == (0, 5, 0) and "Complete" in said(done)

    run(body)
