"""The order of a merged list: what the patch orders first, what only the server has put where it was before."""

from __future__ import annotations

from typing import Any

from control_plane.apiserver.patch.errors import rejected, shown

JsonList = list[Any]


def element_key(item: Any, merge_key: str = "") -> Any:
    """What makes two elements the same: the value under the merge key, or the scalar itself. Raises ApiError 422."""
    if merge_key:
        if not isinstance(item, dict):
            raise rejected(f"expected a map[string]interface {{}}, but received a {type(item).__name__}")
        if merge_key not in item:
            raise rejected(f"map: {shown(item)} does not contain declared merge key: {merge_key}")
        item = item[merge_key]
    if isinstance(item, dict | list):
        raise rejected(f"a list is merged by scalars, not by {type(item).__name__}")
    return isinstance(item, bool), item


def in_order(merged: JsonList, order: JsonList, live: JsonList, merge_key: str) -> JsonList:
    """`merged` with the items named in `order` in that order, and the rest, in `live` order, among them."""
    rank = _ranks(order, merge_key)
    live_rank = _ranks(live, merge_key)
    ordered: list[tuple[Any, Any]] = []
    rest: list[tuple[Any, Any]] = []
    for item in merged:
        key = element_key(item, merge_key)
        (ordered if key in rank else rest).append((key, item))
    ordered.sort(key=lambda pair: rank[pair[0]])
    rest.sort(key=lambda pair: live_rank.get(pair[0], len(live_rank)))
    result: JsonList = []
    position = 0
    for key, item in ordered:
        while position < len(rest) and _before(rest[position][0], key, live_rank):
            result.append(rest[position][1])
            position += 1
        result.append(item)
    result.extend(item for _, item in rest[position:])
    return result


def _before(left: Any, right: Any, live_rank: dict[Any, int]) -> bool:
    """Both were in the live list, and `left` stood in front."""
    return left in live_rank and right in live_rank and live_rank[left] < live_rank[right]


def _ranks(items: JsonList, merge_key: str) -> dict[Any, int]:
    ranks: dict[Any, int] = {}
    for index, item in enumerate(items):
        ranks.setdefault(element_key(item, merge_key), index)
    return ranks
