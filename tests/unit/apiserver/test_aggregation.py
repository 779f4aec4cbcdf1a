"""Aggregated APIs: a small reference server behind the API server, over real TLS, for REST and gRPC clients."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl

import aiohttp
import pytest

from argosy import pki
from argosy.client import EventType
from argosy.host import RealClock, real_host
from argosy.kinds.columns import text
from argosy.kinds.kind import NAME_COLUMN
from argosy.objects import status as errors
from argosy.objects.status import ApiError
from control_plane.aggregated.access import Access
from control_plane.aggregated.calls import ApiResource, GroupVersion
from control_plane.aggregated.identity import Trust
from control_plane.aggregated.server import AggregatedServer

from .https_server import LoopbackHttp, https_server

GROUP, VERSION = "flavours.example.org", "v1alpha1"
PATH = f"/apis/{GROUP}/{VERSION}"
HOST = "reference.default.svc"
FLAVOURS = ApiResource(
    "flavours",
    "Flavour",
    verbs=("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
    singular="flavour",
    short_names=("fl",),
    columns=(NAME_COLUMN, text("Taste", "taste")),
)
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
OPENAPI = {
    "/openapi/v2": {
        "swagger": "2.0",
        "paths": {f"{PATH}/flavours": {"get": {}}, "/apis/stolen/v1/": {"get": {}}},
        "definitions": {"org.example.Flavour": {"type": "object"}, "io.k8s.api.core.v1.Pod": {"type": "string"}},
    },
    "/openapi/v3": {"paths": {PATH.strip("/"): {"serverRelativeURL": f"/openapi/v3{PATH}?hash=AB"}}},
    f"/openapi/v3{PATH}": {"openapi": "3.0.0", "paths": {}},
}


class Shelf:
    """What the reference server keeps, and who asked."""

    def __init__(self):
        self.items = {}
        self.calls = []

    async def handle(self, call):
        self.calls.append(call)
        key = (call.namespace, call.name)
        if call.subresource or (call.resource != "flavours"):
            return {"kind": "Strange", "apiVersion": f"{GROUP}/{VERSION}", "path": [call.resource, call.subresource]}
        if call.verb == "create":
            obj = json.loads(call.body)
            obj["metadata"] = {**obj["metadata"], "namespace": call.namespace}
            self.items[call.namespace, obj["metadata"]["name"]] = obj
            return obj
        if call.verb == "list":
            items = [obj for (space, _), obj in self.items.items() if space == call.namespace or not call.namespace]
            metadata = {"resourceVersion": "7"}
            kind = {"kind": "FlavourList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": metadata}
            return {
                **kind,
                "items": [{k: v for k, v in obj.items() if k not in ("kind", "apiVersion")} for obj in items],
            }
        if call.verb == "watch":
            return self.events()
        if call.verb == "deletecollection":
            self.items.clear()
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if key not in self.items:
            raise errors.not_found(GROUP, "flavours", call.name)
        if call.verb == "update":
            self.items[key] = json.loads(call.body)
        elif call.verb == "patch":
            self.items[key] = {**self.items[key], **json.loads(call.body), "patch": call.content_type}
        elif call.verb == "delete":
            return self.items.pop(key)
        return self.items[key]

    async def events(self):
        for obj in list(self.items.values()):
            yield {"type": "ADDED", "object": obj}
        await asyncio.sleep(0.01)
        raise errors.expired("too old")


def flavour(name="sweet", **rest):
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Flavour", "metadata": metadata, **rest}


def api_service(**spec):
    wanted = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 1500,
        "versionPriority": 20,
        "service": {"namespace": "default", "name": "reference"},
        **spec,
    }
    name = f"{wanted['version']}.{wanted['group']}"
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": wanted,
    }


def services_of(api):
    return api.client().resource("apiregistration.k8s.io", "v1", "apiservices")


async def until(condition, what, timeout_s=60.0):
    """Await a condition (a coroutine function) and give what it gives."""
    async with asyncio.timeout(timeout_s):
        while True:
            with contextlib.suppress(ApiError):
                if found := await condition():
                    return found
            await asyncio.sleep(0.02)


async def condition_of(api, name=f"{VERSION}.{GROUP}"):
    found = await services_of(api).get(name)
    conditions = (found.get("status") or {}).get("conditions") or [None]
    return conditions[0]


async def settled(api, reason, name=f"{VERSION}.{GROUP}"):
    async def is_there():
        found = await condition_of(api, name)
        return found if found and found["reason"] == reason else None

    return await until(is_there, reason)


async def serve_at(api, port, *, name="reference", ready=True):
    services = api.client().resource("", "v1", "services")
    slices = api.client().resource("discovery.k8s.io", "v1", "endpointslices")
    metadata = {"name": name, "namespace": "default"}
    await services.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 443}]}}
    )
    return await slices.create(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": ready}}],
            "ports": [{"port": port}],
        }
    )


@pytest.fixture
def aggregated(with_rest, tmp_path):
    """`aggregated(body)` runs `await body(api, http, shelf)` with the reference server behind the API server."""
    front = pki.Authority.create("front-proxy-ca", real_host())
    front.issue("front-proxy-client").write(str(tmp_path / "proxy"))
    (tmp_path / "front-ca.crt").write_bytes(front.certificate)
    own = pki.Authority.create("reference-ca", real_host())
    own.issue("reference", hosts=[HOST], server=True).write(str(tmp_path / "reference"))
    bundle = base64.b64encode(own.certificate).decode()

    def run(body, *, register=True, **options):
        async def whole(api, http):
            shelf = Shelf()
            groups = [GroupVersion(GROUP, VERSION, [FLAVOURS], any_resource=True)]
            client = api.client("reference-server", "system:masters")
            trust, access = Trust(client, RealClock()), Access(client, RealClock())
            shelf.trust = trust
            server = AggregatedServer(groups, shelf.handle, trust, access, RealClock(), OPENAPI)

            async def published():
                await trust.load()
                return trust.published.proxy_ca

            await until(published, "the configuration map")
            shelf.address = (
                await server.listen(["127.0.0.1:0"], *[str(tmp_path / f"reference.{e}") for e in ("crt", "key")])
            )[0]
            shelf.server = server
            shelf.front, shelf.bundle, shelf.folder = front, bundle, tmp_path
            shelf.files = [str(tmp_path / f"reference.{ending}") for ending in ("crt", "key")]
            try:
                if register:
                    await serve_at(api, shelf.address[1])
                    await services_of(api).create(api_service(caBundle=bundle))
                    await settled(api, "Passed")
                    await until(lambda: _fresh(http), "discovery")
                await body(api, http, shelf)
            finally:
                await server.stop()

        with_rest(
            whole,
            http=LoopbackHttp(),
            proxy_client_certificate=str(tmp_path / "proxy.crt"),
            proxy_client_key=str(tmp_path / "proxy.key"),
            requestheader_client_ca=str(tmp_path / "front-ca.crt"),
            **options,
        )

    return run


async def _fresh(http):
    _, found = await http.call("GET", "/apis", headers={"Accept": AGGREGATED})
    return any(
        item["metadata"]["name"] == GROUP and item["versions"][0]["freshness"] == "Current" for item in found["items"]
    )


def test_every_verb_reaches_the_other_server(aggregated):
    async def body(api, http, shelf):
        base = f"{PATH}/namespaces/default/flavours"
        response, made = await http.call("POST", base, json=flavour(taste="honey"))
        assert (response.status, made["taste"]) == (201, "honey")
        _, listed = await http.call("GET", base + "?labelSelector=a%3Db")
        assert [item["metadata"]["name"] for item in listed["items"]] == ["sweet"]
        assert shelf.calls[-1].query == {"labelSelector": ["a=b"]}
        patch = {"headers": {"Content-Type": "application/merge-patch+json"}, "data": '{"taste": "cane"}'}
        _, patched = await http.call("PATCH", f"{base}/sweet", **patch)
        assert (patched["taste"], patched["patch"]) == ("cane", "application/merge-patch+json")
        _, put = await http.call("PUT", f"{base}/sweet", json=flavour(taste="beet"))
        _, read = await http.call("GET", f"{base}/sweet")
        assert read == put == flavour(taste="beet")
        _, table = await http.call("GET", base, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
        assert [row["cells"] for row in table["rows"]] == [["sweet", "beet"]]
        response, _ = await http.call("DELETE", f"{base}/sweet")
        assert response.status == 200
        response, status = await http.call("GET", f"{base}/sweet")
        assert (response.status, status["reason"]) == (404, "NotFound")
        _, strange = await http.call("GET", f"{PATH}/namespaces/default/pods/*/requests")
        assert strange["path"] == ["pods", "requests"]
        response, status = await http.call("OPTIONS", f"{PATH}/flavours")
        assert (response.status, status["reason"]) == (405, "MethodNotAllowed")

    aggregated(body)


def test_the_user_is_named_to_the_other_server_and_nobody_can_pretend(aggregated):
    async def body(api, http, shelf):
        await http.call("GET", f"{PATH}/flavours", headers={"X-Remote-User": "mallory", "X-Remote-Group": "evil"})
        user = shelf.calls[-1].user
        assert (user.name, user.groups) == ("kubernetes-admin", ("system:masters", "system:authenticated"))
        headers = {"Impersonate-User": "alice", "Impersonate-Group": "system:masters", "Impersonate-Uid": "u-1"}
        await http.call("GET", f"{PATH}/flavours", headers={**headers, "Impersonate-Extra-dept%2Fx": "sales"})
        user = shelf.calls[-1].user
        assert (user.name, user.uid) == ("alice", "u-1")
        assert user.groups == ("system:masters", "system:authenticated")
        assert dict(user.extra) == {"dept/x": ("sales",)}

    aggregated(body)


def test_both_servers_ask_whether_one_may(aggregated):
    async def body(api, http, shelf):
        bob = await api.http_of("bob")
        response, status = await bob.call("GET", f"{PATH}/namespaces/default/flavours")
        assert (response.status, status["reason"]) == (403, "Forbidden")
        assert status["message"] == (
            'flavours.flavours.example.org is forbidden: User "bob" cannot list resource "flavours" in API group '
            '"flavours.example.org" in the namespace "default"'
        )
        assert shelf.calls == []
        roles = api.client().resource("rbac.authorization.k8s.io", "v1", "clusterroles")
        bindings = api.client().resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
        rules = [{"apiGroups": [GROUP], "resources": ["flavours"], "verbs": ["list"]}]
        kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "tasters"}}
        await roles.create({**kind, "kind": "ClusterRole", "rules": rules})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tasters"}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}
        await bindings.create({**kind, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]})
        response, _ = await bob.call("GET", f"{PATH}/namespaces/default/flavours")
        assert (response.status, shelf.calls[-1].user.name) == (200, "bob")
        response, status = await bob.call("DELETE", f"{PATH}/namespaces/default/flavours")
        assert response.status == 403

    aggregated(body)


def test_who_comes_past_the_api_server_is_nobody_without_proof(aggregated, tmp_path):
    async def body(api, http, shelf):
        async def ask(identity=None, headers=None):
            context = ssl.create_default_context(cadata=base64.b64decode(shelf.bundle).decode())
            context.check_hostname = False
            if identity is not None:
                identity.write(str(tmp_path / "c"))
                context.load_cert_chain(tmp_path / "c.crt", tmp_path / "c.key")
            connector = aiohttp.TCPConnector(ssl=context)
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get(f"https://127.0.0.1:{shelf.address[1]}{PATH}/flavours", headers=headers) as found,
            ):
                return found.status

        pretend = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
        assert await ask(headers=pretend) == 403
        assert await ask(shelf.front.issue("somebody-else"), pretend) == 403
        assert await ask(shelf.front.issue("front-proxy-client"), pretend) == 200
        token = {"Authorization": "Bearer no-token"}
        assert await ask(headers=token) == 401

    aggregated(body)


def test_discovery_is_of_everything(aggregated):
    async def body(api, http, shelf):
        _, groups = await http.call("GET", "/apis")
        names = [item["name"] for item in groups["groups"]]
        assert names[0] == "apiregistration.k8s.io" and names[1] == "apps" and names[-1] == GROUP
        assert groups["groups"][-1]["preferredVersion"] == {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
        _, group = await http.call("GET", f"/apis/{GROUP}")
        assert (group["kind"], group["name"]) == ("APIGroup", GROUP)
        _, resources = await http.call("GET", PATH)
        assert [item["name"] for item in resources["resources"]] == ["flavours"]
        response, found = await http.call("GET", "/apis", headers={"Accept": AGGREGATED})
        (version,) = found["items"][-1]["versions"]
        assert (version["version"], version["freshness"]) == (VERSION, "Current")
        assert version["resources"] == [
            {
                "resource": "flavours",
                "responseKind": {"group": GROUP, "version": VERSION, "kind": "Flavour"},
                "scope": "Namespaced",
                "singularResource": "flavour",
                "verbs": list(FLAVOURS.verbs),
                "shortNames": ["fl"],
            }
        ]
        again, _ = await http.call(
            "GET", "/apis", headers={"Accept": AGGREGATED, "If-None-Match": response.headers["ETag"]}
        )
        assert again.status == 304

    aggregated(body)


def test_openapi_is_of_everything(aggregated):
    async def body(api, http, shelf):
        async def merged():
            """The server is asked for this document last, after what makes its group fresh."""
            _, found = await http.call("GET", "/openapi/v2", headers={"Accept-Encoding": "identity"})
            return found if f"{PATH}/flavours" in found["paths"] else None

        v2 = await until(merged, "the group's paths")
        assert "/apis/stolen/v1/" not in v2["paths"]
        assert v2["definitions"]["org.example.Flavour"] == {"type": "object"}
        assert v2["definitions"]["io.k8s.api.core.v1.Pod"]["type"] == "object"
        _, root = await http.call("GET", "/openapi/v3")
        assert root["paths"][PATH.strip("/")] == {"serverRelativeURL": f"/openapi/v3{PATH}?hash=AB"}
        _, v3 = await http.call("GET", f"/openapi/v3{PATH}?hash=AB")
        assert v3 == OPENAPI[f"/openapi/v3{PATH}"]

    aggregated(body)


def test_grpc_clients_reach_it_too(aggregated):
    async def body(api, http, shelf):
        flavours = api.client().resource(GROUP, VERSION, "flavours")
        made = await flavours.create(flavour(taste="honey"), dry_run=True)
        assert made["taste"] == "honey" and shelf.calls[-1].query["dryRun"] == ["All"]
        assert (await flavours.get("sweet", namespace="default"))["taste"] == "honey"
        found = await flavours.list(namespace="default", labels="a=b")
        assert found.resource_version == "7"
        assert found.items == [flavour(taste="honey")]
        assert (await flavours.update(flavour(taste="x")))["taste"] == "x"
        assert (await flavours.patch("sweet", {"taste": "y"}, namespace="default"))["taste"] == "y"
        seen = []
        with pytest.raises(ApiError) as caught:
            async for event in flavours.watch():
                seen.append((event.type, event.object["taste"]))
        assert (seen, caught.value.reason) == ([(EventType.ADDED, "y")], "Expired")
        await flavours.delete("sweet", namespace="default")
        with pytest.raises(ApiError) as caught:
            await flavours.get("sweet", namespace="default")
        assert (caught.value.code, caught.value.message) == (404, 'flavours.flavours.example.org "sweet" not found')
        assert (await flavours.delete_collection(namespace="default"))["status"] == "Success"
        raw = await api.client().get_raw(f"{PATH}/namespaces/default/pods/*/requests?x=y")
        assert raw["path"] == ["pods", "requests"] and shelf.calls[-1].query == {"x": ["y"]}
        for path in ("/apis/apps/v1/deployments", "https://evil/apis/a/b", "/healthz", ""):
            with pytest.raises(ApiError) as caught:
                await api.client().get_raw(path)
            assert caught.value.code == 404
        with pytest.raises(ApiError) as caught:
            await api.client("bob").get_raw(f"{PATH}/flavours")
        assert caught.value.code == 403

    aggregated(body)


def test_a_watch_streams_and_ends_with_its_client(aggregated):
    async def body(api, http, shelf):
        ended = asyncio.Event()
        go_on = asyncio.Event()

        async def events():
            try:
                yield {"type": "ADDED", "object": flavour("a")}
                await go_on.wait()
                yield {"type": "MODIFIED", "object": flavour("a")}
                await asyncio.Event().wait()
            finally:
                ended.set()

        shelf.events = events
        async with http.open("GET", f"{PATH}/flavours?watch=1") as response:
            assert json.loads(await response.content.readline())["type"] == "ADDED"
            go_on.set()
            assert json.loads(await response.content.readline())["type"] == "MODIFIED"
        await asyncio.wait_for(ended.wait(), 5)

    aggregated(body)


def test_an_upgraded_connection_is_joined(aggregated):
    async def body(api, http, shelf):
        async def echo(reader, writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            shelf.head = head
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
            while data := await reader.read(100):
                writer.write(data.upper())
            writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shelf.files[0], shelf.files[1])
        other = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
        slices = api.client().resource("discovery.k8s.io", "v1", "endpointslices")
        await slices.patch("reference", {"ports": [{"port": other.sockets[0].getsockname()[1]}]}, namespace="default")
        client = ssl.create_default_context()
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        identity = api.rest_authority.issue("kubernetes-admin", organizations=["system:masters"])
        identity.write(str(shelf.folder / "upgrade"))
        client.load_cert_chain(shelf.folder / "upgrade.crt", shelf.folder / "upgrade.key")
        host, port = api.server.rest_addresses[0]
        reader, writer = await asyncio.open_connection(host, port, ssl=client)
        head = f"POST {PATH}/namespaces/default/flavours/x/exec?command=ls HTTP/1.1\r\nHost: x\r\n"
        writer.write(head.encode() + b"Connection: Upgrade\r\nUpgrade: echo\r\nX-Stream-Protocol-Version: v4\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ") and b"upgrade: echo" in answer.lower()
        writer.write(b"world")
        assert await reader.readexactly(11) == b"hello WORLD"
        assert "X-Remote-User: kubernetes-admin" in shelf.head and "X-Stream-Protocol-Version: v4" in shelf.head
        writer.close()
        other.close()

    aggregated(body)


REASONS = [
    ({"name": "nowhere"}, "ServiceNotFound", 'service/nowhere in "default" is not present'),
    ({"port": 8443}, "ServicePortError", 'service/reference in "default" is not listening on port 8443'),
    ({"name": "bare"}, "EndpointsNotFound", 'cannot find endpointslices for service/bare in "default"'),
    ({"name": "unready"}, "MissingEndpoints", 'endpointslices for service/unready in "default" have no addresses'),
    ({"name": "closed"}, "FailedDiscoveryCheck", "failing or missing response from https://closed.default.svc:443/apis/"),
]  # fmt: skip


def test_why_an_api_is_not_available(aggregated):
    async def body(api, http, shelf):
        await serve_at(api, 1, name="unready", ready=False)
        await serve_at(api, 1, name="closed")
        services = api.client().resource("", "v1", "services")
        bare = {"name": "bare", "namespace": "default"}
        await services.create(
            {"apiVersion": "v1", "kind": "Service", "metadata": bare, "spec": {"ports": [{"port": 443}]}}
        )
        for number, (service, reason, message) in enumerate(REASONS):
            reference = {"namespace": "default", "name": "reference", **service}
            made = api_service(version=f"v{number + 2}", service=reference, insecureSkipTLSVerify=True)
            await services_of(api).create(made)
            condition = await settled(api, reason, made["metadata"]["name"])
            assert (condition["type"], condition["status"]) == ("Available", "False")
            assert condition["message"].startswith(message)
            response, status = await http.call("GET", f"/apis/{GROUP}/v{number + 2}/flavours")
            assert (response.status, status["reason"]) == (503, "ServiceUnavailable")
            with pytest.raises(ApiError) as caught:
                await api.client().resource(GROUP, f"v{number + 2}", "flavours").list()
            assert caught.value.code == 503
        _, found = await http.call("GET", "/apis", headers={"Accept": AGGREGATED})
        stale = [item["version"] for item in found["items"][-1]["versions"] if item["freshness"] == "Stale"]
        assert sorted(stale) == ["v2", "v3", "v4", "v5", "v6"]
        _, table = await http.call("GET", "/apis/apiregistration.k8s.io/v1/apiservices", headers={"Accept": TABLE})
        rows = {row["cells"][0]: row["cells"][1:3] for row in table["rows"]}
        assert rows["v1.apps"] == ["Local", "True"]
        assert rows[f"{VERSION}.{GROUP}"] == ["default/reference", "True"]
        assert rows[f"v2.{GROUP}"] == ["default/nowhere", "False (ServiceNotFound)"]

    aggregated(body)


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def test_it_comes_back_when_its_endpoints_do_and_goes_when_it_is_deleted(aggregated):
    async def body(api, http, shelf):
        slices = api.client().resource("discovery.k8s.io", "v1", "endpointslices")
        away = {"endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": False}}]}
        await slices.patch("reference", away, namespace="default")
        await settled(api, "MissingEndpoints")
        back = {"endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}]}
        await slices.patch("reference", back, namespace="default")
        await settled(api, "Passed")
        response, _ = await http.call("GET", f"{PATH}/flavours")
        assert response.status == 200
        await services_of(api).delete(f"{VERSION}.{GROUP}")

        async def gone():
            response, _ = await http.call("GET", f"{PATH}/flavours")
            return response.status == 404

        await until(gone, "no route")
        _, groups = await http.call("GET", "/apis")
        assert GROUP not in [item["name"] for item in groups["groups"]]
        response, _ = await http.call("GET", f"/apis/{GROUP}")
        assert response.status == 404

    aggregated(body)


OK = b"HTTP/1.1 200 OK\r\n"
LIES = {
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: https://evil/\r\nContent-Length: 0\r\n\r\n", 502),
    "no HTTP": (b"SSH-2.0-x\r\n\r\n", 503),
    "nothing": (b"", 503),
}


def test_servers_that_lie_or_break_off_hurt_nobody_else(aggregated, tmp_path):
    async def body(api, http, shelf):
        passed = {
            "kind": "APIResourceList",
            "groupVersion": f"{GROUP}/v9",
            "resources": [{"name": "x"}, 7, {"name": 1}],
        }
        async with https_server(tmp_path, lambda heard: passed, names=["bad.default.svc"]) as server:
            await serve_at(api, server.port, name="bad")
            reference = {"namespace": "default", "name": "bad"}
            made = api_service(version="v9", service=reference, caBundle=server.bundle)
            await services_of(api).create(made)
            await settled(api, "Passed", f"v9.{GROUP}")
            for answer, code in LIES.values():
                server.answer = lambda heard, answer=answer: answer
                response, status = await http.call("GET", f"/apis/{GROUP}/v9/x")
                assert (response.status, status["code"]) == (code, code)
            server.answer = lambda heard: OK + b"Content-Length: 100\r\n\r\nshort"
            with pytest.raises(aiohttp.ClientError):
                await http.call("GET", f"/apis/{GROUP}/v9/x")
            resource = api.client().resource(GROUP, "v9", "x")
            for answer in (b"short", b"[1]", b'{"items": 3}', b'{"items": [3]}'):
                server.answer = lambda heard, answer=answer: (
                    OK + b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer)
                )
                with pytest.raises(ApiError):
                    await resource.list()
            for answer in (b"nonsense\n", b"{}\n", b'{"type": "NEW", "object": {}}\n'):
                server.answer = lambda heard, answer=answer: OK + b"\r\n" + answer
                with pytest.raises(ApiError):
                    [event async for event in resource.watch()]
            _, found = await http.call("GET", f"{PATH}/flavours")
            assert found["kind"] == "FlavourList"

        async with https_server(tmp_path, lambda heard: passed, names=["other.default.svc"]) as server:
            slices = api.client().resource("discovery.k8s.io", "v1", "endpointslices")
            await slices.patch("bad", {"ports": [{"port": server.port}]}, namespace="default")
            response, status = await http.call("GET", f"/apis/{GROUP}/v9/x")
            assert response.status == 503 and "x509" in status["message"]
            assert all(heard.path.rpartition("/")[2] != "x" for heard in server.heard)

    aggregated(body)


def test_what_is_served_here_is_local_and_available(with_api):
    async def body(api):
        async def registered():
            return {item["metadata"]["name"]: item for item in (await services_of(api).list()).items} or None

        found = await until(registered, "local APIServices")
        await until(lambda: services_of(api).get("v1.rbac.authorization.k8s.io"), "rbac")
        core = await services_of(api).get("v1.")
        assert core["spec"] == {"groupPriorityMinimum": 18000, "version": "v1", "versionPriority": 1}
        assert core["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        (condition,) = core["status"]["conditions"]
        assert (condition["status"], condition["reason"]) == ("True", "Local")
        assert "v1.apiregistration.k8s.io" not in found

    with_api(body)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"metadata": {"name": "wrong"}},
            'metadata.name: Invalid value: "wrong": must be `spec.version+"."+spec.group`: "v1.a.b"',
        ),
        ({"spec": {"group": "", "version": "v2"}, "metadata": {"name": "v2."}}, "only v1 may have an empty group"),
        ({"spec": {"version": "1"}, "metadata": {"name": "1.a.b"}}, "a DNS-1035 label must consist"),
        ({"spec": {"groupPriorityMinimum": 20001}}, "must be positive and less than 20000"),
        ({"spec": {"versionPriority": 0}}, "must be positive and less than 1000"),
        ({"spec": {"service": {"name": "x"}}}, "spec.service.namespace: Required value"),
        ({"spec": {"service": {"namespace": "x", "name": "x", "port": 0}}}, "port is not valid"),
        ({"spec": {"caBundle": "eA=="}}, "local APIServices may not have a caBundle"),
        ({"spec": {"insecureSkipTLSVerify": True}}, "local APIServices may not have insecureSkipTLSVerify"),
    ],
)
def test_bad_api_services_are_refused(with_api, change, said):
    async def body(api):
        made = api_service(group="a.b", version="v1")
        del made["spec"]["service"]
        for key, value in change.items():
            made[key] = {**made[key], **value}
        with pytest.raises(ApiError) as caught:
            await services_of(api).create(made)
        assert caught.value.code == 422 and said in caught.value.message, caught.value.message

    with_api(body)
