"""Jobs and CronJobs with real pods, as kubectl shows them. All of them run at once; each test waits for its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from argosy.testing import Cluster
from tests.e2e import clients

SPACE = ("-n", "jobs")
TELL_INDEX = 'echo "$JOB_COMPLETION_INDEX $(hostname)"'


def job(name: str, script: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "busybox:1.35", "command": ["sh", "-c", script]}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "jobs"},
        "spec": {"template": {"spec": pod}, **spec},
    }


def cron_job(name: str, script: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": "jobs"},
        "spec": {"schedule": "@every 2s", "jobTemplate": {"spec": job(name, script)["spec"]}, **spec},
    }


@pytest.fixture(scope="module")
def jobs(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", "jobs")
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    cluster.apply(
        job("plain", "echo done; sleep 2", completions=3, parallelism=2),
        job("indexed", TELL_INDEX, completionMode="Indexed", completions=3, parallelism=3),
        job("failing", "exit 3", backoffLimit=1),
        job("fatal", "exit 42", backoffLimit=5, podFailurePolicy={"rules": [rule]}),
        job("late", "sleep 600", activeDeadlineSeconds=2),
        job("passing", "true", ttlSecondsAfterFinished=2),
        job("held", "sleep 600", suspend=True),
        cron_job("nightly", "echo by hand", schedule="30 3 * * *", timeZone="Europe/Berlin"),
        cron_job("ticking", "echo tick", successfulJobsHistoryLimit=1),
        cron_job("blocked", "sleep 600", concurrencyPolicy="Forbid"),
    )
    yield cluster
    cluster.kubectl("delete", "namespace", "jobs", "--timeout=90s")


def conditions(cluster: Cluster, name: str) -> dict[str, str]:
    """By type of each condition that is true, its reason."""
    found = cluster.get("job", name, *SPACE)["status"].get("conditions", ())
    return {item["type"]: item.get("reason", "") for item in found if item["status"] == "True"}


def pods(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", *SPACE, "-l", f"job-name={name}")["items"]
    return found


def most_at_once(found: list[dict[str, Any]]) -> int:
    """How many finished pods of a Job were active at one time: from their creation until their containers ended."""
    spans = []
    for pod in found:
        (status,) = pod["status"]["containerStatuses"]
        spans.append((pod["metadata"]["creationTimestamp"], status["state"]["terminated"]["finishedAt"]))
    return max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)


def made_by(cluster: Cluster, name: str) -> dict[str, dict[str, Any]]:
    """By uid, the Jobs that belong to a CronJob."""
    owner = cluster.get("cronjob", name, *SPACE)
    reference = {"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": owner["metadata"]["uid"]}
    wanted = [{**reference, "controller": True, "blockOwnerDeletion": True}]
    found = cluster.get("jobs", *SPACE)["items"]
    return {item["metadata"]["uid"]: item for item in found if item["metadata"].get("ownerReferences") == wanted}


def delete_jobs_of(cluster: Cluster, name: str) -> set[str]:
    """Gives their uids."""
    found = made_by(cluster, name)
    names = [item["metadata"]["name"] for item in found.values()]
    if names:
        cluster.kubectl("delete", "job", *names, *SPACE, "--ignore-not-found", "--wait=false")
    return set(found)


def test_a_job_runs_to_completion(jobs: Cluster) -> None:
    jobs.kubectl("wait", "job/plain", *SPACE, "--for=condition=Complete", "--timeout=60s")
    status = jobs.get("job", "plain", *SPACE)["status"]
    assert status["succeeded"] == 3 and "failed" not in status
    assert "done" in jobs.kubectl("logs", "job/plain", *SPACE)
    assert {pod["status"]["phase"] for pod in pods(jobs, "plain")} == {"Succeeded"}
    assert not any(pod["metadata"].get("finalizers") for pod in pods(jobs, "plain"))
    assert most_at_once(pods(jobs, "plain")) == 2
    columns = jobs.kubectl("get", "job", "plain", *SPACE).splitlines()[1].split()
    assert columns[1:3] == ["Complete", "3/3"]

    def told() -> bool:
        shown = jobs.kubectl("describe", "job", "plain", *SPACE)
        assert "SuccessfulCreate" in shown and "Job completed" in shown
        return True

    jobs.eventually(told)


def test_each_index_of_a_job_knows_itself(jobs: Cluster) -> None:
    jobs.kubectl("wait", "job/indexed", *SPACE, "--for=condition=Complete", "--timeout=60s")
    assert jobs.get("job", "indexed", *SPACE)["status"]["completedIndexes"] == "0-2"
    logs = [jobs.kubectl("logs", pod["metadata"]["name"], *SPACE).strip() for pod in pods(jobs, "indexed")]
    assert sorted(logs) == ["0 indexed-0", "1 indexed-1", "2 indexed-2"]


def test_a_policy_or_a_deadline_ends_a_job(jobs: Cluster) -> None:
    wanted = {"FailureTarget": "PodFailurePolicy", "Failed": "PodFailurePolicy"}
    jobs.eventually(lambda: conditions(jobs, "fatal"), equals=wanted)
    assert len(pods(jobs, "fatal")) == 1
    wanted = {"FailureTarget": "DeadlineExceeded", "Failed": "DeadlineExceeded"}
    jobs.eventually(lambda: conditions(jobs, "late"), equals=wanted)
    jobs.eventually(lambda: pods(jobs, "late"), equals=[])


def test_a_finished_job_goes_with_its_pods(jobs: Cluster) -> None:
    jobs.eventually(lambda: jobs.kubectl_result("get", "job", "passing", *SPACE).returncode, equals=1)
    jobs.eventually(lambda: pods(jobs, "passing"), equals=[])


def test_a_job_is_suspended_and_resumed(jobs: Cluster) -> None:
    def suspend(value: str) -> None:
        jobs.kubectl("patch", "job", "held", *SPACE, "--type=merge", "-p", f'{{"spec":{{"suspend":{value}}}}}')

    assert pods(jobs, "held") == []
    suspend("false")
    jobs.eventually(lambda: [pod["status"]["phase"] for pod in pods(jobs, "held")], equals=["Running"])
    suspend("true")
    jobs.eventually(lambda: pods(jobs, "held"), equals=[])
    jobs.eventually(lambda: conditions(jobs, "held"), equals={"Suspended": "JobSuspended"})


def test_a_cron_job_lends_its_template(jobs: Cluster) -> None:
    clients.need(21, "a CronJob of batch/v1")
    jobs.kubectl("create", "job", "by-hand", "--from=cronjob/nightly", *SPACE)
    jobs.kubectl("wait", "job/by-hand", *SPACE, "--for=condition=Complete", "--timeout=60s")
    assert jobs.get("job", "by-hand", *SPACE)["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    jobs.eventually(lambda: jobs.get("cronjob", "nightly", *SPACE)["status"].get("lastSuccessfulTime"))
    columns = jobs.kubectl("get", "cronjob", "nightly", *SPACE).splitlines()[1].split()
    assert columns[:9] == ["nightly", "30", "3", "*", "*", "*", "Europe/Berlin", "False", "0"]
    bad = jobs.kubectl_result(
        "patch", "cronjob", "nightly", *SPACE, "--type=merge", "-p", '{"spec":{"schedule":"61 * * * *"}}'
    )
    assert bad.returncode == 1 and "end of range (61) above maximum (59): 61" in bad.stderr


def test_a_failing_job_is_tried_again_and_gives_up(jobs: Cluster) -> None:
    wanted = {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
    jobs.eventually(lambda: conditions(jobs, "failing"), equals=wanted, timeout_s=90)
    assert jobs.get("job", "failing", *SPACE)["status"]["failed"] == 2
    assert len(pods(jobs, "failing")) == 2


def test_a_cron_job_makes_jobs_whose_pods_run_to_their_end(jobs: Cluster) -> None:
    def completed() -> dict[str, Any]:
        made = next(iter(made_by(jobs, "ticking").values()), {})
        assert made and "Complete" in conditions(jobs, made["metadata"]["name"])
        return made

    made = jobs.eventually(completed)["metadata"]
    prefix, minute = made["name"].rsplit("-", 1)
    assert prefix == "ticking" and minute.isdigit()
    assert "batch.kubernetes.io/cronjob-scheduled-timestamp" in made["annotations"]
    (pod,) = pods(jobs, made["name"])
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Job", made["uid"], True)
    assert pod["status"]["phase"] == "Succeeded"
    assert jobs.kubectl("logs", pod["metadata"]["name"], *SPACE) == "tick\n"
    jobs.eventually(lambda: jobs.get("cronjob", "ticking", *SPACE)["status"].get("lastSuccessfulTime"))


def test_a_cron_job_forbids_two_keeps_one_and_is_suspended(jobs: Cluster) -> None:
    """A Job is named after its minute, so the second one comes in the next; most of it has passed by now."""
    first = set(jobs.eventually(lambda: made_by(jobs, "ticking")))
    (running,) = jobs.eventually(lambda: made_by(jobs, "blocked"))
    about = "involvedObject.name=blocked,reason=JobAlreadyActive"
    jobs.eventually(lambda: jobs.get("events", *SPACE, "--field-selector", about)["items"], timeout_s=120)
    # What does not end is never removed: were there ever two, there would be two now.
    assert list(made_by(jobs, "blocked")) == [running]
    assert [item["uid"] for item in jobs.get("cronjob", "blocked", *SPACE)["status"]["active"]] == [running]

    def first_gave_way() -> bool:
        kept = list(made_by(jobs, "ticking").values())
        assert len(kept) == 1, [item["metadata"]["name"] for item in kept]
        return kept[0]["metadata"]["uid"] not in first and "Complete" in conditions(jobs, kept[0]["metadata"]["name"])

    jobs.eventually(first_gave_way, what="one Job of the history, the newer one")

    jobs.kubectl("patch", "cronjob", "ticking", *SPACE, "--type=merge", "-p", '{"spec":{"suspend":true}}')

    def stays_empty() -> bool:
        delete_jobs_of(jobs, "ticking")
        return not made_by(jobs, "ticking")

    # What the controller began before it saw the patch may still come; a CronJob that goes on tells the time.
    jobs.eventually(stays_empty)
    before = delete_jobs_of(jobs, "blocked")
    jobs.eventually(lambda: made_by(jobs, "blocked").keys() - before, what="a Job in place of the deleted one")
    delete_jobs_of(jobs, "ticking")
    before |= delete_jobs_of(jobs, "blocked")
    jobs.eventually(lambda: made_by(jobs, "blocked").keys() - before, what="a Job in place of the second")
    assert made_by(jobs, "ticking") == {}
