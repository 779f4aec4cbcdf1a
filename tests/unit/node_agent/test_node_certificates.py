"""A node has its certificates issued, and anew in time, by the key it has."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from argosy import certificate_requests as requests
from argosy import pki
from argosy.host import real_host
from argosy.objects.status import ApiError, unavailable
from node_agent import certificates
from node_agent.certificates import NodeCertificates
from node_agent.config import Config

AUTHORITY = pki.Authority.create("test", real_host())


class Cluster:
    """The requests resource of an API server whose controller signs at once."""

    def __init__(self) -> None:
        self.made: list[dict] = []
        self.failures: list[ApiError] = []

    def resource(self, _group: str, _version: str, _plural: str) -> Cluster:
        return self

    async def create(self, obj: dict) -> dict:
        if self.failures:
            raise self.failures.pop()
        self.made.append(obj)
        return {**obj, "metadata": {"name": str(len(self.made) - 1)}}

    async def get(self, name: str) -> dict:
        request = x509.load_pem_x509_csr(base64.b64decode(self.made[int(name)]["spec"]["request"]))
        key = serialization.load_pem_private_key(AUTHORITY.identity.key, None)
        issued = AUTHORITY.issue("x", days=365)
        template = x509.load_pem_x509_certificate(issued.certificate)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(template.issuer)
            .public_key(request.public_key())
            .serial_number(template.serial_number)
            .not_valid_before(template.not_valid_before_utc)
            .not_valid_after(template.not_valid_after_utc)
        )
        for item in request.extensions:
            builder = builder.add_extension(item.value, item.critical)
        signed = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return {"status": {"certificate": base64.b64encode(signed).decode()}}


def settings(folder: Path) -> Config:
    return Config(
        "node-a",
        "192.0.2.7",
        ("x",),
        certificate=str(folder / "agent.crt"),
        key=str(folder / "agent.key"),
        server_certificate=str(folder / "server.crt"),
        server_key=str(folder / "server.key"),
    )


async def run(folder: Path, cluster: Cluster, done: object, *, registered: bool = True) -> None:
    """Keep certificates until `done()`."""
    event = asyncio.Event()
    if registered:
        event.set()
    keeper = NodeCertificates(settings(folder), real_host(), cluster, event)  # type: ignore[arg-type]
    task = asyncio.create_task(keeper.run())
    try:
        async with asyncio.timeout(20):
            while not done(keeper):  # type: ignore[operator]
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_serving_certificate_for_its_own_names(tmp_path: Path) -> None:
    AUTHORITY.issue("system:node:node-a", organizations=["system:nodes"]).write(str(tmp_path / "agent"))
    cluster = Cluster()
    asyncio.run(run(tmp_path, cluster, lambda keeper: keeper.serving.is_set()))
    (made,) = cluster.made
    assert made["spec"]["signerName"] == requests.SERVING
    assert os.stat(tmp_path / "server.key").st_mode & 0o777 == 0o600
    loaded = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["node-a"]
    assert [str(item) for item in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    key = serialization.load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    assert loaded.public_key() == key.public_key()


def test_nothing_is_asked_before_the_node_is_registered(tmp_path: Path) -> None:
    AUTHORITY.issue("system:node:node-a", organizations=["system:nodes"]).write(str(tmp_path / "agent"))
    cluster = Cluster()
    looks = iter(range(20))
    asyncio.run(run(tmp_path, cluster, lambda _keeper: next(looks, None) is None, registered=False))
    assert not cluster.made and not (tmp_path / "server.crt").exists()


def test_a_certificate_near_its_end_is_renewed_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    AUTHORITY.issue("system:node:node-a", organizations=["system:nodes"], days=0).write(str(tmp_path / "agent"))
    AUTHORITY.issue("system:node:node-a", hosts=["node-a"], server=True).write(str(tmp_path / "server"))
    before = (tmp_path / "agent.key").read_bytes(), (tmp_path / "agent.crt").read_bytes()
    cluster = Cluster()
    cluster.failures.append(unavailable("later"))
    monkeypatch.setattr(certificates, "RETRY_S", 0.01)
    asyncio.run(run(tmp_path, cluster, lambda keeper: keeper.serving.is_set() and cluster.made))
    asyncio.run(run(tmp_path, cluster, lambda _keeper: (tmp_path / "agent.crt").read_bytes() != before[1]))
    assert {item["spec"]["signerName"] for item in cluster.made} == {requests.CLIENT}
    assert (tmp_path / "agent.key").read_bytes() == before[0]
    loaded = x509.load_pem_x509_certificate((tmp_path / "agent.crt").read_bytes())
    assert loaded.subject.rfc4514_string() == "CN=system:node:node-a,O=system:nodes"


def test_what_is_good_is_left_alone(tmp_path: Path) -> None:
    for name in ("agent", "server"):
        AUTHORITY.issue("system:node:node-a", server=True).write(str(tmp_path / name))
    cluster = Cluster()
    asyncio.run(run(tmp_path, cluster, lambda keeper: keeper.serving.is_set()))
    assert not cluster.made


def test_refusals_are_told_apart_from_waiting() -> None:
    assert requests.answer({"status": {}}) is None
    denied = {"status": {"conditions": [{"type": "Denied", "status": "True", "message": "no"}]}}
    with pytest.raises(requests.Refused, match="denied: no"):
        requests.answer(denied)
    assert SimpleNamespace(**requests.new(requests.CLIENT, b"x")).spec["usages"] == [
        "digital signature",
        "client auth",
    ]
