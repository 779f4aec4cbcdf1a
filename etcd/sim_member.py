"""A member for the simulator: no threads, links over the simulated network, everything seeded."""

from __future__ import annotations

from collections.abc import Callable

from argosy.host import Host
from argosy.rpc_memory import MemoryHost
from etcd.config import Config
from etcd.member import Member
from etcd.sim_peers import RpcPeers
from etcd.writers import LoopWriter

DISK_S = 0.002


def sim_member(config: Config, host: Host, network: MemoryHost, disk_s: Callable[[], float] | None = None) -> Member:
    """A Member whose peers are reached through `network`; run it as a task on the virtual loop.

    To crash it: `MemoryNetwork.crash`, cancel the task and, for a power cut, cut its disk back. The next one is made
    with `MemoryNetwork.host(name)` taken anew. `disk_s` says how long a write to disk takes just now.
    """
    peers = RpcPeers(network, config.name, config.cluster_id(), config.addresses())
    return Member(config, host, network, peers, writer=lambda: LoopWriter(disk_s or (lambda: DISK_S)))
