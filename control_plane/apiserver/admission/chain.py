"""The order of admission and what a plug-in sees.

Mutating plug-ins may change `obj` in place; validating ones may only refuse. Both raise ApiError. The verbs call
`mutate` before and `validate` after the kind's own strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from argosy.kinds.kind import Kind
from argosy.objects.types import JsonObject
from control_plane.apiserver.request import Request, User


class Operation(Enum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


@dataclass
class Attributes:
    operation: Operation
    request: Request
    obj: JsonObject | None
    """In the stored version; None on delete."""
    old: JsonObject | None

    @property
    def kind(self) -> Kind:
        return self.request.served.kind

    @property
    def user(self) -> User:
        return self.request.user

    @property
    def namespace(self) -> str:
        return self.request.namespace

    @property
    def subresource(self) -> str:
        return self.request.subresource

    def is_for(self, group: str, plural: str, subresource: str = "") -> bool:
        kind = self.kind
        return kind.group == group and kind.plural == plural and self.subresource == subresource


class Plugin:
    """One admission rule; what it does not override it lets pass."""

    name = ""

    async def mutate(self, attributes: Attributes) -> None:
        """Change `attributes.obj` in place, or raise ApiError."""

    async def validate(self, attributes: Attributes) -> None:
        """Raise ApiError to refuse."""


class Chain:
    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = tuple(plugins)

    async def mutate(self, attributes: Attributes) -> None:
        for plugin in self.plugins:
            await plugin.mutate(attributes)

    async def validate(self, attributes: Attributes) -> None:
        for plugin in self.plugins:
            await plugin.validate(attributes)
