"""Custom resources at the edges: discovery, OpenAPI, tables, media types, rights, apply, several servers."""

from __future__ import annotations

import asyncio
import json

from argosy.client import Client, PatchType
from argosy.discovery import discover
from argosy.rpc import Tls
from control_plane.apiserver.config import Config
from control_plane.apiserver.server import ApiServer
from tests.unit.apiserver.crd_cases import (
    cron_tab,
    cron_tabs,
    definition,
    definitions,
    established,
    refused,
    until,
    version,
)

ROOT = "/apis/stable.example.com"
TABS = f"{ROOT}/v1/namespaces/default/crontabs"
JSON = {"Content-Type": "application/json"}


def test_discovery_follows(with_rest):
    async def body(api, http):
        response, _ = await http.call("GET", ROOT)
        assert response.status == 404
        versions = [version("v1beta1", storage=False), version()]
        await established(api, definition(versions=versions, shortNames=["ct"]))
        _, group = await http.call("GET", ROOT)
        assert [each["version"] for each in group["versions"]] == ["v1", "v1beta1"]
        _, listed = await http.call("GET", f"{ROOT}/v1")
        assert [(each["name"], each["kind"]) for each in listed["resources"]] == [
            ("crontabs", "CronTab"),
            ("crontabs/scale", "Scale"),
            ("crontabs/status", "CronTab"),
        ]
        accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
        response, found = await http.call("GET", "/apis", headers=accept)
        (mine,) = (each for each in found["items"] if each["metadata"]["name"] == "stable.example.com")
        assert mine["versions"][0]["resources"][0]["shortNames"] == ["ct"]
        known = {(each.group, each.plural): each for each in (await discover(api.client())).resources}
        tabs = known["stable.example.com", "crontabs"]
        assert (tabs.version, tabs.kind, tabs.namespaced) == ("v1", "CronTab", True)
        assert known["", "pods"].version == "v1" and "watch" in tabs.verbs
        await definitions(api).delete("crontabs.stable.example.com")

        async def gone():
            response, _ = await http.call("GET", ROOT)
            return response.status == 404

        await until(gone)

    with_rest(body)


def test_openapi_documents_have_the_schema(with_rest):
    async def body(api, http):
        _, before = await http.call("GET", "/openapi/v3")
        await established(api, definition())
        _, root = await http.call("GET", "/openapi/v3")
        path = "apis/stable.example.com/v1"
        assert root["paths"]["apis/apps/v1"] == before["paths"]["apis/apps/v1"], "others' hashes stay"
        _, document = await http.call(
            "GET", root["paths"][path]["serverRelativeURL"], headers={"Accept-Encoding": "identity"}
        )
        schemas = document["components"]["schemas"]
        tab = schemas["com.example.stable.v1.CronTab"]
        assert tab["properties"]["spec"]["properties"]["cronSpec"]["type"] == "string"
        assert tab["x-kubernetes-group-version-kind"] == [
            {"group": "stable.example.com", "kind": "CronTab", "version": "v1"}
        ]
        assert "com.example.stable.v1.CronTabList" in schemas
        patch = document["paths"][f"{TABS}/{{name}}".replace("default", "{namespace}")]["patch"]
        assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
        _, old = await http.call("GET", "/openapi/v2", headers={"Accept-Encoding": "identity"})
        properties = old["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]
        assert "type" not in properties["port"] and "type" not in properties["note"]
        assert "default" not in properties["image"]
        crd = await definitions(api).get("crontabs.stable.example.com")
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "Something new"
        await definitions(api).update(crd)

        async def another_hash():
            _, now = await http.call("GET", "/openapi/v3")
            return now["paths"][path] != root["paths"][path]

        await until(another_hash)

    with_rest(body)


def test_tables_and_media_types(with_rest):
    async def body(api, http):
        beta = version("v1beta1", storage=False, deprecated=True, additionalPrinterColumns=None)
        await established(api, definition(versions=[version(), beta]))
        response, made = await http.call("POST", TABS, data=json.dumps(cron_tab()), headers=JSON)
        assert response.status == 201 and made["spec"]["image"] == "busybox"
        table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        _, shown = await http.call("GET", TABS, headers=table)
        assert [column["name"] for column in shown["columnDefinitions"]] == ["Name", "Spec", "Replicas", "Age"]
        assert shown["rows"][0]["cells"][:3] == ["a", "* * * * *", 1]
        response, shown = await http.call("GET", TABS.replace("v1", "v1beta1"), headers=table)
        assert [column["name"] for column in shown["columnDefinitions"]] == ["Name", "Age"]
        assert response.headers["Warning"] == '299 - "stable.example.com/v1beta1 CronTab is deprecated"'
        response, status = await http.call(
            "POST", TABS, data=b"k8s\x00", headers={"Content-Type": "application/vnd.kubernetes.protobuf"}
        )
        assert response.status == 415
        yaml = (
            "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {name: yam}\nspec: {cronSpec: '1 * * * *'}\n"
        )
        response, made = await http.call("POST", TABS, data=yaml, headers={"Content-Type": "application/yaml"})
        assert response.status == 201, made
        assert made["spec"]["cronSpec"] == "1 * * * *"
        body_ = cron_tab("strict", extra=1)
        body_["metadata"]["odd"] = 1
        strict = f"{TABS}?fieldValidation=Strict"
        response, status = await http.call("POST", strict, data=json.dumps(body_), headers=JSON)
        assert response.status == 400
        assert 'unknown field "metadata.odd", unknown field "spec.extra"' in status["message"]
        twice = json.dumps(cron_tab("twice")).replace('"cronSpec"', '"cronSpec": "x", "cronSpec"')
        response, status = await http.call("POST", strict, data=twice, headers=JSON)
        assert 'duplicate field "spec.cronSpec"' in status["message"]
        response, made = await http.call("POST", TABS, data=json.dumps(cron_tab("warned", extra=1)), headers=JSON)
        assert response.headers["Warning"] == '299 - "unknown field \\"spec.extra\\""'

    with_rest(body)


def test_rights_are_given_by_group_and_resource(with_api):
    async def body(api):
        await established(api, definition())
        await cron_tabs(api).create(cron_tab())
        reader = api.client("reader", "readers")
        tabs = reader.resource("stable.example.com", "v1", "crontabs")
        await refused(tabs.list(namespace="default"), 403)
        rbac = api.client().resource("rbac.authorization.k8s.io", "v1", "clusterroles")
        await rbac.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": "tabs"},
                "rules": [{"apiGroups": ["stable.example.com"], "resources": ["crontabs"], "verbs": ["get", "list"]}],
            }
        )
        bindings = api.client().resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
        await bindings.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "tabs"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tabs"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
            }
        )

        async def allowed():
            try:
                return (await tabs.list(namespace="default")).items
            except Exception:
                return None

        assert len(await until(allowed)) == 1
        await refused(tabs.delete("a", namespace="default"), 403)
        await refused(tabs.patch("a", {"status": {}}, namespace="default", subresource="status"), 403)

    with_api(body)


def fields_of(obj, manager, subresource=""):
    for entry in obj["metadata"]["managedFields"]:
        if entry["manager"] == manager and entry.get("subresource", "") == subresource:
            return entry["fieldsV1"]
    return None


def test_apply_owns_fields_by_the_list_types_of_the_schema(with_api):
    async def body(api):
        await established(api, definition())
        tabs = cron_tabs(api)
        made = await tabs.apply(
            cron_tab(tags=["a"], ports=[{"name": "web"}], free={"x": {"y": 1}}), field_manager="one"
        )
        assert fields_of(made, "one")["f:spec"] == {
            "f:cronSpec": {},
            "f:tags": {'v:"a"': {}},
            "f:ports": {'k:{"name":"web"}': {".": {}, "f:name": {}}},
            "f:free": {"f:x": {".": {}, "f:y": {}}},
        }
        both = {**cron_tab(tags=["b"], ports=[{"name": "admin", "number": 9}], free={"x": {"z": 2}, "list": [1]})}
        del both["spec"]["cronSpec"]
        made = await tabs.apply(both, field_manager="two")
        assert sorted(made["spec"]["tags"]) == ["a", "b"]
        assert {port["name"]: port["number"] for port in made["spec"]["ports"]} == {"web": 80, "admin": 9}
        assert made["spec"]["free"] == {"x": {"y": 1, "z": 2}, "list": [1]}
        error = await refused(tabs.apply(cron_tab(ports=[{"name": "admin", "number": 1}]), field_manager="one"), 409)
        assert 'conflict with "two": .spec.ports[name="admin"].number' in error.message
        made = await tabs.apply(cron_tab(), field_manager="one")
        assert made["spec"]["tags"] == ["b"] and made["spec"]["free"] == {"x": {"z": 2}, "list": [1]}
        error = await refused(tabs.apply(cron_tab(nothing=1), field_manager="one"), 500)
        assert ".spec.nothing: field not declared in schema" in error.message

    with_api(body)


def test_apply_to_status_and_scale(with_api):
    async def body(api):
        await established(api, definition())
        tabs = cron_tabs(api)
        await tabs.apply(cron_tab(replicas=2), field_manager="owner")
        status = {**cron_tab(), "status": {"phase": "Up"}}
        made = await tabs.patch(
            "a", status, namespace="default", type=PatchType.APPLY, subresource="status", field_manager="watcher"
        )
        assert made["status"] == {"phase": "Up"} and made["spec"]["replicas"] == 2
        assert fields_of(made, "watcher", "status") == {"f:status": {"f:phase": {}}}
        scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 5}}

        def scaled(**options):
            return tabs.patch(
                "a",
                scale,
                namespace="default",
                type=PatchType.APPLY,
                subresource="scale",
                field_manager="hpa",
                **options,
            )

        error = await refused(scaled(), 409)
        assert 'conflict with "owner": .spec.replicas' in error.message
        assert (await scaled(force=True))["spec"] == {"replicas": 5}
        made = await tabs.get("a", namespace="default")
        assert made["spec"]["replicas"] == 5
        assert fields_of(made, "hpa", "scale") == {"f:spec": {"f:replicas": {}}}
        assert "f:replicas" not in fields_of(made, "owner")["f:spec"]

    with_api(body)


def test_apply_reaches_the_subresources_of_built_in_kinds(with_api):
    async def body(api):
        await api.account()
        deployments = api.client().resource("apps", "v1", "deployments")
        labels = {"app": "web"}
        await deployments.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
                    },
                },
            },
            field_manager="owner",
        )
        scale = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": "web"},
            "spec": {"replicas": 3},
        }
        apply = {"namespace": "default", "type": PatchType.APPLY, "field_manager": "hpa"}
        error = await refused(deployments.patch("web", scale, subresource="scale", **apply), 409)
        assert 'conflict with "owner": .spec.replicas' in error.message
        await deployments.patch("web", scale, subresource="scale", force=True, **apply)
        made = await deployments.get("web", namespace="default")
        assert made["spec"]["replicas"] == 3 and fields_of(made, "hpa", "scale")
        wrong = {**scale, "spec": {"replicas": 3, "other": 1}}
        error = await refused(deployments.patch("web", wrong, subresource="scale", **apply), 500)
        assert ".spec.other: field not declared in schema" in error.message
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
        }
        await api.pods.create(pod)
        debug = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox:1"}]},
        }
        made = await api.pods.patch("p", debug, subresource="ephemeralcontainers", **apply)
        assert [each["name"] for each in made["spec"]["ephemeralContainers"]] == ["debug"]
        owned = fields_of(made, "hpa", "ephemeralcontainers")["f:spec"]["f:ephemeralContainers"]
        assert list(owned) == ['k:{"name":"debug"}']

    with_api(body)


def test_another_server_serves_what_was_established_here(with_api):
    async def body(api):
        address = "10.77.2.2:6444"
        serving = api.authority.issue("kube-apiserver", hosts=["10.77.2.2"], server=True)
        config = Config(etcd_servers=("10.77.1.1:2379",), listen_grpc=(address,))
        tls = Tls(api.authority.certificate, serving.certificate, serving.key)
        other = ApiServer(config, api.host, api.network.host("other"), tls=tls)
        task = asyncio.create_task(other.run())
        await other.ready.wait()
        try:
            identity = api.authority.issue("kubernetes-admin", organizations=("system:masters",))
            admin = Tls(api.authority.certificate, identity.certificate, identity.key)
            client = Client(api.network.host("client"), [address], admin)
            for number in range(3):
                group = f"g{number}.example.com"
                await established(api, definition(group=group))
                there = client.resource(group, "v1", "crontabs")
                assert (await there.list()).items == [], "at once, though it never heard of it before"
                made = {**cron_tab(), "apiVersion": f"{group}/v1"}
                await there.create(made)
                here = api.client().resource(group, "v1", "crontabs")
                assert len((await here.list()).items) == 1
            await client.close()
        finally:
            other.stop()
            await task

    with_api(body)


def test_a_definition_without_a_schema_takes_and_merges_anything(with_api):
    async def body(api):
        free = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        await established(api, definition(versions=[version(schema=free, subresources=None)]))
        tabs = cron_tabs(api)
        one = {**cron_tab(), "anything": {"a": {"b": 1}, "list": [1, {"x": None}]}}
        made = await tabs.apply(one, field_manager="one")
        assert made["anything"] == {"a": {"b": 1}, "list": [1, {"x": None}]}
        two = {key: value for key, value in cron_tab().items() if key != "spec"} | {"anything": {"a": {"c": 2}}}
        made = await tabs.apply(two, field_manager="two")
        assert made["anything"] == {"a": {"b": 1, "c": 2}, "list": [1, {"x": None}]}
        error = await refused(tabs.apply({**two, "anything": {"a": {"b": 5}}}, field_manager="two"), 409)
        assert 'conflict with "one": .anything.a.b' in error.message
        made = await tabs.apply({**cron_tab(), "anything": {"a": {"b": 1}}}, field_manager="one")
        assert made["anything"] == {"a": {"b": 1, "c": 2}}
        changed = await tabs.patch("a", {"status": {"x": 1}}, namespace="default")
        assert changed["status"] == {"x": 1} and changed["metadata"]["generation"] > made["metadata"]["generation"]

    with_api(body)
