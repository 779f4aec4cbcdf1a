"""Brings the links of a LAN to what the faults in force say: rules, rates and delays, in the LAN's namespace.

Called when a fault of a link begins or ends, and by the supervisor when a member is plugged in anew. It always makes
the whole of what is to be, so it is no harm to call it again; the host's own network is never touched.

Loss and cuts are nftables rules (`rules`). Delay is netem where the kernel has it, else a process that holds frames
back (`relay`); a rate is netem's or tbf's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from deploy import netns
from deploy.chaos import journal, relaying, rules
from deploy.chaos.fault import Fault, FaultError
from deploy.chaos.rules import Loss, Wires
from deploy.chaos.site import Site
from deploy.cluster import ClusterConfig
from deploy.lan import cable
from deploy.layout import Layout

PARTITION, LOSS, DELAY, RATE = "partition", "loss", "delay", "rate"
KINDS: Final = (PARTITION, LOSS, DELAY, RATE)
TBF_LATENCY_MS: Final = 400
LEAST_BURST_BYTES: Final = 64 << 10
"""A tbf never lets a larger packet pass, and a veth has some of 64 KiB."""


@dataclass(frozen=True)
class Way:
    """One direction of a member's link."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    bits_per_s: int = 0
    """0: as it is."""


@dataclass(frozen=True)
class Shape:
    """A member's link: what comes from the member, and what goes to it."""

    out: Way = field(default_factory=Way)
    into: Way = field(default_factory=Way)


def wires_of(faults: Iterable[Fault]) -> Wires:
    """What is cut and lost; the names in `settings` are members. Pure."""
    cuts: set[tuple[str, str]] = set()
    losses: list[Loss] = []
    for fault in faults:
        one_way = bool(fault.settings.get("one_way"))
        if fault.kind == PARTITION:
            groups: list[list[str]] = fault.settings["groups"]
            for number, left in enumerate(groups):
                for right in groups[number + 1 :]:
                    cuts |= {(one, two) for one in left for two in right}
                    cuts |= set() if one_way else {(two, one) for one in left for two in right}
        elif fault.kind == LOSS:
            for member in fault.settings["members"]:
                for other in fault.settings["others"] or [""]:
                    losses.append(Loss(member, other, fault.settings["percent"]))
                    if not one_way:
                        losses.append(Loss(other, member, fault.settings["percent"]))
    return Wires(frozenset(cuts), tuple(losses))


def shapes_of(faults: Iterable[Fault]) -> dict[str, Shape]:
    """How slow links are: delays add up, the lowest rate counts. Pure."""
    result: dict[str, Shape] = {}
    for fault in faults:
        if fault.kind not in (DELAY, RATE):
            continue
        for member in fault.settings["members"]:
            found = result.get(member, Shape())
            into = found.into if fault.settings.get("one_way") else _slower(found.into, fault)
            result[member] = Shape(_slower(found.out, fault), into)
    return result


def _slower(way: Way, fault: Fault) -> Way:
    if fault.kind == DELAY:
        return replace(
            way,
            delay_ms=way.delay_ms + fault.settings["delay_ms"],
            jitter_ms=way.jitter_ms + fault.settings["jitter_ms"],
        )
    rates = [rate for rate in (way.bits_per_s, fault.settings["bits_per_s"]) if rate]
    return replace(way, bits_per_s=min(rates))


def reassert(layout: Layout, config: ClusterConfig) -> None:
    """The supervisor plugged members in anew. Raises CommandError, OSError, FaultError."""
    if config.is_on_lan and any(fault.kind in KINDS for fault in journal.in_force(layout)):
        with journal.held(layout):
            sync(Site.of(layout, config), ())


def sync(site: Site, changed: Iterable[str]) -> None:
    """Make it so; `changed` are members whose link was slow and may not be any more.

    Raises CommandError, OSError, FaultError.
    """
    lan = site.layout.namespace("lan")
    if lan not in netns.names():
        return
    faults = [fault for fault in journal.in_force(site.layout) if fault.kind in KINDS]
    shapes = shapes_of(faults)
    members = site.members()
    here = devices(lan)
    away: dict[str, str] = {}
    for member in members:
        concerned = cable(member) in here and (member in shapes or member in changed)
        if concerned and _shape(site, member, shapes.get(member, Shape())):
            away[member] = cable(member)
    here = devices(lan)
    ports = {}
    for member in members:
        for device in (relaying.port(member), cable(member)):
            if device in here and member not in ports:
                ports[member] = device
    numbers = {member: number for number, member in enumerate(members, start=1)}
    text = rules.script(ports, numbers, replace(wires_of(faults), away=away))
    try:
        netns.tool(["nsenter", f"--net={site.layout.namespace_path('lan')}", "--", "nft", "-f", "-"], stdin=text)
    except netns.CommandError as error:
        raise FaultError(f"rules on links need nftables' egress hook (Linux 5.16): {error}") from None


def devices(namespace: str) -> set[str]:
    """Names of the links in a namespace. Raises CommandError."""
    read: list[dict[str, Any]] = json.loads(netns.tool(["ip", "-n", namespace, "-j", "link", "show"]))
    return {str(item["ifname"]) for item in read}


def has_netem(namespace: str) -> bool:
    """Whether this kernel delays packets itself."""
    probe = ["tc", "-n", namespace, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    try:
        netns.tool(probe)
    except netns.CommandError:
        return False
    netns.tool(["tc", "-n", namespace, "qdisc", "del", "dev", "lo", "root"])
    return True


def _shape(site: Site, member: str, shape: Shape) -> bool:
    """Gives whether a relay has the member's cable now."""
    lan, own = site.layout.namespace("lan"), site.layout.namespace(member)
    netem = has_netem(lan)
    for namespace, device, way in ((lan, cable(member), shape.into), (own, "eth0", shape.out)):
        with contextlib.suppress(netns.CommandError):
            netns.tool(["tc", "-n", namespace, "qdisc", "del", "dev", device, "root"])
        discipline = qdisc(way, netem=netem)
        if discipline:
            netns.tool(["tc", "-n", namespace, "qdisc", "add", "dev", device, "root", *discipline])
    delayed = max(shape.into.delay_ms, shape.into.jitter_ms, shape.out.delay_ms, shape.out.jitter_ms) > 0
    if delayed and not netem:
        relaying.ensure(site.layout, member, relay_flags(shape))
        return True
    relaying.end(site.layout, member)
    return False


def qdisc(way: Way, *, netem: bool) -> list[str]:
    """The queueing discipline of a device for one direction; empty: none. Pure."""
    if netem and (way.delay_ms or way.jitter_ms or way.bits_per_s):
        delay = ["delay", f"{way.delay_ms:g}ms", *([f"{way.jitter_ms:g}ms"] if way.jitter_ms else [])]
        rate = ["rate", f"{way.bits_per_s}bit"] if way.bits_per_s else []
        return ["netem", *(delay if way.delay_ms or way.jitter_ms else []), *rate]
    if way.bits_per_s:
        burst = max(LEAST_BURST_BYTES, way.bits_per_s // 8 // 100)
        return ["tbf", "rate", f"{way.bits_per_s}bit", "burst", f"{burst}b", "latency", f"{TBF_LATENCY_MS}ms"]
    return []


def relay_flags(shape: Shape) -> Mapping[str, float]:
    return {
        "out_ms": shape.out.delay_ms,
        "out_jitter_ms": shape.out.jitter_ms,
        "into_ms": shape.into.delay_ms,
        "into_jitter_ms": shape.into.jitter_ms,
    }
