"""A whole API server on a LocalStore over an in-memory network, for tests of its behaviour through the client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from argosy import pki
from argosy.client import Client
from argosy.host import Host, RealClock, RealDisk, SeededRng
from argosy.objects.types import JsonObject
from argosy.rpc import Tls
from argosy.rpc_memory import MemoryNetwork
from control_plane.apiserver.config import Config
from control_plane.apiserver.server import ApiServer
from etcd.local import LocalStore

STORE = "10.77.1.1:2379"
API = "10.77.2.1:6444"


@dataclass
class Api:
    """A running server, and clients of it as anybody."""

    server: ApiServer
    store: LocalStore
    network: MemoryNetwork
    authority: pki.Authority
    host: Host
    address: str = API
    _clients: dict[str, Client] = field(default_factory=dict)

    def client(self, user: str = "kubernetes-admin", *groups: str) -> Client:
        """A client with a certificate of that user; the admin without groups."""
        key = f"{user} {groups}"
        if key not in self._clients:
            organizations = groups or (("system:masters",) if user == "kubernetes-admin" else ())
            identity = self.authority.issue(user, organizations=organizations)
            tls = Tls(self.authority.certificate, identity.certificate, identity.key)
            self._clients[key] = Client(self.network.host("client"), [self.address], tls)
        return self._clients[key]

    def token_client(self, token: str) -> Client:
        tls = Tls(self.authority.certificate, self._server_identity().certificate)
        return Client(self.network.host("client"), [self.address], tls, token=token)

    def _server_identity(self) -> pki.Identity:
        return self.authority.issue("nobody")

    @property
    def pods(self):  # type: ignore[no-untyped-def]
        return self.client().resource("", "v1", "pods")

    @property
    def configmaps(self):  # type: ignore[no-untyped-def]
        return self.client().resource("", "v1", "configmaps")

    async def account(self, namespace: str = "default", name: str = "default") -> JsonObject:
        """The service account that pods need; a controller makes it in a real cluster."""
        accounts = self.client().resource("", "v1", "serviceaccounts")
        return await accounts.create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        )


_AUTHORITY: list[pki.Authority] = []
_KEY: list[bytes] = []


def _authority(host: Host) -> pki.Authority:
    if not _AUTHORITY:
        _AUTHORITY.append(pki.Authority.create("argosy-ca", host))
        _KEY.append(_AUTHORITY[0].issue("service-accounts").key)
    return _AUTHORITY[0]


@contextlib.asynccontextmanager
async def running(folder: Path, **options: object) -> AsyncIterator[Api]:
    host = Host(RealClock(), SeededRng(7), RealDisk())
    network = MemoryNetwork(SeededRng(8))
    store = LocalStore(host)
    await network.host("store").serve(STORE, store.methods())
    authority = _authority(host)
    serving = authority.issue("kube-apiserver", hosts=["10.77.2.1"], server=True)
    key_file = folder / "sa.key"
    key_file.write_bytes(_KEY[0])
    http = options.pop("http", None)
    config = Config(
        etcd_servers=(STORE,),
        listen_grpc=(API,),
        service_account_key=str(key_file),
        **options,  # type: ignore[arg-type]
    )
    tls = Tls(authority.certificate, serving.certificate, serving.key)
    server = ApiServer(config, host, network.host("api"), tls=tls, http=http)  # type: ignore[arg-type]
    task = asyncio.create_task(server.run())
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield Api(server, store, network, authority, host)
    finally:
        server.stop()
        await task


Test = Callable[[Api], Awaitable[None]]


@pytest.fixture
def with_api(tmp_path: Path) -> Callable[..., None]:
    """`with_api(body, **config)` runs `await body(api)` against a fresh server."""

    def run(body: Test, **options: object) -> None:
        async def whole() -> None:
            async with running(tmp_path, **options) as api:
                await asyncio.wait_for(body(api), 20.0)

        asyncio.run(whole())

    return run


class Http:
    """A client of the REST address with somebody's certificate."""

    def __init__(self, session, base):
        self._session, self._base = session, base

    @contextlib.asynccontextmanager
    async def open(self, method, path, **options):
        async with self._session.request(method, self._base + path, **options) as response:
            yield response

    async def call(self, method, path, **options):
        async with self.open(method, path, **options) as response:
            body = await response.read()
            return response, json.loads(body) if response.content_type.endswith("json") else body


@pytest.fixture
def with_rest(with_api, tmp_path):
    """`with_rest(body)` runs `await body(api, http)`; http is the admin's, `http_of(user, groups)` anybody's."""

    def run(body, **options):
        from argosy import pki
        from argosy.host import real_host

        authority = pki.Authority.create("rest-ca", real_host())
        serving = authority.issue("kube-apiserver", hosts=["127.0.0.1"], server=True)
        (tmp_path / "ca.crt").write_bytes(authority.certificate)
        (tmp_path / "api.crt").write_bytes(serving.certificate)
        (tmp_path / "api.key").write_bytes(serving.key)
        files = {
            "ca": str(tmp_path / "ca.crt"),
            "certificate": str(tmp_path / "api.crt"),
            "key": str(tmp_path / "api.key"),
        }

        async def whole(api):
            port = api.server.rest_addresses[0][1]
            async with contextlib.AsyncExitStack() as stack:

                async def http_of(user="", groups=(), headers=None):
                    context = ssl.create_default_context(cafile=files["ca"])
                    if user:
                        identity = authority.issue(user, organizations=groups)
                        (tmp_path / "c.crt").write_bytes(identity.certificate)
                        (tmp_path / "c.key").write_bytes(identity.key)
                        context.load_cert_chain(tmp_path / "c.crt", tmp_path / "c.key")
                    connector = aiohttp.TCPConnector(ssl=context)
                    session = aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=False)
                    await stack.enter_async_context(session)
                    return Http(session, f"https://127.0.0.1:{port}")

                api.http_of, api.rest_authority = http_of, authority
                await body(api, await http_of("kubernetes-admin", ("system:masters",)))

        with_api(whole, listen=("127.0.0.1:0",), **files, **options)

    return run
