"""Server-side apply: merging, ownership, conflicts, pruning, no-ops; upstream's words."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects.meta import copy
from argosy.objects.status import ApiError
from control_plane.apiserver.managed_fields import apply, record
from control_plane.apiserver.schema import Catalog, Schemas

SCHEMAS = Schemas(Catalog.load())
DEPLOYMENT = SCHEMAS.for_kind("apps", "v1", "Deployment")
CONFIG_MAP = SCHEMAS.for_kind("", "v1", "ConfigMap")
SERVICE = SCHEMAS.for_kind("", "v1", "Service")

NOW = 1_000_000_000.0

Obj = dict[str, Any]


def _deployment(**spec: Any) -> Obj:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}, "spec": spec}


def _containers(*containers: Obj) -> Obj:
    return {"template": {"spec": {"containers": list(containers)}}}


def _apply(live: Obj | None, applied: Obj, manager: str = "kubectl", *, force: bool = False, at: float = NOW) -> Obj:
    before = copy(live)
    result = apply(live, applied, manager, force, "apps/v1", "", at, DEPLOYMENT)
    assert live == before
    return result


def _refusal(live: Obj | None, applied: Obj, manager: str = "kubectl") -> ApiError:
    with pytest.raises(ApiError) as caught:
        _apply(live, applied, manager)
    return caught.value


def _entry(obj: Obj, manager: str) -> Obj:
    entry: Obj = next(item for item in obj["metadata"]["managedFields"] if item["manager"] == manager)
    return entry


def _created(obj: Obj, manager: str = "kubectl-create") -> Obj:
    result = copy(obj)
    record(result, None, manager, "Update", "apps/v1", "", NOW, DEPLOYMENT)
    result["metadata"]["uid"] = "u"
    return result


def test_a_creation() -> None:
    made = _apply(None, _deployment(replicas=1, **_containers({"name": "c", "image": "i"})))
    assert made["spec"]["replicas"] == 1
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "kubectl",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": "2001-09-09T01:46:40Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:spec": {
                    "f:replicas": {},
                    "f:template": {
                        "f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}}}
                    },
                }
            },
        }
    ]


def test_one_conflict_and_several() -> None:
    live = _created(_deployment(replicas=1, paused=True))
    error = _refusal(live, _deployment(replicas=3))
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-create" using apps/v1: .spec.replicas'
    )
    assert error.status["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-create" using apps/v1',
            "field": ".spec.replicas",
        }
    ]
    applied = _apply(live, _deployment(minReadySeconds=5), "other")
    error = _refusal(applied, _deployment(replicas=3, minReadySeconds=6))
    assert error.message == (
        'Apply failed with 2 conflicts: conflicts with "other":\n- .spec.minReadySeconds\n'
        'conflicts with "kubectl-create" using apps/v1:\n- .spec.replicas'
    )


def test_equal_values_are_shared_not_conflicts() -> None:
    live = _created(_deployment(replicas=3))
    made = _apply(live, _deployment(replicas=3))
    assert {entry["manager"] for entry in made["metadata"]["managedFields"]} == {"kubectl", "kubectl-create"}


def test_force_transfers_ownership() -> None:
    live = _created(_deployment(replicas=1, paused=True))
    made = _apply(live, _deployment(replicas=3), force=True)
    assert made["spec"]["replicas"] == 3
    assert _entry(made, "kubectl")["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert _entry(made, "kubectl-create")["fieldsV1"] == {"f:spec": {"f:paused": {}}}


def test_fields_no_longer_applied_go_unless_others_own_them() -> None:
    one = _apply(None, _deployment(replicas=1, minReadySeconds=5, **_containers({"name": "a"}, {"name": "b"})))
    two = _apply(one, _deployment(minReadySeconds=5), "other")
    three = _apply(two, _deployment(**_containers({"name": "b"})))
    assert three["spec"] == {"minReadySeconds": 5, **_containers({"name": "b"})}
    assert _entry(three, "other")["fieldsV1"] == {"f:spec": {"f:minReadySeconds": {}}}


def test_giving_up_all_metadata_keeps_what_nobody_owns() -> None:
    labelled = _deployment(replicas=1)
    labelled["metadata"]["labels"] = {"a": "b"}
    one = _apply(None, labelled)
    one["metadata"].update(uid="u", resourceVersion="5", creationTimestamp="2001-09-09T01:46:40Z")
    two = _apply(one, _deployment(replicas=1))
    kept = {key: value for key, value in two["metadata"].items() if key != "managedFields"}
    assert kept == {
        "name": "d", "namespace": "n", "uid": "u", "resourceVersion": "5",
        "creationTimestamp": "2001-09-09T01:46:40Z",
    }  # fmt: skip
    assert _entry(two, "kubectl")["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


def test_list_elements_that_others_own_stay() -> None:
    one = _apply(None, _deployment(**_containers({"name": "a", "image": "i"})))
    injected = copy(one)
    injected["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "s"})
    record(injected, one, "injector", "Update", "apps/v1", "", NOW, DEPLOYMENT)
    made = _apply(injected, _deployment(**_containers({"name": "a", "image": "i2"})))
    assert made["spec"]["template"]["spec"]["containers"] == [
        {"name": "a", "image": "i2"},
        {"name": "sidecar", "image": "s"},
    ]


def test_applied_order_wins() -> None:
    one = _apply(None, _deployment(**_containers({"name": "a"}, {"name": "b"}, {"name": "c"})))
    two = _apply(one, _deployment(**_containers({"name": "c"}, {"name": "a"}, {"name": "b"})))
    assert [item["name"] for item in two["spec"]["template"]["spec"]["containers"]] == ["c", "a", "b"]


def test_applying_the_same_again_is_a_no_op() -> None:
    # hostNetwork: false is dropped from the object, and yet stays applied.
    spec: Obj = {"template": {"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1000m"}}}],
                                       "hostNetwork": False}}}  # fmt: skip
    one = _apply(None, _deployment(**spec))
    assert "hostNetwork" not in one["spec"]["template"]["spec"]
    again = _apply(one, _deployment(**copy(spec)), at=NOW + 60)
    assert again == one


def test_objects_from_before_the_first_apply() -> None:
    live = _deployment(replicas=1)
    live["metadata"]["uid"] = "u"
    error = _refusal(live, _deployment(replicas=2))
    assert error.message == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using apps/v1: .spec.replicas'
    )
    made = _apply(live, _deployment(replicas=1))
    assert {entry["manager"] for entry in made["metadata"]["managedFields"]} == {"before-first-apply", "kubectl"}


def test_client_side_apply_is_taken_over_by_kubectl() -> None:
    last = _deployment(replicas=1)
    live = _deployment(replicas=1)
    live["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(last)}
    live = _created(live, "kubectl-client-side-apply")
    made = _apply(live, _deployment(replicas=5))
    assert made["spec"]["replicas"] == 5
    annotation = made["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert json.loads(annotation)["spec"] == {"replicas": 5}
    assert _refusal(live, _deployment(replicas=5), "someone-else").code == 409
    drifted = copy(live)
    drifted["spec"]["replicas"] = 2
    record(drifted, live, "scaler", "Update", "apps/v1", "", NOW, DEPLOYMENT)
    assert _refusal(drifted, _deployment(replicas=5)).code == 409


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"apiVersion": "v1"}, 400, "invalid object type: /v1, Kind=Deployment"),
        ({"kind": "Pod"}, 400, "invalid object type: apps/v1, Kind=Pod"),
        ({"metadata": {"managedFields": []}}, 400, "metadata.managedFields must be nil"),
        ({"spec": {"foo": 1}}, 500, ".spec.foo: field not declared in schema"),
        ({"spec": {"replicas": "x"}}, 500, ".spec.replicas: expected numeric (int or float), got string"),
        ({"spec": []}, 500, ".spec: expected map, got list"),
        (
            {"spec": _containers({"name": "a"}, {"name": "a"})},
            500,
            '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        ),
        (
            {"spec": _containers({"image": "a"})},
            500,
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key "
            'field "name" (and doesn\'t have default value)',
        ),
    ],
)
def test_refusals(change: Obj, code: int, text: str) -> None:
    error = _refusal(None, {**_deployment(), **change})
    assert error.code == code
    assert text in error.message
    if code == 500:
        assert error.message.startswith("failed to create typed patch object (")


def test_keys_with_defaults() -> None:
    live = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "uid": "u"},
            "spec": {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]}}  # fmt: skip
    record(live, None, "k", "Update", "v1", "", NOW, SERVICE)
    applied = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
               "spec": {"ports": [{"port": 80, "targetPort": 8080}]}}  # fmt: skip
    made = apply(live, applied, "kubectl", False, "v1", "", NOW, SERVICE)
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "nodePort": 30000, "targetPort": 8080}]


def test_status_is_claimed_only_through_its_subresource() -> None:
    applied = {**_deployment(replicas=1), "status": {"replicas": 1}}
    assert "f:status" not in _entry(_apply(None, applied), "kubectl")["fieldsV1"]
    live = _created(_deployment(replicas=1))
    made = apply(live, applied, "ctl", True, "apps/v1", "status", NOW, DEPLOYMENT)
    entry = _entry(made, "ctl")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:replicas": {}}})


_DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)
_STEPS = st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), _DATA, st.booleans()), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(_STEPS)
def test_against_a_dumb_model_of_a_map(steps: list[tuple[str, dict[str, str], bool]]) -> None:
    """Per key: its value and its owners. An apply takes, shares, or conflicts; it gives up what it leaves out."""
    live: Obj | None = None
    values: dict[str, str] = {}
    owners: dict[str, set[str]] = {}
    for manager, data, force in steps:
        applied: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        if data:
            applied["data"] = data
        clash = {key for key in data if key in values and values[key] != data[key] and owners[key] - {manager}}
        try:
            live = apply(live, applied, manager, force, "v1", "", NOW, CONFIG_MAP)
        except ApiError as error:
            assert error.code == 409 and clash and not force
            assert {cause["field"] for cause in error.status["details"]["causes"]} == {
                f".data.{key}" for key in clash
            }
            continue
        assert force or not clash
        live["metadata"]["uid"] = "u"
        for key, value in data.items():
            owners[key] = {manager} if key in clash else owners.get(key, set()) | {manager}
            values[key] = value
        for key in [key for key in values if key not in data]:
            owners[key].discard(manager)
            if not owners[key]:
                del values[key], owners[key]
        assert (live.get("data") or {}) == values
        recorded: dict[str, set[str]] = {}
        for entry in live["metadata"].get("managedFields", []):
            for element in entry["fieldsV1"].get("f:data", {}):
                if element != ".":
                    recorded.setdefault(element[2:], set()).add(entry["manager"])
        assert recorded == owners
