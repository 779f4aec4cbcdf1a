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
TOKEN_VERSION: Final = "meta.k8s.io/v1"  # noqa: S105  # a format's name


def revision_of(text: str) -> int:
    """A resourceVersion as a number; empty is 0. Raises ApiError 400."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise errors.bad_request(f'Invalid value: "{text}": resource version is not a valid number')
    return int(text)


def _invalid(failures: list[FieldError]) -> ApiError:
    return errors.invalid("meta.k8s.io", "ListOptions", "", failures)


def validate(options: ListOptions, *, watch: bool) -> None:
    """Raises ApiError 400 or 422."""
    failures: list[FieldError] = []
    match = options.resource_version_match
    if watch:
        _validate_watch(options, failures)
    elif options.send_initial_events is not None:
        failures.append(errors.forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if not watch and match:
        if not options.resource_version:
            detail = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            failures.append(errors.forbidden_field("resourceVersionMatch", detail))
        if options.continue_:
            detail = "resourceVersionMatch is forbidden when continue is provided"
            failures.append(errors.forbidden_field("resourceVersionMatch", detail))
        if match not in (EXACT, NOT_OLDER_THAN):
            failures.append(errors.not_supported("resourceVersionMatch", match, [EXACT, NOT_OLDER_THAN]))
        if match == EXACT and options.resource_version == "0":
            detail = 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
            failures.append(errors.forbidden_field("resourceVersionMatch", detail))
    if failures:
        raise _invalid(failures)
    if options.limit < 0:
        raise errors.bad_request("limit must not be negative")
    if options.continue_ and options.resource_version not in ("", "0"):
        raise errors.bad_request("specifying resource version is not allowed when using continue")
    revision_of(options.resource_version)


def _validate_watch(options: ListOptions, failures: list[FieldError]) -> None:
    match = options.resource_version_match
    if options.send_initial_events is not None:
        if match != NOT_OLDER_THAN:
            detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            failures.append(errors.forbidden_field("resourceVersionMatch", detail))
        if options.send_initial_events and not options.allow_bookmarks:
            detail = "sendInitialEvents requires allowWatchBookmarks"
            failures.append(errors.forbidden_field("sendInitialEvents", detail))
    elif match:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        failures.append(errors.forbidden_field("resourceVersionMatch", detail))


def encode_token(revision: int, start: str) -> str:
    """A continue token: go on at `start` (a cache key) at `revision`; -1 is the newest."""
    body = orjson.dumps({"v": TOKEN_VERSION, "rv": revision, "start": start + "\0"})
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def decode_token(token: str) -> tuple[int, str]:
    """(revision, first key to give). Raises ApiError 400."""
    try:
        body = orjson.loads(base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)))
        revision, start = body["rv"], body["start"]
        if body["v"] != TOKEN_VERSION or not isinstance(revision, int) or not isinstance(start, str) or not start:
            raise ValueError(token)
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise errors.bad_request("continue key is not valid") from None
    if revision == 0 or revision < -1:
        raise errors.bad_request("continue key is not valid: incorrect encoded start resourceVersion")
    if start.startswith("/") or "/../" in f"/{start}/":
        raise errors.bad_request("continue key is not valid")
    return revision, start


def too_large(asked: int, current: int) -> ApiError:
    """504: the revision lies in the future."""
    status = errors.timeout(f"Too large resource version: {asked}, current: {current}").status
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
