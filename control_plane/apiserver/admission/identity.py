"""Nobody gives away what they do not have: RBAC escalation, binding, and the identity in certificate requests.

Rules: pkg/registry/rbac (escalation_check.go) and plugin/pkg/admission/certificates, pkg/registry/certificates.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.auth.authorization import Authorization
from control_plane.apiserver.auth.rbac import GROUP, MASTERS, Rbac
from control_plane.apiserver.auth.rules import covers

CSR_GROUP: Final = "certificates.k8s.io"
CLIENT_SIGNER: Final = "kubernetes.io/kube-apiserver-client"
_ROLES: Final = {"roles": "Role", "clusterroles": "ClusterRole"}
_BINDINGS: Final = ("rolebindings", "clusterrolebindings")


class CertificateRequests(Plugin):
    """The requester's identity is the server's to write, and nobody asks to be a master.

    Approving and signing need permission for the signer.
    """

    name = "CertificateApproval"

    def __init__(self, authorization: Authorization) -> None:
        self._authorization = authorization

    async def mutate(self, attributes: Attributes) -> None:
        kind = attributes.kind
        if (kind.group, kind.plural) != (CSR_GROUP, "certificatesigningrequests") or attributes.obj is None:
            return
        if attributes.operation is not Operation.CREATE:
            return
        spec = attributes.obj.setdefault("spec", {})
        if spec.get("signerName") == CLIENT_SIGNER and MASTERS in _organizations(str(spec.get("request") or "")):
            detail = f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
            raise errors.forbidden(CSR_GROUP, "certificatesigningrequests", meta.name(attributes.obj), detail)
        user = attributes.user
        spec["username"] = user.name
        spec["groups"] = list(user.groups)
        for key, value in (("uid", user.uid), ("extra", {name: list(found) for name, found in user.extra.items()})):
            if value:
                spec[key] = value
            else:
                spec.pop(key, None)

    async def validate(self, attributes: Attributes) -> None:
        kind = attributes.kind
        if (kind.group, kind.plural) != (CSR_GROUP, "certificatesigningrequests"):
            return
        verb = {"approval": "approve", "status": "sign"}.get(attributes.subresource)
        if verb is None or attributes.operation is not Operation.UPDATE:
            return
        old, new = attributes.old or {}, attributes.obj or {}
        if verb == "sign" and meta.status(old).get("certificate") == meta.status(new).get("certificate"):
            return
        signer = str(meta.spec(old).get("signerName", ""))
        domain = signer.partition("/")[0]
        for name in (signer, f"{domain}/*"):
            if self._authorization.decide(Action(attributes.user, verb, CSR_GROUP, "signers", name=name)).allowed:
                return
        detail = f'user not permitted to {verb} requests with signerName "{signer}"'
        raise errors.forbidden(CSR_GROUP, "certificatesigningrequests", attributes.request.name, detail)


def _organizations(request: str) -> list[str]:
    """The groups that a base64 PEM request asks for; none when it is none, which validation says better."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        subject = x509.load_pem_x509_csr(base64.b64decode(request)).subject
    except ValueError:
        return []
    return [str(item.value) for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


class EscalationCheck(Plugin):
    name = "RBACEscalation"

    def __init__(self, rbac: Rbac, authorization: Authorization) -> None:
        self._rbac = rbac
        self._authorization = authorization

    async def validate(self, attributes: Attributes) -> None:
        kind = attributes.kind
        if kind.group != GROUP or attributes.obj is None or MASTERS in attributes.user.groups:
            return
        if kind.plural in _ROLES:
            self._role(attributes)
        elif kind.plural in _BINDINGS:
            self._binding(attributes)

    def _role(self, attributes: Attributes) -> None:
        obj = attributes.obj or {}
        if self._may(attributes, "escalate", attributes.kind.plural, meta.name(obj)):
            return
        rules = list(obj.get("rules") or ())
        if obj.get("aggregationRule"):
            rules = [*rules, {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        if attributes.old is not None and (attributes.old.get("rules") or []) == (obj.get("rules") or []):
            return
        self._check(attributes, rules)

    def _binding(self, attributes: Attributes) -> None:
        obj = attributes.obj or {}
        reference = obj.get("roleRef") or {}
        kind, name = str(reference.get("kind", "")), str(reference.get("name", ""))
        if attributes.old is not None and attributes.old.get("subjects") == obj.get("subjects"):
            return
        plural = "clusterroles" if kind == "ClusterRole" else "roles"
        if self._may(attributes, "bind", plural, name):
            return
        rules = self._rbac.role_rules(kind, attributes.namespace, name)
        if rules is None:
            raise errors.not_found(GROUP, plural, name)
        self._check(attributes, rules)

    def _may(self, attributes: Attributes, verb: str, plural: str, name: str) -> bool:
        action = Action(attributes.user, verb, GROUP, plural, "", attributes.namespace, name)
        return self._authorization.decide(action).allowed

    def _check(self, attributes: Attributes, rules: list[JsonObject]) -> None:
        missing = covers(self._rbac.rules_for(attributes.user, attributes.namespace), rules)
        if missing:
            user = attributes.user
            shown = "\n".join(_compact(missing))
            detail = (
                f'user "{user.name}" (groups={_go_list(user.groups)}) is attempting to grant RBAC permissions not '
                f"currently held:\n{shown}"
            )
            request = attributes.request
            name = request.name or meta.name(attributes.obj or {})
            raise errors.forbidden(GROUP, request.served.plural, name, detail)


_SHOWN: Final = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)


def _go_list(values: Iterable[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _compact(rules: Iterable[JsonObject]) -> list[str]:
    """Rules that differ in their verbs only as one, in the order and form of upstream's `CompactString`."""
    joined: dict[tuple[str, ...], JsonObject] = {}
    for rule in rules:
        key = tuple(_go_list(rule.get(name) or ()) for _, name in _SHOWN[:-1])
        verbs = joined.setdefault(key, {**rule, "verbs": []})["verbs"]
        verbs += [verb for verb in rule["verbs"] if verb not in verbs]
    shown = []
    for rule in joined.values():
        parts = [f"{label}:{_go_list(rule[name])}" for label, name in _SHOWN if rule.get(name)]
        shown.append("{" + ", ".join(parts) + "}")
    return sorted(shown)
