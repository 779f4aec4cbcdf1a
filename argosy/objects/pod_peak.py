"""How much a pod needs at its peak, in whatever numbers the caller counts.

Rules: k8s.io/component-helpers `resource` (helpers.go), sidecars by KEP-753, pod-level resources by KEP-2837.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from argosy.objects.types import JsonObject


class Amount(Protocol):
    """int or Quantity."""

    def __add__(self, other: Any, /) -> Any: ...

    def __lt__(self, other: Any, /) -> bool: ...


N = TypeVar("N", bound=Amount)


def pod_peak(
    pod: JsonObject,
    side: str,
    read: Callable[[Mapping[str, object]], dict[str, N]],
    of_container: Callable[[JsonObject], dict[str, N]] | None = None,
) -> dict[str, N]:
    """The `requests` or `limits` (`side`) of a pod: its containers together, or an init container with its sidecars.

    What the pod says for itself stands instead; overhead comes on top, of limits only where there is one.
    `read` turns a list of resources into numbers; `of_container`, if given, says what a container counts for.
    """
    spec = pod.get("spec") or {}

    def listed(holder: JsonObject) -> dict[str, N]:
        return read((holder.get("resources") or {}).get(side) or {})

    of = of_container or listed
    total: dict[str, N] = {}
    for container in spec.get("containers") or ():
        _add(total, of(container))
    # Init containers run one after the other, each beside the sidecars that were started before it.
    sidecars: dict[str, N] = {}
    peak: dict[str, N] = {}
    for container in spec.get("initContainers") or ():
        own = of(container)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        raise_to(peak, own)
    raise_to(total, peak)
    if spec.get("resources"):
        total.update(listed(spec))
    if spec.get("overhead"):
        overhead = read(spec["overhead"])
        _add(total, {name: value for name, value in overhead.items() if side == "requests" or name in total})
    return total


def raise_to(total: dict[str, N], other: Mapping[str, N]) -> None:
    """The greater of both, name by name."""
    for name, value in other.items():
        if name not in total or total[name] < value:
            total[name] = value


def _add(total: dict[str, N], other: Mapping[str, N]) -> None:
    for name, value in other.items():
        total[name] = total[name] + value if name in total else value
