"""The admission plug-ins in their order (upstream: pkg/kubeapiserver/options/plugins.go)."""

from __future__ import annotations

from argosy.host import Host
from control_plane.apiserver.admission.chain import Plugin
from control_plane.apiserver.admission.default_class import DefaultIngressClass
from control_plane.apiserver.admission.identity import CertificateRequests, EscalationCheck
from control_plane.apiserver.admission.limits import LimitRanger
from control_plane.apiserver.admission.namespaces import NamespaceLifecycle
from control_plane.apiserver.admission.nodes import NodeRestriction, NodeTaint
from control_plane.apiserver.admission.pod_resize import PodResizeValidator
from control_plane.apiserver.admission.priority import PriorityAdmission
from control_plane.apiserver.admission.quotas import ResourceQuotaAdmission
from control_plane.apiserver.admission.runtime_class import RuntimeClassAdmission
from control_plane.apiserver.admission.service_account import ServiceAccountAdmission
from control_plane.apiserver.admission.storage import ClaimResize, DefaultStorageClass, StorageProtection
from control_plane.apiserver.admission.tolerations import DefaultTolerations
from control_plane.apiserver.admission.webhooks.conditions import Conditions, WebhookConfigurations
from control_plane.apiserver.admission.webhooks.plugins import MutatingWebhooks, ValidatingWebhooks
from control_plane.apiserver.auth.authorization import Authorization
from control_plane.apiserver.auth.rbac import Rbac
from control_plane.apiserver.config import Config
from control_plane.apiserver.crd.admission import CustomResourceDefinitions
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.schema.schemas import Schemas
from control_plane.apiserver.storage.store import Store
from control_plane.apiserver.webhook_client import WebhookClient


def plugins(
    config: Config,
    host: Host,
    store: Store,
    resources: Resources,
    rbac: Rbac,
    authorization: Authorization,
    schemas: Schemas,
    webhooks: WebhookClient,
) -> list[Plugin]:
    conditions = Conditions()
    asking = (resources, store, webhooks, conditions, schemas, host.rng)
    return [
        NamespaceLifecycle(resources, store),
        LimitRanger(resources),
        ServiceAccountAdmission(resources, store, host.rng),
        NodeRestriction(resources),
        NodeTaint(),
        PriorityAdmission(resources),
        RuntimeClassAdmission(resources),
        DefaultTolerations(
            config.default_not_ready_toleration_seconds, config.default_unreachable_toleration_seconds
        ),
        DefaultStorageClass(resources),
        StorageProtection(),
        ClaimResize(resources),
        DefaultIngressClass(resources),
        PodResizeValidator(resources),
        CertificateRequests(authorization),
        EscalationCheck(rbac, authorization),
        CustomResourceDefinitions(schemas),
        WebhookConfigurations(conditions),
        MutatingWebhooks(*asking),
        ValidatingWebhooks(*asking),
        # Last: whatever refuses must do so before anything is charged.
        ResourceQuotaAdmission(resources, store, host.clock),
    ]
