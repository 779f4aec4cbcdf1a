"""Jobs and CronJobs: defaults, what is refused and in which words, what may change, and how they are printed."""

from typing import Any

import pytest

from argosy.kinds.cron_job import CRON_JOB
from argosy.kinds.job import JOB
from argosy.objects import meta
from argosy.objects.types import JsonObject
from tests.sim.virtual import EPOCH_S


def job(name: str = "work", **spec: Any) -> JsonObject:
    """As the API server has it before it validates."""
    template = spec.pop("template", {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}})
    spec = {"template": meta.copy_object(template), **spec}
    obj = {"metadata": {"name": name, "namespace": "default", "uid": "u1"}, "spec": spec}
    JOB.default(obj)
    JOB.prepare_create(obj)
    return obj


def complaints(obj: JsonObject) -> list[str]:
    return [str(error) for error in JOB.validate(obj)]


def test_defaults() -> None:
    spec = job()["spec"]
    assert {key: spec[key] for key in spec if key not in ("template", "selector")} == {
        "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False,
        "manualSelector": False, "podReplacementPolicy": "TerminatingOrFailed",
    }  # fmt: skip
    assert "completions" not in job(parallelism=2)["spec"]
    assert job(completions=5)["spec"]["parallelism"] == 1
    policy = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
    spec = job(podFailurePolicy=policy)["spec"]
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"] == "True"


def test_generated_labels() -> None:
    made = job()
    own = {
        "controller-uid": "u1", "job-name": "work",
        "batch.kubernetes.io/controller-uid": "u1", "batch.kubernetes.io/job-name": "work",
    }  # fmt: skip
    assert made["spec"]["template"]["metadata"]["labels"] == own == meta.labels(made)
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}
    assert complaints(made) == []
    template = {
        "metadata": {"labels": {"app": "a", "job-name": "other"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
    }
    [message] = complaints(job(template=template))
    assert (
        message.startswith("spec.template.metadata.labels[job-name]: Invalid value") and "must be 'work'" in message
    )
    del template["metadata"]["labels"]["job-name"]  # type: ignore[attr-defined]
    chosen = job(template=template, manualSelector=True, selector={"matchLabels": {"app": "a"}})
    assert complaints(chosen) == [] and chosen["spec"]["template"]["metadata"]["labels"] == {"app": "a"}
    assert "spec.selector: Required value" in complaints(job(template=template, manualSelector=True))


EXIT = {"operator": "In", "values": [1]}


def failing(**rule: Any) -> JsonObject:
    return {"podFailurePolicy": {"rules": [{"action": "FailJob", **rule}]}}


INDEXED = {"completionMode": "Indexed", "completions": 4}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"parallelism": -1}, "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
        ({"ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished: Invalid value: -1"),
        ({"completionMode": "Indexed", "parallelism": 1}, "Required value: when completion mode is Indexed"),
        ({"completionMode": "Odd"}, 'Unsupported value: "Odd": supported values: "NonIndexed", "Indexed"'),
        ({**INDEXED, "parallelism": 100_001}, "must be less than or equal to 100000 when completion mode is Indexed"),
        ({"backoffLimitPerIndex": 1}, "backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
        ({**INDEXED, "maxFailedIndexes": 1}, "Required value: when maxFailedIndexes is specified"),
        ({**INDEXED, "backoffLimitPerIndex": 1, "maxFailedIndexes": 5}, "must be less than or equal to completions"),
        (
            {"completionMode": "Indexed", "completions": 100_001, "backoffLimitPerIndex": 1},
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
        ),
        ({"managedBy": "x"}, 'must be a domain-prefixed path (such as "acme.io/foo")'),
        ({"managedBy": "a.b/" + "x" * 60}, "spec.managedBy: Too long"),
        ({"podReplacementPolicy": "Never"}, '"Never": supported values: "Failed", "TerminatingOrFailed"'),
        (
            {"podReplacementPolicy": "TerminatingOrFailed", **failing(onExitCodes=EXIT)},
            'spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"',
        ),
        (failing(), "rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
        (
            failing(onExitCodes=EXIT, onPodConditions=[{"type": "A", "status": "True"}]),
            "rules[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
        ),
        (failing(action="FailIndex", onExitCodes=EXIT), "requires the backoffLimitPerIndex to be set"),
        (failing(action="", onExitCodes=EXIT), 'valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'),
        (failing(onExitCodes={**EXIT, "values": [0]}), "must not be 0 for the In operator"),
        (failing(onExitCodes={**EXIT, "values": [2, 1]}), "values: Invalid value: [2,1]: must be ordered"),
        (failing(onExitCodes={**EXIT, "values": [1, 1]}), "values[1]: Duplicate value: 1"),
        (failing(onExitCodes={**EXIT, "values": []}), "at least one value is required"),
        (failing(onExitCodes={**EXIT, "containerName": "z"}), "must be one of the container or initContainer names"),
        (failing(onPodConditions=[{"type": "b ad", "status": "True"}]), "onPodConditions[0].type: Invalid value"),
        ({"successPolicy": {"rules": [{"succeededCount": 1}]}}, "requires indexed completion mode"),
        ({**INDEXED, "successPolicy": {"rules": []}}, "at least one rules must be specified"),
        ({**INDEXED, "successPolicy": {"rules": [{}]}}, "at least one of succeededCount or succeededIndexes"),
        ({**INDEXED, "successPolicy": {"rules": [{"succeededCount": 5}]}}, "4 (the number of specified completions)"),
        ({**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0-9"}]}}, 'too large index: "9"'),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0,1", "succeededCount": 3}]}},
            "2 (the number of indexes in the specified succeededIndexes field)",
        ),
    ],
)  # fmt: skip
def test_rules(spec: JsonObject, said: str) -> None:
    found = complaints(job(**spec))
    assert any(said in text for text in found), found


def test_pods_of_a_job_end() -> None:
    path = "spec.template.spec.restartPolicy"
    containers = [{"name": "c", "image": "i"}]
    assert f'{path}: Required value: valid values: "OnFailure", "Never"' in complaints(
        job(template={"spec": {"containers": containers}})
    )
    template = {"spec": {"restartPolicy": "OnFailure", "containers": containers}}
    assert complaints(job(template=template)) == []
    found = complaints(job(template=template, **failing(onExitCodes=EXIT)))
    assert (
        f'{path}: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified' in found
    )
    [long] = complaints(job("n" * 62, **INDEXED))
    assert "will not able to create pod with invalid DNS label" in long


def changed(old: JsonObject, **spec: Any) -> list[str]:
    new = meta.copy_object(old)
    for key, value in spec.items():
        part = new["spec"]["template"]["spec"] if key in ("nodeSelector", "affinity", "hostname") else new["spec"]
        part[key] = value
    return [str(error) for error in JOB.validate_update(new, old)]


def test_what_may_change() -> None:
    old = job(completions=2)
    assert changed(old, parallelism=3, backoffLimit=1, suspend=True, activeDeadlineSeconds=9) == []
    assert changed(old, completions=3) == ["spec.completions: Invalid value: 3: field is immutable"]
    assert changed(old, completionMode="Indexed") == [
        'spec.completionMode: Invalid value: "Indexed": field is immutable'
    ]
    assert len(changed(old, nodeSelector={"a": "b"})) == 1
    indexed = job(**INDEXED, parallelism=4)
    assert changed(indexed, completions=8, parallelism=8) == []
    assert changed(indexed, completions=8) == [
        "spec.completions: Invalid value: 8: can only be modified in tandem with spec.parallelism"
    ]


def test_where_pods_go_may_change_while_it_is_suspended() -> None:
    old = job(suspend=True)
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    assert changed(old, nodeSelector={"a": "b"}, affinity=affinity) == []
    assert len(changed(old, affinity={"podAffinity": {}})) == 1
    assert len(changed(old, hostname="x")) == 1
    began = {**old, "status": {"startTime": "2027-01-01T00:00:00Z", "active": 1}}
    assert len(changed(began, nodeSelector={"a": "b"})) == 1
    resting = {"startTime": "2027-01-01T00:00:00Z", "conditions": [{"type": "Suspended", "status": "True"}]}
    assert changed({**old, "status": resting}, nodeSelector={"a": "b"}) == []


def condition(*types: str) -> list[JsonObject]:
    return [{"type": each, "status": "True"} for each in types]


BEGAN = {"startTime": "2027-01-01T00:00:00Z"}
ENDED = {**BEGAN, "completionTime": "2027-01-01T01:00:00Z", "conditions": condition("SuccessCriteriaMet", "Complete")}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"active": -1}, "status.active: Invalid value: -1"),
        ({}, {"ready": 2, "active": 1}, "cannot set more ready pods than active"),
        ({}, {**BEGAN, "conditions": condition("Failed")}, "Failed=True condition without the FailureTarget=true"),
        ({}, {**ENDED, "conditions": condition("Complete")}, "without the SuccessCriteriaMet=true condition"),
        ({}, {**ENDED, "active": 1}, "active>0 is invalid for finished job"),
        ({}, {**ENDED, "uncountedTerminatedPods": {"failed": ["a"]}}, "needs to be empty for finished job"),
        ({}, {**BEGAN, "completionTime": "2027-01-01T01:00:00Z"}, "when there is no Complete=True condition"),
        ({}, {**ENDED, "completionTime": "2026-01-01T01:00:00Z"}, "completionTime cannot be set before startTime"),
        (ENDED, BEGAN, "cannot disable the terminal Complete=True condition"),
        ({"failed": 2}, {"failed": 1}, "cannot decrease the failed counter"),
        ({}, {"uncountedTerminatedPods": {"failed": ["a"], "succeeded": ["a"]}}, "failed[0]: Duplicate value"),
        ({}, {"completedIndexes": "0"}, "cannot set non-empty completedIndexes when non-indexed completion mode"),
        ({}, {"failedIndexes": "0"}, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"),
    ],
)  # fmt: skip
def test_what_a_status_may_say(before: JsonObject, after: JsonObject, said: str) -> None:
    old, new = {**job(), "status": before}, {**job(), "status": after}
    found = [str(error) for error in JOB.validate_status_update(new, old)]
    assert any(said in text for text in found), found


def test_indexes_of_a_status() -> None:
    made = job(**INDEXED, backoffLimitPerIndex=1)
    status = {"completedIndexes": "0-2", "failedIndexes": "2,3"}
    [error] = JOB.validate_status_update({**made, "status": status}, made)
    assert "failedIndexes and completedIndexes overlap at index: 2" in str(error)
    status = {"completedIndexes": "0-9"}
    [error] = JOB.validate_status_update({**made, "status": status}, made)
    assert 'error parsing completedIndexes: too large index: "9"' in str(error)


def shown(obj: JsonObject, kind: Any = JOB) -> list[object]:
    return [column.value(obj, EPOCH_S) for column in kind.table if not column.priority]


def test_columns() -> None:
    assert [column.name for column in JOB.table] == [
        "Name", "Status", "Completions", "Duration", "Age", "Containers", "Images", "Selector",
    ]  # fmt: skip
    assert shown({**job(completions=3), "status": ENDED | {"succeeded": 3}})[1:4] == ["Complete", "3/3", "60m"]
    assert shown(job(parallelism=2))[1:4] == ["Running", "0/1 of 2", ""]
    assert shown({**job(), "status": {"conditions": condition("Suspended")}})[1] == "Suspended"


def cron_job(**spec: Any) -> JsonObject:
    template = spec.pop("jobTemplate", {"spec": {"template": job()["spec"]["template"]}})
    metadata = {"name": spec.pop("name", "report"), "namespace": "default"}
    obj = {"metadata": metadata, "spec": {"schedule": "0 * * * *", "jobTemplate": template, **spec}}
    CRON_JOB.default(obj)
    CRON_JOB.prepare_create(obj)
    return obj


def test_cron_job_defaults_and_columns() -> None:
    made = cron_job()
    assert {key: made["spec"][key] for key in made["spec"] if key not in ("jobTemplate", "schedule")} == {
        "concurrencyPolicy": "Allow", "suspend": False, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
    }  # fmt: skip
    assert "backoffLimit" not in made["spec"]["jobTemplate"]["spec"], "that is for the Job to be given"
    assert [column.name for column in CRON_JOB.table][:7] == [
        "Name", "Schedule", "Timezone", "Suspend", "Active", "Last Schedule", "Age",
    ]  # fmt: skip
    assert shown(made, CRON_JOB)[:6] == ["report", "0 * * * *", "<none>", "False", 0, "<none>"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"schedule": ""}, "spec.schedule: Required value"),
        ({"schedule": "* * * *"}, "spec.schedule: Invalid value: \"* * * *\": expected exactly 5 fields, found 4"),
        ({"schedule": "TZ=UTC * * * * *"}, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        ({"timeZone": ""}, "timeZone must be nil or non-empty string"),
        ({"timeZone": "Local"}, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"),
        ({"timeZone": "Europe/InvalidRome"}, "unknown time zone Europe/InvalidRome"),
        ({"timeZone": "../etc/passwd"}, "unknown time zone ../etc/passwd"),
        ({"timeZone": "Europe"}, "unknown time zone Europe"),
        ({"timeZone": "Europe/Rome "}, "unknown time zone Europe/Rome "),
        ({"concurrencyPolicy": "Maybe"}, '"Maybe": supported values: "Allow", "Forbid", "Replace"'),
        ({"startingDeadlineSeconds": -1}, "spec.startingDeadlineSeconds: Invalid value: -1"),
        ({"failedJobsHistoryLimit": -1}, "spec.failedJobsHistoryLimit: Invalid value: -1"),
        ({"name": "n" * 53}, "must be no more than 52 characters"),
        ({"jobTemplate": {"spec": {"template": {"spec": {}}}}}, "template.spec.restartPolicy: Required"),
        (
            {"jobTemplate": {"spec": {"template": job()["spec"]["template"], "selector": {}}}},
            "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
        ),
    ],
)  # fmt: skip
def test_cron_job_rules(spec: JsonObject, said: str) -> None:
    made = cron_job(**spec)
    found = [str(error) for error in CRON_JOB.validate(made) + CRON_JOB.validate_create(made)]
    assert any(said in text for text in found), found


def test_good_cron_jobs() -> None:
    for spec in ({}, {"timeZone": "Europe/Rome"}, {"timeZone": "Etc/GMT+8"}, {"schedule": "@hourly"}):
        made = cron_job(**spec)
        assert CRON_JOB.validate(made) + CRON_JOB.validate_create(made) == []
    old = cron_job(schedule="CRON_TZ=UTC * * * * *")
    assert CRON_JOB.validate_update(old, old) == [], "what is there is kept"
