"""Field sets against plain sets of paths."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.apiserver import managed_fields_set as sets

Paths = frozenset[tuple[str, ...]]

_PATHS = st.frozensets(
    st.lists(st.sampled_from(["f:a", "f:b", 'k:{"n":1}']), min_size=1, max_size=3).map(tuple), max_size=8
)


def _node(paths: Paths) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in paths:
        at = tree
        for element in path:
            at = at.setdefault(element, {})
        at["."] = {}
    return _normal(tree)


def _normal(node: dict[str, Any]) -> dict[str, Any]:
    result = {key: _normal(value) for key, value in node.items()}
    return {} if result == {".": {}} else result


def _members(node: dict[str, Any]) -> Paths:
    return frozenset(sets.paths(node))


@settings(max_examples=300, deadline=None)
@given(_PATHS, _PATHS)
def test_operations_are_those_of_sets(left: Paths, right: Paths) -> None:
    one, two = _node(left), _node(right)
    assert _members(one) == left
    assert _members(sets.union(one, two)) == left | right
    assert _members(sets.difference(one, two)) == left - right
    assert _members(sets.intersection(one, two)) == left & right
    assert one == _node(left) and two == _node(right)
    for path in left | right:
        assert sets.has(one, path) is (path in left)
        assert _members(sets.without(one, path)) == {item for item in left if item[: len(path)] != path}


@settings(max_examples=200, deadline=None)
@given(_PATHS, _PATHS)
def test_results_are_in_their_one_form(left: Paths, right: Paths) -> None:
    """Equal sets are equal dicts: no-ops are found by comparing them."""
    one, two = _node(left), _node(right)
    assert sets.union(one, two) == _node(left | right)
    assert sets.difference(one, two) == _node(left - right)
    assert sets.intersection(one, two) == _node(left & right)
    assert sets.is_valid(one)


def test_texts_and_order() -> None:
    path = ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name")
    assert sets.path_text(path) == '.spec.ports[containerPort=80,protocol="TCP"].name'
    assert sets.path_text(("f:metadata", "f:finalizers", 'v:"x"')) == '.metadata.finalizers[="x"]'
    tree = {"f:b": {}, "f:a": {"f:z": {}, ".": {}}}
    assert list(sets.paths(tree)) == [("f:a",), ("f:b",), ("f:a", "f:z")]


def test_what_is_no_set() -> None:
    for bad in ([], {"a": {}}, {"f:a": []}, {"k:{": {}}, {".": {"f:a": {}}}, {"f:a": {"g:b": {}}}):
        assert not sets.is_valid(bad)
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"f:a": deep}
    assert not sets.is_valid(deep)
