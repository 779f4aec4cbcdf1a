"""Which faults are in force: a file per fault in the cluster's run folder, written before anything is broken."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace

from deploy import locks
from deploy.chaos.fault import Fault, FaultError
from deploy.layout import Layout


@contextlib.contextmanager
def held(layout: Layout) -> Iterator[None]:
    """One at a time changes what is in force. Raises FaultError when there is no cluster."""
    if not os.path.isdir(layout.run):
        raise FaultError(f"cluster {layout.name!r} has nothing that runs")
    os.makedirs(layout.chaos, mode=0o700, exist_ok=True)
    with locks.held(f"{layout.run}/chaos.lock"):
        yield


def faults(layout: Layout) -> list[Fault]:
    """All that are written down, oldest first, also those that are being healed. Raises FaultError."""
    result = []
    for path in _files(layout):
        try:
            with open(path, encoding="utf-8") as file:
                result.append(Fault.from_json(json.load(file)))
        except FileNotFoundError:
            continue
        except (ValueError, TypeError, KeyError) as error:
            raise FaultError(f"{path} cannot be read: {error}") from None
    return result


def in_force(layout: Layout) -> list[Fault]:
    return [fault for fault in faults(layout) if not fault.healing]


def add(layout: Layout, fault: Fault) -> Fault:
    """Write a new one down; gives it with its id."""
    taken = [int(os.path.basename(path).partition(".")[0]) for path in _files(layout)]
    fault = replace(fault, id=str(max(taken, default=0) + 1))
    put(layout, fault)
    return fault


def put(layout: Layout, fault: Fault) -> None:
    path = _path(layout, fault.id)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(fault.as_json(), file)
    os.rename(path + ".new", path)


def remove(layout: Layout, fault: Fault) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(layout, fault.id))


def _path(layout: Layout, id_: str) -> str:
    return f"{layout.chaos}/{id_}.fault"


def _files(layout: Layout) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        names = [name for name in os.listdir(layout.chaos) if name.endswith(".fault")]
        return [f"{layout.chaos}/{name}" for name in sorted(names, key=lambda name: int(name.partition(".")[0]))]
    return []
