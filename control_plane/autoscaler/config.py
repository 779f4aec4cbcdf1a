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
    in_place_skip_disruption_budget: bool = option(
        False, "resize pods in place, however many at once and of however small a workload, when none starts anew"
    )

    event_driven_scaling: bool = option(False, "serve ScaledObjects, which are custom resources")
    concurrent_scaled_object_syncs: int = option(5, "scaled objects worked on at once")

    node_provider: str = option(
        "", "where nodes come from: unix:PATH of an argosy.v1.NodeGroups; empty: nodes are not scaled"
    )
    scan_interval: float = option(10.0, "seconds between two looks at pods that fit nowhere and nodes not needed")
    new_pod_scale_up_delay: float = option(0.0, "seconds for which a new pod does not bring a node")
    expendable_pods_priority_cutoff: int = option(-10, "pods of lower priority neither bring nor keep a node")
    max_nodes_total: int = option(0, "no node is started when the cluster has so many; 0: no limit")
    max_nodes_per_scaleup: int = option(1000, "nodes started at once")
    enforce_node_group_min_size: bool = option(False, "start nodes of a group below its minimum")
    max_node_provision_time: float = option(900.0, "seconds within which a node that was asked for registers")
    max_node_startup_time: float = option(900.0, "seconds within which a registered node becomes ready")
    initial_node_group_backoff_duration: float = option(300.0, "seconds for which a group that failed is left alone")
    max_node_group_backoff_duration: float = option(1800.0, "the longest such pause; it doubles with each failure")
    node_group_backoff_reset_timeout: float = option(10800.0, "seconds after which failures are forgotten")
    max_total_unready_percentage: float = option(45.0, "of nodes that are not ready, above which nothing is done")
    ok_total_unready_count: int = option(3, "nodes that may be not ready whatever their share")
    scale_down_enabled: bool = option(True, "remove nodes that are not needed")
    scale_down_utilization_threshold: float = option(0.5, "share of cpu or memory asked for, below which one is not")
    scale_down_unneeded_time: float = option(600.0, "seconds for which a node is not needed before it goes")
    scale_down_unready_enabled: bool = option(True, "remove nodes that are not ready too")
    scale_down_unready_time: float = option(1200.0, "the same for a node that is not ready")
    scale_down_delay_after_add: float = option(600.0, "seconds after a node was asked for in which none goes")
    scale_down_delay_after_delete: float = option(0.0, "seconds after one went in which no other goes")
    scale_down_delay_after_failure: float = option(180.0, "seconds after one could not be removed in which none goes")
    max_scale_down_parallelism: int = option(10, "nodes removed at once")
    max_drain_parallelism: int = option(1, "nodes with pods removed at once")
    max_pod_eviction_time: float = option(120.0, "seconds for which a pod's eviction is tried")
    max_graceful_termination_sec: float = option(600.0, "most seconds that a pod gets to end")
    node_delete_delay_after_taint: float = option(5.0, "seconds between a node's taint and its removal")
    max_bulk_soft_taint_count: int = option(10, "nodes marked as candidates, or no longer, in one look")
    ignore_daemonsets_utilization: bool = option(False, "pods of daemon sets do not count for a node's use")
    daemonset_eviction_for_empty_nodes: bool = option(False, "evict daemon sets' pods of empty nodes")
    daemonset_eviction_for_occupied_nodes: bool = option(True, "evict daemon sets' pods of other nodes")
    skip_nodes_with_local_storage: bool = option(True, "keep nodes whose pods have emptyDir or hostPath volumes")
    skip_nodes_with_system_pods: bool = option(True, "keep nodes with pods of kube-system without a budget")
    skip_nodes_with_custom_controller_pods: bool = option(True, "keep nodes with pods of unknown controllers")
    write_status_configmap: bool = option(True, "tell the state in a ConfigMap")
    status_config_map_name: str = option("cluster-autoscaler-status", "its name, in kube-system")

    def validate(self) -> None:
        """Raises ValueError naming the flag."""
        if self.horizontal_pod_autoscaler_sync_period <= 0:
            raise ValueError("--horizontal-pod-autoscaler-sync-period must be positive")
        for name in ("recommender_interval", "updater_interval"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive")
        if self.node_provider and not self.node_provider.startswith("unix:"):
            raise ValueError("--node-provider must be unix:PATH: who may ask for nodes is who may open it")
        if self.scan_interval <= 0:
            raise ValueError("--scan-interval must be positive")
        if not 0 <= self.scale_down_utilization_threshold <= 1:
            raise ValueError("--scale-down-utilization-threshold must be between 0 and 1")
        if self.max_scale_down_parallelism < 1 or self.max_drain_parallelism < 1:
            raise ValueError("--max-scale-down-parallelism and --max-drain-parallelism must be 1 or more")
        if not 0 <= self.vpa_eviction_tolerance <= 1:
            raise ValueError("--vpa-eviction-tolerance must be between 0 and 1")
        if self.horizontal_pod_autoscaler_tolerance < 0:
            raise ValueError("--horizontal-pod-autoscaler-tolerance must not be negative")
