"""The kinds of faults: one file each, and a line in `ALL`."""

from __future__ import annotations

from typing import Final

from deploy.chaos.fault import FaultError, Kind
from deploy.chaos.kinds.delay import Delay
from deploy.chaos.kinds.fill_disk import FillDisk
from deploy.chaos.kinds.kill import Kill
from deploy.chaos.kinds.loss import Loss
from deploy.chaos.kinds.partition import Partition
from deploy.chaos.kinds.pause import Pause
from deploy.chaos.kinds.rate import Rate
from deploy.chaos.kinds.restart import Restart
from deploy.chaos.kinds.skew_clock import SkewClock
from deploy.chaos.kinds.slow_disk import SlowDisk

ALL: Final[tuple[Kind, ...]] = (
    Kill(),
    Pause(),
    Restart(),
    Partition(),
    Loss(),
    Delay(),
    Rate(),
    FillDisk(),
    SlowDisk(),
    SkewClock(),
)


def kind_of(name: str) -> Kind:
    """Raises FaultError."""
    for kind in ALL:
        if kind.name == name:
            return kind
    raise FaultError(f"there is no fault {name!r}; there are: {', '.join(kind.name for kind in ALL)}")
