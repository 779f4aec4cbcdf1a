"""The etcd v3 gRPC services, one file each; `methods` is what a member's server answers."""

from __future__ import annotations

from argosy.rpc import Methods
from etcd.service import unsupported
from etcd.service.cluster import ClusterService
from etcd.service.common import Store
from etcd.service.kv import KvService
from etcd.service.lease import LeaseService
from etcd.service.maintenance import MaintenanceService
from etcd.service.watch import WatchService


def methods(store: Store) -> Methods:
    """All services over one store."""
    result = unsupported.methods()
    for service in (
        KvService(store),
        WatchService(store),
        LeaseService(store),
        ClusterService(store),
        MaintenanceService(store),
    ):
        result = result.merged(service.methods())
    return result
