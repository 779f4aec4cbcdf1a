"""What a member sends and gets takes longer, give or take some jitter."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from deploy.chaos import links
from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import Site
from deploy.lan import cable

MOST_MS: Final = 60_000.0


class Delay:
    """Settings: `delay_ms`, in each direction; `jitter_ms`; `one_way`: only what the targets send."""

    name = links.DELAY

    def check(self, site: Site, fault: Fault) -> Fault:
        delay_ms, jitter_ms = float(fault.settings["delay_ms"]), float(fault.settings.get("jitter_ms") or 0)
        if not 0 < delay_ms <= MOST_MS:
            raise FaultError(f"a delay of {delay_ms:g} ms: more than 0 and up to {MOST_MS:g}")
        if not 0 <= jitter_ms <= delay_ms:
            raise FaultError(f"a jitter of {jitter_ms:g} ms: up to the delay, {delay_ms:g} ms")
        members = list(dict.fromkeys(site.member(name) for name in fault.targets))
        if not members:
            raise FaultError("whose link is to be slow?")
        one_way = bool(fault.settings.get("one_way"))
        settings = {"delay_ms": delay_ms, "jitter_ms": jitter_ms, "members": members, "one_way": one_way}
        return replace(fault, settings=settings)

    def lasts(self, fault: Fault) -> bool:
        return True

    def describe(self, fault: Fault) -> str:
        jitter_ms = fault.settings["jitter_ms"]
        jitter = f" ± {jitter_ms:g} ms" if jitter_ms else ""
        which = "out" if fault.settings["one_way"] else "each way"
        return f"{words(fault.settings['members'])} delayed by {fault.settings['delay_ms']:g} ms{jitter} {which}"

    def steps(self, site: Site, fault: Fault) -> list[str]:
        lan = site.layout.namespace("lan")
        how = "netem on both ends of" if links.has_netem(lan) else "a relay (this kernel has no netem) on"
        return [f"{how} the cable {cable(member)}" for member in fault.settings["members"]]

    def apply(self, site: Site, fault: Fault) -> None:
        links.sync(site, fault.settings["members"])

    def heal(self, site: Site, fault: Fault) -> None:
        links.sync(site, fault.settings["members"])
