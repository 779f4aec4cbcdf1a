"""`python -m node_agent.cleanup`: takes away what a node put into the network that it shares with its machine.

The pod bridge and its links, routes to other nodes' pods, the proxy's rules of every mode, and the port mappings of
our pod network. Run when nothing of the node runs any more; the launcher does it for a node without a network
namespace of its own. Nothing else in the network is touched. Idempotent.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Final

from node_agent.network.cni import BRIDGE, NETWORK_NAME
from node_agent.network.routes import PROTOCOL
from node_agent.network_policy.table import PolicyTable
from node_agent.proxy.command import CommandError, run
from node_agent.proxy.iptables import Iptables
from node_agent.proxy.nftables import Nftables

FAMILIES: Final = (("IPv4", "-4", "iptables"), ("IPv6", "-6", "ip6tables"))
_MAPPINGS: Final = "CNI-HOSTPORT-DNAT"
_HOST_PORT_CHAINS: Final = (_MAPPINGS, "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ")


async def clean() -> list[str]:
    """Gives the problems there were; what could be removed is."""
    problems: list[str] = []
    for step in (links(), routes(), rules(), mappings()):
        try:
            await step
        except CommandError as error:
            problems.append(str(error))
    return problems


async def links() -> None:
    """The bridge of our pods, and the ends of their links that hang on it. Raises CommandError."""
    names = [item.split(":")[1].strip().split("@")[0] for item in (await run(["ip", "-o", "link"])).splitlines()]
    if BRIDGE not in names:
        return
    shown = await run(["ip", "-o", "link", "show", "master", BRIDGE])
    for line in shown.splitlines():
        await run(["ip", "link", "del", line.split(":")[1].strip().split("@")[0]])
    await run(["ip", "link", "del", BRIDGE])


async def routes() -> None:
    """Raises CommandError."""
    for _, family, _ in FAMILIES:
        shown = await run(["ip", family, "route", "show", "proto", str(PROTOCOL)])
        for line in shown.splitlines():
            if line.strip():
                await run(["ip", family, "route", "del", line.split()[0], "proto", str(PROTOCOL)])


async def rules() -> None:
    """Raises CommandError."""
    await Iptables("IPv4").remove()
    await Iptables("IPv6").remove()
    await Nftables("IPv4").remove()
    await Nftables("IPv6").remove()
    await PolicyTable().remove()


async def mappings() -> None:
    """Raises CommandError."""
    for _, _, program in FAMILIES:
        text = without_mappings(await run([f"{program}-save", "-t", "nat"]))
        if text:
            await run([f"{program}-restore", "--noflush", "-w", "5"], text)


def without_mappings(saved: str, network: str = NETWORK_NAME) -> str:
    """`iptables-restore` input that removes the portmap plugin's rules of `network`; empty when there are none.

    The chains that all networks of the plugin share go with their last mapping.
    """
    ours = re.compile(rf'dnat name: \\?"{re.escape(network)}\\?" id: .* -j (CNI-DN-\S+)')
    flushed: list[str] = []
    deleted: list[str] = []
    others = False
    for line in saved.splitlines():
        if not line.startswith(f"-A {_MAPPINGS} "):
            continue
        match = ours.search(line)
        if match is None:
            others = True
            continue
        flushed.append(match[1])
        deleted.append("-D" + line[2:])
    if not deleted:
        return ""
    if not others:
        shared = [name for name in _HOST_PORT_CHAINS if f"\n:{name} " in saved]
        pattern = re.compile(rf"-j ({'|'.join(_HOST_PORT_CHAINS)})$")
        builtin = [line for line in saved.splitlines() if re.match(r"-A (PREROUTING|OUTPUT|POSTROUTING) ", line)]
        deleted += ["-D" + line[2:] for line in builtin if pattern.search(line)]
        flushed = [*shared, *flushed]
        deleted = [line for line in deleted if not line.startswith(f"-D {_MAPPINGS} ")]
    flushed = list(dict.fromkeys(flushed))
    lines = [f":{name} - [0:0]" for name in flushed] + deleted + [f"-X {name}" for name in flushed]
    return "\n".join(["*nat", *lines, "COMMIT"]) + "\n"


def main() -> None:
    problems = asyncio.run(clean())
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
