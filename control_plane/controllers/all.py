"""Every controller there is: a new one is its file and one line here."""

from __future__ import annotations

from control_plane.controllers.base import Controller
from control_plane.controllers.certificates import CertificateController
from control_plane.controllers.cluster_role import ClusterRoleController
from control_plane.controllers.cron_job import CronJobController
from control_plane.controllers.daemonset import DaemonSetController
from control_plane.controllers.deployment import DeploymentController
from control_plane.controllers.disruption import DisruptionController
from control_plane.controllers.endpoints import EndpointsController
from control_plane.controllers.endpointslice import EndpointSliceController
from control_plane.controllers.endpointslice_mirroring import EndpointSliceMirroringController
from control_plane.controllers.ephemeral_volume import EphemeralVolumeController
from control_plane.controllers.garbage_collector import GarbageCollector
from control_plane.controllers.job import JobController
from control_plane.controllers.namespace import NamespaceController
from control_plane.controllers.node_ipam import NodeIpamController
from control_plane.controllers.node_lifecycle import NodeLifecycleController
from control_plane.controllers.pod_gc import PodGarbageCollector
from control_plane.controllers.replicaset import ReplicaSetController, ReplicationControllerController
from control_plane.controllers.resource_quota import ResourceQuotaController
from control_plane.controllers.root_ca import RootCaController
from control_plane.controllers.service_account import ServiceAccountController, TokenController
from control_plane.controllers.service_lb import ServiceLbController
from control_plane.controllers.statefulset import StatefulSetController
from control_plane.controllers.taint_eviction import TaintEvictionController
from control_plane.controllers.ttl_after_finished import TtlAfterFinishedController
from control_plane.controllers.volume_binder import VolumeBinder
from control_plane.controllers.volume_protection import ClaimProtection, VolumeProtection

# The garbage collector comes last: it takes metadata from the others' informers where there are any.
ALL: tuple[type[Controller], ...] = (
    DeploymentController,
    ReplicaSetController,
    ReplicationControllerController,
    StatefulSetController,
    DaemonSetController,
    JobController,
    CronJobController,
    TtlAfterFinishedController,
    EndpointSliceController,
    EndpointsController,
    EndpointSliceMirroringController,
    NodeIpamController,
    NodeLifecycleController,
    TaintEvictionController,
    NamespaceController,
    PodGarbageCollector,
    ServiceAccountController,
    TokenController,
    RootCaController,
    ClusterRoleController,
    CertificateController,
    DisruptionController,
    VolumeBinder,
    ClaimProtection,
    VolumeProtection,
    EphemeralVolumeController,
    ResourceQuotaController,
    ServiceLbController,
    GarbageCollector,
)
