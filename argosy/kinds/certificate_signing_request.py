"""CertificateSigningRequest: somebody asks for a certificate; an approver and a signer answer."""

from __future__ import annotations

import base64
import binascii

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind, Subresource, drop_status, keep_status, status_subresource
from argosy.objects import durations, names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

GROUP = "certificates.k8s.io"
MIN_EXPIRATION_S = 600
USAGES = frozenset(
    {
        "signing", "digital signature", "content commitment", "key encipherment", "key agreement",
        "data encipherment", "cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth",
        "client auth", "code signing", "email protection", "s/mime", "ipsec end system", "ipsec tunnel",
        "ipsec user", "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
    }
)  # fmt: skip


def _validate_signer(name: str) -> list[FieldError]:
    path = "spec.signerName"
    if not name:
        return [required(path)]
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest or not domain or not rest:
        return [
            invalid_value(
                path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"
            )
        ]
    errors = [invalid_value(path, domain, text) for text in names.check_subdomain(domain)]
    if "." not in domain:
        errors.append(invalid_value(path, domain, "should be a domain with at least two segments separated by dots"))
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    request = spec.get("request")
    errors: list[FieldError] = []
    try:
        pem = base64.b64decode(str(request or ""), validate=True)
    except (binascii.Error, ValueError):
        pem = b""
    if not request:
        errors.append(required("spec.request"))
    elif b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        errors.append(invalid_value("spec.request", request, "PEM block type must be CERTIFICATE REQUEST"))
    usages = spec.get("usages") or []
    if not usages:
        errors.append(required("spec.usages"))
    for index, usage in enumerate(usages):
        if usage not in USAGES:
            errors.append(not_supported(f"spec.usages[{index}]", usage, sorted(USAGES)))
    errors += _validate_signer(spec.get("signerName", ""))
    lifetime = spec.get("expirationSeconds")
    if isinstance(lifetime, int) and lifetime < MIN_EXPIRATION_S:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid_value("spec.expirationSeconds", lifetime, detail))
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """The request never changes."""
    errors: list[FieldError] = []
    if new.get("spec") != old.get("spec"):
        errors.append(forbidden_field("spec", "updates to spec are not allowed"))
    return errors


def validate_status_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """Whether a request is approved or denied is said through /approval only; once said, it stays."""
    errors: list[FieldError] = []
    before, after = _types(old), _types(new)
    for kind in ("Approved", "Denied", "Failed"):
        if kind in before and kind not in after:
            detail = f"updates may not remove a condition of type {kind!r}".replace("'", '"')
            errors.append(forbidden_field("status.conditions", detail))
        elif kind != "Failed" and kind in after - before:
            detail = f'updates may not add a condition of type "{kind}"'
            errors.append(forbidden_field("status.conditions", detail))
    if "Approved" in after and "Denied" in after:
        detail = "Approved and Denied conditions are mutually exclusive"
        errors.append(invalid_value("status.conditions", "Denied", detail))
    return errors


def prepare_update(new: JsonObject, old: JsonObject) -> None:
    keep_status(new, old)
    new["spec"] = old.get("spec")


def prepare_status_update(new: JsonObject, old: JsonObject) -> None:
    """Conditions that approve or deny stay word for word."""
    held = {item.get("type"): item for item in columns.items_at(old, "status", "conditions")}
    for index, item in enumerate(columns.items_at(new, "status", "conditions")):
        if item.get("type") in ("Approved", "Denied") and item.get("type") in held:
            new["status"]["conditions"][index] = held[item["type"]]


def _types(obj: JsonObject) -> set[str]:
    return {item.get("type", "") for item in columns.items_at(obj, "status", "conditions")}


def _condition(obj: JsonObject) -> str:
    types = _types(obj)
    word = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    if "Failed" in types:
        word += ",Failed"
    return word + ",Issued" if columns.at(obj, "status", "certificate") else word


def _duration(obj: JsonObject) -> str:
    seconds = columns.at(obj, "spec", "expirationSeconds")
    return durations.human(seconds) if isinstance(seconds, int) else columns.NONE


CERTIFICATE_SIGNING_REQUEST = Kind(
    group=GROUP,
    version="v1",
    kind="CertificateSigningRequest",
    plural="certificatesigningrequests",
    singular="certificatesigningrequest",
    namespaced=False,
    short_names=("csr",),
    subresources=(
        Subresource("approval", "CertificateSigningRequest", GROUP, "v1"),
        status_subresource(GROUP, "v1", "CertificateSigningRequest"),
    ),
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    prepare_create=drop_status,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    columns=(
        AGE_COLUMN,
        columns.text("SignerName", "spec", "signerName", description="Who is to sign."),
        columns.text("Requestor", "spec", "username", description="Who asked."),
        columns.computed("RequestedDuration", _duration, description="For how long."),
        columns.computed("Condition", _condition, description="How far it has come."),
    ),
    fields={"spec.signerName": lambda obj: columns.text_at(obj, "spec", "signerName")},
)
