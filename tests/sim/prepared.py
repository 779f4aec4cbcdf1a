"""The stores' disks of a cluster that was set up before: namespaces, roles and bindings are there.

Every process makes them once, alike; most seeds begin with copies, which spares each its first second of work.
"""

from __future__ import annotations

from functools import cache

from tests.sim import virtual
from tests.sim.patience import until
from tests.sim.trace import Trace
from tests.sim.virtual import SimDisk
from tests.sim.world import STORES, World

AGO_S = 60.0
"""By the clocks of the seeds that begin with them."""


@cache
def disks() -> dict[str, SimDisk]:
    """By store. Not to be called on a running loop; raises RuntimeError when the cluster cannot be set up."""

    async def main() -> dict[str, SimDisk]:
        trace = Trace()
        trace.begin()
        world = World(0, trace)
        world.skews_s = dict.fromkeys(world.hosts, -AGO_S)
        await world.start(*STORES, *world.apis)
        namespaces = world.client("preparer").resource("", "v1", "namespaces")

        async def served() -> str:
            return "" if (await namespaces.list()).items else "no namespaces"

        try:
            if not await until(world, "the API server did not start", served):
                raise RuntimeError("; ".join(world.violations))
        finally:
            await world.close()
        return {name: disk.copy() for name, disk in world.disks.items()}

    return virtual.run(main())
