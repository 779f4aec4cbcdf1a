"""Every kind that Argosy serves. A new one is a file in this package and a line in `ALL`."""

from __future__ import annotations

from argosy.kinds.access_review import (
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
)
from argosy.kinds.api_service import API_SERVICE
from argosy.kinds.binding import BINDING
from argosy.kinds.certificate_signing_request import CERTIFICATE_SIGNING_REQUEST
from argosy.kinds.cluster_role import CLUSTER_ROLE
from argosy.kinds.cluster_role_binding import CLUSTER_ROLE_BINDING
from argosy.kinds.config_map import CONFIG_MAP
from argosy.kinds.controller_revision import CONTROLLER_REVISION
from argosy.kinds.cron_job import CRON_JOB
from argosy.kinds.custom_resource_definition import CUSTOM_RESOURCE_DEFINITION
from argosy.kinds.daemon_set import DAEMON_SET
from argosy.kinds.deployment import DEPLOYMENT
from argosy.kinds.endpoint_slice import ENDPOINT_SLICE
from argosy.kinds.endpoints import ENDPOINTS
from argosy.kinds.event import EVENT
from argosy.kinds.horizontal_pod_autoscaler import HORIZONTAL_POD_AUTOSCALER
from argosy.kinds.ingress import INGRESS, INGRESS_CLASS
from argosy.kinds.job import JOB
from argosy.kinds.kind import Kind, Kinds
from argosy.kinds.lease import LEASE
from argosy.kinds.limit_range import LIMIT_RANGE
from argosy.kinds.namespace import NAMESPACE
from argosy.kinds.network_policy import NETWORK_POLICY
from argosy.kinds.node import NODE
from argosy.kinds.persistent_volume import PERSISTENT_VOLUME
from argosy.kinds.persistent_volume_claim import PERSISTENT_VOLUME_CLAIM
from argosy.kinds.pod import POD
from argosy.kinds.pod_disruption_budget import POD_DISRUPTION_BUDGET
from argosy.kinds.pod_template import POD_TEMPLATE
from argosy.kinds.priority_class import PRIORITY_CLASS
from argosy.kinds.replica_set import REPLICA_SET
from argosy.kinds.replication_controller import REPLICATION_CONTROLLER
from argosy.kinds.resource_quota import RESOURCE_QUOTA
from argosy.kinds.role import ROLE
from argosy.kinds.role_binding import ROLE_BINDING
from argosy.kinds.runtime_class import RUNTIME_CLASS
from argosy.kinds.secret import SECRET
from argosy.kinds.service import SERVICE
from argosy.kinds.service_account import SERVICE_ACCOUNT
from argosy.kinds.stateful_set import STATEFUL_SET
from argosy.kinds.storage_class import STORAGE_CLASS
from argosy.kinds.token_review import SELF_SUBJECT_REVIEW, TOKEN_REVIEW
from argosy.kinds.webhook_configuration import MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_WEBHOOK_CONFIGURATION

ALL: tuple[Kind, ...] = (
    BINDING,
    CONFIG_MAP,
    ENDPOINTS,
    EVENT,
    LIMIT_RANGE,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_TEMPLATE,
    REPLICATION_CONTROLLER,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE_ACCOUNT,
    SERVICE,
    CONTROLLER_REVISION,
    DAEMON_SET,
    DEPLOYMENT,
    REPLICA_SET,
    STATEFUL_SET,
    SELF_SUBJECT_REVIEW,
    TOKEN_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    HORIZONTAL_POD_AUTOSCALER,
    CRON_JOB,
    JOB,
    CERTIFICATE_SIGNING_REQUEST,
    CUSTOM_RESOURCE_DEFINITION,
    LEASE,
    ENDPOINT_SLICE,
    INGRESS,
    INGRESS_CLASS,
    NETWORK_POLICY,
    RUNTIME_CLASS,
    POD_DISRUPTION_BUDGET,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    PRIORITY_CLASS,
    STORAGE_CLASS,
    API_SERVICE,
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_WEBHOOK_CONFIGURATION,
)

KINDS = Kinds(ALL)
