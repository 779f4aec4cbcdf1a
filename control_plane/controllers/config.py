"""The controller manager's flags. Periods carry upstream's flag names and defaults; all are seconds."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from argosy.config import option
from argosy.objects import load_balancer


@dataclass(frozen=True)
class Config:
    api_servers: tuple[str, ...] = option(help="API servers' gRPC addresses, host:port,…")
    ca: str = option("", "PEM file of the cluster's certificate authority")
    certificate: str = option("", "PEM file of this process's client certificate")
    key: str = option("", "PEM file of its key")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "write the log here instead of to stderr")
    identity: str = option("", "name in the leader's lease; empty: host name and a random id")
    controllers: tuple[str, ...] = option(("*",), "which run: names, * for all, -NAME to leave one out")

    cluster_cidr: tuple[str, ...] = option((), "pod networks, one per address family; empty: nodes get no podCIDR")
    node_cidr_mask_size_ipv4: int = option(24, "size of a node's share of the IPv4 pod network")
    node_cidr_mask_size_ipv6: int = option(64, "size of a node's share of the IPv6 pod network")
    service_cluster_ip_range: tuple[str, ...] = option((), "service networks, kept out of the nodes' shares")
    service_account_key: str = option("", "taken for upstream's sake, not read: the API server signs all tokens")
    load_balancer_pool: tuple[str, ...] = option(
        (), "addresses for Services of type LoadBalancer, CIDR or FIRST-LAST; empty: they stay pending"
    )
    root_ca: str = option("", "PEM file that is published as kube-root-ca.crt in every namespace")
    cluster_signing_certificate: str = option("", "PEM file of the authority that signs nodes' certificates")
    cluster_signing_key: str = option("", "PEM file of its key")
    cluster_signing_duration: float = option(31_536_000.0, "validity of a signed certificate, seconds")

    leader_elect: bool = option(True, "act only while holding the lease kube-system/kube-controller-manager")
    leader_elect_lease_duration: float = option(15.0, "seconds after which another one takes over")
    leader_elect_renew_deadline: float = option(10.0, "seconds without renewal after which the leader stops")
    leader_elect_retry_period: float = option(2.0, "seconds between attempts")

    concurrent_deployment_syncs: int = option(5, "deployments worked on at once")
    concurrent_replicaset_syncs: int = option(5, "replica sets worked on at once")
    concurrent_statefulset_syncs: int = option(5, "stateful sets worked on at once")
    concurrent_daemonset_syncs: int = option(2, "daemon sets worked on at once")
    concurrent_rc_syncs: int = option(5, "replication controllers worked on at once")
    concurrent_job_syncs: int = option(5, "jobs worked on at once")
    concurrent_cron_job_syncs: int = option(5, "cron jobs worked on at once")
    concurrent_ttl_after_finished_syncs: int = option(5, "finished jobs removed at once")
    job_pod_failure_backoff: float = option(
        10.0, "seconds after a job's pod failed until the next is made; doubles with each failure"
    )
    job_max_pod_failure_backoff: float = option(600.0, "the most that it grows to")
    concurrent_service_endpoint_syncs: int = option(
        5, "services worked on at once, for slices and for endpoints each"
    )
    max_endpoints_per_slice: int = option(100, "addresses in one EndpointSlice")
    mirroring_concurrent_service_endpoint_syncs: int = option(5, "Endpoints mirrored to slices at once")
    mirroring_max_endpoints_per_subset: int = option(1000, "addresses of an Endpoints subset that are mirrored")
    concurrent_namespace_syncs: int = option(10, "namespaces worked on at once")
    concurrent_serviceaccount_token_syncs: int = option(5, "token Secrets worked on at once")
    concurrent_resource_quota_syncs: int = option(5, "quotas worked on at once")
    resource_quota_sync_period: float = option(300.0, "seconds between two counts of what all quotas hold")
    concurrent_gc_syncs: int = option(20, "objects collected at once")

    node_monitor_period: float = option(5.0, "seconds between two looks at all nodes")
    node_monitor_grace_period: float = option(40.0, "seconds without a sign of life until a node is Unknown")
    node_startup_grace_period: float = option(60.0, "the same for a node that never gave one")
    node_eviction_rate: float = option(0.1, "nodes per second that start losing their pods")
    secondary_node_eviction_rate: float = option(0.01, "the same while a zone is unhealthy")
    unhealthy_zone_threshold: float = option(0.55, "share of nodes not ready that makes a zone unhealthy")
    large_cluster_size_threshold: int = option(50, "zones up to this size are not evicted from at all when unhealthy")
    terminated_pod_gc_threshold: int = option(12500, "finished pods kept; 0: all")
    pod_gc_period: float = option(20.0, "seconds between two collections of pods")
    pod_gc_quarantine: float = option(40.0, "seconds that a node must be missing before its pods are removed")

    def validate(self) -> None:
        """Raises ValueError naming the flag."""
        for name in ("node_monitor_period", "node_monitor_grace_period", "pod_gc_period"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive")
        if bool(self.cluster_signing_certificate) != bool(self.cluster_signing_key):
            raise ValueError("--cluster-signing-certificate and --cluster-signing-key belong together")
        sizes = {4: self.node_cidr_mask_size_ipv4, 6: self.node_cidr_mask_size_ipv6}
        for text in self.cluster_cidr:
            network = _network("cluster-cidr", text)
            if not network.prefixlen <= sizes[network.version] <= network.max_prefixlen:
                raise ValueError(f"--cluster-cidr: a node's share /{sizes[network.version]} does not fit into {text}")
        for text in self.service_cluster_ip_range:
            _network("service-cluster-ip-range", text)
        for text in self.load_balancer_pool:
            try:
                load_balancer.Pool(text)
            except ValueError as error:
                raise ValueError(f"--load-balancer-pool: an IPv4 CIDR or FIRST-LAST: {error}") from None
        if not 1 <= self.max_endpoints_per_slice <= 1000:
            raise ValueError("--max-endpoints-per-slice must be between 1 and 1000")
        if not 1 <= self.mirroring_max_endpoints_per_subset <= 1000:
            raise ValueError("--mirroring-max-endpoints-per-subset must be between 1 and 1000")


def _network(flag: str, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"--{flag}: {error}") from None
