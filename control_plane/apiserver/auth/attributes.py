"""What an authoriser judges: a user, a verb, and a resource or a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from control_plane.apiserver.request import User


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
