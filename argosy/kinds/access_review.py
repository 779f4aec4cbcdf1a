"""SubjectAccessReview and its three relatives: may this subject do that? Answered by the authoriser, never stored."""

from __future__ import annotations

from argosy.kinds.kind import Kind
from argosy.objects.status import FieldError, forbidden_field, invalid_value
from argosy.objects.types import JsonObject

GROUP = "authorization.k8s.io"


def _validate_attributes(spec: JsonObject) -> list[FieldError]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        return [
            invalid_value(
                "spec.nonResourceAttributes",
                path,
                "cannot be specified in combination with resourceAttributes",
            )
        ]
    if resource is None and path is None:
        return [
            invalid_value(
                "spec.resourceAttributes",
                None,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
        ]
    return []


def validate_subject_review(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    errors = _validate_attributes(spec)
    if not spec.get("user") and not spec.get("groups"):
        errors.append(
            invalid_value("spec.user", spec.get("user", ""), "at least one of user or group must be specified")
        )
    return errors


def validate_self_review(obj: JsonObject) -> list[FieldError]:
    return _validate_attributes(obj.get("spec") or {})


def validate_local_review(obj: JsonObject) -> list[FieldError]:
    errors = validate_subject_review(obj)
    attributes = (obj.get("spec") or {}).get("resourceAttributes")
    if attributes is None:
        errors.append(forbidden_field("spec.nonResourceAttributes", "disallowed on this kind of request"))
    else:
        space = (obj.get("metadata") or {}).get("namespace", "")
        if attributes.get("namespace", "") != space:
            detail = f"must match metadata.namespace: {space}"
            errors.append(invalid_value("spec.resourceAttributes.namespace", attributes.get("namespace", ""), detail))
    return errors


SUBJECT_ACCESS_REVIEW = Kind(
    group=GROUP,
    version="v1",
    kind="SubjectAccessReview",
    plural="subjectaccessreviews",
    singular="subjectaccessreview",
    namespaced=False,
    verbs=("create",),
    virtual=True,
    validate=validate_subject_review,
)

SELF_SUBJECT_ACCESS_REVIEW = Kind(
    group=GROUP,
    version="v1",
    kind="SelfSubjectAccessReview",
    plural="selfsubjectaccessreviews",
    singular="selfsubjectaccessreview",
    namespaced=False,
    verbs=("create",),
    virtual=True,
    validate=validate_self_review,
)

LOCAL_SUBJECT_ACCESS_REVIEW = Kind(
    group=GROUP,
    version="v1",
    kind="LocalSubjectAccessReview",
    plural="localsubjectaccessreviews",
    singular="localsubjectaccessreview",
    namespaced=True,
    verbs=("create",),
    virtual=True,
    validate=validate_local_review,
)

SELF_SUBJECT_RULES_REVIEW = Kind(
    group=GROUP,
    version="v1",
    kind="SelfSubjectRulesReview",
    plural="selfsubjectrulesreviews",
    singular="selfsubjectrulesreview",
    namespaced=False,
    verbs=("create",),
    virtual=True,
)
