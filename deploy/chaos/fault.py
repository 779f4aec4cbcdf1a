"""A fault, as data; and what every kind of fault can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from deploy.chaos.site import Site


class FaultError(Exception):
    """A fault that cannot be injected or healed; the message says why."""


@dataclass(frozen=True)
class Fault:
    """One fault, to be injected or in force."""

    kind: str
    targets: tuple[str, ...] = ()
    """Components or members, as the user named them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of its kind; JSON."""
    id: str = ""
    begun_s: float = 0.0
    """Unix seconds."""
    until_s: float = 0.0
    """Heals itself then, in seconds of the machine's monotonic clock; 0: when somebody heals it."""
    healing: bool = False
    """It is being healed: not in force any more, but not yet known to be undone."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(read: Mapping[str, Any]) -> Fault:
        """Raises TypeError, KeyError."""
        return Fault(**{**read, "targets": tuple(read["targets"])})


class Kind(Protocol):
    """One kind of fault. Everything raises FaultError, CommandError, OSError."""

    name: str

    def check(self, site: Site, fault: Fault) -> Fault:
        """The fault with all that is to be remembered of it; refuses what cannot be. Changes nothing."""

    def lasts(self, fault: Fault) -> bool:
        """Whether there is anything to heal later."""

    def describe(self, fault: Fault) -> str:
        """What is broken, in a few words."""

    def steps(self, site: Site, fault: Fault) -> list[str]:
        """What `apply` would do, for a dry run."""

    def apply(self, site: Site, fault: Fault) -> None:
        """Break it; it is in the journal already."""

    def heal(self, site: Site, fault: Fault) -> None:
        """Undo it, as far as it was done; no harm when called again."""


def words(names: Sequence[str]) -> str:
    return ", ".join(names)
