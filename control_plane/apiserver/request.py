"""What a call to the API is, once a wire has been left behind: who asks for what, with which options.

REST and gRPC build a `Request`; the pipeline answers with an `Answer`, a `ListAnswer` or a `WatchAnswer`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.cache.events import Item
from control_plane.apiserver.resources import Served


@dataclass(frozen=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class PatchType(Enum):
    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class ListOptions:
    """meta/v1 ListOptions as sent; `list_options.py` says what they mean together."""

    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_: str = ""
    timeout_s: float | None = None
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None


@dataclass(frozen=True)
class WriteOptions:
    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = ""
    """Ignore, Warn, Strict; empty is Warn."""
    force: bool | None = None
    unknown_dry_run: tuple[str, ...] = ()
    """Values of dryRun that mean nothing, for the refusal."""


@dataclass
class Request:
    user: User
    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection."""
    served: Served
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    body: bytes = b""
    content_type: str = "application/json"
    patch_type: PatchType | None = None
    options: ListOptions = field(default_factory=ListOptions)
    write: WriteOptions = field(default_factory=WriteOptions)
    delete_options: JsonObject | None = None
    """DeleteOptions from the query; the body's are merged over them."""
    user_agent: str = ""
    warnings: list[str] = field(default_factory=list)
    """What the answer is to warn of; `Warning` headers on REST."""

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


@dataclass(frozen=True)
class Answer:
    """One object; `raw` is its JSON, `code` the HTTP code."""

    obj: JsonObject
    raw: bytes
    code: int = 200


@dataclass(frozen=True)
class ListAnswer:
    served: Served
    entries: Sequence[Entry]
    resource_version: str
    continue_: str = ""
    remaining: int | None = None


@dataclass(frozen=True)
class WatchAnswer:
    served: Served
    batches: AsyncIterator[Sequence[WatchItem]]


@dataclass(frozen=True)
class WatchItem:
    """An event of a watch: an `Item` of the cache, or a bookmark or error with its own object."""

    item: Item | None = None
    bookmark: JsonObject | None = None
    error: JsonObject | None = None
