"""The REST edge over real TLS on loopback: negotiation, headers, discovery, errors, watch streams, bad clients."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl

import aiohttp
import pytest

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name="cm", **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_an_object_through_its_life(with_rest):
    async def body(api, http):
        response, made = await http.call("POST", CONFIG_MAPS, json=config_map(a="1"))
        assert response.status == 201
        assert response.headers["Cache-Control"] == "no-cache, private"
        assert response.headers["Audit-Id"]
        response, read = await http.call("GET", f"{CONFIG_MAPS}/cm")
        assert read == made
        patch = {"headers": {"Content-Type": "application/merge-patch+json"}, "data": '{"data":{"b":"2"}}'}
        response, patched = await http.call("PATCH", f"{CONFIG_MAPS}/cm", **patch)
        assert patched["data"] == {"a": "1", "b": "2"}
        response, status = await http.call("DELETE", f"{CONFIG_MAPS}/cm")
        assert (response.status, status["status"]) == (200, "Success")
        response, status = await http.call("GET", f"{CONFIG_MAPS}/cm")
        assert (response.status, status["reason"]) == (404, "NotFound")

    with_rest(body)


def test_tables_and_partial_metadata(with_rest):
    async def body(api, http):
        await http.call("POST", CONFIG_MAPS, json=config_map(a="1"))
        _, table = await http.call("GET", CONFIG_MAPS, headers={"Accept": TABLE})
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert table["rows"][0]["cells"][:2] == ["cm", 1]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        _, table = await http.call("GET", f"{CONFIG_MAPS}/cm?includeObject=Object", headers={"Accept": TABLE})
        assert table["rows"][0]["object"]["data"] == {"a": "1"}
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        _, partial = await http.call("GET", CONFIG_MAPS, headers={"Accept": accept})
        assert partial["kind"] == "PartialObjectMetadataList"
        assert set(partial["items"][0]) == {"kind", "apiVersion", "metadata"}
        response, status = await http.call("GET", CONFIG_MAPS, headers={"Accept": "text/html"})
        assert (response.status, status["reason"]) == (406, "NotAcceptable")
        response, text = await http.call("GET", f"{CONFIG_MAPS}/cm", headers={"Accept": "application/yaml"})
        assert b'\ndata:\n  a: "1"\nkind: ConfigMap\n' in text

    with_rest(body)


def test_unknown_fields_warn_fail_or_pass(with_rest):
    async def body(api, http):
        strange = {**config_map(), "foo": 1}
        response, made = await http.call("POST", f"{CONFIG_MAPS}?dryRun=All", json=strange)
        assert response.headers.getall("Warning") == ['299 - "unknown field \\"foo\\""']
        assert "foo" not in made
        response, status = await http.call("POST", f"{CONFIG_MAPS}?fieldValidation=Strict", json=strange)
        assert response.status == 400
        assert status["message"].endswith('strict decoding error: unknown field "foo"')
        response, _ = await http.call("POST", f"{CONFIG_MAPS}?fieldValidation=Ignore", json=strange)
        assert response.status == 201
        assert "Warning" not in response.headers

    with_rest(body)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nope", 404),
        ("GET", "/api/v1/foos", 404),
        ("GET", "/apis/apps/v7/deployments", 404),
        ("POST", f"{CONFIG_MAPS}/cm", 405),
        ("PUT", CONFIG_MAPS, 405),
        ("GET", "/api/v1/pods/p", 404),
        ("POST", "/api/v1/configmaps", 405),
        ("DELETE", "/api/v1/configmaps", 405),
        ("GET", "/api/v1/namespaces//configmaps", 404),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
        ("OPTIONS", CONFIG_MAPS, 405),
        ("HEAD", CONFIG_MAPS, 405),
        ("GET", f"{CONFIG_MAPS}?limit=x", 400),
        ("GET", f"{CONFIG_MAPS}?sendInitialEvents=true", 422),
        ("GET", f"{CONFIG_MAPS}?labelSelector=a%3D%3D%3D", 400),
        ("GET", "/api/v1/namespaces/default/pods/p/nope", 404),
    ],
)
def test_what_is_not_there_is_refused(with_rest, method, path, code):
    async def body(api, http):
        async with http.open(method, path, json={} if method in ("POST", "PUT") else None) as response:
            assert response.status == code

    with_rest(body)


def test_bad_bodies_never_hurt_the_server(with_rest):
    async def body(api, http):
        async def sent(data, media="application/json"):
            response, status = await http.call("POST", CONFIG_MAPS, data=data, headers={"Content-Type": media})
            return response.status, status["kind"]

        assert await sent(b"{") == (400, "Status")
        assert await sent(b"[1]") == (400, "Status")
        assert await sent(b"k8s\x00\xff\xff", "application/vnd.kubernetes.protobuf") == (400, "Status")
        assert await sent(b"a: [", "application/yaml") == (400, "Status")
        assert await sent(b"x", "text/plain") == (415, "Status")
        assert await sent(b" " * (3 << 20) + b"{}") == (413, "Status")
        response, _ = await http.call("GET", "/readyz")
        assert response.status == 200

    with_rest(body)


def test_discovery_in_both_forms_agrees(with_rest):
    async def body(api, http):
        _, plain = await http.call("GET", "/api/v1")
        pods = [item for item in plain["resources"] if item["name"].startswith("pods")]
        eviction = next(item for item in pods if item["name"] == "pods/eviction")
        assert (eviction["group"], eviction["version"], eviction["kind"]) == ("policy", "v1", "Eviction")
        resize = next(item for item in pods if item["name"] == "pods/resize")
        assert (resize["kind"], resize["verbs"]) == ("Pod", ["get", "patch", "update"])
        _, document = await http.call("GET", "/openapi/v3/api/v1", headers={"Accept-Encoding": "identity"})
        path = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/resize"]
        assert {"get", "put", "patch"} <= path.keys()
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        response, aggregated = await http.call("GET", "/api", headers={"Accept": accept})
        assert response.headers["Content-Type"].endswith("as=APIGroupDiscoveryList")
        listed = {item["resource"] for item in aggregated["items"][0]["versions"][0]["resources"]}
        assert listed == {item["name"] for item in plain["resources"] if "/" not in item["name"]}
        headers = {"Accept": accept, "If-None-Match": response.headers["ETag"]}
        response, _ = await http.call("GET", "/api", headers=headers)
        assert response.status == 304
        _, groups = await http.call("GET", "/apis")
        for group in groups["groups"]:
            _, resources = await http.call("GET", f"/apis/{group['preferredVersion']['groupVersion']}")
            assert resources["resources"]

    with_rest(body)


def test_openapi_documents_are_served_with_their_tags(with_rest):
    async def body(api, http):
        _, root = await http.call("GET", "/openapi/v3")
        url = root["paths"]["apis/apps/v1"]["serverRelativeURL"]
        async with http.open("GET", url, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Cache-Control"] == "public, immutable"
            document = json.loads(gzip.decompress(await response.read()))
        assert "/apis/apps/v1/namespaces/{namespace}/deployments/{name}" in document["paths"]

    with_rest(body)


def test_watch_streams_lines_until_the_time_is_up(with_rest):
    async def body(api, http):
        await http.call("POST", CONFIG_MAPS, json=config_map("a"))
        async with http.open("GET", f"{CONFIG_MAPS}?watch=1&timeoutSeconds=2") as response:
            first = json.loads(await response.content.readline())
            assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "a")
            await http.call("DELETE", f"{CONFIG_MAPS}/a")
            second = json.loads(await response.content.readline())
            assert second["type"] == "DELETED"
            assert await response.content.read() == b""
        async with http.open(
            "GET", f"{CONFIG_MAPS}?watch=true&resourceVersion=0", headers={"Accept": TABLE}
        ) as response:
            await http.call("POST", CONFIG_MAPS, json=config_map("b"))
            event = json.loads(await response.content.readline())
            assert event["object"]["kind"] == "Table"
        cache = api.server.parts.resources.require("", "configmaps").cache
        while cache.watchers:
            await asyncio.sleep(0.01)

    with_rest(body)


def test_certificates_tokens_and_impersonation(with_rest):
    async def body(api, http):
        nobody = await api.http_of()
        assert (await nobody.call("GET", "/version"))[1]["gitVersion"] == "v1.36.0"
        response, status = await nobody.call("GET", "/api/v1/pods")
        assert (response.status, "system:anonymous" in status["message"]) == (403, True)
        forged = await api.http_of(headers={"Authorization": "Bearer a.b.c"})
        response, status = await forged.call("GET", "/api/v1/pods")
        assert (response.status, status["reason"]) == (401, "Unauthorized")
        response, _ = await http.call("GET", "/api/v1/pods", headers={"Impersonate-User": "alice"})
        assert response.status == 403
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        headers = {"Impersonate-User": "alice", "Impersonate-Group": "dev"}
        _, seen = await http.call("POST", path, json=review, headers=headers)
        assert seen["status"]["userInfo"] == {"username": "alice", "groups": ["dev", "system:authenticated"]}
        alice = await api.http_of("alice", ("dev",))
        response, status = await alice.call("GET", "/api/v1/pods", headers={"Impersonate-User": "bob"})
        assert (response.status, "cannot impersonate resource" in status["message"]) == (403, True)

    with_rest(body)


def test_a_strangers_certificate_ends_in_the_handshake(with_rest, tmp_path):
    async def body(api, http):
        from argosy import pki
        from argosy.host import real_host

        stranger = pki.Authority.create("strange-ca", real_host()).issue(
            "kubernetes-admin", organizations=["system:masters"]
        )
        (tmp_path / "s.crt").write_bytes(stranger.certificate)
        (tmp_path / "s.key").write_bytes(stranger.key)
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        context.load_cert_chain(tmp_path / "s.crt", tmp_path / "s.key")
        port = api.server.rest_addresses[0][1]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            with pytest.raises(aiohttp.ClientError):
                async with session.get(f"https://127.0.0.1:{port}/api/v1/pods") as response:
                    await response.read()
        assert (await http.call("GET", "/livez"))[0].status == 200

    with_rest(body)


def test_large_answers_are_packed_and_metrics_count(with_rest):
    async def body(api, http):
        for number in range(3):
            await http.call("POST", CONFIG_MAPS, json=config_map(f"cm-{number}", a="x" * 60_000))
        async with http.open("GET", CONFIG_MAPS, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert len(json.loads(gzip.decompress(await response.read()))["items"]) == 3
        _, text = await http.call("GET", "/metrics")
        assert b'apiserver_request_total{code="201",verb="POST"} 3.0' in text

    with_rest(body)


def test_delete_collection_and_delete_options_in_query_and_body(with_rest):
    async def body(api, http):
        for name in ("a", "b"):
            await http.call("POST", CONFIG_MAPS, json=config_map(name))
        response, gone = await http.call("DELETE", f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Da")
        assert (response.status, gone["kind"], len(gone["items"])) == (200, "ConfigMapList", 1)
        response, _ = await http.call("DELETE", f"{CONFIG_MAPS}/b?propagationPolicy=Nope")
        assert response.status == 422
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "x"}}
        response, _ = await http.call("DELETE", f"{CONFIG_MAPS}/b", json=options)
        assert response.status == 409
        response, _ = await http.call("DELETE", f"{CONFIG_MAPS}/b?dryRun=All")
        assert response.status == 200
        assert (await http.call("GET", f"{CONFIG_MAPS}/b"))[0].status == 200

    with_rest(body)


@pytest.mark.parametrize(
    ("accept", "code", "media"),
    [
        ("application/yaml;q=0.5, application/json", 200, "application/json"),
        ("application/json;q=0.1, application/yaml;q=0.9", 200, "application/yaml"),
        ("application/vnd.kubernetes.protobuf,application/json", 200, "application/json"),
        ("application/json;q=0, text/html", 406, "application/json"),
        ("application/json;as=Nothing;g=meta.k8s.io;v=v1", 406, "application/json"),
        ("application/json;as=Nothing;g=meta.k8s.io;v=v1,*/*", 200, "application/json"),
        ("*/*;q=0.8", 200, "application/json"),
    ],
)
def test_what_a_client_likes_best_is_what_it_gets(with_rest, accept, code, media):
    async def body(api, http):
        async with http.open("GET", CONFIG_MAPS, headers={"Accept": accept}) as response:
            assert (response.status, response.content_type) == (code, media)

    with_rest(body)


def test_people_get_indented_json_and_nobody_a_watch_in_yaml(with_rest):
    async def body(api, http):
        for headers, query, pretty in (
            ({"User-Agent": "curl/8"}, "", True),
            ({}, "?pretty=true", True),
            ({"User-Agent": "curl/8"}, "?pretty=0", False),
            ({}, "", False),
        ):
            async with http.open("GET", CONFIG_MAPS + query, headers=headers) as response:
                assert (b'\n  "kind"' in await response.read()) is pretty
        response, _ = await http.call("GET", f"{CONFIG_MAPS}?watch=1", headers={"Accept": "application/yaml"})
        assert response.status == 406

    with_rest(body)


def test_events_have_two_forms_with_rules_and_labels_of_their_own(with_rest):
    async def body(api, http):
        core, new = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"
        event = {
            "metadata": {"name": "e"},
            "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
            "reason": "R",
            "note": "m",
            "type": "Normal",
        }
        response, status = await http.call("POST", new, json={**event, "deprecatedCount": 2})
        assert response.status == 422
        assert [cause["field"] for cause in status["details"]["causes"]] == [
            "eventTime",
            "reportingController",
            "reportingInstance",
            "action",
            "deprecatedCount",
        ]
        event |= {"eventTime": "2026-01-01T00:00:00.000000Z", "action": "a", "reportingController": "example.com/c"}
        response, made = await http.call("POST", new, json={**event, "reportingInstance": "i"})
        assert (response.status, made["note"]) == (201, "m")
        _, old = await http.call("GET", f"{core}/e")
        assert (old["message"], old["reportingComponent"]) == ("m", "example.com/c")
        for path, label, code in (
            (core, "involvedObject.name", 200),
            (core, "regarding.name", 400),
            (new, "regarding.name", 200),
            (new, "involvedObject.name", 400),
            (new, "reportingController", 200),
        ):
            response, _ = await http.call("GET", f"{path}?fieldSelector={label}%3Dp")
            assert response.status == code, label

    with_rest(body)


def test_small_print_of_discovery_openapi_tables_and_impersonation(with_rest):
    async def body(api, http):
        async with http.open("GET", "/apis/nope.example.com") as response:
            assert (response.status, await response.text()) == (404, "404 page not found\n")
        async with http.open("GET", "/openapi/v3/apis/apps/v1?hash=0123", allow_redirects=False) as response:
            assert response.status == 301
            assert response.headers["Location"].startswith("/openapi/v3/apis/apps/v1?hash=")
        response, _ = await http.call("GET", f"{CONFIG_MAPS}?watch=1&includeObject=All", headers={"Accept": TABLE})
        assert response.status == 400
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        headers = [("Impersonate-User", "a"), ("Impersonate-Extra-Scopes", "x"), ("Impersonate-Extra-Scopes", "y")]
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        _, seen = await http.call("POST", path, json=review, headers=headers)
        assert seen["status"]["userInfo"]["extra"] == {"scopes": ["x", "y"]}

    with_rest(body)


class Raw:
    """A bare TLS connection: what no decent client sends."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    async def send(self, text, body=b""):
        self._writer.write(text.replace("\n", "\r\n").encode() + body)
        await self._writer.drain()

    async def answer(self):
        """(code, headers, body) of the next answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(first.split()[1]), headers, await self._reader.readexactly(int(headers.get("Content-Length", 0)))


@pytest.fixture
def with_raw(with_rest, tmp_path):
    def run(body, **options):
        async def whole(api, http):
            context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
            context.load_cert_chain(tmp_path / "c.crt", tmp_path / "c.key")
            port = api.server.rest_addresses[0][1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            await body(http, Raw(reader, writer))
            writer.close()

        with_rest(whole, **options)

    return run


POST = f"POST {CONFIG_MAPS} HTTP/1.1\nHost: x\nContent-Type: application/json\n"


def test_requests_in_one_pipe_are_answered_in_order(with_raw):
    async def body(http, raw):
        await raw.send("GET /version HTTP/1.1\nHost: x\n\nGET /livez HTTP/1.1\nHost: x\n\n")
        assert json.loads((await raw.answer())[2])["minor"] == "36"
        assert (await raw.answer())[2] == b"ok"

    with_raw(body)


def test_who_waits_to_send_a_body_is_told_to_go_on(with_raw):
    async def body(http, raw):
        sent = json.dumps(config_map("waited")).encode()
        await raw.send(f"{POST}Content-Length: {len(sent)}\nExpect: 100-continue\n\n")
        assert (await raw.answer())[0] == 100
        await raw.send("", sent)
        code, _, made = await raw.answer()
        assert (code, json.loads(made)["metadata"]["name"]) == (201, "waited")
        await raw.send(f"{POST}Content-Length: {len(sent)}\nExpect: wonders\n\n", sent)
        assert (await raw.answer())[0] == 417

    with_raw(body)


def test_packed_and_never_ending_bodies_are_refused(with_raw, monkeypatch):
    from control_plane.apiserver.rest import requests

    monkeypatch.setattr(requests, "BODY_TIMEOUT_S", 0.2)

    async def body(http, raw):
        packed = gzip.compress(json.dumps(config_map()).encode())
        await raw.send(f"{POST}Content-Encoding: gzip\nContent-Length: {len(packed)}\n\n", packed)
        code, _, status = await raw.answer()
        assert (code, json.loads(status)["reason"]) == (400, "BadRequest")
        await raw.send(f"{POST}Content-Length: 100\n\n", b"{")
        code, _, status = await raw.answer()
        assert (code, json.loads(status)["reason"]) == (504, "Timeout")
        assert (await http.call("GET", "/livez"))[0].status == 200

    with_raw(body)


def test_a_pod_without_a_spec_is_refused_like_any_other(with_rest):
    async def body(api, http):
        await api.account()
        for given in ({}, {"spec": None}, {"spec": {}}):
            pod = {"metadata": {"name": "p"}, **given}
            response, status = await http.call("POST", "/api/v1/namespaces/default/pods", json=pod)
            assert response.status == 422
            assert [cause["field"] for cause in status["details"]["causes"]] == ["spec.containers"]

    with_rest(body)


def test_version_and_schemas_are_of_one_release(with_rest):
    async def body(api, http):
        _, version = await http.call("GET", "/version")
        assert api.server.parts.catalog.path.split("/")[-2].startswith(f"v{version['major']}.{version['minor']}.")

    with_rest(body)
