"""CertificateSigningRequests: approves those of nodes for themselves, signs what is approved, removes old ones.

Upstream: `pkg/controller/certificates/{approver,signer,cleaner}`. Whether a client-certificate request may be
approved is asked of the authoriser, so that bindings decide (who holds a bootstrap token, a node for itself). Serving
certificates, which upstream leaves to people, are approved when all their names are the node's own.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from argosy import logs
from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import CERTIFICATE_REQUESTS, NODES, Context, Controller, ResourceName
from control_plane.controllers.service_account import read

if TYPE_CHECKING:
    from control_plane.controllers.signing import Request, Signer

log = logs.get("controllers.certificates")

GROUP: Final = "certificates.k8s.io"
ACCESS_REVIEWS: Final = ResourceName("authorization.k8s.io", "v1", "subjectaccessreviews")
ASK_AGAIN_S: Final = 5.0
PENDING_S: Final = 24 * 3600.0
ANSWERED_S: Final = 3600.0


class CertificateController(Controller):
    name = "certificatesigningrequest-controller"
    watches = (CERTIFICATE_REQUESTS,)
    writes = (CERTIFICATE_REQUESTS, ACCESS_REVIEWS)

    def __init__(self, context: Context) -> None:
        """Raises OSError when the signing files cannot be read."""
        super().__init__(context)
        self._certificate = read(self.config.cluster_signing_certificate)
        self._key = read(self.config.cluster_signing_key)
        self._signer: Signer | None = None
        self._requests = self.informer(CERTIFICATE_REQUESTS)
        self.enqueue_changes(self._requests)

    async def reconcile(self, key: str) -> float | None:
        obj = self._requests.get(key)
        if obj is None or meta.is_deleting(obj):
            return None
        left_s = lifetime_left_s(obj, self.host.clock.now())
        if left_s <= 0:
            await self._delete(obj)
            return None
        if _says(obj, "Failed") or _says(obj, "Denied") or meta.status(obj).get("certificate"):
            return left_s
        if _says(obj, "Approved"):
            await self._sign(obj)
            return left_s
        return min(left_s, ASK_AGAIN_S) if not await self._approve(obj) else left_s

    async def _delete(self, obj: JsonObject) -> None:
        try:
            await self.writer(CERTIFICATE_REQUESTS).delete(meta.name(obj), uid=meta.uid(obj))
        except ApiError as error:
            if error.code != 404:
                raise

    # Approval.

    async def _approve(self, obj: JsonObject) -> bool:
        """False: it may be approvable later (its node is not known yet)."""
        from control_plane.controllers import signing

        signer = meta.spec(obj).get("signerName")
        if signer not in (signing.CLIENT_KUBELET, signing.SERVING_KUBELET):
            return True
        try:
            request = signing.parse(obj)
            signing.check(request, str(signer))
        except signing.RequestError as error:
            log.info("a node's request is left for people to judge", name=meta.name(obj), error=error)
            return True
        if signer == signing.CLIENT_KUBELET:
            message = await self._client_message(obj, request)
        else:
            message = await self._serving_message(request)
        if not message:
            return bool(signer == signing.CLIENT_KUBELET)
        now = rfc3339(self.host.clock.now())
        made = {**conditions.make("Approved", True, now, "AutoApproved", message), "lastUpdateTime": now}
        found = conditions.with_condition(meta.status(obj).get("conditions") or (), made)
        approved = {**obj, "status": {**meta.status(obj), "conditions": found}}
        await self.writer(CERTIFICATE_REQUESTS).update(approved, subresource="approval")
        log.info("approved", name=meta.name(obj), subject=request.common_name, asked_by=request.username)
        return True

    async def _client_message(self, obj: JsonObject, request: Request) -> str:
        if request.username == request.common_name and await self._may(obj, "selfnodeclient"):
            return "Auto approving self kubelet client certificate after SubjectAccessReview."
        if await self._may(obj, "nodeclient"):
            return "Auto approving kubelet client certificate after SubjectAccessReview."
        return ""

    async def _serving_message(self, request: Request) -> str:
        from control_plane.controllers import signing

        name = request.common_name.removeprefix(signing.NODE_PREFIX)
        try:
            node = await self.reader(NODES).get(name)
        except ApiError as error:
            if error.code != 404:
                raise
            return ""
        if not signing.is_own_serving_request(request, node):
            return ""
        return "Auto approving kubelet serving certificate for its node's own names and addresses."

    async def _may(self, obj: JsonObject, subresource: str) -> bool:
        spec = meta.spec(obj)
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": {
                "user": spec.get("username", ""),
                "uid": spec.get("uid", ""),
                "groups": spec.get("groups") or [],
                "extra": spec.get("extra") or {},
                "resourceAttributes": {
                    "group": GROUP,
                    "resource": "certificatesigningrequests",
                    "verb": "create",
                    "subresource": subresource,
                    "version": "*",
                },
            },
        }
        answer = await self.writer(ACCESS_REVIEWS).create(review)
        return bool(meta.status(answer).get("allowed"))

    # Signing.

    async def _sign(self, obj: JsonObject) -> None:
        from control_plane.controllers import signing

        name = str(meta.spec(obj).get("signerName"))
        if not self._key or name not in signing.SIGNERS:
            return
        if self._signer is None:
            self._signer = signing.Signer(self._certificate, self._key, self.host)
        status = dict(meta.status(obj))
        asked_s = meta.spec(obj).get("expirationSeconds")
        lifetime_s = self.config.cluster_signing_duration
        try:
            request = signing.parse(obj)
            signing.check(request, name)
            lifetime_s = lifetime_s if asked_s is None else min(lifetime_s, float(asked_s))
            certificate = self._signer.sign(request, lifetime_s)
        except signing.RequestError as error:
            now = rfc3339(self.host.clock.now())
            made = conditions.make("Failed", True, now, "SignerValidationFailure", str(error))
            found = conditions.with_condition(status.get("conditions") or (), {**made, "lastUpdateTime": now})
            status["conditions"] = found
        else:
            status["certificate"] = base64.b64encode(certificate).decode()
            log.info("signed", name=meta.name(obj), subject=request.common_name)
        await self.writer(CERTIFICATE_REQUESTS).update_status({**obj, "status": status})


def _says(obj: JsonObject, type_: str) -> bool:
    return conditions.is_true(obj, type_)


def lifetime_left_s(obj: JsonObject, now: float) -> float:
    """Answered requests are kept for an hour, those that wait for people for a day."""
    answered = [
        each.get("lastUpdateTime") or each.get("lastTransitionTime")
        for each in meta.status(obj).get("conditions") or ()
        if each.get("type") in ("Approved", "Denied", "Failed")
    ]
    stamps = [parse_rfc3339(stamp) for stamp in answered if stamp]
    if stamps:
        return max(stamps) + ANSWERED_S - now
    created = meta.metadata(obj).get("creationTimestamp")
    return (parse_rfc3339(created) if created else now) + PENDING_S - now
