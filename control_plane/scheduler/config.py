"""The scheduler's configuration: each field is a flag of `python -m control_plane.scheduler`."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.config import option


@dataclass(frozen=True)
class Config:
    api_servers: tuple[str, ...] = option(help="gRPC addresses of the API servers, host:port or unix:PATH")
    identity: str = option("", "name in the leader election, unique among the replicas (default: a random one)")
    scheduler_name: str = option("default-scheduler", "pods with this spec.schedulerName are placed")
    ca: str = option("", "PEM file of the authority that the API server's certificate comes from")
    certificate: str = option("", "PEM file of this process's certificate")
    key: str = option("", "PEM file of its key")
    leader_elect: bool = option(True, "act only while holding the Lease")
    leader_elect_lease_duration_s: float = option(15.0, "others may take over after so long without a renewal")
    leader_elect_renew_deadline_s: float = option(10.0, "the leader stops after so long without a renewal")
    leader_elect_retry_period_s: float = option(2.0, "pause between attempts")
    leader_elect_resource_name: str = option("kube-scheduler", "name of the Lease")
    leader_elect_resource_namespace: str = option("kube-system", "namespace of the Lease")
    pod_initial_backoff_s: float = option(1.0, "pause after a pod's first failed attempt; doubles with each")
    pod_max_backoff_s: float = option(10.0, "longest such pause")
    unschedulable_flush_s: float = option(300.0, "a pod that did not fit is tried again after so long, come what may")
    parallel_binds: int = option(64, "most bindings under way at once")
    bind_timeout_s: float = option(600.0, "how long a pod's volumes may take until the pod is tried anew")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "write the log here instead of to stderr")
