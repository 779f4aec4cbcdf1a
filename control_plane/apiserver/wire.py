"""Query parameters and bytes that both edges share: lists as JSON, DeleteOptions, booleans and numbers in texts."""

from __future__ import annotations

from argosy.objects import status as errors
from control_plane.apiserver.request import ListAnswer

TRUE = ("1", "true", "True", "TRUE", "t", "T", "")
FALSE = ("0", "false", "False", "FALSE", "f", "F")


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
    head = orjson.dumps({"kind": f"{served.kind.kind}List", "apiVersion": served.api_version, "metadata": metadata})
    return head[:-1] + b',"items":[' + items + b"]}"


def boolean(name: str, text: str) -> bool:
    """Raises ApiError 400."""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise errors.bad_request(f'{name}: Invalid value: "{text}": not a boolean')


def integer(name: str, text: str) -> int:
    """Raises ApiError 400."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise errors.bad_request(f'{name}: Invalid value: "{text}": not an integer')
    return int(text)


def dry_run(values: list[str]) -> bool:
    """`dryRun=All`. Raises ApiError 422 for other values."""
    given = [value for value in values if value]
    if any(value != "All" for value in given):
        failure = errors.not_supported("dryRun", given, ["All"])
        raise errors.invalid("meta.k8s.io", "CreateOptions", "", [failure])
    return bool(given)
