"""JSON patch and JSON merge patch, and the front that parses them."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects.meta import copy
from argosy.objects.status import ApiError
from control_plane.apiserver.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, merge_patch, parse_patch
from control_plane.apiserver.patch.json_patch import MAX_OPERATIONS
from control_plane.apiserver.schema import Catalog, Schemas

POD = Schemas(Catalog.load()).for_kind("", "v1", "Pod")

Obj = dict[str, Any]


def _json(obj: Obj, *operations: Any) -> Obj:
    return parse_patch(JSON_PATCH, orjson.dumps(operations), POD).apply(obj)


def _refusal(content_type: str, body: bytes, obj: Obj | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_patch(content_type, body, POD).apply(obj or {})
    return caught.value


def test_operations() -> None:
    live = {"metadata": {"labels": {"a": "1"}}, "spec": {"l": [1, 2, 3]}}
    before = copy(live)
    result = _json(
        live,
        {"op": "test", "path": "/metadata/labels/a", "value": "1"},
        {"op": "add", "path": "/metadata/labels/b~1c", "value": "2"},
        {"op": "replace", "path": "/metadata/labels/a", "value": "9"},
        {"op": "remove", "path": "/spec/l/0"},
        {"op": "add", "path": "/spec/l/-", "value": 4},
        {"op": "copy", "from": "/spec/l", "path": "/spec/m"},
        {"op": "move", "from": "/spec/m", "path": "/spec/n"},
        {"op": "test", "path": "/spec/absent", "value": None},
        {"op": "replace", "path": "/spec/new", "value": True},
    )
    assert result == {
        "metadata": {"labels": {"a": "9", "b/c": "2"}},
        "spec": {"l": [2, 3, 4], "n": [2, 3, 4], "new": True},
    }
    assert live == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/spec/x"},
        {"op": "replace", "path": "/spec/l/7", "value": 1},
        {"op": "replace", "path": "/a/b", "value": 1},
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "add", "path": "/spec/l/9", "value": 1},
        {"op": "add", "path": "/spec/l/01", "value": 1},
        {"op": "add", "path": "no-slash", "value": 1},
        {"op": "test", "path": "/spec/l/0", "value": True},
        {"op": "test", "path": "/spec/l", "value": [1.5]},
        {"op": "copy", "from": "/nope", "path": "/x"},
        {"op": "move", "from": "/spec", "path": "/spec/l/0"},
        {"op": "replace", "path": "", "value": 5},
    ],
)
def test_operations_that_do_not_apply_are_422(operation: Obj) -> None:
    error = _refusal(JSON_PATCH, orjson.dumps([operation]), {"spec": {"l": [1]}})
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message == "the server rejected our request due to an error in our request"
    assert error.status["details"]["causes"][0]["message"]


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[1]", b"[{}]", b'[{"op":"add"}]', b'[{"op":"add","path":"/a"}]', b'[{"op":"fly","path":"/a"}]', b"[",
     b'[{"op":"move","path":"/a","from":1}]', b"[" * 1000],
)  # fmt: skip
def test_malformed_json_patches_are_400(body: bytes) -> None:
    error = _refusal(JSON_PATCH, body)
    assert error.code == 400
    assert error.message.startswith("error decoding patch: ")


def test_bounds() -> None:
    many = orjson.dumps([{"op": "test", "path": "/a", "value": 1}] * (MAX_OPERATIONS + 1))
    assert _refusal(JSON_PATCH, many).code == 413
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/k{index}"} for index in range(40)]
    error = _refusal(JSON_PATCH, orjson.dumps(doubling), {"a": {"x": "y" * 1000}})
    assert "exceeds the limit" in error.status["details"]["causes"][0]["message"]


def test_strict_problems_and_types() -> None:
    patch = parse_patch(JSON_PATCH, b'[{"op":"remove","path":"/a","why":1}]', POD)
    assert patch.problems == ['json patch unknown field "[0].why"']
    assert parse_patch(MERGE_PATCH, b'{"a":1,"a":2}', POD).problems == ['duplicate field "a"']
    assert _refusal(MERGE_PATCH, b"[]").code == 400
    assert _refusal(STRATEGIC_MERGE_PATCH, b"3").code == 400
    assert _refusal("application/json", b"{}").code == 415


def test_merge_patch_examples_of_the_rfc() -> None:
    for live, patch, result in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        assert merge_patch.apply(live, patch) == result


_TREES = st.recursive(
    st.none() | st.integers(0, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)
_OBJECTS = st.dictionaries(st.sampled_from("abc"), _TREES, max_size=3)


def _model(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2, to the letter."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _model(result.get(key), value)
    return result


@settings(max_examples=300, deadline=None)
@given(_OBJECTS, _OBJECTS)
def test_merge_patch_against_the_rfcs_algorithm(live: Obj, patch: Obj) -> None:
    before, patch_before = copy(live), copy(patch)
    assert merge_patch.apply(live, patch) == _model(live, patch)
    assert live == before and patch == patch_before
