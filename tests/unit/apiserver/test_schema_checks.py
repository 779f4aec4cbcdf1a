"""Compiled checks: what Kubernetes' decoder prunes, normalises, reports and refuses."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects.meta import copy
from argosy.objects.status import ApiError
from control_plane.apiserver.schema import Catalog, Compiled, Schemas

SCHEMAS = Schemas(Catalog.load())
POD = SCHEMAS.for_kind("", "v1", "Pod")
DEPLOYMENT = SCHEMAS.for_kind("apps", "v1", "Deployment")
SECRET = SCHEMAS.for_kind("", "v1", "Secret")
LEASE = SCHEMAS.for_kind("coordination.k8s.io", "v1", "Lease")


def _pod(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "creationTimestamp": None},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }


def test_nulls_are_dropped_and_zero_values_take_their_place_in_lists_and_maps() -> None:
    pod = _pod(nodeName=None, nodeSelector={"a": None}, tolerations=[None])
    pod["spec"]["containers"][0]["args"] = ["x", None]
    assert POD.check(pod).errors == []
    assert "creationTimestamp" not in pod["metadata"]
    assert "nodeName" not in pod["spec"]
    assert pod["spec"]["nodeSelector"] == {"a": ""}
    assert pod["spec"]["tolerations"] == [{}]
    assert pod["spec"]["containers"][0]["args"] == ["x", ""]


def test_unknown_fields_are_pruned_and_named() -> None:
    pod = _pod(foo=1)
    pod["spec"]["containers"][0]["bar"] = {"deep": True}
    pod["top"] = []
    result = POD.check(pod)
    assert result.unknown == [
        'unknown field "spec.containers[0].bar"',
        'unknown field "spec.foo"',
        'unknown field "top"',
    ]
    assert "foo" not in pod["spec"] and "bar" not in pod["spec"]["containers"][0] and "top" not in pod


@pytest.mark.parametrize(
    ("compiled", "obj", "message"),
    [
        (
            DEPLOYMENT,
            {"spec": {"replicas": "3"}},
            'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go '
            "struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            DEPLOYMENT,
            {"spec": {"replicas": 1 << 40}},
            'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number '
            "1099511627776 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            DEPLOYMENT,
            {"spec": {"template": {"spec": {"containers": [{"env": [{"value": 5}]}]}}}},
            'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number into Go '
            "struct field EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            POD,
            {"spec": []},
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal array into Go struct field '
            "Pod.spec of type v1.PodSpec",
        ),
        (
            POD,
            {"spec": {"containers": {}}},
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field '
            "PodSpec.spec.containers of type []v1.Container",
        ),
        (
            POD,
            {"metadata": {"labels": {"a": True}}},
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal bool into Go struct field '
            "ObjectMeta.metadata.labels of type string",
        ),
        (
            POD,
            {"spec": {"containers": [{"resources": {"limits": {"cpu": "1x"}}}]}},
            'Pod in version "v1" cannot be handled as a Pod: quantities must match the regular expression '
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            POD,
            {"metadata": {"creationTimestamp": "yesterday"}},
            'Pod in version "v1" cannot be handled as a Pod: parsing time "yesterday" as '
            '"2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
        (
            SECRET,
            {"data": {"a": "not base64!"}},
            'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 3',
        ),
    ],
)
def test_wrong_types_are_the_decoders_errors(compiled: Compiled, obj: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        compiled.decoded(obj)
    assert caught.value.code == 400
    assert caught.value.reason == "BadRequest"
    assert caught.value.message == message


def test_quantities_times_and_ports_are_normalised() -> None:
    pod = _pod()
    container = pod["spec"]["containers"][0]
    container["resources"] = {"limits": {"cpu": 0.5, "memory": "1024Mi", "x": 3, "n": None}}
    container["livenessProbe"] = {"httpGet": {"port": "http"}, "tcpSocket": {"port": 80}}
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T02:00:00.5+02:00"
    assert POD.check(pod).errors == []
    assert container["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi", "x": "3", "n": "0"}
    assert container["livenessProbe"]["httpGet"]["port"] == "http"
    assert pod["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    lease: dict[str, Any] = {
        "spec": {"renewTime": "2026-01-01T00:00:00.123456Z", "acquireTime": "2026-01-01T00:00:00Z"}
    }
    assert LEASE.check(lease).errors == []
    assert lease["spec"] == {
        "renewTime": "2026-01-01T00:00:00.123456Z",
        "acquireTime": "2026-01-01T00:00:00.000000Z",
    }


def test_embedded_objects_are_left_alone() -> None:
    revision = SCHEMAS.for_kind("apps", "v1", "ControllerRevision")
    obj = {"data": {"anything": [1, None, {"x": "y"}]}, "revision": 1}
    before = copy(obj)
    result = revision.check(obj)
    assert (result.errors, result.unknown, obj) == ([], [], before)


def test_recursive_types_compile() -> None:
    crd = SCHEMAS.for_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    props = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "nope": 1}}}}
    obj = {"spec": {"versions": [{"schema": {"openAPIV3Schema": props}}]}}
    assert crd.check(obj).errors == []


def test_unknown_kinds_are_refused_by_name() -> None:
    with pytest.raises(KeyError, match=r"no schema for Nope in example\.org/v1"):
        SCHEMAS.for_kind("example.org", "v1", "Nope")


def test_the_catalogue_keeps_what_kinds_reach() -> None:
    from argosy.kinds.kind import Kind

    small = Catalog.load([Kind("apps", "v1", "Deployment", "deployments", "deployment", True)])
    assert "io.k8s.api.core.v1.PodSpec" in small.definitions
    assert "io.k8s.api.core.v1.Node" not in small.definitions
    assert small.name_of("", "v1", "Status") is not None
    described = small.with_descriptions(["io.k8s.api.core.v1.PodSpec"])
    assert described["io.k8s.api.core.v1.PodSpec"]["description"]
    assert "description" not in small.definitions["io.k8s.api.core.v1.PodSpec"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "spec", "name", "containers", "labels", "resources", "limits", "ports", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["apiVersion", "kind", "metadata", "spec", "status", "q"]), _JSON, max_size=6))
def test_any_json_is_checked_without_a_crash_and_twice_gives_the_same(obj: dict[str, Any]) -> None:
    first = POD.check(obj)
    pruned = copy(obj)
    second = POD.check(obj)
    assert obj == pruned
    assert second.unknown == []
    assert [error.field for error in second.errors] == [error.field for error in first.errors]
