"""Certificates say who is who, and TLS holds them to it."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from argosy import pki
from argosy.host import Host, RealClock, RealDisk, RealRng, SeededRng, real_host


@pytest.fixture(scope="module")
def authority() -> pki.Authority:
    return pki.Authority.create("test-ca", real_host())


def shake_hands(
    tmp_path: Path, authority: pki.Authority, server: pki.Identity, client: pki.Identity, name: str
) -> str:
    """A TLS handshake in memory with client certificates; gives the common name that the server saw."""
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    server.write(str(tmp_path / "server"))
    client.write(str(tmp_path / "client"))
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.verify_mode = ssl.CERT_REQUIRED
    there.load_verify_locations(str(tmp_path / "ca.crt"))
    there.load_cert_chain(str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
    here = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    here.load_cert_chain(str(tmp_path / "client.crt"), str(tmp_path / "client.key"))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [here.wrap_bio(down, up, server_hostname=name), there.wrap_bio(up, down, server_side=True)]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    subject = dict(item[0] for item in ends[1].getpeercert()["subject"])
    return str(subject["commonName"])


@pytest.mark.parametrize("name", ["kubernetes.default.svc", "10.96.0.1"])
def test_a_server_is_known_by_its_names_and_addresses(tmp_path: Path, authority: pki.Authority, name: str) -> None:
    server = authority.issue("api", hosts=["kubernetes.default.svc", "10.96.0.1"], server=True, client=False)
    client = authority.issue("kubernetes-admin", organizations=["system:masters"])
    assert shake_hands(tmp_path, authority, server, client, name) == "kubernetes-admin"


def test_other_names_and_other_authorities_are_refused(tmp_path: Path, authority: pki.Authority) -> None:
    server = authority.issue("api", hosts=["kubernetes"], server=True, client=False)
    client = authority.issue("kubernetes-admin")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, authority, server, client, "example.org")
    foreign = pki.Authority.create("test-ca", real_host()).issue("kubernetes-admin")
    with pytest.raises(ssl.SSLError):
        shake_hands(tmp_path, authority, server, foreign, "kubernetes")


def test_a_client_certificate_serves_nobody(tmp_path: Path, authority: pki.Authority) -> None:
    pretender = authority.issue("api", hosts=["kubernetes"])
    with pytest.raises(ssl.SSLError):
        shake_hands(tmp_path, authority, pretender, authority.issue("a"), "kubernetes")


def test_groups_are_organizations(authority: pki.Authority) -> None:
    made = x509.load_pem_x509_certificate(
        authority.issue("system:node:n1", organizations=["system:nodes", "more"]).certificate
    )
    groups = [item.value for item in made.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert groups == ["system:nodes", "more"]


def test_keys_are_for_their_owner_only(tmp_path: Path, authority: pki.Authority) -> None:
    previous = os.umask(0)
    try:
        authority.issue("x").write(str(tmp_path / "x"))
    finally:
        os.umask(previous)
    assert stat.S_IMODE(os.stat(tmp_path / "x.key").st_mode) == 0o600
    again = pki.Identity.read(str(tmp_path / "x"))
    assert again.key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.crt", "x.key"]


def test_an_authority_that_was_written_signs_again(tmp_path: Path, authority: pki.Authority) -> None:
    authority.identity.write(str(tmp_path / "ca"))
    again = pki.Authority(pki.Identity.read(str(tmp_path / "ca")), real_host())
    server = again.issue("api", hosts=["kubernetes"], server=True, client=False)
    assert shake_hands(tmp_path, authority, server, authority.issue("me"), "kubernetes") == "me"


class LaterClock(RealClock):
    def now(self) -> float:
        return 2_000_000_000.0


def test_validity_follows_the_clock() -> None:
    host = Host(LaterClock(), RealRng(), RealDisk())
    made = pki.Authority.create("later", host).issue("x", days=2)
    assert pki.expires(made.certificate) == 2_000_000_000.0 + 2 * 86400


def test_the_fingerprint_is_of_the_public_key(authority: pki.Authority) -> None:
    found = pki.fingerprint(authority.certificate)
    assert found.startswith("sha256:") and len(found) == 71
    assert found != pki.fingerprint(pki.Authority.create("test-ca", real_host()).certificate)


def test_serial_numbers_are_positive_and_differ() -> None:
    host = Host(RealClock(), SeededRng(1), RealDisk())
    authority = pki.Authority.create("x", host)
    serials = {x509.load_pem_x509_certificate(authority.issue("y").certificate).serial_number for _ in range(5)}
    assert len(serials) == 5 and min(serials) > 0
