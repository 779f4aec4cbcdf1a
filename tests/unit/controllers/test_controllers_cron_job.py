"""CronJobs on virtual time: each time once, missed times, concurrency, history, zones and what goes wrong."""

import asyncio
from typing import Any

import pytest

from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import cron, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import cron_job
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.job_world import CRON_JOBS, JOBS, Kubelet, job

CONTROLLERS = ("cronjob-controller", "job-controller")
MINUTES = 60


def cron_job_of(schedule: str = "* * * * *", *, job_spec: JsonObject | None = None, **spec: Any) -> JsonObject:
    template = {"metadata": {"labels": {"app": "report"}}, "spec": job(**(job_spec or {}))["spec"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report", "namespace": "default"},
        "spec": {"schedule": schedule, "jobTemplate": template, **spec},
    }


async def found(cluster: Cluster) -> JsonObject:
    result = await cluster.get(CRON_JOBS, "default/report")
    assert result is not None
    return result


async def times(cluster: Cluster) -> list[float]:
    """When the Jobs that are there were due, in minutes of virtual time."""
    names = sorted(meta.name(each) for each in await cluster.list(JOBS))
    return [int(name.rpartition("-")[2]) for name in names]


def minute(cluster: Cluster) -> int:
    return int(cluster.host.clock.now()) // 60


def test_each_time_makes_one_job_and_old_ones_go() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS, "garbage-collector-controller")
        Kubelet(cluster)
        began = minute(cluster)
        await cluster.create(CRON_JOBS, cron_job_of())
        await cluster.settle(59)
        assert await times(cluster) == []
        await cluster.settle(6 * MINUTES + 10)
        assert await times(cluster) == [began + 5, began + 6, began + 7], "three successes are kept"
        [newest] = [each for each in await cluster.list(JOBS) if meta.name(each).endswith(str(began + 7))]
        assert newest["metadata"]["labels"]["app"] == "report"
        stamp = meta.annotations(newest)["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        assert parse_rfc3339(stamp) == (began + 7) * 60
        owner = meta.controller_of(newest)
        assert owner is not None and owner["kind"] == "CronJob"
        status = (await found(cluster))["status"]
        assert parse_rfc3339(status["lastScheduleTime"]) == (began + 7) * 60
        assert status["lastSuccessfulTime"] >= status["lastScheduleTime"] and not status.get("active")
        assert len(await cluster.events("SuccessfulCreate")) >= 7
        assert len(await cluster.events("SawCompletedJob")) == 7
        assert len(await cluster.list("pods")) == 3

    run(body)


def test_failed_jobs_have_a_limit_of_their_own() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS)
        Kubelet(cluster).exit_code = lambda _pod: 1
        await cluster.create(
            CRON_JOBS, cron_job_of(job_spec={"backoffLimit": 0}, failedJobsHistoryLimit=2)
        )  # fmt: skip
        await cluster.settle(5 * MINUTES + 10)
        assert len(await cluster.list(JOBS)) == 2
        assert "lastSuccessfulTime" not in (await found(cluster))["status"]

    run(body)


@pytest.mark.parametrize(("policy", "jobs"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
def test_what_happens_while_the_last_one_runs(policy: str, jobs: int) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS, "garbage-collector-controller")
        Kubelet(cluster).exit_code = lambda _pod: None
        began = minute(cluster)
        await cluster.create(CRON_JOBS, cron_job_of(concurrencyPolicy=policy))
        await cluster.settle(3 * MINUTES + 15)
        made = await times(cluster)
        assert len(made) == jobs
        assert made[-1] == began + (1 if policy == "Forbid" else 3)
        active = (await found(cluster))["status"]["active"]
        assert sorted(item["name"] for item in active) == [f"report-{each}" for each in made]
        if policy == "Forbid":
            [message] = set(await cluster.events("JobAlreadyActive"))
            assert message.startswith("Not starting job because prior execution is running")
        if policy == "Replace":
            assert len(await cluster.list("pods")) == 1

    run(body)


def test_a_forbidden_time_is_made_up_for_when_the_job_ends() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS)
        kubelet = Kubelet(cluster)
        kubelet.runs_s = 90.0
        began = minute(cluster)
        await cluster.create(CRON_JOBS, cron_job_of(concurrencyPolicy="Forbid", startingDeadlineSeconds=50))
        await cluster.settle(3 * MINUTES)
        assert (await times(cluster))[:2] == [began + 1, began + 2], "the second began when the first had ended"

    run(body)


def test_a_suspended_one_makes_none_and_begins_where_it_is_now() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS)
        Kubelet(cluster)
        began = minute(cluster)
        await cluster.create(CRON_JOBS, cron_job_of(suspend=True, startingDeadlineSeconds=30))
        await cluster.settle(5 * MINUTES + 40)
        assert await times(cluster) == []
        await cluster.patch(CRON_JOBS, "default/report", {"spec": {"suspend": False}})
        await cluster.settle(5)
        assert await times(cluster) == [], "the last time is longer ago than it may be late"
        await cluster.settle(30)
        assert await times(cluster) == [began + 6]

    run(body)


def test_times_missed_by_a_controller_that_was_away_are_one() -> None:
    async def body(cluster: Cluster) -> None:
        first = cluster.controllers(*CONTROLLERS)
        Kubelet(cluster)
        began = minute(cluster)
        await cluster.create(CRON_JOBS, cron_job_of())
        await cluster.settle(70)
        await cluster.crash(first)
        await cluster.settle(150 * MINUTES)
        assert len(await cluster.list(JOBS)) == 1
        cluster.controllers(*CONTROLLERS)
        await cluster.settle(10)
        assert await times(cluster) == [began + 1, began + 151]
        [message] = await cluster.events("TooManyMissedTimes")
        assert message == cron_job.TOO_MANY

    run(body)


def test_what_is_too_late_is_not_begun() -> None:
    async def body(cluster: Cluster) -> None:
        first = cluster.controllers(*CONTROLLERS)
        await cluster.create(CRON_JOBS, cron_job_of("0 * * * *", startingDeadlineSeconds=600))
        await cluster.settle(5)
        await cluster.crash(first)
        await asyncio.sleep(75 * MINUTES)
        second = cluster.controllers(*CONTROLLERS)
        await cluster.settle(10)
        assert await times(cluster) == []
        await cluster.crash(second)
        await asyncio.sleep(52 * MINUTES)
        cluster.controllers(*CONTROLLERS)
        await cluster.settle(10)
        assert len(await times(cluster)) == 1, "seven minutes late is early enough"

    run(body)


def test_a_new_schedule_does_not_act_backwards() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS)
        Kubelet(cluster)
        began = minute(cluster)
        await cluster.create(CRON_JOBS, cron_job_of("0 0 1 1 *"))
        await cluster.settle(10 * MINUTES + 5)
        await cluster.patch(CRON_JOBS, "default/report", {"spec": {"schedule": "*/5 * * * *"}})
        await cluster.settle(10)
        assert await times(cluster) == []
        await cluster.settle(5 * MINUTES)
        assert await times(cluster) == [began + 15]

    run(body)


def test_a_job_made_by_hand_is_seen_and_kept_apart() -> None:
    """As `kubectl create job --from=cronjob/report`."""

    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS)
        Kubelet(cluster)
        owner = await cluster.create(CRON_JOBS, cron_job_of("0 0 1 1 *"))
        await cluster.settle(2)
        made = job("by-hand")
        made["metadata"]["annotations"] = {"cronjob.kubernetes.io/instantiate": "manual"}
        made["metadata"]["ownerReferences"] = [meta.owner_reference(owner)]
        await cluster.create(JOBS, made)
        await cluster.settle(10)
        assert "by-hand" in (await cluster.events("UnexpectedJob"))[0]
        assert (await found(cluster))["status"]["lastSuccessfulTime"]

    run(body)


def test_a_job_that_somebody_removed_is_missed() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS, "garbage-collector-controller")
        Kubelet(cluster).exit_code = lambda _pod: None
        await cluster.create(CRON_JOBS, cron_job_of("*/30 * * * *", concurrencyPolicy="Forbid"))
        await cluster.settle(30 * MINUTES + 5)
        [made] = await cluster.list(JOBS)
        await cluster.delete(JOBS, meta.key(made), propagation="Background")
        await cluster.settle(5)
        assert not (await found(cluster))["status"].get("active")
        assert await cluster.events("MissingJob") == [f"Active job went missing: {meta.name(made)}"]

    run(body)


def test_a_name_that_is_taken_is_not_fought_over() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS)
        Kubelet(cluster)
        began = minute(cluster)
        await cluster.create(JOBS, job(f"report-{began + 1}"))
        await cluster.create(CRON_JOBS, cron_job_of())
        await cluster.settle(65)
        assert not (await found(cluster))["status"].get("active")
        await cluster.settle(MINUTES)
        assert await times(cluster) == [began + 1, began + 2]

    run(body)


def test_zones_decide_what_the_time_is() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*CONTROLLERS)
        Kubelet(cluster)
        await cluster.create(CRON_JOBS, cron_job_of("30 9 * * *", timeZone="Asia/Kolkata"))
        await cluster.settle(24 * 3600)
        [made] = await cluster.list(JOBS)
        stamp = meta.annotations(made)["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        assert stamp.endswith("T09:30:00+05:30")
        assert rfc3339(parse_rfc3339(stamp)).endswith("T04:00:00Z")

    run(body)


def test_what_is_due() -> None:
    hourly, never = cron.parse("0 * * * *"), cron.parse("0 0 31 2 *")
    zero = parse_rfc3339("2027-01-15T00:00:00Z")
    assert cron_job.find_due(never, zero, zero + 1) is None
    assert cron_job.find_due(hourly, zero, zero + 3599) == cron_job.Due(None, False)
    assert cron_job.find_due(hourly, zero, zero + 3600) == cron_job.Due(zero + 3600, False)
    assert cron_job.find_due(hourly, zero, zero + 100.5 * 3600) == cron_job.Due(zero + 100 * 3600, False)
    assert cron_job.find_due(hourly, zero, zero + 101.5 * 3600) == cron_job.Due(zero + 101 * 3600, True)
    years = cron_job.find_due(cron.parse("* * * * *"), 0, zero + 30)
    assert years == cron_job.Due(zero, True), "and that takes no time"
    assert cron_job.find_due(cron.parse("@every 90s"), zero, zero + 400) == cron_job.Due(zero + 360, False)
