"""What an authoriser judges: a user, a verb, and a resource or a path; and how it follows from a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from argosy.objects import fields
from control_plane.apiserver.request import Request, User


@dataclass(frozen=True)
class Action:
    user: User
    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    """Set for what is no resource."""
    field_selector: str = ""
    """Of a list or watch that was read from a request."""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True)
class Decision:
    allowed: bool
    reason: str = ""


NO_OPINION = Decision(False)


class Authorizer(Protocol):
    def decide(self, action: Action) -> Decision:
        """Not allowed with an empty reason is no opinion; the next one is asked."""


def action_of(request: Request, verb: str = "") -> Action:
    """What a request asks to be allowed; `verb` where it does something else along the way (a PUT that creates)."""
    served, verb = request.served, verb or request.verb
    namespace, name = request.namespace, request.name
    if served.kind.kind == "Namespace" and not served.group and request.name:
        namespace = request.name
    if verb in ("list", "watch") and not name:
        name = pinned(request.options.field_selector, "metadata.name")
    fields_text = request.options.field_selector if verb in ("list", "watch") else ""
    return Action(
        request.user,
        verb,
        served.group,
        served.plural,
        request.subresource,
        namespace,
        name,
        field_selector=fields_text,
    )


def pinned(field_selector: str, field: str) -> str:
    """The one value that a selector allows a field; empty without one.

    `metadata.name=x` names an object: a rule with resourceNames may allow it (`request.NewRequestInfo`).
    """
    try:
        return fields.parse(field_selector).exact(field) or ""
    except fields.FieldSelectorError:
        return ""
