"""A timeline as text with lines of bars, and as SVG. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from html import escape

from tests.spike.timeline import Second, State, Timeline

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 72
SVG_WIDTH, SVG_HEIGHT, MARGIN = 900, 130, 60
COLOURS = ("#3366cc", "#cc3333", "#996633", "#339944", "#996600", "#663399")

Points = list[tuple[float, float]]
"""(seconds since the run began, value from then on)"""

OF_LOAD: tuple[tuple[str, Callable[[Second], float]], ...] = (
    ("done/s", lambda item: item.done),
    ("p99 ms", lambda item: item.p99_ms),
    ("queued", lambda item: item.queued),
)
OF_CLUSTER: tuple[tuple[str, Callable[[State], float]], ...] = (
    ("pods ready", lambda item: item.ready),
    ("pods waiting", lambda item: item.waiting),
    ("nodes", lambda item: item.nodes),
)


WHEN = ("before a new pod was Ready", "once all were")
"""How `Timeline.latencies` are told apart."""


def series(timeline: Timeline) -> list[tuple[str, Points]]:
    """What is drawn; the queue's length only where there is a queue."""
    loads = [(name, [(item.at_s, value(item)) for item in timeline.seconds]) for name, value in OF_LOAD]
    states = [(name, [(item.at_s, value(item)) for item in timeline.states]) for name, value in OF_CLUSTER]
    return [item for item in loads if item[0] != "queued" or any(value for _, value in item[1])] + states


def end_s(timeline: Timeline) -> float:
    times = [item.at_s for item in timeline.states[-1:]] + [item.at_s for item in timeline.seconds[-1:]]
    return max([1.0, timeline.load_to_s, *times])


def text(timeline: Timeline) -> str:
    """A line of bars for each series, and the steps with their times."""
    lines, end = [], end_s(timeline)
    for name, points in series(timeline):
        values = _in_parts(points, end, WIDTH)
        most = max(values, default=0.0)
        bars = "".join(BARS[round(each / most * (len(BARS) - 1)) if most else 0] for each in values)
        lines.append(f"{name:>13} {bars} max {most:.0f}")
    lines.append("")
    for step in timeline.steps():
        lines.append(f"{'-' if step.at_s is None else f'{step.at_s:.1f} s':>13} {step.what}")
    if timeline.outcome is not None:
        outcome = timeline.outcome
        lines.append(f"{outcome.failed:>13} of {outcome.sent} failed")
        lines += [f"{'':>13} {error}" for error in outcome.errors]
        lines.append(f"{outcome.p50_ms:>13.0f} ms to the answer for half of them, {outcome.p99_ms:.0f} ms for 99 %")
        for when, latency in zip(WHEN, timeline.latencies(), strict=True):
            if latency is not None:
                lines.append(f"{latency.p50_ms:>13.0f} ms {when}, {latency.p99_ms:.0f} ms for 99 %")
        if outcome.stalled_s >= 1:
            lines.append(
                f"{outcome.stalled_s:>11.1f} s the load itself was not let run: the machine has too much to do"
            )
    return "\n".join(lines)


def _in_parts(points: Points, end: float, count: int) -> list[float]:
    """The greatest value of each part of the time, in `count` parts."""
    result = []
    edges = [end * index / count for index in range(count + 1)]
    for start, stop in itertools.pairwise(edges):
        before = [value for at_s, value in points if at_s <= start][-1:]
        within = [value for at_s, value in points if start < at_s < stop]
        result.append(max([*before, *within], default=0.0))
    return result


def svg(timeline: Timeline, title: str) -> str:
    """A panel for each series over one time axis; the load is shaded."""
    panels, end = series(timeline), end_s(timeline)
    height = SVG_HEIGHT * len(panels) + 60

    def x(at_s: float) -> float:
        return MARGIN + (SVG_WIDTH - MARGIN - 10) * at_s / end

    begin = x(timeline.load_from_s)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SVG_WIDTH}" height="{height}" font-family="sans-serif">',
        f'<text x="{MARGIN}" y="20" font-size="15">{escape(title)}</text>',
        f'<rect x="{begin:.1f}" y="30" width="{x(timeline.load_to_s) - begin:.1f}" '
        f'height="{SVG_HEIGHT * len(panels)}" fill="#f2f2f2"/>',
    ]
    for number, (name, points) in enumerate(panels):
        top = 30 + number * SVG_HEIGHT
        most = max([*(value for _, value in points), 1e-9])
        drawn = " ".join(
            f"{x(at_s):.1f},{top + SVG_HEIGHT - 15 - (SVG_HEIGHT - 35) * value / most:.1f}"
            for at_s, value in _drawn(points, end)
        )
        parts.append(f'<text x="5" y="{top + 28}" font-size="11">{name}</text>')
        parts.append(f'<text x="5" y="{top + 42}" font-size="10" fill="#666">max {most:.0f}</text>')
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    bottom = 30 + SVG_HEIGHT * len(panels)
    for tick in range(0, int(end) + 1, max(10, int(end) // 100 * 10)):
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 14}" font-size="10">{tick} s</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _drawn(points: Sequence[tuple[float, float]], end: float) -> Points:
    """A value holds until the next one."""
    result: Points = []
    for at_s, value in points:
        if result:
            result.append((at_s, result[-1][1]))
        result.append((at_s, value))
    return [*result, (end, result[-1][1])] if result else []
