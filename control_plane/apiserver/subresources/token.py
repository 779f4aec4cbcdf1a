"""TokenRequest: a bound token for a service account (pkg/registry/core/serviceaccount/storage/token.go)."""

from __future__ import annotations

from typing import Final

import orjson

from argosy.host import rfc3339
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.auth.node import node_name
from control_plane.apiserver.auth.tokens import Bound, Tokens
from control_plane.apiserver.request import Answer, Request
from control_plane.apiserver.verbs import body
from control_plane.apiserver.verbs.context import Context

EXPECTED: Final = body.Expected("authentication.k8s.io", "v1", "TokenRequest")
DEFAULT_S: Final = 3600
MIN_S: Final = 600
MAX_S: Final = 1 << 32


class TokenRequests:
    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens

    async def create(self, context: Context, request: Request) -> Answer:
        """POST serviceaccounts/NAME/token. Raises ApiError."""
        if self._tokens is None:
            raise errors.status_error(501, "NotImplemented", "tokens need the flag --service-account-key")
        sent = body.read(request, context.schemas, EXPECTED)
        name = sent["metadata"].get("name") or request.name
        if name != request.name:
            raise errors.bad_request(
                f"the name of the object ({name}) does not match the name on the URL ({request.name})"
            )
        account = (await context.newest(request)).obj
        _restrict_nodes(context, request, sent)
        spec = dict(sent.get("spec") or {})
        expiration_s = spec.get("expirationSeconds")
        expiration_s = DEFAULT_S if expiration_s is None else int(expiration_s)
        if not MIN_S <= expiration_s <= MAX_S:
            detail = "may not specify a duration less than 10 minutes"
            if expiration_s > MAX_S:
                detail = "may not specify a duration larger than 2^32 seconds"
            failure = errors.invalid_value("spec.expirationSeconds", expiration_s, detail)
            raise errors.invalid("authentication.k8s.io", "TokenRequest", request.name, [failure])
        bound = self._bound(context, request, spec.get("boundObjectRef"), account)
        audiences = spec.get("audiences") or list(self._tokens.audiences)
        uid = meta.uid(account)
        token, ends = self._tokens.sign(request.namespace, request.name, uid, audiences, expiration_s, bound)
        spec |= {"audiences": audiences, "expirationSeconds": expiration_s}
        spec.setdefault("boundObjectRef", None)
        answer: JsonObject = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": request.name,
                "namespace": request.namespace,
                "creationTimestamp": rfc3339(context.host.clock.now()),
            },
            "spec": spec,
            "status": {"token": token, "expirationTimestamp": rfc3339(ends)},
        }
        return Answer(answer, orjson.dumps(answer), 201)

    def _bound(self, context: Context, request: Request, reference: JsonObject | None, account: JsonObject) -> Bound:
        if not reference:
            return Bound()
        kind, name = str(reference.get("kind", "")), str(reference.get("name", ""))
        if kind not in ("Pod", "Secret", "Node") or reference.get("apiVersion") not in (None, "", "v1"):
            failure = errors.invalid_value("spec.boundObjectRef", kind, "cannot bind token for serviceaccount to it")
            raise errors.invalid("authentication.k8s.io", "TokenRequest", request.name, [failure])
        plural = f"{kind.lower()}s"
        served = context.resources.require("", plural)
        entry = served.cache.get(served.cache_key(request.namespace, name))
        if entry is None:
            raise errors.not_found("", plural, name)
        uid = meta.uid(entry.obj)
        if reference.get("uid") and reference["uid"] != uid:
            detail = (
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record ({uid})"
            )
            raise errors.conflict("", plural, name, detail)
        if kind == "Pod" and meta.spec(entry.obj).get("serviceAccountName") != meta.name(account):
            raise errors.bad_request(
                f'cannot bind token for serviceaccount "{request.name}" to pod running with different serviceaccount '
                "name."
            )
        node = str(meta.spec(entry.obj).get("nodeName", "")) if kind == "Pod" else ""
        node_entry = context.resources.require("", "nodes").cache.get(node) if node else None
        return Bound(kind, name, uid, node, meta.uid(node_entry.obj) if node_entry else "")


def _restrict_nodes(context: Context, request: Request, sent: JsonObject) -> None:
    """A node gets tokens only that are bound to pods of its own (NodeRestriction, admitServiceAccount)."""
    node = node_name(request.user)
    if not node:
        return
    bound = (sent.get("spec") or {}).get("boundObjectRef") or {}
    if bound.get("kind") != "Pod" or not bound.get("name"):
        raise _refused(request, f'node "{node}" requested token not bound to a pod')
    if not bound.get("uid"):
        raise _refused(request, f'node "{node}" requested token with a pod binding without a uid')
    served = context.resources.require("", "pods")
    pod = served.cache.get(served.cache_key(request.namespace, str(bound["name"])))
    if pod is not None and meta.spec(pod.obj).get("nodeName") != node:
        raise _refused(request, f'node "{node}" requested token bound to a pod scheduled on a different node')


def _refused(request: Request, detail: str) -> errors.ApiError:
    return errors.forbidden("", "serviceaccounts", request.name, detail)
