"""What the options of a list or watch mean together, and the refusals of upstream's validation.

Rules: k8s.io/apimachinery `pkg/apis/meta/internalversion/validation`, and the table of resourceVersion semantics.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import orjson

from argosy.objects import status as errors
from argosy.objects.status import ApiError, FieldError
from control_plane.apiserver.request import ListOptions

NOT_OLDER_THAN: Final = "NotOlderThan"
EXACT: Final = "Exact"
MAX_REVISION: Final = (1 << 63) - 1
TOKEN_VERSION: Final = "meta.k8s.io/v1"  # noqa: S105  # a format's name


def revision_of(text: str) -> int:
    """A resourceVersion as a number; empty is 0. Raises ApiError 400."""
    if not text:
        return 0
    fault = "invalid syntax"
    if text.isascii() and text.isdigit():
        if int(text[:21]) <= MAX_REVISION:
            return int(text)
        fault = "value out of range"
    complaint = errors.invalid_value("resourceVersion", text, f'strconv.ParseUint: parsing "{text}": {fault}')
    raise errors.bad_request(f"invalid resource version: {complaint}")


def _invalid(failures: list[FieldError]) -> ApiError:
    return errors.invalid("meta.k8s.io", "ListOptions", "", failures)


def _forbidden(field: str, detail: str) -> FieldError:
    return errors.forbidden_field(field, f"{field} is forbidden {detail}")


def validate(options: ListOptions, *, watch: bool) -> None:
    """Raises ApiError 400 or 422."""
    failures = _watch_failures(options) if watch else _list_failures(options)
    if failures:
        raise _invalid(failures)
    if options.continue_ and options.resource_version not in ("", "0"):
        raise errors.bad_request("specifying resource version is not allowed when using continue")
    revision_of(options.resource_version)


def _list_failures(options: ListOptions) -> list[FieldError]:
    failures: list[FieldError] = []
    match = options.resource_version_match
    if match:
        if not options.resource_version:
            failures.append(_forbidden("resourceVersionMatch", "unless resourceVersion is provided"))
        if options.continue_:
            failures.append(_forbidden("resourceVersionMatch", "when continue is provided"))
        if match not in (EXACT, NOT_OLDER_THAN):
            failures.append(errors.not_supported("resourceVersionMatch", match, [EXACT, NOT_OLDER_THAN, ""]))
        if match == EXACT and options.resource_version == "0":
            detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            failures.append(errors.forbidden_field("resourceVersionMatch", detail))
    if options.send_initial_events is not None:
        failures.append(_forbidden("sendInitialEvents", "for list"))
    return failures


def _watch_failures(options: ListOptions) -> list[FieldError]:
    failures: list[FieldError] = []
    match = options.resource_version_match
    if options.send_initial_events is not None and match != NOT_OLDER_THAN:
        detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        failures.append(errors.forbidden_field("resourceVersionMatch", detail))
    if match:
        if options.send_initial_events is None:
            failures.append(_forbidden("resourceVersionMatch", "for watch unless sendInitialEvents is provided"))
        if match != NOT_OLDER_THAN:
            failures.append(errors.not_supported("resourceVersionMatch", match, [NOT_OLDER_THAN]))
        if options.continue_:
            failures.append(_forbidden("resourceVersionMatch", "when continue is provided"))
    return failures


def encode_token(revision: int, start: str) -> str:
    """A continue token: go on at `start` (a cache key) at `revision`; -1 is the newest."""
    body = orjson.dumps({"v": TOKEN_VERSION, "rv": revision, "start": start + "\0"})
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def decode_token(token: str, namespace: str = "") -> tuple[int, str]:
    """(revision, first key to give, inside `namespace` if one is listed). Raises ApiError 400."""
    try:
        body = orjson.loads(base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)))
        version, revision, start = body["v"], body["rv"], body["start"]
        if not isinstance(revision, int) or not isinstance(start, str):
            raise ValueError(token)
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise _bad_token("continue key is not valid") from None
    if version != TOKEN_VERSION:
        raise _bad_token(f"continue key is not valid: server does not recognize this encoded version {version}")
    if revision == 0 or not -1 <= revision <= MAX_REVISION:
        raise _bad_token(
            f"continue key is not valid: incorrect encoded start resourceVersion (version {TOKEN_VERSION})"
        )
    if not start:
        raise _bad_token(f"continue key is not valid: encoded start key empty (version {TOKEN_VERSION})")
    steps = start.split("/")
    # A forged token must not lead out of the listed namespace.
    if any(step in ("", ".", "..") for step in steps) or (namespace and not start.startswith(f"{namespace}/")):
        raise _bad_token(f"continue key is not valid: {start}")
    return revision, start


def _bad_token(detail: str) -> ApiError:
    return errors.bad_request(f"invalid continue token: {detail}")


def too_large(asked: int, current: int) -> ApiError:
    """504: the revision lies in the future (apiserver `storage.NewTooLargeResourceVersionError`)."""
    status = errors.timeout(f"Timeout: Too large resource version: {asked}, current: {current}").status
    status["details"]["causes"] = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return ApiError(status)


def expired_token(start: str) -> ApiError:
    """410 with a token that goes on inconsistently."""
    status = errors.expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
        "the results. Continuing with the provided token results in an inconsistent list - objects that were "
        "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
        "list."
    ).status
    return ApiError({**status, "metadata": {"continue": encode_token(-1, start.removesuffix("\0"))}})
