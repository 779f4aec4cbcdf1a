"""What the rules of the node autoscaler go by, out of the process's flags. Names and defaults are upstream's."""

from __future__ import annotations

from dataclasses import dataclass, fields

from control_plane.autoscaler.config import Config


@dataclass(frozen=True)
class Settings:
    scan_interval: float = 10.0
    new_pod_scale_up_delay: float = 0.0
    expendable_pods_priority_cutoff: int = -10
    max_nodes_total: int = 0
    max_nodes_per_scaleup: int = 1000
    enforce_node_group_min_size: bool = False
    max_node_provision_time: float = 900.0
    max_node_startup_time: float = 900.0
    initial_node_group_backoff_duration: float = 300.0
    max_node_group_backoff_duration: float = 1800.0
    node_group_backoff_reset_timeout: float = 10800.0
    max_total_unready_percentage: float = 45.0
    ok_total_unready_count: int = 3
    scale_down_enabled: bool = True
    scale_down_utilization_threshold: float = 0.5
    scale_down_unneeded_time: float = 600.0
    scale_down_unready_enabled: bool = True
    scale_down_unready_time: float = 1200.0
    scale_down_delay_after_add: float = 600.0
    scale_down_delay_after_delete: float = 0.0
    scale_down_delay_after_failure: float = 180.0
    max_scale_down_parallelism: int = 10
    max_drain_parallelism: int = 1
    max_pod_eviction_time: float = 120.0
    max_graceful_termination_sec: float = 600.0
    node_delete_delay_after_taint: float = 5.0
    max_bulk_soft_taint_count: int = 10
    ignore_daemonsets_utilization: bool = False
    daemonset_eviction_for_empty_nodes: bool = False
    daemonset_eviction_for_occupied_nodes: bool = True
    skip_nodes_with_local_storage: bool = True
    skip_nodes_with_system_pods: bool = True
    skip_nodes_with_custom_controller_pods: bool = True
    write_status_configmap: bool = True
    status_config_map_name: str = "cluster-autoscaler-status"

    @staticmethod
    def of(config: Config) -> Settings:
        return Settings(**{item.name: getattr(config, item.name) for item in fields(Settings)})
