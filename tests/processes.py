"""What the kernel says of a process."""

from __future__ import annotations

from pathlib import Path


def state(pid: int) -> str:
    """`S` while it waits, `T` when it is stopped where it is…; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
