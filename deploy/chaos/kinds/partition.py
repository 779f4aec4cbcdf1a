"""No frame between members of the LAN: between groups, or between some and all others; one-way too."""

from __future__ import annotations

from dataclasses import replace

from deploy.chaos import links
from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import Site


class Partition:
    """Settings: `groups`, lists of components, none of which reaches another group; with one, it is cut off from
    everything else. `one_way`: only what a group sends to those after it is lost."""

    name = links.PARTITION

    def check(self, site: Site, fault: Fault) -> Fault:
        given: list[list[str]] = [list(group) for group in fault.settings["groups"]]
        groups = [list(dict.fromkeys(site.member(name) for name in group)) for group in given]
        if len(groups) == 1:
            groups.append([member for member in site.members() if member not in groups[0]])
        if not all(groups):
            raise FaultError("a group of a partition is empty")
        seen: dict[str, int] = {}
        for number, group in enumerate(groups):
            for member in group:
                if seen.setdefault(member, number) != number:
                    shared = words(site.in_member(member))
                    raise FaultError(f"{member} cannot be cut off from itself: one link is shared by {shared}")
        settings = {"groups": groups, "one_way": bool(fault.settings.get("one_way"))}
        return replace(fault, targets=tuple(groups[0]), settings=settings)

    def lasts(self, fault: Fault) -> bool:
        return True

    def describe(self, fault: Fault) -> str:
        arrow = " -/-> " if fault.settings["one_way"] else " | "
        return arrow.join(words(group) for group in fault.settings["groups"])

    def steps(self, site: Site, fault: Fault) -> list[str]:
        wires = links.wires_of([fault])
        cuts = [f"drop what {one} sends to {two}" for one, two in sorted(wires.cuts)]
        shared = [
            f"({member} is the link of {words(parts)})"
            for group in fault.settings["groups"]
            for member in group
            if len(parts := site.in_member(member)) > 1
        ]
        return cuts + shared

    def apply(self, site: Site, fault: Fault) -> None:
        links.sync(site, ())

    def heal(self, site: Site, fault: Fault) -> None:
        links.sync(site, ())
