"""Admission webhooks: who is asked what, what answers do, and what happens when there are none worth the name."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from argosy.objects.status import ApiError

from .https_server import LoopbackHttp, https_server, serve_as

RULE = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


def hook(server, name="hook.example.org", path="/h", **rest):
    return {
        "name": name,
        "clientConfig": {
            "service": {"namespace": "default", "name": "hook", "path": path},
            "caBundle": server.bundle,
        },
        "rules": [RULE],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **rest,
    }


async def configure(api, kind, *hooks, name="hooks"):
    """Write the configuration, and wait until the server's cache has it."""
    plural = f"{kind.lower()}webhookconfigurations"
    resource = api.client().resource("admissionregistration.k8s.io", "v1", plural)
    made = await resource.create(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": list(hooks),
        }
    )
    await api.server.parts.feeder.consistent()
    return made


def answer(heard, allowed=True, *, patch=None, **response):
    review = heard.json
    made = {"uid": review["request"]["uid"], "allowed": allowed, **response}
    if patch is not None:
        made["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
        made["patchType"] = "JSONPatch"
    return {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": made}


def config_map(name="cm", namespace="default", labels=None, **data):
    metadata = {"name": name, "namespace": namespace, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.fixture
def hooked(with_api, tmp_path):
    """`hooked(body, answer)` runs `await body(api, server)` with a webhook server behind the Service `hook`."""

    def run(body, answering=answer, **options):
        async def whole(api):
            async with https_server(tmp_path, answering) as server:
                await serve_as(api, server)
                await body(api, server)

        with_api(whole, http=LoopbackHttp(), **options)

    return run


async def refused(awaitable, code):
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value.status
    return caught.value


def requests_of(server):
    return [(heard.json["request"]["operation"], heard.json["request"]) for heard in server.heard]


def test_a_webhook_hears_of_every_operation(hooked):
    async def body(api, server):
        made = await configure(api, "Validating", hook(server))
        (spec,) = made["webhooks"]
        assert (spec["failurePolicy"], spec["matchPolicy"], spec["timeoutSeconds"]) == ("Fail", "Equivalent", 10)
        assert spec["rules"][0]["scope"] == "*" and spec["clientConfig"]["service"]["port"] == 443
        await api.configmaps.create(config_map(a="1"), field_manager="me")
        await api.configmaps.update(config_map(a="2"))
        await api.configmaps.patch("cm", {"data": {"a": "3"}}, namespace="default", dry_run=True)
        await api.configmaps.delete("cm", namespace="default")
        found = requests_of(server)
        assert [operation for operation, _ in found] == ["CREATE", "UPDATE", "UPDATE", "DELETE"]
        create, update, patch, delete = [request for _, request in found]
        assert server.heard[0].path == "/h?timeout=10s"
        kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
        resource = {"group": "", "version": "v1", "resource": "configmaps"}
        assert create["kind"] == create["requestKind"] == kind
        assert create["resource"] == create["requestResource"] == resource
        assert (create["name"], create["namespace"], create["dryRun"]) == ("cm", "default", False)
        assert create["userInfo"]["username"] == "kubernetes-admin"
        assert set(create["userInfo"]["groups"]) == {"system:masters", "system:authenticated"}
        assert (create["object"]["data"], create["oldObject"]) == ({"a": "1"}, None)
        assert create["options"]["kind"] == "CreateOptions" and create["options"]["fieldManager"] == "me"
        assert (update["object"]["data"], update["oldObject"]["data"]) == ({"a": "2"}, {"a": "1"})
        assert (patch["dryRun"], patch["options"]["kind"], patch["options"]["dryRun"]) == (
            True,
            "PatchOptions",
            ["All"],
        )
        assert (delete["object"], delete["oldObject"]["data"]) == (None, {"a": "2"})
        assert delete["options"]["kind"] == "DeleteOptions"
        assert len({request["uid"] for _, request in found}) == 4

    hooked(body)


def test_what_no_webhook_wants_is_not_told(hooked):
    async def body(api, server):
        other = {**RULE, "resources": ["secrets", "pods/*"]}
        only = [
            hook(server, "a.example.org", rules=[other]),
            hook(server, "b.example.org", rules=[{**RULE, "operations": ["DELETE"]}]),
            hook(server, "c.example.org", rules=[{**RULE, "apiVersions": ["v2"]}]),
            hook(server, "d.example.org", rules=[{**RULE, "apiGroups": ["apps"]}]),
            hook(server, "e.example.org", rules=[{**RULE, "scope": "Cluster"}]),
            hook(server, "f.example.org", objectSelector={"matchLabels": {"a": "b"}}),
            hook(
                server, "g.example.org", namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "other"}}
            ),
            hook(server, "h.example.org", matchConditions=[{"name": "n", "expression": "request.name == 'x'"}]),
        ]
        await configure(api, "Validating", *only)
        await api.configmaps.create(config_map())
        assert server.heard == []
        await api.configmaps.update(config_map(labels={"a": "b"}))
        await api.configmaps.update(config_map())
        assert [operation for operation, _ in requests_of(server)] == ["UPDATE", "UPDATE"]
        await api.configmaps.create(config_map("x"))
        assert requests_of(server)[-1][1]["name"] == "x"

    hooked(body)


def test_refusals_name_the_webhook(hooked):
    results = [
        ({"status": {"message": "no way", "code": 409, "reason": "Conflict"}}, 409, "denied the request: no way"),
        ({"status": {"reason": "Because"}}, 400, "denied the request: Because"),
        ({"status": {"code": 200, "message": "x"}}, 400, "denied the request: x"),
        ({}, 400, "denied the request without explanation"),
        ({"status": {"code": "many", "message": 7}}, 400, "denied the request without explanation"),
    ]

    async def body(api, server):
        await configure(api, "Validating", hook(server))
        for response, code, said in results:
            server.answer = lambda heard, response=response: answer(heard, False, **response)
            error = await refused(api.configmaps.create(config_map()), code)
            assert error.message == f'admission webhook "hook.example.org" {said}'
        server.answer = lambda heard: answer(heard, heard.json["request"]["operation"] != "DELETE")
        await api.configmaps.create(config_map())
        await refused(api.configmaps.delete("cm", namespace="default"), 400)
        assert (await api.configmaps.get("cm", namespace="default"))["metadata"]["name"] == "cm"

    hooked(body)


def test_a_patch_changes_the_object_and_what_is_only_the_servers_stays(with_rest, tmp_path):
    def patching(heard):
        operations = [
            {"op": "add", "path": "/data/by", "value": "hook"},
            {"op": "add", "path": "/metadata/labels", "value": {"x": "y"}},
            {"op": "replace", "path": "/metadata/uid", "value": "mine"},
            {"op": "add", "path": "/nonsense", "value": 1},
        ]
        return answer(heard, patch=operations, warnings=["careful"])

    async def body(api, http):
        async with https_server(tmp_path, patching) as server:
            await serve_as(api, server)
            await configure(api, "Mutating", hook(server))
            response, made = await http.call("POST", "/api/v1/namespaces/default/configmaps", json=config_map(a="1"))
        assert response.headers.getall("Warning") == ['299 - "careful"']
        assert made["data"] == {"a": "1", "by": "hook"} and made["metadata"]["labels"] == {"x": "y"}
        assert made["metadata"]["uid"] not in ("", "mine") and "nonsense" not in made
        (entry,) = made["metadata"]["managedFields"]
        assert "f:by" in entry["fieldsV1"]["f:data"]

    with_rest(body, http=LoopbackHttp())


BAD_PATCHES = [
    [{"op": "remove", "path": "/data/absent"}],
    [{"op": "replace", "path": "/data", "value": "text"}],
    [{"op": "replace", "path": "/kind", "value": "Secret"}],
    [{"op": "remove", "path": "/metadata"}],
]


@pytest.mark.parametrize("patch", BAD_PATCHES, ids=range(len(BAD_PATCHES)))
def test_a_patch_that_does_not_apply_is_an_error(hooked, patch):
    async def body(api, server):
        await configure(api, "Mutating", hook(server, failurePolicy="Ignore"))
        server.answer = lambda heard: answer(heard, patch=patch)
        error = await refused(api.configmaps.create(config_map(a="1")), 500)
        assert error.reason == "InternalError"

    hooked(body)


def test_nobody_patches_what_is_deleted(hooked):
    async def body(api, server):
        await api.configmaps.create(config_map())
        await configure(api, "Mutating", hook(server))
        server.answer = lambda heard: answer(heard, patch=[{"op": "add", "path": "/data", "value": {}}])
        error = await refused(api.configmaps.delete("cm", namespace="default"), 500)
        assert "attempted to modify the object, which is not supported for this operation" in error.message

    hooked(body)


def test_each_sees_what_those_before_it_made_and_is_asked_again_if_it_wants(hooked):
    def adding(heard):
        data = heard.json["request"]["object"].get("data") or {}
        word = heard.path[1:].partition("?")[0]
        if word in data:
            return answer(heard, patch=[])
        op = {"op": "add", "path": f"/data/{word}", "value": ",".join(sorted(data))}
        return answer(heard, patch=[op])

    async def body(api, server):
        hooks = [
            hook(server, "a.example.org", path="/a", reinvocationPolicy="IfNeeded"),
            hook(server, "b.example.org", path="/b"),
            hook(server, "c.example.org", path="/c", reinvocationPolicy="IfNeeded"),
        ]
        await configure(api, "Mutating", *hooks)
        made = await api.configmaps.create(config_map(x="1"))
        assert made["data"] == {"x": "1", "a": "x", "b": "a,x", "c": "a,b,x"}
        assert [heard.path[1] for heard in server.heard] == ["a", "b", "c", "a"]

    hooked(body, adding)


def test_built_in_defaults_are_given_to_what_a_webhook_adds(hooked):
    def adding(heard):
        pod = heard.json["request"]["object"]
        if len(pod["spec"]["containers"]) > 1:
            return answer(heard)
        assert pod["spec"]["serviceAccountName"] == "default"
        container = {"name": "side", "image": "side:1"}
        return answer(heard, patch=[{"op": "add", "path": "/spec/containers/-", "value": container}])

    async def body(api, server):
        await api.account()
        await configure(api, "Mutating", hook(server, rules=[{**RULE, "resources": ["pods"]}]))
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}}
        made = await api.pods.create({**pod, "spec": {"containers": [{"name": "c", "image": "c:1"}]}})
        side = made["spec"]["containers"][1]
        assert side["imagePullPolicy"] == "IfNotPresent" and side["terminationMessagePath"] == "/dev/termination-log"
        assert side["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"

    hooked(body, adding)


def test_failure_policy_decides_about_those_that_fail(hooked):
    async def body(api, server):
        await configure(api, "Validating", hook(server, "a.example.org", failurePolicy="Ignore"), name="a")
        server.answer = lambda heard: b"garbage"
        await api.configmaps.create(config_map("ignored"))
        await configure(api, "Validating", hook(server, "b.example.org", timeoutSeconds=1), name="b")
        error = await refused(api.configmaps.create(config_map()), 500)
        assert error.message == (
            'Internal error occurred: failed calling webhook "b.example.org": failed to call webhook: Post '
            '"https://hook.default.svc:443/h?timeout=1s": the answer is not HTTP'
        )

        async def never(heard):
            await asyncio.sleep(30)

        server.answer = never
        error = await refused(api.configmaps.create(config_map()), 500)
        assert error.message.endswith('"https://hook.default.svc:443/h?timeout=1s": context deadline exceeded')

    hooked(body)


INVALID = [
    (lambda heard: {}, "webhook response was absent"),
    (lambda heard: {**answer(heard), "response": {"uid": "other", "allowed": True}}, "expected response.uid="),
    (lambda heard: {**answer(heard), "kind": "Review"}, "got admission.k8s.io/v1, Kind=Review"),
    (lambda heard: answer(heard, "yes"), "response.allowed is no boolean"),
    (lambda heard: answer(heard, status=7), "response.status is no object"),
    (lambda heard: answer(heard, warnings=[7]), "response.warnings is no list of strings"),
    (lambda heard: answer(heard, patch="e30="), "received undecodable patch"),
    (
        lambda heard: answer(heard, patchType="JSONPatch"),
        "webhook returned response.patchType but not response.patch",
    ),
    (lambda heard: {**answer(heard, patch=[])} | {}, ""),
]


def test_answers_that_make_no_sense_are_failures(hooked):
    async def body(api, server):
        await configure(api, "Mutating", hook(server))
        for number, (answering, said) in enumerate(INVALID):
            server.answer = answering
            create = api.configmaps.create(config_map(f"c{number}"))
            if not said:
                await create
                continue
            error = await refused(create, 500)
            text = 'failed calling webhook "hook.example.org": received invalid webhook response: '
            assert text in error.message and said in error.message, error.message

    hooked(body)


def test_an_equivalent_version_will_do_unless_exactly_one_is_wanted(hooked):
    async def body(api, server):
        rule = {**RULE, "apiGroups": ["events.k8s.io"], "resources": ["events"], "operations": ["CREATE"]}
        exact = hook(server, "e.example.org", path="/exact", rules=[rule], matchPolicy="Exact")
        await configure(api, "Validating", hook(server, rules=[rule]), exact)
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
            "reason": "Because",
            "message": "m",
        }
        await api.client().resource("", "v1", "events").create(event)
        (heard,) = server.heard
        request = heard.json["request"]
        assert heard.path.startswith("/h?")
        assert request["kind"] == {"group": "events.k8s.io", "version": "v1", "kind": "Event"}
        assert request["requestKind"] == {"group": "", "version": "v1", "kind": "Event"}
        assert request["object"]["apiVersion"] == "events.k8s.io/v1" and request["object"]["note"] == "m"

    hooked(body)


def test_subresources_have_rules_of_their_own(hooked):
    async def body(api, server):
        rule = {**RULE, "apiGroups": ["*"], "resources": ["deployments/scale", "*/eviction", "pods/binding"]}
        await configure(api, "Validating", hook(server, rules=[rule]))
        deployments = api.client().resource("apps", "v1", "deployments")
        template = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "c:1"}]},
        }
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        metadata = {"name": "d", "namespace": "default"}
        await deployments.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
        await deployments.patch("d", {"spec": {"replicas": 3}}, namespace="default", subresource="scale")
        await api.account()
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}}
        await api.pods.create({**pod, "spec": template["spec"]})
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "n"}}
        await api.pods.create(binding, namespace="default", name="p", subresource="binding")
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
        server.answer = lambda heard: answer(heard, False)
        await refused(api.pods.create(eviction, namespace="default", name="p", subresource="eviction"), 400)
        found = [(op, request["subResource"], request["object"]["kind"]) for op, request in requests_of(server)]
        assert found == [
            ("UPDATE", "scale", "Scale"), ("CREATE", "binding", "Binding"), ("CREATE", "eviction", "Eviction"),
        ]  # fmt: skip
        scale = requests_of(server)[0][1]
        assert (scale["oldObject"]["spec"], scale["object"]["spec"]) == ({"replicas": 1}, {"replicas": 3})
        assert scale["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}

    hooked(body)


def definition(storage="v1"):
    schema = {"type": "object", "properties": {"data": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    schema["properties"]["data"]["properties"] |= {"b": {"type": "string"}, "c": {"type": "string", "default": "d"}}
    versions = [
        {"name": name, "served": True, "storage": name == storage, "schema": {"openAPIV3Schema": schema}}
        for name in ("v1", "v2")
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": versions,
        },
    }


def test_custom_resources_are_mutated_pruned_and_refused(hooked):
    def answering(heard):
        request = heard.json["request"]
        if heard.path.startswith("/deny"):
            return answer(heard, "forbidden" not in json.dumps([request["object"], request["oldObject"]]))
        assert request["object"]["apiVersion"] == "example.com/v1" == request["kind"]["group"] + "/v1"
        add = [{"op": "add", "path": f"/data/{name}", "value": "hook"} for name in ("b", "unknown")]
        return answer(heard, patch=add)

    async def body(api, server):
        definitions = api.client().resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        await definitions.create(definition())
        one, two = (api.client().resource("example.com", version, "widgets") for version in ("v1", "v2"))
        rule = {**RULE, "apiGroups": ["example.com"], "resources": ["widgets"]}
        first = {**rule, "operations": ["CREATE", "UPDATE"]}
        await configure(api, "Mutating", hook(server, rules=[first]))
        await configure(api, "Validating", hook(server, path="/deny", rules=[rule]))
        widget = {"kind": "Widget", "metadata": {"name": "w", "namespace": "default"}, "data": {"a": "1"}}
        made = await one.create({**widget, "apiVersion": "example.com/v1"})
        assert made["data"] == {"a": "1", "b": "hook", "c": "d"}
        patched = await two.patch("w", {"data": {"a": "2", "b": None}}, namespace="default")
        assert (patched["apiVersion"], patched["data"]) == ("example.com/v2", {"a": "2", "b": "hook", "c": "d"})
        await definitions.patch("widgets.example.com", {"spec": definition("v2")["spec"]})
        await refused(one.patch("w", {"data": {"a": "forbidden"}}, namespace="default"), 400)
        patched = await one.patch("w", {"data": {"a": "3"}}, namespace="default")
        assert patched["data"] == {"a": "3", "b": "hook", "c": "d"}
        bad = {**widget, "metadata": {"name": "bad", "namespace": "default"}, "data": {"a": "forbidden"}}
        await refused(two.create({**bad, "apiVersion": "example.com/v2"}), 400)

    hooked(body, answering)


def test_connections_to_pods_can_be_refused(with_rest, tmp_path):
    async def body(api, http):
        async with https_server(tmp_path, lambda heard: answer(heard, False)) as server:
            await serve_as(api, server)
            rule = {**RULE, "operations": ["CONNECT"], "resources": ["pods/exec"]}
            await configure(api, "Validating", hook(server, rules=[rule]))
            await api.account()
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}}
            await api.pods.create({**pod, "spec": {"containers": [{"name": "c", "image": "c:1"}]}})
            path = "/api/v1/namespaces/default/pods/p"
            response, status = await http.call("POST", f"{path}/exec?command=ls&command=-l&stdout=true&container=c")
            assert (response.status, "denied the request" in status["message"]) == (400, True)
            ((operation, request),) = requests_of(server)
            assert (operation, request["subResource"], request["name"]) == ("CONNECT", "exec", "p")
            assert request["kind"] == {"group": "", "version": "v1", "kind": "PodExecOptions"}
            assert request["object"]["command"] == ["ls", "-l"] and request["object"]["stdout"] is True
            response, status = await http.call("POST", f"{path}/attach?stdout=true")
            assert "denied" not in status["message"]

    with_rest(body, http=LoopbackHttp())


def test_validating_webhooks_are_asked_all_at_once_and_the_first_refusal_counts(hooked):
    async def body(api, server):
        waiting = asyncio.Barrier(3)

        async def together(heard):
            await asyncio.wait_for(waiting.wait(), 5)
            return answer(heard, heard.path.startswith("/a"), status={"message": heard.path[1]})

        server.answer = together
        hooks = [hook(server, f"{name}.example.org", path=f"/{name}") for name in "abc"]
        await configure(api, "Validating", *hooks)
        error = await refused(api.configmaps.create(config_map()), 400)
        assert error.message == 'admission webhook "b.example.org" denied the request: b'

    hooked(body)


def test_no_webhook_can_keep_its_own_configuration(hooked):
    async def body(api, server):
        server.answer = lambda heard: answer(heard, False)
        rule = {**RULE, "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
        await configure(api, "Validating", hook(server, rules=[rule]))
        await configure(api, "Mutating", hook(server, rules=[rule]))
        await refused(api.configmaps.create(config_map()), 400)
        for kind in ("validating", "mutating"):
            resource = api.client().resource("admissionregistration.k8s.io", "v1", f"{kind}webhookconfigurations")
            await resource.delete("hooks")
        await api.server.parts.feeder.consistent()
        await api.configmaps.create(config_map())

    hooked(body)


def test_match_conditions_that_fail_are_failures(hooked):
    async def body(api, server):
        fault = [{"name": "f", "expression": "object.data.absent == 'x'"}]
        await configure(api, "Validating", hook(server, matchConditions=fault))
        error = await refused(api.configmaps.create(config_map(a="1")), 403)
        assert "no such key: absent" in error.message
        false = [*fault, {"name": "g", "expression": "request.userInfo.username == 'somebody'"}]
        await configure(api, "Mutating", hook(server, matchConditions=false))
        assert server.heard == []
        bad = hook(server, matchConditions=[{"name": "b", "expression": "authorizer.group('')"}])
        error = await refused(configure(api, "Mutating", bad, name="bad"), 422)
        assert "webhooks[0].matchConditions[0].expression" in error.message and "compilation failed" in error.message

    hooked(body)


BAD = [
    ({"name": "short"}, "should be a domain with at least three segments separated by dots"),
    ({"rules": [{**RULE, "operations": ["*", "CREATE"]}]}, "if '*' is present, must not specify other operations"),
    ({"rules": [{**RULE, "operations": ["READ"]}]}, "supported values"),
    ({"rules": [{**RULE, "resources": ["pods/*", "pods/status"]}]}, "must not specify pods/status"),
    ({"rules": [{**RULE, "resources": ["*", "pods"]}]}, "must not specify other resources without subresources"),
    ({"rules": [{**RULE, "scope": "Some"}]}, "rules[0].scope"),
    ({"sideEffects": "Some"}, 'supported values: "None", "NoneOnDryRun"'),
    ({"sideEffects": None}, "sideEffects: Required value"),
    ({"timeoutSeconds": 31}, "must be between 1 and 30 seconds"),
    ({"failurePolicy": "Maybe"}, "failurePolicy: Unsupported value"),
    ({"admissionReviewVersions": ["v2"]}, "must include at least one of v1, v1beta1"),
    ({"clientConfig": {}}, "exactly one of url or service is required"),
    ({"objectSelector": {"matchLabels": {"a b": "c"}}}, "objectSelector"),
    ({"matchConditions": [{"name": "a", "expression": " "}]}, "expression: Required value"),
]


@pytest.mark.parametrize(("change", "said"), BAD, ids=range(len(BAD)))
def test_bad_configurations_are_refused(with_api, change, said):
    class Nowhere:
        bundle = ""

    async def body(api):
        error = await refused(configure(api, "Mutating", {**hook(Nowhere), **change}), 422)
        assert said in error.message, error.message

    with_api(body)
