"""The wall clock of one process, or of a node's processes, is wrong by some seconds.

At the process's Clock seam, from one moment to the next and over its restarts. It is what the process stamps and
compares: leases, heartbeats, tokens, certificates that it issues or renews, events, schedules. OpenSSL asks the
machine itself whether a certificate is valid yet, and timers go on at their pace.
"""

from __future__ import annotations

from dataclasses import replace

from deploy.chaos import controls
from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import Site


class SkewClock:
    """Settings: `skew_s`, negative for a clock that is slow."""

    name = controls.SKEW_CLOCK

    def check(self, site: Site, fault: Fault) -> Fault:
        skew_s = float(fault.settings["skew_s"])
        if not 0 < abs(skew_s) <= 100 * 365 * 86400:
            raise FaultError(f"a skew of {skew_s:g} s is none, or of more than a century")
        names = controls.controlled(site, fault.targets)
        if not names:
            raise FaultError("whose clock is to be wrong?")
        return replace(fault, settings={"skew_s": skew_s, "controlled": names})

    def lasts(self, fault: Fault) -> bool:
        return True

    def describe(self, fault: Fault) -> str:
        return f"{words(fault.settings['controlled'])}: the clock is off by {fault.settings['skew_s']:+g} s"

    def steps(self, site: Site, fault: Fault) -> list[str]:
        return [f"write {site.layout.controls(name)}.ctl" for name in fault.settings["controlled"]]

    def apply(self, site: Site, fault: Fault) -> None:
        controls.sync(site, fault.settings["controlled"])

    def heal(self, site: Site, fault: Fault) -> None:
        controls.sync(site, fault.settings["controlled"])
