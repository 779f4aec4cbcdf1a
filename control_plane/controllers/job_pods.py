"""A Job's pods: which index they work on, when they count as failed, when they ended, and what new ones look like.

Pure. Upstream: `pkg/controller/job/{indexed_job_utils,backoff_utils,job_controller}.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from argosy.host import parse_rfc3339
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import pods as podlib

FINALIZER: Final = "batch.kubernetes.io/job-tracking"
INDEX: Final = "batch.kubernetes.io/job-completion-index"
FAILURES: Final = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES: Final = "batch.kubernetes.io/job-index-ignored-failure-count"
INDEX_VARIABLE: Final = "JOB_COMPLETION_INDEX"
MAX_BASE_CHARS: Final = 58
"""Of a generated pod name: 63, without its random part."""


def is_indexed(job: JsonObject) -> bool:
    return meta.spec(job).get("completionMode") == "Indexed"


def is_suspended(job: JsonObject) -> bool:
    return bool(meta.spec(job).get("suspend"))


def is_finished(job: JsonObject) -> bool:
    return conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")


def waits_for_failure(job: JsonObject) -> bool:
    """A pod that is being deleted is replaced only when it has really ended."""
    spec = meta.spec(job)
    return spec.get("podReplacementPolicy") == "Failed" or spec.get("podFailurePolicy") is not None


def is_tracked(pod: JsonObject) -> bool:
    return FINALIZER in meta.finalizers(pod)


def completion_index(pod: JsonObject) -> int | None:
    text = meta.annotations(pod).get(INDEX, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def has_place(job: JsonObject, pod: JsonObject) -> bool:
    """An indexed Job's pod works on an index that the Job (still) has."""
    if not is_indexed(job):
        return True
    index = completion_index(pod)
    return index is not None and index < int(meta.spec(job).get("completions") or 0)


def is_failed(job: JsonObject, pod: JsonObject) -> bool:
    """It failed, or is being deleted and will not be waited for: one on a lost node never says that it failed."""
    phase = podlib.phase(pod)
    if phase == "Failed":
        return True
    return not waits_for_failure(job) and meta.is_deleting(pod) and phase != "Succeeded"


def finished_at(pod: JsonObject) -> float:
    """Unix seconds: the end of its last container; else when it was no longer ready, or was told to end."""
    sidecars = {
        item.get("name")
        for item in meta.spec(pod).get("initContainers") or ()
        if item.get("restartPolicy") == "Always"
    }
    status = meta.status(pod)
    containers = [
        *(status.get("containerStatuses") or ()),
        *(each for each in status.get("initContainerStatuses") or () if each.get("name") in sidecars),
    ]
    ends = [((item.get("state") or {}).get("terminated") or {}).get("finishedAt") for item in containers]
    known = [parse_rfc3339(end) for end in ends if end]
    if known and len(known) == len(ends):
        return max(known)
    ready = conditions.get(pod, "Ready")
    if ready is not None and ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return parse_rfc3339(ready["lastTransitionTime"])
    data = meta.metadata(pod)
    if data.get("deletionTimestamp"):
        return parse_rfc3339(data["deletionTimestamp"]) - float(data.get("deletionGracePeriodSeconds") or 0)
    return parse_rfc3339(data["creationTimestamp"]) if data.get("creationTimestamp") else 0.0


def _count(pod: JsonObject, annotation: str) -> int:
    text = meta.annotations(pod).get(annotation, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0


def counted_failures(pod: JsonObject) -> int:
    """Failures of the pod's index before it, those that the failure policy ignores left out."""
    return _count(pod, FAILURES)


def all_failures(pod: JsonObject) -> int:
    return _count(pod, FAILURES) + _count(pod, IGNORED_FAILURES)


def too_many(job: JsonObject, active: Sequence[JsonObject], surplus: int, now: float) -> list[JsonObject]:
    """Active pods to remove: of an indexed Job those without a place and all but one of an index; then, up to
    `surplus` together, those that have done least."""
    doomed: list[JsonObject] = []
    left = list(active)
    if is_indexed(job):
        left = []
        by_index: dict[int, list[JsonObject]] = {}
        for pod in active:
            index = completion_index(pod)
            if index is None or not has_place(job, pod):
                doomed.append(pod)
            else:
                by_index.setdefault(index, []).append(pod)
        for index in sorted(by_index):
            order = podlib.deletion_order(by_index[index], (), now)
            doomed += order[:-1]
            left.append(order[-1])
    if len(doomed) < surplus:
        doomed += podlib.deletion_order(left, (), now)[: surplus - len(doomed)]
    return doomed


def restarts(pods: Iterable[JsonObject]) -> int:
    """Of all containers of the pods that still run."""
    return sum(
        int(item.get("restartCount", 0))
        for pod in pods
        if podlib.phase(pod) in ("Running", "Pending")
        for group in ("initContainerStatuses", "containerStatuses")
        for item in meta.status(pod).get(group) or ()
    )


def new_pod(job: JsonObject, index: int | None = None, extra: Mapping[str, str] | None = None) -> JsonObject:
    """The next pod, still without a name, with the finalizer by which it is counted once; `extra` annotations."""
    template = meta.spec(job)["template"]
    source, spec, name = template.get("metadata") or {}, template["spec"], meta.name(job)
    finalizers = list(source.get("finalizers") or ())
    metadata: JsonObject = {
        "generateName": f"{name}-",
        "namespace": meta.namespace(job),
        "ownerReferences": [meta.owner_reference(job)],
        "finalizers": finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER],
    }
    for field in ("labels", "annotations"):
        if source.get(field):
            metadata[field] = source[field]
    if is_indexed(job):
        spec = _with_variable(spec)
    if index is not None:
        suffix = f"-{index}-"
        metadata["generateName"] = name[: MAX_BASE_CHARS - len(suffix)] + suffix
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **(extra or {}), INDEX: str(index)}
        metadata["labels"] = {**(metadata.get("labels") or {}), INDEX: str(index)}
        spec = {**spec, "hostname": f"{name}-{index}"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _with_variable(spec: JsonObject) -> JsonObject:
    """JOB_COMPLETION_INDEX in every container that does not set it itself."""
    field = {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}
    variable = {"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": field}}
    result = dict(spec)
    for group in ("containers", "initContainers"):
        if spec.get(group):
            result[group] = [
                container
                if any(item.get("name") == INDEX_VARIABLE for item in container.get("env") or ())
                else {**container, "env": [*(container.get("env") or ()), variable]}
                for container in spec[group]
            ]
    return result
