"""Every control period's default is upstream's (flags of kube-controller-manager, kube-scheduler, kubelet and
kube-apiserver): tests shorten them by flags, never here."""

from __future__ import annotations

import dataclasses

import pytest

from control_plane.apiserver.config import Config as ApiServer
from control_plane.autoscaler.config import Config as Autoscaler
from control_plane.controllers.config import Config as Controllers
from control_plane.scheduler.config import Config as Scheduler
from node_agent.config import Config as NodeAgent

LEADER = {"lease_duration": 15, "renew_deadline": 10, "retry_period": 2}
PERIODS = {
    Controllers: {
        **{f"leader_elect_{key}": value for key, value in LEADER.items()},
        "node_monitor_period": 5,
        "node_monitor_grace_period": 40,
        "node_startup_grace_period": 60,
        "node_eviction_rate": 0.1,
        "secondary_node_eviction_rate": 0.01,
        "pod_gc_period": 20,
        "pod_gc_quarantine": 40,
        "job_pod_failure_backoff": 10,
        "job_max_pod_failure_backoff": 600,
        "resource_quota_sync_period": 300,
        "cluster_signing_duration": 365 * 86400,
    },
    Autoscaler: {
        **{f"leader_elect_{key}": value for key, value in LEADER.items()},
        "horizontal_pod_autoscaler_sync_period": 15,
        "recommender_interval": 60,
        "updater_interval": 60,
        "horizontal_pod_autoscaler_downscale_stabilization": 300,
        "horizontal_pod_autoscaler_cpu_initialization_period": 300,
        "horizontal_pod_autoscaler_initial_readiness_delay": 30,
        "scan_interval": 10,
        "new_pod_scale_up_delay": 0,
        "expendable_pods_priority_cutoff": -10,
        "max_node_provision_time": 15 * 60,
        "max_node_startup_time": 15 * 60,
        "initial_node_group_backoff_duration": 5 * 60,
        "max_node_group_backoff_duration": 30 * 60,
        "node_group_backoff_reset_timeout": 3 * 3600,
        "max_total_unready_percentage": 45,
        "ok_total_unready_count": 3,
        "scale_down_utilization_threshold": 0.5,
        "scale_down_unneeded_time": 10 * 60,
        "scale_down_unready_time": 20 * 60,
        "scale_down_delay_after_add": 10 * 60,
        "scale_down_delay_after_delete": 0,
        "scale_down_delay_after_failure": 3 * 60,
        "max_scale_down_parallelism": 10,
        "max_drain_parallelism": 1,
        "max_pod_eviction_time": 2 * 60,
        "max_graceful_termination_sec": 600,
        "node_delete_delay_after_taint": 5,
    },
    Scheduler: {
        **{f"leader_elect_{key}_s": value for key, value in LEADER.items()},
        "pod_initial_backoff_s": 1,
        "pod_max_backoff_s": 10,
        "unschedulable_flush_s": 300,
        "bind_timeout_s": 600,
    },
    NodeAgent: {
        "node_status_update_s": 10,
        "node_status_report_s": 300,
        "node_lease_duration_s": 40,
        "pressure_transition_s": 300,
        "eviction_hard": (
            "memory.available<100Mi",
            "nodefs.available<10%",
            "nodefs.inodesFree<5%",
            "imagefs.available<15%",
            "imagefs.inodesFree<5%",
        ),
        "eviction_monitoring_period_s": 10,
        "image_gc_high_threshold": 85,
        "image_gc_low_threshold": 80,
        "image_gc_period_s": 300,
        "minimum_image_ttl_s": 120,
    },
    ApiServer: {
        "default_not_ready_toleration_seconds": 300,
        "default_unreachable_toleration_seconds": 300,
        "event_ttl_s": 3600,
        "compaction_interval_s": 300,
        "apiservice_resync_s": 30,
    },
}


@pytest.mark.parametrize("config", PERIODS, ids=lambda config: config.__module__)
def test_periods_are_upstreams(config: type) -> None:
    found = {field.name: field.default for field in dataclasses.fields(config)}
    assert {name: found[name] for name in PERIODS[config]} == PERIODS[config]
