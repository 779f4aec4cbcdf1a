"""Query options and identities of requests: what means nothing is refused in upstream's words."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from control_plane.apiserver.list_options import encode_token

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}
INVALID_LIST = 'ListOptions.meta.k8s.io "" is invalid: '
MATCH = "resourceVersionMatch"


def config_map(name="cm", **metadata):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        (
            "resourceVersion=abc",
            400,
            'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": '
            "invalid syntax",
        ),
        (f"resourceVersion={1 << 70}", 400, f'strconv.ParseUint: parsing "{1 << 70}": value out of range'),
        (f"{MATCH}=Exact", 422, f"{MATCH}: Forbidden: {MATCH} is forbidden unless resourceVersion is provided"),
        (
            f"{MATCH}=Exact&resourceVersion=0",
            422,
            f'{MATCH}: Forbidden: {MATCH} "exact" is forbidden for resourceVersion "0"',
        ),
        (
            f"{MATCH}=Foo&resourceVersion=1",
            422,
            f'{MATCH}: Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""',
        ),
        (
            f"{MATCH}=Exact&resourceVersion=1&continue=abc",
            422,
            f"{MATCH}: Forbidden: {MATCH} is forbidden when continue is provided",
        ),
        ("sendInitialEvents=true", 422, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        (
            f"watch=1&{MATCH}=NotOlderThan",
            422,
            f"{MATCH}: Forbidden: {MATCH} is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "watch=1&sendInitialEvents=true",
            422,
            f"{MATCH}: Forbidden: sendInitialEvents requires setting {MATCH} to NotOlderThan",
        ),
        (
            f"watch=1&sendInitialEvents=false&{MATCH}=Exact",
            422,
            f'{MATCH}: Unsupported value: "Exact": supported values: "NotOlderThan"',
        ),
        ("limit=abc", 400, 'strconv.ParseInt: parsing "abc": invalid syntax'),
        (f"timeoutSeconds={1 << 64}", 400, f'strconv.ParseInt: parsing "{1 << 64}": value out of range'),
        ("continue=zz!", 400, "invalid continue token: continue key is not valid"),
        (
            "labelSelector=a%20b",
            400,
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("labelSelector=a%3D1,", 400, "found '', expected: identifier after ','"),
        ("labelSelector=a%20in%20b", 400, "unable to parse requirement: found 'b' expected: '('"),
        ("labelSelector=,a", 400, "found ',', expected: !, identifier, or 'end of string'"),
        ("fieldSelector=spec.x%3Dy", 400, "field label not supported: spec.x"),
    ],
)
def test_lists_and_watches_with_senseless_options(with_rest, query, code, message):
    async def body(_api, http):
        response, status = await http.call("GET", f"{CONFIG_MAPS}?{query}")
        assert (response.status, status["kind"]) == (code, "Status")
        assert message in status["message"]
        assert status["message"].startswith(INVALID_LIST) == (code == 422)

    with_rest(body)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writes_with_senseless_options_name_their_kind_of_options(with_rest, method):
    async def body(_api, http):
        await http.call("POST", CONFIG_MAPS, json=config_map())
        path = CONFIG_MAPS if method == "POST" else f"{CONFIG_MAPS}/cm"
        kind = {"POST": "Create", "PUT": "Update", "PATCH": "Patch", "DELETE": "Delete"}[method] + "Options"
        query = "dryRun=Some&fieldManager=a%0Ab&fieldValidation=Perhaps"
        body = None if method == "DELETE" else json.dumps(config_map())
        response, status = await http.call(method, f"{path}?{query}", data=body, headers=MERGE if body else None)
        if method in ("POST", "PUT"):
            headers = {"Content-Type": "application/json"}
            response, status = await http.call(method, f"{path}?{query}", data=body, headers=headers)
        assert response.status == 422
        assert status["message"].startswith(f'{kind}.meta.k8s.io "" is invalid: ')
        assert 'dryRun: Unsupported value: ["Some"]: supported values: "All"' in status["message"]
        if method != "DELETE":
            assert "fieldManager: Invalid value: " in status["message"]
            assert "invalid character U+000A (at position 1)" in status["message"]
            assert 'supported values: "Ignore", "Strict", "Warn"' in status["message"]

    with_rest(body)


def test_force_is_for_apply_only(with_rest):
    async def body(_api, http):
        await http.call("POST", CONFIG_MAPS, json=config_map())
        response, status = await http.call("PATCH", f"{CONFIG_MAPS}/cm?force=true", data="{}", headers=MERGE)
        assert response.status == 422
        assert "force: Forbidden: may not be specified for non-apply patch" in status["message"]

    with_rest(body)


def test_negative_limits_and_watch_of_a_name_and_loose_booleans_are_taken_as_upstream_does(with_rest):
    async def body(_api, http):
        await http.call("POST", CONFIG_MAPS, json=config_map())
        _, listed = await http.call("GET", f"{CONFIG_MAPS}?limit=-1")
        assert [item["metadata"]["name"] for item in listed["items"]] == ["cm"]
        _, got = await http.call("GET", f"{CONFIG_MAPS}/cm?watch=true")
        assert got["kind"] == "ConfigMap", "a named object is not watched by its path"
        async with http.open("GET", f"{CONFIG_MAPS}?watch=maybe&timeoutSeconds=1") as response:
            assert json.loads(await response.content.readline())["type"] == "ADDED"

    with_rest(body)


def test_a_forged_token_does_not_lead_out_of_its_namespace(with_rest):
    async def body(_api, http):
        await http.call("POST", "/api/v1/namespaces", json={"metadata": {"name": "aaa"}})
        await http.call("POST", "/api/v1/namespaces/aaa/configmaps", json=config_map("hidden"))
        _, made = await http.call("POST", CONFIG_MAPS, json=config_map("cm"))
        revision = int(made["metadata"]["resourceVersion"])
        await http.call("POST", CONFIG_MAPS, json=config_map("later"))
        for start in ("a", "aaa/", "default/../aaa/x", "default//x"):
            token = encode_token(revision, start)
            response, status = await http.call("GET", f"{CONFIG_MAPS}?continue={token}")
            assert (response.status, "invalid continue token" in status["message"]) == (400, True), status
        raw = base64.urlsafe_b64encode(b'{"v":"v9","rv":1,"start":"default/a"}').decode().rstrip("=")
        _, status = await http.call("GET", f"{CONFIG_MAPS}?continue={raw}")
        assert "server does not recognize this encoded version v9" in status["message"]
        _, listed = await http.call("GET", f"{CONFIG_MAPS}?continue={encode_token(revision, 'default/a')}")
        assert [item["metadata"]["name"] for item in listed["items"]] == ["cm"]

    with_rest(body)


def test_who_waits_for_the_future_does_not_disturb_the_watch(with_api, monkeypatch):
    from control_plane.apiserver.cache import feeder
    from control_plane.apiserver.verbs import reads

    monkeypatch.setattr(feeder, "STALLED_S", 0.1)
    monkeypatch.setattr(reads, "FUTURE_WAIT_S", 0.5)

    async def body(api):
        stream = api.server.parts.feeder._stream
        with pytest.raises(Exception, match="Too large resource version"):
            await api.configmaps.list(resource_version="999999")
        assert api.server.parts.feeder._stream is stream
        assert not stream.done()
        await asyncio.sleep(0)

    with_api(body)


def test_an_update_says_whose_object_it_is(with_rest):
    async def body(_api, http):
        await http.call("POST", CONFIG_MAPS, json=config_map())
        response, status = await http.call("PUT", f"{CONFIG_MAPS}/cm", json={"data": {}})
        assert (response.status, status["message"]) == (
            400,
            "the name of the object (cm based on URL) was undeterminable: name must be provided",
        )
        response, status = await http.call("PUT", f"{CONFIG_MAPS}/cm", json=config_map(namespace="other"))
        assert (response.status, status["message"]) == (
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        )
        response, status = await http.call(
            "PATCH", f"{CONFIG_MAPS}/cm", data='{"metadata":{"namespace":"other"}}', headers=MERGE
        )
        assert response.status == 400
        namespace = {"metadata": {"name": "n1", "namespace": "dropped"}}
        response, made = await http.call("POST", "/api/v1/namespaces", json=namespace)
        assert (response.status, "namespace" in made["metadata"]) == (201, False)

    with_rest(body)


@pytest.mark.parametrize(
    ("path", "kind", "obj"),
    [
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            "Lease.coordination.k8s.io",
            {"spec": {"holderIdentity": "me"}},
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            "PodDisruptionBudget.policy",
            {"spec": {"minAvailable": 1}},
        ),
        ("/apis/node.k8s.io/v1/runtimeclasses", "RuntimeClass.node.k8s.io", {"handler": "runc"}),
    ],
)
def test_some_kinds_are_updated_at_a_version_only(with_rest, path, kind, obj):
    async def body(_api, http):
        obj["metadata"] = {"name": "x"}
        _, made = await http.call("POST", path, json=obj)
        response, status = await http.call("PUT", f"{path}/x", json=obj)
        assert (response.status, status["message"]) == (
            422,
            f'{kind} "x" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update',
        )
        response, _ = await http.call("PUT", f"{path}/x", json=made)
        assert response.status == 200
        response, _ = await http.call("PATCH", f"{path}/x", data="{}", headers=MERGE)
        assert response.status == 200

    with_rest(body)


def test_who_may_not_ask_is_told_that_first(with_rest):
    async def body(api, http):
        alice = await api.http_of("alice")
        for method, path in (
            ("GET", "/apis/nope.example.com/v1/foos"),
            ("GET", "/api/v1/foos"),
            ("PUT", CONFIG_MAPS),
            ("GET", "/api/v1/namespaces/default/pods/p/nope"),
        ):
            response, status = await alice.call(method, path, json={} if method == "PUT" else None)
            assert (response.status, status["reason"]) == (403, "Forbidden"), path
        async with http.open("GET", "/apis/nope.example.com/v1/foos") as response:
            assert (response.status, await response.text()) == (404, "404 page not found\n")
        _, status = await http.call("GET", "/apis/apps/v9/foos")
        assert status["reason"] == "NotFound"

    with_rest(body)
