"""What a bench prints: tables with a title, and the facts of the machine they were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

Cell = str | int | float | None


@dataclass
class Table:
    """One subject's figures; `columns` carry the units."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        self.rows.append(cells)

    def text(self) -> str:
        """Numbers flush right, the rest flush left."""
        lines = [[str(name) for name in self.columns], *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.columns))]
        right = [
            any(isinstance(row[at], int | float) for row in self.rows) or bool(at and not self.rows)
            for at in range(len(self.columns))
        ]
        shown = [
            "  ".join(
                cell.rjust(width) if flush else cell.ljust(width)
                for cell, width, flush in zip(line, widths, right, strict=True)
            ).rstrip()
            for line in lines
        ]
        rule = "-" * min(110, sum(widths) + 2 * len(widths))
        return "\n".join([self.title, rule, *shown, *(f"  {note}" for note in self.notes), ""])

    def as_json(self) -> dict[str, object]:
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": self.notes}


def ratio(ours: float, theirs: float) -> float | None:
    return ours / theirs if theirs else None


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def version(*command: str) -> str:
    """The first line that a program says of itself; empty where it is not installed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def machine() -> dict[str, Cell]:
    """What the figures depend on."""
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "cores": os.cpu_count() or 0,
        "processor": model,
        "memory GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "etcd": version("etcd", "--version"),
        "containerd": version("containerd", "--version"),
        "load before (1 min)": round(os.getloadavg()[0], 2),
    }
