"""What is left at rest, found in the stores themselves: no object without its owner, nothing held by what is gone.

`orphans` looks at every key of the store; `census` counts what grows when something is not let go: watches of the
stores and of the API servers, calls on the network. A census before the faults is the base for one afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.allocate.ranges import IP_PREFIX, PORT_PREFIX
from control_plane.apiserver.allocate.services import held_by
from tests.sim.world import World

ROOT = "/registry/"
OWN = f"{ROOT}argosy/"
"""Keys that hold no object."""
NODES = f"{ROOT}nodes/"
PODS = f"{ROOT}pods/"
SERVICES = f"{ROOT}services/"
NODE_LEASES = f"{ROOT}coordination.k8s.io/leases/kube-node-lease/"


def orphans(world: World) -> str:
    """The first thing that should be gone; empty when there is none."""
    live = {key.decode(): item for key, item in world.members[world.leader()].machine.history.current.items()}
    objects: dict[str, JsonObject] = {
        key: orjson.loads(item.value) for key, item in live.items() if key.startswith(ROOT) and OWN not in key
    }
    uids = {meta.uid(obj): None for obj in objects.values()}
    nodes = {key.removeprefix(NODES): None for key in objects if key.startswith(NODES)}
    held = {key: None for path, obj in objects.items() if path.startswith(SERVICES) for key in held_by(obj)}
    for key, obj in objects.items():
        for reference in meta.owner_references(obj):
            if reference["uid"] not in uids:
                return f"{key} is left of {reference['kind']} {reference['name']}"
        node = str(meta.spec(obj).get("nodeName") or "") if key.startswith(PODS) else ""
        if node and node not in nodes:
            return f"{key} is on {node}, which is gone"
        if key.startswith(NODE_LEASES) and key.removeprefix(NODE_LEASES) not in nodes:
            return f"{key} is of a node that is gone"
    claimed = [key for key in live if key.startswith((IP_PREFIX, PORT_PREFIX)) and key not in held]
    return f"{claimed[0]} belongs to no Service" if claimed else ""


def census(world: World) -> dict[str, int]:
    """A node's agent watches what its pods name, so its calls come and go with them."""
    calls = world.network.exchanges.values()
    watching = sum(call.method.endswith("Api/Watch") for call in calls)
    servers = world.servers.values()
    watchers = sum(cache.watchers for server in servers for cache in server.parts.resources.caches())
    return {
        "watches of stores": sum(len(member.hub.streams) for member in world.members.values()),
        "watches of API servers without a call": watchers - watching,
        "open calls": sum(call.client_host not in world.runtimes for call in calls),
    }


def grown(base: Mapping[str, int], now: Mapping[str, int]) -> str:
    """What is more than at first; empty when nothing is."""
    return ", ".join(f"{now[what]} {what}, {count} before" for what, count in base.items() if now[what] > count)
