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


@pytest.fixture(scope="module")
def jobs(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", "jobs")
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    nightly = job("nightly", "echo by hand")["spec"]
    cluster.apply(
        job("plain", "echo done", completions=3, parallelism=2),
        job("indexed", TELL_INDEX, completionMode="Indexed", completions=3, parallelism=3),
        job("failing", "exit 3", backoffLimit=1),
        job("fatal", "exit 42", backoffLimit=5, podFailurePolicy={"rules": [rule]}),
        job("late", "sleep 600", activeDeadlineSeconds=2),
        job("passing", "true", ttlSecondsAfterFinished=2),
        job("held", "sleep 600", suspend=True),
        {
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": "jobs"},
            "spec": {"schedule": "30 3 * * *", "timeZone": "Europe/Berlin", "jobTemplate": {"spec": nightly}},
        },
    )  # fmt: skip
    yield cluster
    cluster.kubectl("delete", "namespace", "jobs", "--timeout=90s")


def conditions(cluster: Cluster, name: str) -> dict[str, str]:
    """By type of each condition that is true, its reason."""
    found = cluster.get("job", name, *SPACE)["status"].get("conditions", ())
    return {item["type"]: item.get("reason", "") for item in found if item["status"] == "True"}


def pods(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", *SPACE, "-l", f"job-name={name}")["items"]
    return found


def test_a_job_runs_to_completion(jobs: Cluster) -> None:
    jobs.kubectl("wait", "job/plain", *SPACE, "--for=condition=Complete", "--timeout=60s")
    status = jobs.get("job", "plain", *SPACE)["status"]
    assert status["succeeded"] == 3 and "failed" not in status
    assert "done" in jobs.kubectl("logs", "job/plain", *SPACE)
    assert {pod["status"]["phase"] for pod in pods(jobs, "plain")} == {"Succeeded"}
    assert not any(pod["metadata"].get("finalizers") for pod in pods(jobs, "plain"))
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
    """That it makes Jobs at its times, unit tests show on virtual time."""
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
