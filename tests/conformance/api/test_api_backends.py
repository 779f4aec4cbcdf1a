"""One suite over every store the API server may stand on: Argosy's own, in one process, and a real etcd.

What is asked here is where stores differ: consistent reads, watches, history and compaction, leases, claims.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator

import pytest

from argosy import pki
from argosy.client import Client, EventType
from argosy.host import real_host
from argosy.objects.status import ApiError
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import GrpcNetwork, Tls
from control_plane.apiserver.config import Config
from control_plane.apiserver.server import ApiServer
from etcd.local import LocalStore
from tests.ports import free_ports

BACKENDS = ["local", pytest.param("etcd", marks=pytest.mark.peer)]


@pytest.fixture(params=BACKENDS)
def backend(request, tmp_path):
    """A function that gives an async context with the store's address."""
    if request.param == "etcd" and shutil.which("etcd") is None:
        pytest.skip("etcd is not installed")

    @contextlib.asynccontextmanager
    async def local() -> AsyncIterator[str]:
        server = await GrpcNetwork().serve("127.0.0.1:0", LocalStore(real_host()).methods())
        yield server.address
        await server.stop(0.1)

    @contextlib.asynccontextmanager
    async def real() -> AsyncIterator[str]:
        client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
        arguments = ["etcd", "--data-dir", str(tmp_path / "etcd"), "--listen-client-urls", client]
        arguments += ["--advertise-client-urls", client, "--listen-peer-urls", peer]
        arguments += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
        with open(tmp_path / "etcd.log", "wb") as log:
            process = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            yield client
        finally:
            process.kill()
            process.wait()

    return local if request.param == "local" else real


class Running:
    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client
        self.configmaps = client.resource("", "v1", "configmaps")


@pytest.fixture
def on_store(backend):
    def run(body):
        async def whole():
            host, network = real_host(), GrpcNetwork()
            authority = pki.Authority.create("ca", host)
            serving = authority.issue("kube-apiserver", hosts=["127.0.0.1"], server=True)
            admin = authority.issue("kubernetes-admin", organizations=["system:masters"])
            async with backend() as address:
                config = Config(etcd_servers=(address,), listen_grpc=("127.0.0.1:0",))
                tls = Tls(authority.certificate, serving.certificate, serving.key)
                server = ApiServer(config, host, network, tls=tls)
                task = asyncio.create_task(server.run())
                await asyncio.wait_for(server.ready.wait(), 30)
                mine = Tls(authority.certificate, admin.certificate, admin.key)
                client = Client(network, server.grpc_addresses, mine)
                try:
                    await asyncio.wait_for(body(Running(server, client)), 30)
                finally:
                    await client.close()
                    server.stop()
                    await task

        asyncio.run(whole())

    return run


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def test_every_read_sees_every_write_before_it(on_store):
    async def body(api):
        await api.configmaps.create(config_map("counter", n="0"))
        for number in range(1, 40):
            await api.configmaps.patch("counter", {"data": {"n": str(number)}}, namespace="default")
            read = await api.configmaps.get("counter", namespace="default")
            assert read["data"]["n"] == str(number)
        listed = await api.configmaps.list(namespace="default")
        assert listed.items[0]["data"]["n"] == "39"

    on_store(body)


def test_reads_do_not_wait_for_ever_behind_foreign_keys(on_store):
    async def body(api):
        for number in range(5):
            request = pb.TxnRequest()
            put = request.success.add().request_put
            put.key, put.value = b"somebody/else", str(number).encode()
            await api.server.parts.store.client.txn(request)
            assert (await api.configmaps.list(namespace="default")).items == []

    on_store(body)


def test_a_watch_has_every_change_in_order(on_store):
    async def body(api):
        start = (await api.configmaps.list()).resource_version

        async def write():
            for number in range(30):
                await api.configmaps.create(config_map(f"cm-{number}"))
                await api.configmaps.delete(f"cm-{number}", namespace="default")

        writing = asyncio.create_task(write())
        seen = []
        async for event in api.configmaps.watch(resource_version=start):
            seen.append(
                (event.type, event.object["metadata"]["name"], int(event.object["metadata"]["resourceVersion"]))
            )
            if len(seen) == 60:
                break
        await writing
        for number in range(30):
            added, deleted = seen[2 * number], seen[2 * number + 1]
            assert added[:2] == (EventType.ADDED, f"cm-{number}")
            assert deleted[:2] == (EventType.DELETED, f"cm-{number}")
        assert [item[2] for item in seen] == sorted(item[2] for item in seen)

    on_store(body)


def test_history_is_read_until_it_is_compacted(on_store):
    async def body(api):
        for number in range(5):
            await api.configmaps.create(config_map(f"cm-{number}"))
        first = await api.configmaps.list(namespace="default", limit=2)
        last = await api.configmaps.create(config_map("cm-5"))
        second = await api.configmaps.list(namespace="default", limit=2, continue_=first.continue_)
        assert [item["metadata"]["name"] for item in second.items] == ["cm-2", "cm-3"]
        assert second.remaining == 1
        await api.server.parts.store.client.compact(int(last["metadata"]["resourceVersion"]))
        with pytest.raises(ApiError) as caught:
            await api.configmaps.list(namespace="default", limit=2, continue_=first.continue_)
        assert caught.value.code == 410

    on_store(body)


def test_events_are_put_under_a_lease(on_store):
    async def body(api):
        events = api.client.resource("", "v1", "events")
        await events.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": "e", "namespace": "default"},
                "involvedObject": {"namespace": "default"},
                "type": "Normal",
            }
        )
        found = await api.server.parts.store.client.range(pb.RangeRequest(key=b"/registry/events/default/e"))
        assert found.kvs[0].lease != 0

    on_store(body)


def test_addresses_are_claimed_once(on_store):
    async def body(api):
        services = api.client.resource("", "v1", "services")

        def service(name):
            metadata = {"name": name, "namespace": "default"}
            spec = {"ports": [{"port": 80}], "clusterIP": "10.96.0.50"}
            return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

        async def code_of(name):
            """201 or what refused it; a store that is too busy to answer is asked again."""
            repeated = False
            while True:
                try:
                    await services.create(service(name))
                except ApiError as error:
                    if error.code >= 500:
                        repeated = True
                        continue
                    return 201 if repeated and error.code == 409 else error.code
                return 201

        codes = await asyncio.gather(*(code_of(f"s{number}") for number in range(5)))
        assert sorted(codes) == [201, 422, 422, 422, 422]
        listed = await services.list(namespace="default")
        assert [item["spec"]["clusterIP"] for item in listed.items].count("10.96.0.50") == 1

    on_store(body)
