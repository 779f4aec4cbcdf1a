"""Metadata on writes: owners, finalizers, generations, and what an update of status may and may not change."""

from __future__ import annotations

import pytest

CORE = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"
CONFIG_MAPS = f"{CORE}/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1"}


def config_map(name="cm", **metadata):
    return {"metadata": {"name": name, **metadata}}


def deployment(**spec):
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    }
    return {
        "metadata": {"name": "d", "labels": {"of": "d"}},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }


def test_an_owner_given_twice_is_kept_once_with_a_warning(with_rest):
    async def body(_api, http):
        other = {**OWNER, "uid": "2"}
        response, made = await http.call("POST", CONFIG_MAPS, json=config_map(ownerReferences=[OWNER, other, OWNER]))
        assert made["metadata"]["ownerReferences"] == [OWNER, other]
        assert "duplicate UID(s) observed: 1" in response.headers["Warning"]
        patch = '{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"1"},'
        patch += '{"apiVersion":"v1","kind":"Pod","name":"x","uid":"1"}]}}'
        response, made = await http.call("PATCH", f"{CONFIG_MAPS}/cm", data=patch, headers=MERGE)
        assert made["metadata"]["ownerReferences"] == [OWNER]
        assert "after mutating admission happens" in response.headers["Warning"]

    with_rest(body)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            {"ownerReferences": [{**OWNER, "kind": "Event"}]},
            "/v1, Kind=Event is disallowed from being an owner",
        ),
        (
            {"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "uid": "2", "controller": True}]},
            'Only one reference can have Controller set to true. Found "true" in references for Pod/x and Pod/x',
        ),
        (
            {"finalizers": ["mine"]},
            'metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it',
        ),
        (
            {"finalizers": ["orphan", "foregroundDeletion"]},
            "finalizer orphan and foregroundDeletion cannot be both set",
        ),
    ],
)
def test_owners_and_finalizers_that_cannot_be(with_rest, metadata, message):
    async def body(_api, http):
        response, status = await http.call("POST", CONFIG_MAPS, json=config_map(**metadata))
        assert response.status == 422
        assert message in status["message"]

    with_rest(body)


def test_a_status_update_changes_metadata_but_what_the_kind_keeps(with_rest):
    async def body(_api, http):
        path = f"{APPS}/deployments/d"
        await http.call("POST", f"{APPS}/deployments", json=deployment())
        patch = '{"metadata":{"annotations":{"seen":"1"},"labels":{"of":"e"}},'
        patch += '"spec":{"replicas":9},"status":{"replicas":1}}'
        _, written = await http.call("PATCH", f"{path}/status", data=patch, headers=MERGE)
        assert (written["status"]["replicas"], written["spec"]["replicas"]) == (1, 1)
        assert written["metadata"]["annotations"] == {"seen": "1"}
        assert written["metadata"]["labels"] == {"of": "d"}
        assert written["metadata"]["generation"] == 1
        namespace = "/api/v1/namespaces/default"
        patch = '{"metadata":{"annotations":{"seen":"1"}},"status":{"conditions":[{"type":"A","status":"True"}]}}'
        _, written = await http.call("PATCH", f"{namespace}/status", data=patch, headers=MERGE)
        assert written["metadata"]["annotations"] == {"seen": "1"}
        service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}}
        await http.call("POST", f"{CORE}/services", json=service)
        _, written = await http.call("PATCH", f"{CORE}/services/s/status", data=patch, headers=MERGE)
        assert written["metadata"]["annotations"] == {"seen": "1"}

    with_rest(body)


def test_a_deployments_generation_counts_its_annotations(with_rest):
    async def body(_api, http):
        path = f"{APPS}/deployments/d"
        await http.call("POST", f"{APPS}/deployments", json=deployment())
        for patch, generation in (
            ('{"metadata":{"labels":{"x":"y"}}}', 1),
            ('{"metadata":{"annotations":{"x":"y"}}}', 2),
            ('{"spec":{"replicas":2}}', 3),
            ('{"status":{"replicas":7}}', 3),
        ):
            _, written = await http.call("PATCH", path, data=patch, headers=MERGE)
            assert written["metadata"]["generation"] == generation, patch
        _, written = await http.call("PATCH", f"{path}/scale", data='{"spec":{"replicas":5}}', headers=MERGE)
        assert written["spec"]["replicas"] == 5
        _, read = await http.call("GET", path)
        assert read["metadata"]["generation"] == 4

    with_rest(body)


def test_an_empty_deployment_lacks_only_what_has_no_default(with_rest):
    async def body(_api, http):
        for given in ({}, {"spec": {}}, {"spec": {"template": {}}}):
            response, status = await http.call(
                "POST", f"{APPS}/deployments", json={"metadata": {"name": "x"}, **given}
            )
            assert response.status == 422
            assert [cause["field"] for cause in status["details"]["causes"]] == [
                "spec.selector",
                "spec.template.metadata.labels",
                "spec.template.spec.containers",
            ]

    with_rest(body)


def test_a_pods_status_keeps_its_class_and_what_was_observed(with_rest):
    async def body(api, http):
        await api.account()
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
        _, made = await http.call("POST", f"{CORE}/pods", json=pod)
        ready = {"type": "Ready", "status": "False", "observedGeneration": 1}
        made["status"] = {"phase": "Running", "observedGeneration": 1, "conditions": [ready]}
        response, written = await http.call("PUT", f"{CORE}/pods/p/status", json=made)
        assert (response.status, written["status"]["qosClass"]) == (200, "BestEffort")
        written["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        _, written = await http.call("PUT", f"{CORE}/pods/p/status", json=written)
        assert written["status"]["observedGeneration"] == 1
        assert written["status"]["conditions"] == [{"type": "Ready", "status": "True", "observedGeneration": 1}]

    with_rest(body)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            '[{"op":"test","path":"/data/x","value":"1"}]',
            "testing value /data/x failed: test failed",
        ),
        (
            '[{"op":"add","path":"/none/x","value":"1"}]',
            'add operation does not apply: doc is missing path: "/none/x": missing value',
        ),
        (
            '[{"op":"remove","path":"/metadata/labels/x"}]',
            'remove operation does not apply: doc is missing path: "/metadata/labels/x": missing value',
        ),
        (
            '[{"op":"remove","path":"/metadata/x"}]',
            "error in remove for path: '/metadata/x': Unable to remove nonexistent key: x: missing value",
        ),
    ],
)
def test_a_json_patch_that_does_not_apply_says_where(with_rest, patch, message):
    async def body(_api, http):
        await http.call("POST", CONFIG_MAPS, json=config_map())
        headers = {"Content-Type": "application/json-patch+json"}
        response, status = await http.call("PATCH", f"{CONFIG_MAPS}/cm", data=patch, headers=headers)
        assert (response.status, status["details"]["causes"][0]["message"]) == (422, message)

    with_rest(body)


def test_a_certificate_is_approved_through_its_own_door_only(with_rest):
    async def body(_api, http):
        from base64 import b64encode

        csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
        request = b64encode(b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n").decode()
        spec = {"request": request, "signerName": "example.com/x", "usages": ["client auth"]}
        await http.call("POST", csrs, json={"metadata": {"name": "c"}, "spec": spec})
        condition = '{"status":{"conditions":[{"type":"Approved","status":"True"}]}}'
        response, status = await http.call("PATCH", f"{csrs}/c/status", data=condition, headers=MERGE)
        assert response.status == 422
        assert 'updates may not add a condition of type "Approved"' in status["message"]
        response, approved = await http.call("PATCH", f"{csrs}/c/approval", data=condition, headers=MERGE)
        assert response.status == 200
        denied = '{"status":{"conditions":[{"type":"Approved","status":"True","reason":"changed"}]}}'
        _, kept = await http.call("PATCH", f"{csrs}/c/status", data=denied, headers=MERGE)
        assert kept["status"]["conditions"] == approved["status"]["conditions"]

    with_rest(body)


def test_subresources_are_the_named_objects(with_rest):
    async def body(api, http):
        await api.account()
        await http.call("POST", f"{APPS}/deployments", json=deployment())
        scale = {"metadata": {"name": "other"}, "spec": {"replicas": 3}}
        response, _ = await http.call("PUT", f"{APPS}/deployments/d/scale", json=scale)
        assert response.status == 400
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
        await http.call("POST", f"{CORE}/pods", json=pod)
        eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "p"}}
        response, _ = await http.call("POST", f"{CORE}/pods/p/eviction", json=eviction)
        assert response.status == 201, "what kubectl of old sends"

    with_rest(body)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "Status"},
        {"apiVersion": "v9", "kind": "DeleteOptions"},
        {"preconditions": {"uid": 5}},
        {"preconditions": []},
        {"gracePeriodSeconds": "5"},
        {"orphanDependents": "yes"},
        {"dryRun": "All"},
    ],
)
def test_delete_options_that_are_none_delete_nothing(with_rest, options):
    async def body(_api, http):
        await http.call("POST", CONFIG_MAPS, json=config_map())
        response, status = await http.call("DELETE", f"{CONFIG_MAPS}/cm", json=options)
        assert (response.status, status["reason"]) == (400, "BadRequest")
        assert (await http.call("GET", f"{CONFIG_MAPS}/cm"))[0].status == 200

    with_rest(body)
