"""Certificate requests of cluster members: what each signer accepts, and the signing itself.

Upstream: `pkg/apis/certificates/helpers.go`, `pkg/controller/certificates/`. Uses the cryptography package, so it is
imported when the first request comes, not when the process starts.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from argosy.host import Host
from argosy.objects import meta
from argosy.objects.types import JsonObject

CLIENT: Final = "kubernetes.io/kube-apiserver-client"
CLIENT_KUBELET: Final = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING_KUBELET: Final = "kubernetes.io/kubelet-serving"
SIGNERS: Final = (CLIENT, CLIENT_KUBELET, SERVING_KUBELET)
NODES_GROUP: Final = "system:nodes"
NODE_PREFIX: Final = "system:node:"
SKEW: Final = timedelta(minutes=5)
MIN_RSA_BITS: Final = 2048

_EXTENDED: Final = {
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
}


class RequestError(Exception):
    """The signer does not sign this; the message says why."""


@dataclass(frozen=True)
class Request:
    """A parsed certificate request."""

    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    has_other_names: bool
    """E-mail addresses or URIs."""
    usages: tuple[str, ...]
    username: str
    """Who asked, as the API server authenticated it."""
    pem: bytes


def parse(obj: JsonObject) -> Request:
    """Raises RequestError for a body that is no well-signed request."""
    spec = meta.spec(obj)
    try:
        pem = base64.b64decode(spec.get("request", ""), validate=True)
        csr = x509.load_pem_x509_csr(pem)
    except (binascii.Error, ValueError, TypeError) as error:
        raise RequestError(f"unable to parse request: {error}") from None
    if not csr.is_signature_valid:
        raise RequestError("the request's signature is not valid")
    names: list[x509.GeneralName] = []
    try:
        names = list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        pass
    except ValueError as error:
        raise RequestError(f"unable to parse the request's extensions: {error}") from None
    return Request(
        _first(csr.subject, NameOID.COMMON_NAME),
        tuple(str(item.value) for item in csr.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
        tuple(name.value for name in names if isinstance(name, x509.DNSName)),
        tuple(str(name.value) for name in names if isinstance(name, x509.IPAddress)),
        any(not isinstance(name, x509.DNSName | x509.IPAddress) for name in names),
        tuple(spec.get("usages") or ()),
        str(spec.get("username", "")),
        pem,
    )


def _first(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def check(request: Request, signer: str) -> None:
    """Raises RequestError when the request is not what the signer signs."""
    if signer == CLIENT:
        _check_usages(request, {"client auth"}, {"digital signature", "key encipherment"})
        return
    if request.organizations != (NODES_GROUP,):
        raise RequestError("subject organization is not system:nodes")
    if not request.common_name.startswith(NODE_PREFIX):
        raise RequestError("subject common name does not begin with system:node:")
    if signer == CLIENT_KUBELET:
        if request.dns_names or request.ip_addresses or request.has_other_names:
            raise RequestError("DNS, IP, email and URI subjectAltNames are not allowed")
        _check_usages(request, {"client auth", "digital signature"}, {"key encipherment"})
        return
    if request.has_other_names:
        raise RequestError("email and URI subjectAltNames are not allowed")
    if not request.dns_names and not request.ip_addresses:
        raise RequestError("DNS or IP subjectAltName is required")
    _check_usages(request, {"server auth", "digital signature"}, {"key encipherment"})


def _check_usages(request: Request, required: set[str], allowed: set[str]) -> None:
    usages = set(request.usages)
    if not required <= usages or not usages <= required | allowed:
        wanted = ", ".join(sorted(required))
        raise RequestError(f"usages did not match: {wanted} are required, {', '.join(sorted(allowed))} allowed")


def is_own_serving_request(request: Request, node: JsonObject | None) -> bool:
    """A node asks for its own serving certificate, by names and addresses that its Node object has."""
    if node is None or request.username != request.common_name:
        return False
    if request.common_name != NODE_PREFIX + meta.name(node):
        return False
    known = [str(item.get("address")) for item in meta.status(node).get("addresses") or ()]
    known.append(meta.name(node))
    return all(name in known for name in (*request.dns_names, *request.ip_addresses))


class Signer:
    """A certificate authority that signs requests. Raises ValueError for files that are not one."""

    def __init__(self, certificate: bytes, key: bytes, host: Host) -> None:
        self._certificate = x509.load_pem_x509_certificate(certificate)
        loaded = serialization.load_pem_private_key(key, None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError("the cluster's signing key must be RSA or elliptic-curve")
        self._key = loaded
        self._host = host

    def sign(self, request: Request, lifetime_s: float) -> bytes:
        """The certificate, PEM; it ends no later than its authority's own. Raises RequestError."""
        csr = x509.load_pem_x509_csr(request.pem)
        public = csr.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise RequestError("only RSA and elliptic-curve keys are signed")
        if isinstance(public, rsa.RSAPublicKey) and public.key_size < MIN_RSA_BITS:
            raise RequestError(f"an RSA key needs {MIN_RSA_BITS} bits")
        now = datetime.fromtimestamp(int(self._host.clock.now()), UTC)
        end = min(now + timedelta(seconds=lifetime_s), self._certificate.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(csr.subject)
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number((int.from_bytes(self._host.rng.token(16), "big") >> 1) | 1)
            .not_valid_before(max(now - SKEW, self._certificate.not_valid_before_utc))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(request.usages), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_purposes(request.usages)), critical=False)
        )
        try:
            names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            builder = builder.add_extension(names, critical=False)
        except x509.ExtensionNotFound:
            pass
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _purposes(usages: Sequence[str]) -> list[x509.ObjectIdentifier]:
    return [_EXTENDED[usage] for usage in usages if usage in _EXTENDED]


def _usage(usages: Sequence[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital signature" in usages,
        key_encipherment="key encipherment" in usages,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
