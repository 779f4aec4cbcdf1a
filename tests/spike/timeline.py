"""What happened when: samples of a run, the steps in them, and their picture as text and as SVG. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 72
SVG_WIDTH, SVG_HEIGHT, MARGIN = 900, 130, 60
COLOURS = ("#3366cc", "#cc3333", "#339944", "#996600", "#663399")


@dataclass(frozen=True)
class Sample:
    """One second of the run."""

    at_s: float
    rate: float
    """Answers per second."""
    failed: int
    p50_ms: float
    p99_ms: float
    wanted: int
    """Replicas asked for."""
    ready: int
    pending: int
    nodes: int
    """Ready nodes."""
    answering: int
    """Pods that answered in this second."""


@dataclass
class Timeline:
    samples: list[Sample] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    """What failed requests ended with, and how often it was seen (two a second at most)."""
    load_from_s: float = 0.0
    load_to_s: float = 0.0

    def steps(self) -> list[tuple[str, float | None]]:
        """(what, seconds after the load began, or ended for the last ones); None for what did not happen."""
        first = self.samples[0]
        during = [item for item in self.samples if self.load_from_s <= item.at_s <= self.load_to_s]
        after = [item for item in self.samples if item.at_s > self.load_to_s]
        most = max((item.wanted for item in during), default=0)

        def since(items: Sequence[Sample], start_s: float, test: Callable[[Sample], bool]) -> float | None:
            return next((item.at_s - start_s for item in items if test(item)), None)

        up, down = self.load_from_s, self.load_to_s
        return [
            ("more pods are asked for", since(during, up, lambda item: item.wanted > first.wanted)),
            ("a pod finds no room", since(during, up, lambda item: item.pending > 0)),
            ("a further node is Ready", since(during, up, lambda item: item.nodes > first.nodes)),
            ("all pods asked for are Ready", since(during, up, lambda item: item.ready >= most > first.wanted)),
            ("all of them answer", since(during, up, lambda item: item.answering >= most > first.wanted)),
            ("after the load: fewer pods", since(after, down, lambda item: item.wanted < most)),
            ("after the load: as few as before", since(after, down, lambda item: item.ready <= first.ready)),
            ("after the load: as few nodes as before", since(after, down, lambda item: item.nodes <= first.nodes)),
        ]

    def failures(self) -> int:
        return sum(item.failed for item in self.samples)


SERIES: tuple[tuple[str, Callable[[Sample], float]], ...] = (
    ("answers/s", lambda item: item.rate),
    ("p99 ms", lambda item: item.p99_ms),
    ("pods ready", lambda item: item.ready),
    ("pods waiting", lambda item: item.pending),
    ("nodes", lambda item: item.nodes),
)


def text(timeline: Timeline) -> str:
    """A line of bars for each series, and the steps with their times."""
    lines = []
    for name, value in SERIES:
        values = _resampled([value(item) for item in timeline.samples], WIDTH)
        most = max(values, default=0.0)
        bars = "".join(BARS[round(each / most * (len(BARS) - 1)) if most else 0] for each in values)
        lines.append(f"{name:>13} {bars} max {most:.0f}")
    lines.append("")
    for what, at_s in timeline.steps():
        lines.append(f"{'-' if at_s is None else f'{at_s:.0f} s':>13} {what}")
    lines.append(f"{timeline.failures():>13} requests failed")
    lines += [f"{count:>13} {error}" for error, count in sorted(timeline.errors.items())]
    return "\n".join(lines)


def _resampled(values: Sequence[float], width: int) -> list[float]:
    """The greatest of each part, in `width` parts at most."""
    if len(values) <= width:
        return list(values)
    bounds = [index * len(values) // width for index in range(width + 1)]
    return [max(values[start:end]) for start, end in itertools.pairwise(bounds)]


def svg(timeline: Timeline, title: str) -> str:
    """A panel for each series over one time axis; the load is shaded, steps are lines."""
    end = max(timeline.samples[-1].at_s, 1.0)
    height = SVG_HEIGHT * len(SERIES) + 60

    def x(at_s: float) -> float:
        return MARGIN + (SVG_WIDTH - MARGIN - 10) * at_s / end

    begin = x(timeline.load_from_s)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SVG_WIDTH}" height="{height}" font-family="sans-serif">',
        f'<text x="{MARGIN}" y="20" font-size="15">{escape(title)}</text>',
        f'<rect x="{begin:.1f}" y="30" width="{x(timeline.load_to_s) - begin:.1f}" '
        f'height="{SVG_HEIGHT * len(SERIES)}" fill="#f2f2f2"/>',
    ]
    for number, (name, value) in enumerate(SERIES):
        top = 30 + number * SVG_HEIGHT
        values = [value(item) for item in timeline.samples]
        most = max([*values, 1e-9])
        points = " ".join(
            f"{x(item.at_s):.1f},{top + SVG_HEIGHT - 15 - (SVG_HEIGHT - 35) * each / most:.1f}"
            for item, each in zip(timeline.samples, values, strict=True)
        )
        parts.append(f'<text x="5" y="{top + 28}" font-size="11">{name}</text>')
        parts.append(f'<text x="5" y="{top + 42}" font-size="10" fill="#666">max {most:.0f}</text>')
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    bottom = 30 + SVG_HEIGHT * len(SERIES)
    for tick in range(0, int(end) + 1, max(10, int(end) // 100 * 10)):
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 14}" font-size="10">{tick} s</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
