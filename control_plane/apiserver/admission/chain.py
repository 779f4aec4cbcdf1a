"""The order of admission and what a plug-in sees.

Mutating plug-ins may change `obj` in place; validating ones may only refuse. Both raise ApiError. The verbs call
`mutate` before and `validate` after the kind's own strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
class Reinvocation:
    """Whether what changed an object is asked about it once more (webhooks' reinvocationPolicy)."""

    wanted: bool = False
    """A webhook changed the object: everything that mutates runs once more."""
    again: bool = False
    """That second time."""
    eligible: dict[tuple[str, str], None] = field(default_factory=dict)
    """Webhooks that were called and may be called again."""
    due: dict[tuple[str, str], None] = field(default_factory=dict)
    """Those after whose call the object was changed."""
    last_output: JsonObject | None = None


@dataclass
class Attributes:
    operation: Operation
    request: Request
    obj: JsonObject | None
    """In the stored version; None on delete."""
    old: JsonObject | None
    dry_run: bool = False
    reinvocation: Reinvocation = field(default_factory=Reinvocation)

    @property
    def is_dry_run(self) -> bool:
        return self.dry_run or self.request.write.dry_run

    @property
    def kind(self) -> Kind:
        return self.request.served.kind

    @property
    def user(self) -> User:
        return self.request.user

    @property
    def namespace(self) -> str:
        """A Namespace is in itself (apiserver `request.NewRequestInfo`)."""
        if self.kind.kind == "Namespace" and not self.kind.group:
            return self.request.name or str((self.obj or {}).get("metadata", {}).get("name") or "")
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
        """Every plug-in in order; once more when a webhook changed the object. Raises ApiError."""
        for plugin in self.plugins:
            await plugin.mutate(attributes)
        if attributes.reinvocation.wanted:
            attributes.reinvocation.again = True
            for plugin in self.plugins:
                await plugin.mutate(attributes)

    async def validate(self, attributes: Attributes) -> None:
        """Raises ApiError."""
        for plugin in self.plugins:
            await plugin.validate(attributes)

    async def admit(self, attributes: Attributes) -> None:
        """Both, for what is no change of a stored object (bindings, evictions, connections). Raises ApiError."""
        await self.mutate(attributes)
        await self.validate(attributes)
