"""Sets of field paths, in the form that managedFields stores them (FieldsV1): a trie of plain dicts.

A node maps path elements to nodes: `f:NAME` a field or map key, `k:{...}` a list element by its keys, `v:...` one by
its value. A path is a member when its node is empty or holds `.`; a node with children and without `.` only leads to
members. The root leads, and an empty root is the empty set. Nothing here changes its arguments; results share nodes
with them, so nodes are never changed once built. Upstream: structured-merge-diff/fieldpath.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

Node = dict[str, Any]
"""Element → Node. `Any` because mypy knows no recursive alias without casts at every step."""

SELF = "."
LEAF: Node = {}
EMPTY: Node = {}
_SELF_NODE: Node = {SELF: LEAF}


def is_member(node: Node) -> bool:
    return not node or SELF in node


def join(member: bool, children: Node) -> Node | None:
    """The node of a path with these children; None when nothing is left."""
    if not member:
        return children or None
    return {**_SELF_NODE, **children} if children else LEAF


def union(left: Node, right: Node) -> Node:
    """Of two roots."""
    if not right or left is right:
        return left
    if not left:
        return right
    result = dict(left)
    for element, node in right.items():
        mine = left.get(element)
        result[element] = node if mine is None else _union(mine, node)
    return result


def _union(left: Node, right: Node) -> Node:
    if left is right or (not left and not right):
        return left
    member = is_member(left) or is_member(right)
    children = union(_children(left), _children(right))
    joined = join(member, children)
    assert joined is not None
    return joined


def _children(node: Node) -> Node:
    if SELF not in node:
        return node
    return {element: child for element, child in node.items() if element != SELF}


def difference(left: Node, right: Node) -> Node:
    """The members of `left` that are not members of `right`; children of removed members stay."""
    if not right or not left:
        return left
    result: Node = {}
    for element, node in left.items():
        other = right.get(element)
        if other is None or element == SELF:
            result[element] = node
            continue
        kept = join(is_member(node) and not is_member(other), difference(_children(node), _children(other)))
        if kept is not None:
            result[element] = kept
    return result


def intersection(left: Node, right: Node) -> Node:
    result: Node = {}
    for element, node in left.items():
        other = right.get(element)
        if other is None or element == SELF:
            continue
        kept = join(is_member(node) and is_member(other), intersection(_children(node), _children(other)))
        if kept is not None:
            result[element] = kept
    return result


def without(root: Node, path: tuple[str, ...]) -> Node:
    """`root` without the path and everything below it."""
    element, rest = path[0], path[1:]
    node = root.get(element)
    if node is None or (rest and not node):
        return root
    result = dict(root)
    if rest and (kept := without(node, rest)):
        result[element] = kept
    else:
        del result[element]
    return result


def has(root: Node, path: tuple[str, ...]) -> bool:
    node = root
    for element in path:
        found = node.get(element)
        if found is None:
            return False
        node = found
    return is_member(node)


def paths(root: Node) -> Iterator[tuple[str, ...]]:
    """Every member, parents before children, in upstream's order."""
    yield from _paths(root, ())


def _paths(node: Node, prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    elements = sorted(element for element in node if element != SELF)
    for element in elements:
        if is_member(node[element]):
            yield (*prefix, element)
    for element in elements:
        if node[element]:
            yield from _paths(node[element], (*prefix, element))


def path_text(path: tuple[str, ...]) -> str:
    """`.spec.template.spec.containers[name="nginx"].image`."""
    return "".join(_element_text(element) for element in path)


def _element_text(element: str) -> str:
    head, text = element[:2], element[2:]
    if head == "f:":
        return f".{text}"
    if head == "k:":
        keys = orjson.loads(text)
        return "[" + ",".join(f"{name}={_shown(keys[name])}" for name in sorted(keys)) + "]"
    if head == "v:":
        return f"[={text}]"
    return f"[{text}]"


def _shown(value: object) -> str:
    return orjson.dumps(value).decode()


def is_valid(node: Any, depth: int = 0) -> bool:
    """Whether decoded JSON is a field set at all: a client may have written it."""
    if not isinstance(node, dict) or depth > 200:
        return False
    for element, child in node.items():
        if element == SELF:
            if child != {}:
                return False
            continue
        if element[:2] not in ("f:", "k:", "v:", "i:") or not is_valid(child, depth + 1):
            return False
        if element[:2] == "k:" and not _is_key(element[2:]):
            return False
    return True


def _is_key(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
