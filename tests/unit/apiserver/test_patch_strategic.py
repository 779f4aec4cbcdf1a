"""Strategic merge patch: lists by key, every directive, upstream's refusals."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects.meta import copy
from argosy.objects.status import ApiError
from control_plane.apiserver.patch import strategic
from control_plane.apiserver.schema import Catalog, Schemas

SCHEMAS = Schemas(Catalog.load())
POD = SCHEMAS.for_kind("", "v1", "Pod").type
DEPLOYMENT = SCHEMAS.for_kind("apps", "v1", "Deployment").type
SERVICE = SCHEMAS.for_kind("", "v1", "Service").type

Obj = dict[str, Any]


def _containers(*names: str) -> Obj:
    return {"spec": {"containers": [{"name": name, "image": f"{name}:1"} for name in names]}}


def _names(obj: Obj) -> list[str]:
    return [item["name"] for item in obj["spec"]["containers"]]


def test_lists_merge_by_key_and_new_elements_are_appended() -> None:
    live = _containers("a", "b")
    before = copy(live)
    patch = {"spec": {"containers": [{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1", "args": None}]}}
    result = strategic.apply(live, patch, POD)
    assert result["spec"]["containers"] == [
        {"name": "a", "image": "a:1"},
        {"name": "b", "image": "b:2"},
        {"name": "c", "image": "c:1"},
    ]
    assert live == before


def test_set_element_order_orders_and_server_only_elements_keep_their_place() -> None:
    live = _containers("a", "x", "b", "y")
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "n"}, {"name": "a"}],
            "containers": [{"name": "n", "image": "n:1"}],
        }
    }
    # Worked by hand from upstream's rule: server-only x and y go before the first patch item that followed them.
    assert _names(strategic.apply(live, patch, POD)) == ["x", "b", "n", "a", "y"]


def test_set_element_order_alone_reorders() -> None:
    patch = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    assert _names(strategic.apply(_containers("a", "b"), patch, POD)) == ["b", "a"]


def test_delete_and_replace_elements() -> None:
    live = _containers("a", "b")
    assert _names(strategic.apply(live, {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}, POD)) == ["b"]
    patch = {"spec": {"containers": [{"name": "z", "image": "z"}, {"$patch": "replace"}]}}
    assert strategic.apply(live, patch, POD)["spec"]["containers"] == [{"name": "z", "image": "z"}]


def test_map_directives() -> None:
    live = {"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeSelector": {"x": "y"}}}
    replaced = strategic.apply(live, {"metadata": {"labels": {"$patch": "replace", "c": "3"}}}, POD)
    assert replaced["metadata"]["labels"] == {"c": "3"}
    assert strategic.apply(live, {"spec": {"nodeSelector": {"$patch": "delete"}}}, POD)["spec"]["nodeSelector"] == {}
    assert strategic.apply(live, {"spec": {"nodeSelector": None}}, POD)["spec"] == {}


def test_primitive_lists() -> None:
    live = {"metadata": {"finalizers": ["a", "b"]}}
    assert strategic.apply(live, {"metadata": {"finalizers": ["b", "c"]}}, POD)["metadata"]["finalizers"] == [
        "a",
        "b",
        "c",
    ]
    patch = {
        "metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "$setElementOrder/finalizers": ["c", "b"],
            "finalizers": ["c"],
        }
    }
    assert strategic.apply(live, patch, POD)["metadata"]["finalizers"] == ["c", "b"]


def test_retain_keys_clears_the_other_strategy() -> None:
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic.apply(live, patch, DEPLOYMENT)["spec"]["strategy"] == {"type": "Recreate"}
    with pytest.raises(ApiError) as caught:
        strategic.apply(live, {"spec": {"strategy": {"$retainKeys": [], "type": "Recreate"}}}, DEPLOYMENT)
    assert (caught.value.code, caught.value.message) == (400, "invalid patch format of retainKeys")


def test_lists_without_a_merge_strategy_are_replaced() -> None:
    live = {"spec": {"tolerations": [{"key": "a"}], "containers": [{"name": "c", "args": ["x", "y"]}]}}
    patch = {"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "c", "args": ["z"]}]}}
    result = strategic.apply(live, patch, POD)
    assert result["spec"] == {"tolerations": [{"key": "b"}], "containers": [{"name": "c", "args": ["z"]}]}


def test_ports_of_services_merge_by_port() -> None:
    live = {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "tls"}]}}
    patch = {"spec": {"ports": [{"port": 443, "targetPort": 8443}]}}
    assert strategic.apply(live, patch, SERVICE)["spec"]["ports"] == [
        {"port": 80, "name": "http"},
        {"port": 443, "name": "tls", "targetPort": 8443},
    ]


@pytest.mark.parametrize(
    ("patch", "code", "text"),
    [
        (
            {"spec": {"containers": [{"image": "x"}]}},
            422,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        ({"spec": {"containers": [{"name": "a", "$patch": "merge"}]}}, 422, "merging lists cannot yet be specified"),
        ({"spec": {"$patch": "explode"}}, 422, "unknown patch type: explode"),
        ({"spec": {"containers": [["x"]]}}, 422, "lists of lists are not supported"),
        ({"spec": {"containers": ["x"]}}, 422, "list element types are not identical"),
        ({"spec": {"$setElementOrder/containers": "x"}}, 422, "expected a []interface {}"),
        ({"spec": {"$setElementOrder/containers": [{}]}}, 422, "does not contain declared merge key"),
        ({"spec": {"$setElementOrder": []}}, 400, "invalid patch format of setElementOrder list"),
        ({"spec": {"$deleteFromPrimitiveList/containers": 3}}, 400, "invalid patch format of primitive list"),
        (
            {"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}},
            422,
            "doesn't match $setElementOrder list",
        ),
    ],
)
def test_refusals(patch: Obj, code: int, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        strategic.apply(_containers("a", "b"), patch, POD)
    assert caught.value.code == code
    causes = caught.value.status.get("details", {}).get("causes", [{"message": caught.value.message}])
    assert text in causes[0]["message"]


_NAMES = st.lists(st.sampled_from("abcdefg"), unique=True, max_size=6)


@settings(max_examples=300, deadline=None)
@given(_NAMES, _NAMES, st.sets(st.sampled_from("abcdefg"), max_size=3), st.data())
def test_against_a_dumb_model(live: list[str], wanted: list[str], deleted: set[str], data: st.DataObject) -> None:
    """Merging by key is a dict update; the order list's items come out in its order."""
    changed = [name for name in wanted if name not in deleted and data.draw(st.booleans())]
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": name} for name in wanted if name not in deleted],
            "containers": [{"name": name, "image": "new"} for name in changed]
            + [{"name": name, "$patch": "delete"} for name in sorted(deleted)],
        }
    }
    model = {name: f"{name}:1" for name in live if name not in deleted}
    model.update(dict.fromkeys(changed, "new"))
    result = strategic.apply(_containers(*live), patch, POD)["spec"]["containers"]
    assert {item["name"]: item["image"] for item in result} == model
    names = [item["name"] for item in result]
    assert [name for name in names if name in wanted] == [name for name in wanted if name in model]
    others = [name for name in live if name in model and name not in wanted]
    assert [name for name in names if name in others] == others


_TREES = st.recursive(
    st.none() | st.integers(0, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["spec", "metadata", "containers", "name", "$patch", "labels", "$retainKeys", "finalizers",
                         "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "ports"]),
        inner | st.sampled_from(["delete", "replace", "merge"]),
        max_size=4,
    ),
    max_leaves=14,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["spec", "metadata", "$patch"]), _TREES, max_size=3))
def test_any_patch_applies_or_is_refused_and_leaves_the_live_object_alone(patch: Obj) -> None:
    live = _containers("a", "b") | {"metadata": {"labels": {"x": "y"}, "finalizers": ["f"]}}
    before, patch_before = copy(live), copy(patch)
    try:
        strategic.apply(live, patch, POD)
    except ApiError as error:
        assert error.code in (400, 422)
    assert live == before and patch == patch_before
