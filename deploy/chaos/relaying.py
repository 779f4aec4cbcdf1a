"""Starts and ends the processes that delay a member's link where the kernel has no netem (`relay`)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

from deploy import children, cleanup, netns
from deploy.chaos.fault import FaultError
from deploy.lan import BRIDGE, cable
from deploy.layout import Layout

START_S: Final = 15.0
END_S: Final = 5.0


def port(member: str) -> str:
    """The relay's own port of the bridge, in the cable's place."""
    return f"d-{member}" if len(member) <= 13 else "d-" + hashlib.sha256(member.encode()).hexdigest()[:12]


def ensure(layout: Layout, member: str, flags: Mapping[str, float]) -> None:
    """One runs with these flags, and the member's frames go through it. Raises FaultError, CommandError, OSError."""
    lan = layout.namespace("lan")
    wanted = {"flags": dict(flags), "index": _index(lan, cable(member))}
    known = _known(layout, member)
    if known and {key: known[key] for key in wanted} == wanted and _lives(known) and _index(lan, port(member)):
        return
    end(layout, member)
    line = [sys.executable, "-m", "deploy.chaos.relay", "--cable", cable(member), "--port", port(member)]
    for name, value in flags.items():
        line += ["--" + name.replace("_", "-"), f"{value:g}"]
    log = layout.log(f"chaos-delay-{member}")
    running = children.spawn(
        [*line, "--bridge", BRIDGE, "--log-file", log],
        namespace=layout.namespace_path("lan"),
        log=log.removesuffix(".log") + ".err",
        sockets={},
        environment={**children.inherited(("PATH", "PYTHONPATH")), **children.FRUGAL},
    )
    with open(_file(layout, member), "w", encoding="utf-8") as file:
        json.dump({**wanted, "pid": running.pid, "ticks": running.ticks}, file)
    ready = f'"ifname":"{port(member)}"'

    def plugged() -> bool:
        shown = netns.tool(["ip", "-n", lan, "-j", "link", "show", "master", BRIDGE])
        return ready in shown or children.start_ticks(running.pid) == 0

    up = cleanup.wait_until(plugged, START_S) and children.start_ticks(running.pid)
    os.close(running.pidfd)
    if not up:
        end(layout, member)
        raise FaultError(f"the relay that delays {member} did not come up; see {log}")


def end(layout: Layout, member: str) -> None:
    """None runs, and the member's cable is in the bridge again. Raises CommandError."""
    known = _known(layout, member)
    if known is not None and _lives(known):
        with contextlib.suppress(ProcessLookupError):
            os.kill(known["pid"], signal.SIGTERM)
        if not cleanup.wait_until(lambda: not _lives(known), END_S):
            with contextlib.suppress(ProcessLookupError):
                os.kill(known["pid"], signal.SIGKILL)
    lan = layout.namespace("lan")
    # Also where nobody noted the process: without its port it ends.
    netns.batch([f"link del {port(member)}", f"link set {cable(member)} master {BRIDGE} up"], lan, force=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_file(layout, member))


def _file(layout: Layout, member: str) -> str:
    return f"{layout.chaos}/{member}.relay"


def _known(layout: Layout, member: str) -> dict[str, Any] | None:
    try:
        with open(_file(layout, member), encoding="utf-8") as file:
            read: dict[str, Any] = json.load(file)
        return read if {"pid", "ticks", "flags", "index"} <= read.keys() else None
    except (OSError, ValueError):
        return None


def _lives(known: Mapping[str, Any]) -> bool:
    return bool(children.start_ticks(known["pid"]) == known["ticks"])


def _index(namespace: str, device: str) -> int:
    """A device that was made anew has another; 0: there is none."""
    try:
        return int(json.loads(netns.tool(["ip", "-n", namespace, "-j", "link", "show", device]))[0]["ifindex"])
    except netns.CommandError:
        return 0
