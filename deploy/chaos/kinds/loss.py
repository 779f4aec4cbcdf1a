"""Some of the frames of a member's link are lost, all or those from and to some others."""

from __future__ import annotations

from dataclasses import replace

from deploy.chaos import links
from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import Site


class Loss:
    """Settings: `percent`; `others`, components (none: all); `one_way`: only what the targets send."""

    name = links.LOSS

    def check(self, site: Site, fault: Fault) -> Fault:
        percent = float(fault.settings["percent"])
        if not 0 < percent <= 100:
            raise FaultError(f"a loss of {percent:g} %: between 0 and 100")
        members = list(dict.fromkeys(site.member(name) for name in fault.targets))
        others = list(dict.fromkeys(site.member(name) for name in fault.settings.get("others") or ()))
        if not members:
            raise FaultError("whose link is to lose something?")
        if set(members) & set(others):
            raise FaultError(f"{words(sorted(set(members) & set(others)))} is on both sides")
        one_way = bool(fault.settings.get("one_way"))
        settings = {"percent": percent, "members": members, "others": others, "one_way": one_way}
        return replace(fault, settings=settings)

    def lasts(self, fault: Fault) -> bool:
        return True

    def describe(self, fault: Fault) -> str:
        what = "of what is sent by" if fault.settings["one_way"] else "lost at"
        others = f" with {words(fault.settings['others'])}" if fault.settings["others"] else ""
        return f"{fault.settings['percent']:g} % {what} {words(fault.settings['members'])}{others}"

    def steps(self, site: Site, fault: Fault) -> list[str]:
        losses = links.wires_of([fault]).losses
        return [
            f"drop {item.percent:g} % of what {item.source or 'anyone'} sends to {item.target or 'anyone'}"
            for item in losses
        ]

    def apply(self, site: Site, fault: Fault) -> None:
        links.sync(site, ())

    def heal(self, site: Site, fault: Fault) -> None:
        links.sync(site, ())
