"""The access reviews: may somebody do something, and what may I do (pkg/registry/authorization)."""

from __future__ import annotations

from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.auth.authorization import Authorization
from control_plane.apiserver.auth.rbac import Rbac
from control_plane.apiserver.request import Request, User

GROUP = "authorization.k8s.io"


class AccessReviews:
    def __init__(self, authorization: Authorization, rbac: Rbac) -> None:
        self._authorization = authorization
        self._rbac = rbac

    async def subject(self, request: Request, review: JsonObject) -> JsonObject:
        """SubjectAccessReview: about anybody. Raises ApiError 422."""
        spec = review.get("spec") or {}
        if not spec.get("user") and not spec.get("groups"):
            detail = "at least one of user or group must be specified"
            failure = errors.invalid_value("spec.user", spec.get("user", ""), detail)
            raise errors.invalid(GROUP, review["kind"], "", [failure])
        extra = {key: tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)
        return self._reviewed(review, user)

    async def local(self, request: Request, review: JsonObject) -> JsonObject:
        """LocalSubjectAccessReview: within one namespace."""
        attributes = (review.get("spec") or {}).get("resourceAttributes") or {}
        if attributes.get("namespace", "") != request.namespace:
            raise errors.bad_request(f"spec.resourceAttributes.namespace must match namespace: {request.namespace}")
        return await self.subject(request, review)

    async def own(self, request: Request, review: JsonObject) -> JsonObject:
        """SelfSubjectAccessReview: about the caller."""
        return self._reviewed(review, request.user)

    def _reviewed(self, review: JsonObject, user: User) -> JsonObject:
        spec = review.get("spec") or {}
        resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if (resource is None) == (path is None):
            detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            failure = errors.invalid_value("spec.resourceAttributes", resource, detail)
            raise errors.invalid(GROUP, review["kind"], "", [failure])
        if path is not None:
            action = Action(user, path.get("verb", ""), path=path.get("path", "") or "/")
        else:
            assert resource is not None
            action = Action(
                user,
                resource.get("verb", ""),
                resource.get("group", ""),
                resource.get("resource", ""),
                resource.get("subresource", ""),
                resource.get("namespace", ""),
                resource.get("name", ""),
            )
        decision = self._authorization.decide(action)
        status: JsonObject = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return {**review, "status": status}

    async def rules(self, request: Request, review: JsonObject) -> JsonObject:
        """SelfSubjectRulesReview: the caller's rules in a namespace."""
        namespace = (review.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise errors.bad_request("no namespace on request")
        held = self._rbac.rules_for(request.user, namespace)
        paths = [rule for rule in held if rule.get("nonResourceURLs")]
        resources = [rule for rule in held if not rule.get("nonResourceURLs")]
        status: JsonObject = {
            "incomplete": False,
            "nonResourceRules": paths,
            "resourceRules": resources,
        }
        return {**review, "status": status}
