"""Query parameters and bytes that both edges share: lists as JSON, DeleteOptions, booleans and numbers in texts."""

from __future__ import annotations

from argosy.objects import status as errors
from control_plane.apiserver.request import ListAnswer

MIN_INT64 = -(1 << 63)
MAX_INT64 = (1 << 63) - 1


def list_json(answer: ListAnswer) -> bytes:
    """The list as JSON, joined from the objects' own bytes."""
    import orjson

    served = answer.served
    metadata: dict[str, object] = {"resourceVersion": answer.resource_version}
    if answer.continue_:
        metadata["continue"] = answer.continue_
    if answer.remaining is not None:
        metadata["remainingItemCount"] = answer.remaining
    items = b",".join(entry.form(served.convert, served.api_version)[1] for entry in answer.entries)
    head = orjson.dumps({"kind": served.kind.list_kind, "apiVersion": served.api_version, "metadata": metadata})
    return head[:-1] + b',"items":[' + items + b"]}"


def boolean(text: str) -> bool:
    """Every text but these is true, even an empty one (apimachinery `runtime.Convert_Slice_string_To_bool`)."""
    return text.lower() not in ("0", "false")


def integer(text: str) -> int:
    """A 64-bit number. Raises ApiError 400 with Go's words."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit():
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(digits) > 19 or not MIN_INT64 <= int(text) <= MAX_INT64:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)
