"""Indexed Jobs: every index once, limits per index, failure and success policies, elastic Jobs, and time to live."""

from argosy.host import parse_rfc3339
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.controllers import job_pods, job_policy
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.job_world import JOBS, Kubelet, counts, found, index_of, job, said


def indexed(completions: int, **spec: object) -> JsonObject:
    return job(completionMode="Indexed", completions=completions, **spec)


async def indexes(cluster: Cluster) -> list[int]:
    return sorted(index_of(pod) for pod in await cluster.list("pods"))


def test_every_index_has_its_pod_and_knows_it() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster)
        await cluster.create(JOBS, indexed(5, parallelism=2))
        await cluster.settle(2)
        assert await indexes(cluster) == [0, 1]
        pod = next(each for each in await cluster.list("pods") if index_of(each) == 1)
        assert meta.name(pod).startswith("work-1-") and pod["spec"]["hostname"] == "work-1"
        assert pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "1"
        [variable] = [item for item in pod["spec"]["containers"][0]["env"] if item["name"] == "JOB_COMPLETION_INDEX"]
        assert "job-completion-index" in variable["valueFrom"]["fieldRef"]["fieldPath"]
        await cluster.settle(20)
        done = await found(cluster)
        assert done["status"]["completedIndexes"] == "0-4" and "Complete" in said(done)
        assert "failedIndexes" not in done["status"]
        assert await indexes(cluster) == [0, 1, 2, 3, 4]

    run(body)


def test_limits_per_index_let_the_others_go_on() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster).exit_code = lambda pod: int(index_of(pod) % 2)
        made = await cluster.create(JOBS, indexed(6, parallelism=6, backoffLimitPerIndex=1))
        assert made["spec"]["backoffLimit"] == (1 << 31) - 1
        await cluster.settle(8)
        waiting = await found(cluster)
        assert waiting["status"]["completedIndexes"] == "0,2,4" and waiting["status"]["failedIndexes"] == ""
        await cluster.settle(30)
        failed = await found(cluster)
        reason = ("FailedIndexes", "Job has failed indexes")
        assert said(failed) == {"FailureTarget": reason, "Failed": reason}
        assert (failed["status"]["completedIndexes"], failed["status"]["failedIndexes"]) == ("0,2,4", "1,3,5")
        assert counts(failed) == (0, 3, 6)
        pods = await cluster.list("pods")
        assert sorted(index_of(pod) for pod in pods) == [0, 1, 1, 2, 3, 3, 4, 5, 5]
        tries = [meta.annotations(pod)[job_pods.FAILURES] for pod in pods if index_of(pod) == 3]
        assert sorted(tries) == ["0", "1"]
        assert not any(job_pods.is_tracked(pod) for pod in pods)

    run(body)


def test_too_many_failed_indexes_end_the_job() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster).exit_code = lambda pod: 1 if index_of(pod) < 2 else None
        await cluster.create(JOBS, indexed(5, parallelism=5, backoffLimitPerIndex=0, maxFailedIndexes=1))
        await cluster.settle(15)
        failed = await found(cluster)
        assert said(failed)["Failed"] == (
            "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes",
        )  # fmt: skip
        assert failed["status"]["failedIndexes"] == "0,1"
        assert counts(failed)[0] == 0

    run(body)


def rules(*items: JsonObject) -> JsonObject:
    return {"rules": list(items)}


def on_exit(action: str, *codes: int) -> JsonObject:
    return {"action": action, "onExitCodes": {"operator": "In", "values": list(codes)}}


def test_a_failure_policy_fails_the_job_at_once() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster).exit_code = lambda pod: 42 if index_of(pod) == 1 else None
        await cluster.create(JOBS, indexed(3, parallelism=3, podFailurePolicy=rules(on_exit("FailJob", 42))))
        await cluster.settle(15)
        failed = await found(cluster)
        assert failed["spec"]["podReplacementPolicy"] == "Failed"
        pod = next(each for each in await cluster.list("pods") if index_of(each) == 1)
        name = meta.name(pod)
        message = f"Container main for pod default/{name} failed with exit code 42 matching FailJob rule at index 0"
        assert said(failed)["Failed"] == ("PodFailurePolicy", message)
        assert counts(failed) == (0, 0, 3)

    run(body)


def test_a_failure_policy_ignores_disruptions_and_fails_an_index() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        kubelet = Kubelet(cluster)
        kubelet.exit_code = lambda pod: 7 if index_of(pod) == 0 else None
        disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
        policy = rules(disrupted, on_exit("FailIndex", 7))
        await cluster.create(
            JOBS, indexed(2, parallelism=2, backoffLimitPerIndex=5, podFailurePolicy=policy)
        )  # fmt: skip
        await cluster.settle(5)
        assert (await found(cluster))["status"]["failedIndexes"] == "0"
        pod = next(each for each in await cluster.list("pods") if index_of(each) == 1)
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        await cluster.patch("pods", meta.key(pod), {"status": {"conditions": [target]}}, "status")
        await kubelet._status(pod, {"phase": "Failed", "conditions": [target]})
        kubelet.exit_code = lambda _pod: 0
        await cluster.settle(40)
        failed = await found(cluster)
        assert counts(failed) == (0, 1, 1), "the disrupted pod does not count"
        assert (failed["status"]["completedIndexes"], failed["status"]["failedIndexes"]) == ("1", "0")
        second = [each for each in await cluster.list("pods") if index_of(each) == 1]
        assert sorted(meta.annotations(each).get(job_pods.IGNORED_FAILURES, "") for each in second) == ["", "1"]
        assert all(meta.annotations(each)[job_pods.FAILURES] == "0" for each in second)

    run(body)


def test_a_success_policy_ends_what_is_still_running() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster).exit_code = lambda pod: 0 if index_of(pod) == 2 else None
        policy = rules({"succeededIndexes": "0", "succeededCount": 1}, {"succeededIndexes": "2"})
        await cluster.create(JOBS, indexed(4, parallelism=4, successPolicy=policy))
        await cluster.settle(15)
        done = await found(cluster)
        reason = ("SuccessPolicy", "Matched rules at index 1")
        assert said(done) == {"SuccessCriteriaMet": reason, "Complete": reason}
        assert done["status"]["completedIndexes"] == "2" and counts(done) == (0, 1, 0)
        assert await indexes(cluster) == [2]

    run(body)


def test_a_pod_that_ends_is_replaced_when_it_has_ended() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        kubelet = Kubelet(cluster)
        kubelet.exit_code = lambda _pod: None
        kubelet.ends_after_s = 20.0
        for name, policy in (("eager", "TerminatingOrFailed"), ("patient", "Failed")):
            await cluster.create(JOBS, job(name, podReplacementPolicy=policy))
        await cluster.settle(4)
        for pod in await cluster.list("pods"):
            await cluster.delete("pods", meta.key(pod))
        await cluster.settle(14)

        async def there(name: str) -> int:
            return len([each for each in await cluster.list("pods") if meta.name(each).startswith(name)])

        assert (await there("eager"), await there("patient")) == (2, 1)
        assert (await found(cluster, "patient"))["status"]["terminating"] == 1
        await cluster.settle(30)
        assert (await there("eager"), await there("patient")) == (1, 1)
        assert counts(await found(cluster, "patient")) == (1, 0, 1)

    run(body)


def test_an_elastic_job_grows_and_shrinks() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller")
        Kubelet(cluster).exit_code = lambda pod: 0 if index_of(pod) < 3 else None
        await cluster.create(JOBS, indexed(4, parallelism=4))
        await cluster.settle(6)
        assert (await found(cluster))["status"]["completedIndexes"] == "0-2"
        await cluster.patch(JOBS, "default/work", {"spec": {"completions": 6, "parallelism": 6}})
        await cluster.settle(4)
        assert counts(await found(cluster)) == (3, 3, 0)
        await cluster.patch(JOBS, "default/work", {"spec": {"completions": 2, "parallelism": 2}})
        await cluster.settle(6)
        done = await found(cluster)
        assert done["status"]["completedIndexes"] == "0,1" and "Complete" in said(done)
        assert counts(done) == (0, 2, 0)

    run(body)


def test_finished_jobs_go_when_their_time_is_over() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("job-controller", "ttl-after-finished-controller", "garbage-collector-controller")
        Kubelet(cluster).exit_code = lambda pod: 1 if "bad" in meta.name(pod) else 0
        for name, spec in (("good", {}), ("bad", {"backoffLimit": 0}), ("kept", {"ttlSecondsAfterFinished": None})):
            await cluster.create(JOBS, job(name, **{"ttlSecondsAfterFinished": 60, **spec}))
        await cluster.settle(20)
        assert len(await cluster.list(JOBS)) == 3
        await cluster.patch(JOBS, "default/bad", {"spec": {"ttlSecondsAfterFinished": 300}})
        await cluster.settle(60)
        assert [meta.name(each) for each in await cluster.list(JOBS)] == ["bad", "kept"]
        assert sorted(meta.name(each).partition("-")[0] for each in await cluster.list("pods")) == ["bad", "kept"]
        await cluster.settle(240)
        assert [meta.name(each) for each in await cluster.list(JOBS)] == ["kept"]

    run(body)


def test_when_a_pod_ended() -> None:
    def pod(*ends: str | None, ready: str = "", deleted: str = "") -> JsonObject:
        states = [{"state": {"terminated": {"finishedAt": end}} if end else {"running": {}}} for end in ends]
        condition = [{"type": "Ready", "status": "False", "lastTransitionTime": ready}] if ready else []
        metadata: JsonObject = {"creationTimestamp": "2027-01-01T00:00:00Z"}
        if deleted:
            metadata |= {"deletionTimestamp": deleted, "deletionGracePeriodSeconds": 30}
        return {"metadata": metadata, "status": {"containerStatuses": states, "conditions": condition}}

    early, late, later = "2027-01-01T01:00:00Z", "2027-01-01T02:00:00Z", "2027-01-01T03:00:30Z"
    assert job_pods.finished_at(pod(early, late)) == parse_rfc3339(late)
    assert job_pods.finished_at(pod(early, None, ready=late)) == parse_rfc3339(late)
    assert job_pods.finished_at(pod(deleted=later)) == parse_rfc3339("2027-01-01T03:00:00Z")
    assert job_pods.finished_at(pod()) == parse_rfc3339("2027-01-01T00:00:00Z")


def test_pauses_grow_to_the_most_and_end_with_a_success() -> None:
    def ended(at_s: int) -> JsonObject:
        stamp = f"2027-01-01T00:{at_s // 60:02}:{at_s % 60:02}Z"
        return {"status": {"containerStatuses": [{"state": {"terminated": {"finishedAt": stamp}}}]}}

    zero = parse_rfc3339("2027-01-01T00:00:00Z")
    backoff = job_policy.Backoff()
    assert backoff.left_s(zero, 10, 360) == 0
    backoff = backoff.after([], [ended(20), ended(10)])
    assert backoff == job_policy.Backoff(2, zero + 20)
    assert backoff.left_s(zero + 25, 10, 360) == 15
    assert job_policy.Backoff(9, zero).left_s(zero, 10, 360) == 360
    assert backoff.after([ended(30)], [ended(29), ended(31)]) == job_policy.Backoff(1, zero + 31)
    assert backoff.after([ended(30)], []) == job_policy.Backoff()


def test_long_names_leave_room_for_the_random_part() -> None:
    made = {**indexed(100_000), "metadata": {"name": "n" * 57, "namespace": "default", "uid": "u"}}
    name = job_pods.new_pod(made, 99_999)["metadata"]["generateName"]
    assert len(name) == 58 and name.endswith("-99999-")
