"""A member's link has a lower rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from deploy.chaos import links
from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import Site
from deploy.lan import cable

LEAST_BITS_PER_S: Final = 8_000


class Rate:
    """Settings: `bits_per_s`, in each direction; `one_way`: only what the targets send."""

    name = links.RATE

    def check(self, site: Site, fault: Fault) -> Fault:
        bits_per_s = int(fault.settings["bits_per_s"])
        if bits_per_s < LEAST_BITS_PER_S:
            raise FaultError(f"a rate of {bits_per_s} bit/s: {LEAST_BITS_PER_S} at least")
        members = list(dict.fromkeys(site.member(name) for name in fault.targets))
        if not members:
            raise FaultError("whose link is to be narrow?")
        one_way = bool(fault.settings.get("one_way"))
        return replace(fault, settings={"bits_per_s": bits_per_s, "members": members, "one_way": one_way})

    def lasts(self, fault: Fault) -> bool:
        return True

    def describe(self, fault: Fault) -> str:
        which = "out" if fault.settings["one_way"] else "each way"
        return f"{words(fault.settings['members'])} at {fault.settings['bits_per_s'] / 1000:g} kbit/s {which}"

    def steps(self, site: Site, fault: Fault) -> list[str]:
        way = links.Way(bits_per_s=fault.settings["bits_per_s"])
        how = " ".join(links.qdisc(way, netem=links.has_netem(site.layout.namespace("lan"))))
        return [f"{how} on the cable {cable(member)}" for member in fault.settings["members"]]

    def apply(self, site: Site, fault: Fault) -> None:
        links.sync(site, fault.settings["members"])

    def heal(self, site: Site, fault: Fault) -> None:
        links.sync(site, fault.settings["members"])
