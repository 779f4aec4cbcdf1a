"""Users from verified client certificates: CN is the name, every O a group (pkg: `authentication/request/x509`)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from control_plane.apiserver.request import User

CACHED: Final = 1024
AUTHENTICATED: Final = "system:authenticated"


def user_of(common_name: str, organizations: tuple[str, ...]) -> User:
    return User(common_name, (*organizations, AUTHENTICATED))


def from_subject(subject: object) -> User | None:
    """From the subject of `ssl.SSLSocket.getpeercert`; None without a common name."""
    name, groups = "", []
    if not isinstance(subject, tuple):
        return None
    for part in subject:
        for key, value in part:
            if key == "commonName" and not name:
                name = value
            elif key == "organizationName":
                groups.append(value)
    return user_of(name, tuple(groups)) if name else None


class PemUsers:
    """From the PEM that gRPC reports; parsed once per certificate."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, User | None] = OrderedDict()

    def user(self, pem: bytes) -> User | None:
        if pem in self._known:
            return self._known[pem]
        user = self._known[pem] = _parse(pem)
        if len(self._known) > CACHED:
            self._known.popitem(last=False)
        return user


def _parse(pem: bytes) -> User | None:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        subject = x509.load_pem_x509_certificate(pem).subject
    except ValueError:
        return None
    names = [str(item.value) for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(item.value) for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return user_of(names[0], tuple(groups)) if names and names[0] else None
