"""The autoscalers' flags. Those that upstream has carry its names and defaults; times are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.config import option


@dataclass(frozen=True)
class Config:
    api_servers: tuple[str, ...] = option(help="API servers' gRPC addresses, host:port,…")
    ca: str = option("", "PEM file of the cluster's certificate authority")
    certificate: str = option("", "PEM file of this process's client certificate")
    key: str = option("", "PEM file of its key")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "write the log here instead of to stderr")
    identity: str = option("", "name in the leader's lease; empty: host name and a random id")

    leader_elect_lease_duration: float = option(15.0, "seconds after which another one takes over")
    leader_elect_renew_deadline: float = option(10.0, "seconds without renewal after which the leader stops")
    leader_elect_retry_period: float = option(2.0, "seconds between attempts")

    concurrent_horizontal_pod_autoscaler_syncs: int = option(5, "autoscalers worked on at once")
    horizontal_pod_autoscaler_sync_period: float = option(
        15.0, "seconds between two looks at an autoscaler's metrics"
    )
    horizontal_pod_autoscaler_downscale_stabilization: float = option(
        300.0, "seconds for which the highest recommendation holds, where an autoscaler says nothing else"
    )
    horizontal_pod_autoscaler_tolerance: float = option(0.1, "change of the metrics' ratio that is let pass")
    horizontal_pod_autoscaler_cpu_initialization_period: float = option(
        300.0, "seconds after a pod's start in which its CPU counts only while it is ready"
    )
    horizontal_pod_autoscaler_initial_readiness_delay: float = option(
        30.0, "seconds after a pod's start in which a change of readiness is its first"
    )
    metrics_max_age: float = option(300.0, "seconds after which a measurement is too old to act on")

    vertical_pod_autoscaling: bool = option(False, "serve VerticalPodAutoscalers, which are custom resources")
    webhook_listen: str = option("", "IP:PORT at which new pods are given what VerticalPodAutoscalers recommend")
    webhook_certificate: str = option("", "PEM file of the certificate for it")
    webhook_key: str = option("", "PEM file of its key")
    recommender_interval: float = option(60.0, "seconds between two looks at what pods use")
    updater_interval: float = option(60.0, "seconds between two looks for pods that should be made anew")
    vpa_min_replicas: int = option(2, "workloads of fewer pods are not evicted from")
    vpa_eviction_tolerance: float = option(0.5, "share of a workload's pods that may be away for it at once")

    event_driven_scaling: bool = option(False, "serve ScaledObjects, which are custom resources")
    concurrent_scaled_object_syncs: int = option(5, "scaled objects worked on at once")

    def validate(self) -> None:
        """Raises ValueError naming the flag."""
        if self.horizontal_pod_autoscaler_sync_period <= 0:
            raise ValueError("--horizontal-pod-autoscaler-sync-period must be positive")
        for name in ("recommender_interval", "updater_interval"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive")
        if not 0 <= self.vpa_eviction_tolerance <= 1:
            raise ValueError("--vpa-eviction-tolerance must be between 0 and 1")
        if self.horizontal_pod_autoscaler_tolerance < 0:
            raise ValueError("--horizontal-pod-autoscaler-tolerance must not be negative")
