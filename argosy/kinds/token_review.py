"""TokenReview and SelfSubjectReview: who does this token belong to, and who am I? Answered, never stored."""

from __future__ import annotations

from argosy.kinds.kind import Kind

GROUP = "authentication.k8s.io"

TOKEN_REVIEW = Kind(
    group=GROUP,
    version="v1",
    kind="TokenReview",
    plural="tokenreviews",
    singular="tokenreview",
    namespaced=False,
    verbs=("create",),
    virtual=True,
)

SELF_SUBJECT_REVIEW = Kind(
    group=GROUP,
    version="v1",
    kind="SelfSubjectReview",
    plural="selfsubjectreviews",
    singular="selfsubjectreview",
    namespaced=False,
    verbs=("create",),
    virtual=True,
)
