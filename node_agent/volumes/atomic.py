"""Writes a volume's files so that readers see all of an update or nothing of it.

    VOLUME/..2026_11_24_00_10_22.1   the files
    VOLUME/..data                    link to that folder; an update renames a new link over it
    VOLUME/KEY                       link to ..data/KEY, one per top-level name

Upstream's layout (pkg/volume/util/atomic_writer.go): programs watch ..data.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from argosy.host import rfc3339
from node_agent.volumes.source import Entry, Payload

DATA = "..data"
_NEW_DATA = "..data_tmp"


def is_written(volume: str) -> bool:
    """Whether the volume has contents, by this agent or one before it."""
    return os.path.islink(os.path.join(volume, DATA))


def read(volume: str) -> dict[str, Entry]:
    """What is in the volume now."""
    try:
        current = os.path.join(volume, os.readlink(os.path.join(volume, DATA)))
    except OSError:
        return {}
    found: dict[str, Entry] = {}
    for folder, _, names in os.walk(current):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                found[os.path.relpath(path, current)] = Entry(
                    file.read(), status.st_mode & 0o7777, status.st_uid if status.st_uid != os.geteuid() else 0
                )
    return found


def write(volume: str, payload: Payload, group: int | None, now: float) -> bool:
    """Make the volume hold exactly `payload`; whether anything changed. Raises OSError."""
    wanted = {path: _owned(entry, group) for path, entry in payload.items()}
    if is_written(volume) and read(volume) == wanted:
        return False
    os.makedirs(volume, mode=0o777, exist_ok=True)
    stamp = ".." + rfc3339(now).replace("-", "_").replace("T", "_").replace(":", "_").rstrip("Z")
    number = 1
    while os.path.lexists(os.path.join(volume, f"{stamp}.{number}")):
        number += 1
    name = f"{stamp}.{number}"
    fresh = os.path.join(volume, name)
    os.mkdir(fresh)
    _own_folder(fresh, group)
    for path, entry in wanted.items():
        _write_file(fresh, path, entry, group)
    old = _link_target(os.path.join(volume, DATA))
    temporary = os.path.join(volume, _NEW_DATA)
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(name, temporary)
    os.rename(temporary, os.path.join(volume, DATA))
    _link_names(volume, dict.fromkeys(path.split("/")[0] for path in wanted))
    if old and old != name:
        shutil.rmtree(os.path.join(volume, old), ignore_errors=True)
    return True


def _owned(entry: Entry, group: int | None) -> Entry:
    return entry if group is None else replace(entry, mode=entry.mode | 0o440)


def _own_folder(path: str, group: int | None) -> None:
    os.chmod(path, 0o755 if group is None else 0o2775)  # readable by the containers' users
    if group is not None:
        os.chown(path, -1, group)
        os.chmod(path, 0o2775)  # noqa: S103


def _write_file(base: str, path: str, entry: Entry, group: int | None) -> None:
    folder = base
    for part in path.split("/")[:-1]:
        folder = os.path.join(folder, part)
        if not os.path.isdir(folder):
            os.mkdir(folder)
            _own_folder(folder, group)
    with open(os.path.join(base, path), "wb") as file:
        file.write(entry.content)
        if group is not None or entry.user:
            os.fchown(file.fileno(), entry.user, -1 if group is None else group)
        os.fchmod(file.fileno(), entry.mode)


def _link_target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _link_names(volume: str, names: dict[str, None]) -> None:
    for name in os.listdir(volume):
        path = os.path.join(volume, name)
        if not name.startswith("..") and name not in names and os.path.islink(path):
            os.unlink(path)
    for name in names:
        path = os.path.join(volume, name)
        if not os.path.islink(path):
            os.symlink(os.path.join(DATA, name), path)
