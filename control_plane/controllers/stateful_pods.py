"""The pods of a StatefulSet: names, ordinals, claims, and what is wrong with one; pure.

Upstream: `pkg/controller/statefulset/stateful_set_utils.go`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.controllers import pods as podlib
from control_plane.controllers.history import REVISION_LABEL

POD_NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"

_NAME: Final = re.compile(r"(?P<set>.*)-(?P<ordinal>[0-9]{1,10})", re.ASCII | re.DOTALL)
_MAX_INT32: Final = (1 << 31) - 1


def parent_and_ordinal(pod_name: str) -> tuple[str, int]:
    """(name of the set, ordinal); ("", -1) for a name that no set gives."""
    found = _NAME.fullmatch(pod_name)
    if found is None:
        return "", -1
    ordinal = int(found["ordinal"])
    return found["set"], ordinal if ordinal <= _MAX_INT32 else -1


def ordinal_of(pod: JsonObject) -> int:
    return parent_and_ordinal(meta.name(pod))[1]


def is_member(set_: JsonObject, pod: JsonObject) -> bool:
    return parent_and_ordinal(meta.name(pod))[0] == meta.name(set_)


def wanted(set_: JsonObject) -> int:
    return int(meta.spec(set_).get("replicas", 1))


def start_ordinal(set_: JsonObject) -> int:
    return int((meta.spec(set_).get("ordinals") or {}).get("start") or 0)


def in_range(set_: JsonObject, pod: JsonObject) -> bool:
    start = start_ordinal(set_)
    return start <= ordinal_of(pod) < start + wanted(set_)


def revision_of(pod: JsonObject) -> str:
    return meta.labels(pod).get(REVISION_LABEL, "")


def is_parallel(set_: JsonObject) -> bool:
    return meta.spec(set_).get("podManagementPolicy") == "Parallel"


def is_ready(pod: JsonObject) -> bool:
    return meta.status(pod).get("phase") == "Running" and podlib.is_ready(pod)


def is_available(set_: JsonObject, pod: JsonObject, now: float) -> bool:
    """Ready for minReadySeconds, and not being deleted."""
    min_ready_s = int(meta.spec(set_).get("minReadySeconds", 0))
    return is_ready(pod) and not meta.is_deleting(pod) and podlib.available_in(pod, min_ready_s, now) == 0


# Claims.


def claim_name(set_: JsonObject, template: JsonObject, ordinal: int) -> str:
    return f"{meta.name(template)}-{meta.name(set_)}-{ordinal}"


def claim_templates(set_: JsonObject) -> Sequence[JsonObject]:
    return meta.spec(set_).get("volumeClaimTemplates") or ()


def claim_names(set_: JsonObject, pod: JsonObject) -> list[str]:
    return [claim_name(set_, template, ordinal_of(pod)) for template in claim_templates(set_)]


def retention(set_: JsonObject) -> tuple[str, str]:
    """(whenDeleted, whenScaled)."""
    policy = meta.spec(set_).get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenDeleted") or "Retain", policy.get("whenScaled") or "Retain"


def claims(set_: JsonObject, pod: JsonObject) -> list[JsonObject]:
    """The claims that the pod needs, to be created."""
    labels = (meta.spec(set_).get("selector") or {}).get("matchLabels") or {}
    owners = [meta.owner_reference(set_)] if retention(set_)[0] == "Delete" and in_range(set_, pod) else []
    result = []
    for template in claim_templates(set_):
        metadata: JsonObject = {
            "name": claim_name(set_, template, ordinal_of(pod)),
            "namespace": meta.namespace(set_),
            "labels": {**meta.labels(template), **labels},
        }
        if meta.annotations(template):
            metadata["annotations"] = meta.annotations(template)
        if owners:
            metadata["ownerReferences"] = owners
        result.append(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]}
        )
    return result


def claim_owners(set_: JsonObject, pod: JsonObject, claim: JsonObject) -> list[JsonObject] | None:
    """The owner references that the claim should have by the retention policy; None when they are right.

    The set owns claims that are to go with it, a pod that was scaled away owns those that are to go with that pod. A
    claim that something else controls gets no owner from here.
    """
    mine = {("StatefulSet", meta.name(set_)), ("Pod", meta.name(pod))}
    before = meta.owner_references(claim)
    others = [each for each in before if (each.get("kind"), each.get("name")) not in mine]
    when_deleted, when_scaled = retention(set_)
    scaled_away = not in_range(set_, pod)
    wanted_owners: list[JsonObject] = []
    if any(each.get("controller") for each in others):
        pass
    elif when_scaled == "Delete" and scaled_away:
        wanted_owners = [meta.owner_reference(pod)]
    elif when_deleted == "Delete":
        wanted_owners = [meta.owner_reference(set_)]
    present = {each.get("uid") for each in before if (each.get("kind"), each.get("name")) in mine}
    if present == {each["uid"] for each in wanted_owners}:
        return None
    return [*others, *wanted_owners]


def is_stale(set_: JsonObject, pod_name: str, claim: JsonObject) -> bool:
    """A claim that a former pod of that name takes along as it goes: the next pod must not get it."""
    if retention(set_)[1] == "Retain":
        return False
    return any(each.get("kind") == "Pod" and each.get("name") == pod_name for each in meta.owner_references(claim))


# Pods.


def identity_labels(name: str, ordinal: int) -> dict[str, str]:
    return {POD_NAME_LABEL: name, INDEX_LABEL: str(ordinal)}


def new_pod(set_: JsonObject, ordinal: int, revision: str) -> JsonObject:
    """The pod of that ordinal by the set's template, to be created."""
    spec = meta.spec(set_)
    template = spec.get("template") or {}
    name = f"{meta.name(set_)}-{ordinal}"
    metadata: JsonObject = {
        "name": name,
        "namespace": meta.namespace(set_),
        "labels": {**meta.labels(template), **identity_labels(name, ordinal), REVISION_LABEL: revision},
        "ownerReferences": [meta.owner_reference(set_)],
    }
    for field in ("annotations", "finalizers"):
        if meta.metadata(template).get(field):
            metadata[field] = meta.metadata(template)[field]
    pod_spec = {**(template.get("spec") or {}), "hostname": name}
    if spec.get("serviceName"):
        pod_spec["subdomain"] = spec["serviceName"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec}
    if claim_templates(set_):
        pod_spec["volumes"] = volumes(set_, pod)
    return pod


def volumes(set_: JsonObject, pod: JsonObject) -> list[JsonObject]:
    """The pod's volumes with those of the claim templates, which win over volumes of the same name."""
    ordinal = ordinal_of(pod)
    claimed = [
        {
            "name": meta.name(template),
            "persistentVolumeClaim": {"claimName": claim_name(set_, template, ordinal)},
        }
        for template in claim_templates(set_)
    ]
    names = {each["name"] for each in claimed}
    return [*claimed, *(each for each in meta.spec(pod).get("volumes") or () if each.get("name") not in names)]


def identity_matches(set_: JsonObject, pod: JsonObject) -> bool:
    labels = meta.labels(pod)
    expected = identity_labels(meta.name(pod), ordinal_of(pod))
    return is_member(set_, pod) and all(labels.get(key) == value for key, value in expected.items())


def storage_matches(set_: JsonObject, pod: JsonObject) -> bool:
    found = {
        each.get("name"): (each.get("persistentVolumeClaim") or {}).get("claimName")
        for each in meta.spec(pod).get("volumes") or ()
    }
    ordinal = ordinal_of(pod)
    return all(
        found.get(meta.name(template)) == claim_name(set_, template, ordinal) for template in claim_templates(set_)
    )
