"""A machine knows whom it joins before it tells anything, and takes no for an answer."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy import certificate_requests as requests
from argosy import pki
from argosy.host import RealClock, real_host
from argosy.http import MemoryHttp, Request, Response
from deploy import cluster_info, discovery, joining, tokens
from deploy.cluster_info import ClusterInfo

AUTHORITY = pki.Authority.create("test", real_host())
PIN = tokens.pin_of(AUTHORITY.certificate)
INFO = ClusterInfo(
    AUTHORITY.certificate.decode(),
    "https://192.0.2.1:6443",
    ("192.0.2.1:6444",),
    "10.244.0.0/16",
    "10.96.0.10",
    "cluster.local",
)
TOKEN = tokens.JoinToken("abcdef", "0123456789abcdef", PIN)


# ---- the pin


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A TLS server that shows its certificate and the authority's."""
    made = AUTHORITY.issue("server", hosts=["127.0.0.1"], server=True)
    pki.Identity(made.certificate + AUTHORITY.certificate, made.key).write(str(tmp_path / "server"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
    yield from served(lambda sock: context.wrap_socket(sock, server_side=True))


@pytest.fixture
def plain_port() -> Iterator[int]:
    """A server that speaks something else."""
    yield from served(lambda sock: (sock.sendall(b"220 mail.example ready\r\n"), sock.recv(1 << 16)))


def served(talk: object) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                try:
                    talk(sock)  # type: ignore[operator]
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_the_authority_is_found_by_the_hash_of_its_key(tls_port: int) -> None:
    assert len(discovery.served_chain("127.0.0.1", tls_port)) == 2
    found = discovery.authority("127.0.0.1", tls_port, PIN)
    assert pki.fingerprint(found) == pki.fingerprint(AUTHORITY.certificate)
    with (
        socket.create_connection(("127.0.0.1", tls_port), timeout=5) as sock,
        discovery.trusting(found).wrap_socket(sock, server_hostname="127.0.0.1") as tls,
    ):
        assert tls.getpeercert()


def test_another_cluster_is_refused(tls_port: int) -> None:
    other = tokens.pin_of(pki.Authority.create("test", real_host()).certificate)
    with pytest.raises(discovery.DiscoveryError, match="another key"):
        discovery.authority("127.0.0.1", tls_port, other)


def test_what_is_no_api_server_is_said(plain_port: int) -> None:
    with pytest.raises(discovery.DiscoveryError, match="no API server"):
        discovery.served_chain("127.0.0.1", plain_port)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(discovery.DiscoveryError, match="cannot be reached"):
        discovery.served_chain("127.0.0.1", port)


# ---- tokens and addresses


def test_tokens_are_parsed_whole_or_not_at_all() -> None:
    assert tokens.parse(f" {TOKEN}\n") == TOKEN
    with pytest.raises(tokens.TokenError, match="pin"):
        tokens.parse(TOKEN.bearer)
    for text in ("", "abc", f"{TOKEN}0", str(TOKEN).upper(), f"{TOKEN.bearer}.{'g' * 64}"):
        with pytest.raises(tokens.TokenError, match="is not one"):
            tokens.parse(text)


def test_a_secret_is_upstreams_and_says_when_it_ends() -> None:
    made = tokens.secret(TOKEN, 0.0, "why")
    assert made["metadata"] == {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}
    data = {key: base64.b64decode(value).decode() for key, value in made["data"].items()}
    assert data["expiration"] == "1970-01-01T00:00:00Z" and data["token-secret"] == TOKEN.secret
    assert data["usage-bootstrap-authentication"] == "true"
    assert data["auth-extra-groups"].startswith("system:bootstrappers:")
    assert "expiration" not in tokens.secret(TOKEN, None, "")["data"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.1:7000", ("192.0.2.1", 7000)),
        ("192.0.2.1", ("192.0.2.1", 6443)),
        ("https://node.example:6443/", ("node.example", 6443)),
    ],
)
def test_servers_are_given_as_people_write_them(text: str, found: tuple[str, int]) -> None:
    assert joining.parse_server(text) == found


@pytest.mark.parametrize("text", ["", ":6443", "host:", "host:0", "host:65536", "host:x", "host/path:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(joining.JoinError, match="HOST:PORT"):
        joining.parse_server(text)


def test_cluster_info_comes_back_as_it_was_told() -> None:
    assert cluster_info.read(cluster_info.config_map(INFO)) == INFO
    with pytest.raises(cluster_info.InfoError):
        cluster_info.read({"data": {"kubeconfig": "{}"}})


# ---- the conversation


class Server:
    """As much of an API server as a joining machine talks to."""

    def __init__(self) -> None:
        self.info = INFO
        self.node: dict | None = None
        self.condition = {"type": "Approved", "status": "True"}
        self.asked: list[dict] = []
        self.bearers: set[str] = set()

    async def handle(self, request: Request) -> Response:
        self.bearers.add(request.headers["authorization"])
        path = request.url.split("6443", 1)[1]
        if request.headers["authorization"] != f"Bearer {TOKEN.bearer}":
            return self._json(401, {"message": "Unauthorized"})
        if path.endswith("/configmaps/cluster-info"):
            return self._json(200, cluster_info.config_map(self.info))
        if path.startswith("/api/v1/nodes/"):
            return self._json(200, self.node) if self.node else self._json(404, {})
        if request.method == "POST":
            self.asked.append(json.loads(request.body))
            return self._json(201, {"metadata": {"name": "node-csr-1"}})
        status = {"conditions": [self.condition], "certificate": base64.b64encode(b"PEM").decode()}
        return self._json(200, {"metadata": {"name": "node-csr-1"}, "status": status})

    @staticmethod
    def _json(status: int, body: dict) -> Response:
        return Response(status, {}, json.dumps(body).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(discovery, "authority", lambda _host, _port, _pin: AUTHORITY.certificate)
    return Server()


def join(server: Server, token: tokens.JoinToken = TOKEN) -> joining.Identity:
    http = MemoryHttp()
    http.serve("192.0.2.1:6443", server.handle)
    return asyncio.run(joining.join(http, RealClock(), ("192.0.2.1", 6443), token, "node-a", "192.0.2.7"))


def test_a_machine_gets_a_certificate_for_the_key_that_it_made(server: Server) -> None:
    found = join(server)
    assert found.info == INFO and found.certificate == b"PEM"
    (asked,) = server.asked
    assert asked["spec"]["signerName"] == requests.CLIENT
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    csr = x509.load_pem_x509_csr(base64.b64decode(asked["spec"]["request"]))
    assert csr.is_signature_valid and csr.subject.rfc4514_string() == "CN=system:node:node-a,O=system:nodes"
    own = serialization.load_pem_private_key(found.key, None).public_key()
    assert csr.public_key() == own
    assert server.bearers == {f"Bearer {TOKEN.bearer}"}, "the pin is not sent"


def test_a_token_that_is_not_known_is_refused(server: Server) -> None:
    with pytest.raises(joining.JoinError, match="not known or has expired"):
        join(server, tokens.JoinToken("abcdef", "x" * 16, PIN))
    assert not server.asked


def test_a_name_is_not_taken_from_a_living_node_but_from_itself(server: Server) -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"address": "192.0.2.8"}]}
    server.node = {"metadata": {"name": "node-a"}, "status": status}
    with pytest.raises(joining.JoinError, match=r"'node-a' that is Ready, at 192\.0\.2\.8"):
        join(server)
    status["conditions"][0]["status"] = "Unknown"
    assert join(server).certificate
    status["conditions"][0]["status"] = "True"
    status["addresses"][0]["address"] = "192.0.2.7"
    assert join(server).certificate


def test_another_authority_in_cluster_info_is_refused(server: Server) -> None:
    other = pki.Authority.create("test", real_host()).certificate.decode()
    server.info = ClusterInfo(other, *[getattr(INFO, name) for name in list(INFO.__dataclass_fields__)[1:]])
    with pytest.raises(joining.JoinError, match="another authority"):
        join(server)
    assert not server.asked


def test_a_denied_certificate_is_said(server: Server) -> None:
    server.condition = {"type": "Denied", "status": "True", "message": "not today"}
    with pytest.raises(joining.JoinError, match="not today"):
        join(server)
