"""What containers of one name, in the pods of one autoscaler, have used so far. Pure.

CPU: every measurement counts, as much as the container requested. Memory: the peak of each day counts once.
Source: VPA `pkg/recommender/model/{container,aggregate_container_state}.go`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from control_plane.autoscaler.vertical.histogram import CPU_BUCKETS, MEMORY_BUCKETS, DecayingHistogram

MIN_SAMPLE_WEIGHT: Final = 0.1
MEMORY_INTERVAL_S: Final = 86_400.0
OOM_BUMP_BYTES: Final = 100 << 20
OOM_BUMP_RATIO: Final = 1.2
SAMPLES_PER_DAY: Final = 24 * 60
"""What a measurement a minute gives: the measure of confidence."""


@dataclass
class Aggregate:
    """All containers of one name together."""

    cpu: DecayingHistogram = field(default_factory=lambda: DecayingHistogram(CPU_BUCKETS))
    memory: DecayingHistogram = field(default_factory=lambda: DecayingHistogram(MEMORY_BUCKETS))
    first_s: float = 0.0
    """Of the first and last CPU sample."""
    last_s: float = 0.0
    samples: int = 0

    @property
    def is_empty(self) -> bool:
        return self.samples == 0

    @property
    def confidence(self) -> float:
        """In days of measurements, one a minute."""
        return min((self.last_s - self.first_s) / 86_400, self.samples / SAMPLES_PER_DAY)

    def add_cpu(self, cores: float, requested_cores: float, at_s: float) -> None:
        self.cpu.add(cores, max(requested_cores, MIN_SAMPLE_WEIGHT), at_s)
        self.first_s = min(self.first_s or at_s, at_s)
        self.last_s = max(self.last_s, at_s)
        self.samples += 1


@dataclass
class Container:
    """One container of one pod: what was counted of it already."""

    cpu_at_s: float = 0.0
    window_end_s: float = 0.0
    """When the interval of the present memory peak ends."""
    peak_bytes: float = 0.0
    oom_bytes: float = 0.0

    def add_cpu(self, to: Aggregate, cores: float, requested_cores: float, at_s: float) -> bool:
        """False for a measurement that is no newer than the last, or makes no sense."""
        if at_s <= self.cpu_at_s or not 0 <= cores < math.inf:
            return False
        self.cpu_at_s = at_s
        to.add_cpu(cores, requested_cores, at_s)
        return True

    def add_memory(self, to: Aggregate, used_bytes: float, at_s: float, *, oom: bool = False) -> bool:
        if not 0 <= used_bytes < math.inf:
            return False
        if not self.window_end_s:
            self.window_end_s = at_s
        if at_s < self.window_end_s:
            if at_s < self.window_end_s - MEMORY_INTERVAL_S:
                return False
            before = max(self.peak_bytes, self.oom_bytes)
            if used_bytes <= before:
                return True
            if before:
                to.memory.subtract(before, 1.0, self.window_end_s)
        else:
            intervals = math.floor((at_s - self.window_end_s) / MEMORY_INTERVAL_S) + 1
            self.window_end_s += intervals * MEMORY_INTERVAL_S
            self.peak_bytes = self.oom_bytes = 0.0
        to.memory.add(used_bytes, 1.0, self.window_end_s)
        if oom:
            self.oom_bytes = used_bytes
        else:
            self.peak_bytes = used_bytes
        return True

    def ran_out(self, to: Aggregate, requested_bytes: float, at_s: float) -> bool:
        """It was killed for want of memory: it needs more than it had or asked for."""
        used = max(requested_bytes, self.peak_bytes)
        return self.add_memory(to, max(used + OOM_BUMP_BYTES, used * OOM_BUMP_RATIO), at_s, oom=True)
