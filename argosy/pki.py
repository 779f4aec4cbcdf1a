"""Certificate authorities and the certificates they sign: who is who in a cluster.

EC P-256 throughout: a key takes well under a millisecond. Private keys are written with mode 0600. `deploy` lays a
cluster's files out with it, the controller manager signs with it, tests make their own authorities.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from argosy.host import Host

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 365
SKEW = timedelta(minutes=5)
"""How far back a certificate starts, for machines whose clocks differ."""


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes

    def write(self, path: str) -> None:
        """`PATH.crt` and `PATH.key`."""
        write_file(path + ".key", self.key, 0o600)
        write_file(path + ".crt", self.certificate, 0o644)

    @staticmethod
    def read(path: str) -> Identity:
        """What `write` wrote. Raises OSError."""
        with open(path + ".crt", "rb") as certificate, open(path + ".key", "rb") as key:
            return Identity(certificate.read(), key.read())


def write_file(path: str, data: bytes, mode: int) -> None:
    """Write a file whole or not at all; nobody without the right to read it ever can."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = path + ".new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(data)
    os.rename(temporary, path)


class Authority:
    """A certificate authority that can sign."""

    def __init__(self, identity: Identity, host: Host) -> None:
        self.identity = identity
        self._host = host
        self._certificate = x509.load_pem_x509_certificate(identity.certificate)
        key = serialization.load_pem_private_key(identity.key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is not an elliptic-curve key")
        self._key = key

    @classmethod
    def create(cls, common_name: str, host: Host) -> Authority:
        """A new self-signed authority, good for ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name, ())
        builder = _builder(name, name, key.public_key(), host, AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_usage(authority=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        certificate = builder.sign(key, hashes.SHA256())
        return cls(Identity(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key)), host)

    @property
    def certificate(self) -> bytes:
        return self.identity.certificate

    def issue(
        self,
        common_name: str,
        *,
        organizations: Sequence[str] = (),
        hosts: Sequence[str] = (),
        server: bool = False,
        client: bool = True,
        days: int = CERTIFICATE_DAYS,
    ) -> Identity:
        """A new key and its certificate. `hosts` are the names and IP addresses that a server answers by."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            key.public_key(), _name(common_name, organizations), hosts, server=server, client=client, days=days
        )
        return Identity(certificate, _key_pem(key))

    def _sign(
        self,
        public_key: ec.EllipticCurvePublicKey,
        subject: x509.Name,
        hosts: Sequence[str],
        *,
        server: bool,
        client: bool,
        days: int,
    ) -> bytes:
        builder = _builder(subject, self._certificate.subject, public_key, self._host, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(authority=False), critical=True)
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH] if server else []
        purposes += [ExtendedKeyUsageOID.CLIENT_AUTH] if client else []
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        identifier = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def private_key() -> bytes:
    """A new key, PEM, for `certificate_request`."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def certificate_request(
    key: bytes, common_name: str, *, organizations: Sequence[str] = (), hosts: Sequence[str] = ()
) -> bytes:
    """A PKCS #10 request, PEM: who holds `key` asks to be called so. Raises ValueError for another kind of key."""
    loaded = serialization.load_pem_private_key(key, None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic-curve key")
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(common_name, organizations))
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(loaded, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def key_pair() -> tuple[bytes, bytes]:
    """A private key and its public half, PEM: what service-account tokens are signed and checked with."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _key_pem(key), public


def fingerprint(certificate: bytes) -> str:
    """`sha256:HEX` of a certificate's public key, as kubeadm's `--discovery-token-ca-cert-hash` has it."""
    import hashlib

    public = x509.load_pem_x509_certificate(certificate).public_key()
    encoded = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(encoded).hexdigest()


def expires(certificate: bytes) -> float:
    """When a PEM certificate ends, Unix seconds."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


def validity(certificate: bytes) -> tuple[float, float]:
    """From when until when a PEM certificate is good, Unix seconds. Raises ValueError when it is none."""
    loaded = x509.load_pem_x509_certificate(certificate)
    return loaded.not_valid_before_utc.timestamp(), loaded.not_valid_after_utc.timestamp()


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, item) for item in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, host: Host, days: int
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(int(host.clock.now()), UTC)
    serial = int.from_bytes(host.rng.token(16), "big") >> 1
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial | 1)
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
