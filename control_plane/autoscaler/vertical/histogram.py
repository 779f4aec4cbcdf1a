"""A histogram that forgets: each sample weighs half as much as one that is a half-life younger. Pure.

Buckets grow by 5 %, from 0.01 cores to 1,000 and from 10 MB to 1 TB, so that a percentile is at most 5 % too high.
Source: VPA `pkg/recommender/util/decaying_histogram.go` and `model/aggregations_config.go`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_EXPONENT: Final = 100
"""Weights are counted from a reference time; it moves on before they would grow beyond 2^100."""
EPSILON: Final = 1e-9
MAX_CHECKPOINT_WEIGHT: Final = 10_000


@dataclass(frozen=True)
class Buckets:
    first: float
    """Size of the first bucket."""
    largest: float
    ratio: float = 1.05

    @property
    def count(self) -> int:
        return math.ceil(math.log(self.largest * (self.ratio - 1) / self.first + 1, self.ratio)) + 1

    def start(self, bucket: int) -> float:
        return self.first * (self.ratio**bucket - 1) / (self.ratio - 1)

    def find(self, value: float) -> int:
        if value < self.first:
            return 0
        bucket = int(math.log(value * (self.ratio - 1) / self.first + 1, self.ratio))
        return min(bucket, self.count - 1)


CPU_BUCKETS: Final = Buckets(0.01, 1000.0)
MEMORY_BUCKETS: Final = Buckets(1e7, 1e12)


@dataclass
class DecayingHistogram:
    buckets: Buckets
    half_life_s: float = 86_400.0
    _weights: dict[int, float] = field(default_factory=dict)
    _total: float = 0.0
    _reference_s: float = 0.0

    @property
    def is_empty(self) -> bool:
        return self._total < EPSILON

    def add(self, value: float, weight: float, at_s: float) -> None:
        self._put(self.buckets.find(value), weight * self._growth(at_s))

    def subtract(self, value: float, weight: float, at_s: float) -> None:
        """Take back a sample that was added with the same time."""
        self._put(self.buckets.find(value), -weight * self._growth(at_s))

    def percentile(self, share: float) -> float:
        """The end of the bucket in which `share` of the weight is reached; 0 when there is none."""
        if self.is_empty:
            return 0.0
        sum_, last = 0.0, max(self._weights)
        for bucket in sorted(self._weights):
            sum_ += self._weights[bucket]
            if sum_ >= share * self._total or bucket == last:
                end = bucket + 1
                return self.buckets.start(end if end < self.buckets.count else bucket)
        raise AssertionError("unreachable")

    def checkpoint(self) -> tuple[dict[int, int], float, float]:
        """(weights by bucket in ten-thousandths of the greatest, total weight, reference time)."""
        most = max(self._weights.values(), default=0.0)
        if most <= 0:
            return {}, 0.0, self._reference_s
        shares = {bucket: round(weight / most * MAX_CHECKPOINT_WEIGHT) for bucket, weight in self._weights.items()}
        return (
            {bucket: share for bucket, share in sorted(shares.items()) if share > 0},
            self._total,
            self._reference_s,
        )

    def restore(self, weights: Mapping[int, int], total: float, reference_s: float) -> None:
        """What `checkpoint` gave. Raises ValueError for what cannot be."""
        if total < 0 or any(not 0 <= bucket < self.buckets.count or weight < 0 for bucket, weight in weights.items()):
            raise ValueError("a bucket or weight of the checkpoint is out of range")
        sum_ = sum(weights.values())
        self._weights = (
            {bucket: weight * total / sum_ for bucket, weight in weights.items() if weight} if sum_ else {}
        )
        self._total = total if self._weights else 0.0
        self._reference_s = reference_s

    def _growth(self, at_s: float) -> float:
        if at_s > self._reference_s + self.half_life_s * MAX_EXPONENT or not self._weights:
            self._shift(at_s)
        return float(2.0 ** ((at_s - self._reference_s) / self.half_life_s))

    def _shift(self, at_s: float) -> None:
        """Count weights from another time: a multiple of the half-life, so that equal times give equal weights."""
        new_s = math.floor(at_s / self.half_life_s) * self.half_life_s
        factor = 2.0 ** ((self._reference_s - new_s) / self.half_life_s) if self._weights else 0.0
        self._weights = {
            bucket: weight * factor for bucket, weight in self._weights.items() if weight * factor >= EPSILON
        }
        self._total = sum(self._weights.values())
        self._reference_s = new_s

    def _put(self, bucket: int, weight: float) -> None:
        left = self._weights.get(bucket, 0.0) + weight
        if left < EPSILON:
            self._weights.pop(bucket, None)
        else:
            self._weights[bucket] = left
        self._total = max(0.0, self._total + weight) if self._weights else 0.0
