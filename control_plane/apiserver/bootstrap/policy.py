"""The default RBAC policy: which roles and bindings every cluster has, as upstream's bootstrap policy lists them.

Facts from plugin/pkg/auth/authorizer/rbac/bootstrappolicy (policy.go, controller_policy.go, namespace_policy.go).
Two differences: Argosy's controller manager works under its own name, so it is bound to every controller's role,
and its DNS server reads endpoint slices, pods and namespaces.
"""

from __future__ import annotations

from typing import Final

from argosy.objects.types import JsonObject

READ: Final = "get list watch"
WRITE: Final = "create delete deletecollection patch update"
READ_WRITE: Final = f"{READ} {WRITE}"
EVENT_GROUPS: Final = ("", "events.k8s.io")
RBAC: Final = "rbac.authorization.k8s.io"


def rule(verbs: str, groups: str | tuple[str, ...], resources: str, names: str = "") -> JsonObject:
    """Words separated by blanks; the empty group is the core's."""
    found: JsonObject = {
        "apiGroups": [groups] if isinstance(groups, str) else list(groups),
        "resources": resources.split(),
        "verbs": verbs.split(),
    }
    if names:
        found["resourceNames"] = names.split()
    return found


def paths(verbs: str, urls: str) -> JsonObject:
    return {"nonResourceURLs": urls.split(), "verbs": verbs.split()}


EVENTS: Final = rule("create patch update", EVENT_GROUPS, "events")


def leader(name: str) -> tuple[JsonObject, ...]:
    return (
        rule("create", "coordination.k8s.io", "leases"),
        rule("get list watch update", "coordination.k8s.io", "leases", name),
    )


_PUBLIC_PATHS: Final = "/healthz /livez /readyz /version /version/"
_DISCOVERY_PATHS: Final = f"/api /api/* /apis /apis/* /openapi /openapi/* {_PUBLIC_PATHS}"

CLUSTER_ROLES: Final[dict[str, tuple[JsonObject, ...]]] = {
    "cluster-admin": (rule("*", "*", "*"), paths("*", "*")),
    "system:discovery": (paths("get", _DISCOVERY_PATHS),),
    "system:monitoring": (paths("get", f"/healthz/* /livez/* /metrics /metrics/slis /readyz/* {_PUBLIC_PATHS}"),),
    "system:basic-user": (
        rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule("create", "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:public-info-viewer": (paths("get", _PUBLIC_PATHS),),
    "system:auth-delegator": (
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
    ),
    "system:service-account-issuer-discovery": (
        paths(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        ),
    ),
    "system:kube-aggregator": (rule(READ, "", "endpoints services"),),
    "system:node": (),
    "system:node-bootstrapper": (rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),),
    "system:node-problem-detector": (
        rule("get", "", "nodes"),
        rule("patch", "", "nodes/status"),
        EVENTS,
    ),
    "system:node-proxier": (
        rule("list watch", "", "services endpoints"),
        rule("get list watch", "", "nodes"),
        rule("list watch", "discovery.k8s.io", "endpointslices"),
        rule("list watch", "networking.k8s.io", "servicecidrs"),
        EVENTS,
    ),
    "system:kubelet-api-admin": (
        rule(READ, "", "nodes"),
        rule("proxy", "", "nodes"),
        rule("*", "", "nodes/log nodes/metrics nodes/proxy nodes/stats nodes/configz nodes/healthz nodes/pods"),
    ),
    "system:heapster": (rule(READ, "", "events namespaces nodes pods"), rule(READ, "extensions", "deployments")),
    "system:kube-dns": (rule("list watch", "", "endpoints services"),),
    "argosy:dns": (
        rule("list watch", "", "endpoints services pods namespaces nodes"),
        rule("list watch", "discovery.k8s.io", "endpointslices"),
        rule("create get update patch", "coordination.k8s.io", "leases"),
        EVENTS,
    ),
    "argosy:ingress": (
        EVENTS,
        *leader("argosy-ingress"),
        rule(READ, "", "services secrets"),
        rule(READ, "discovery.k8s.io", "endpointslices"),
        rule(READ, "networking.k8s.io", "ingresses ingressclasses"),
        rule("patch", "networking.k8s.io", "ingresses/status"),
    ),
    "argosy:network-policy": (
        rule("list watch", "", "pods namespaces"),
        rule("list watch", "networking.k8s.io", "networkpolicies"),
    ),
    "argosy:metrics": (
        rule(READ, "", "nodes pods configmaps"),
        rule(READ, "discovery.k8s.io", "endpointslices"),
        rule("list", "", "services namespaces"),
        rule("list", "apps", "deployments statefulsets daemonsets replicasets"),
    ),
    "argosy:autoscaler": (
        EVENTS,
        *leader("argosy-autoscaler"),
        rule("get update", "coordination.k8s.io", "leases", "vpa-admission-controller"),
        rule(READ, "autoscaling", "horizontalpodautoscalers"),
        rule("update", "autoscaling", "horizontalpodautoscalers/status"),
        rule("get update", "*", "*/scale"),
        rule(READ, "", "pods"),
        rule("create get patch", "apiextensions.k8s.io", "customresourcedefinitions"),
        rule("list", "metrics.k8s.io", "pods"),
        rule(READ, "autoscaling.k8s.io", "verticalpodautoscalers"),
        rule("update", "autoscaling.k8s.io", "verticalpodautoscalers/status"),
        rule("create get list watch", "autoscaling.k8s.io", "verticalpodautoscalercheckpoints"),
        rule("update", "autoscaling.k8s.io", "verticalpodautoscalercheckpoints/status"),
        rule("update", "autoscaling.k8s.io", "verticalpodautoscalers/finalizers"),
        rule("get", "apps", "deployments statefulsets daemonsets replicasets"),
        rule("get", "", "replicationcontrollers"),
        rule("get", "batch", "jobs cronjobs"),
        rule("create", "", "pods/eviction"),
        rule("patch", "", "pods pods/resize"),
        rule(READ, "scaling.argosy.io", "scaledobjects"),
        rule("update", "scaling.argosy.io", "scaledobjects/status"),
        rule(READ, "discovery.k8s.io", "endpointslices"),
        rule("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        rule("get patch", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "vpa-webhook-config"),
        rule("get list", ("custom.metrics.k8s.io", "external.metrics.k8s.io"), "*"),
        rule("get list watch update", "", "nodes"),
        rule(READ, "", "namespaces persistentvolumeclaims persistentvolumes"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule("list watch", "apps", "daemonsets"),
        rule(READ, "policy", "poddisruptionbudgets"),
    ),
    "system:persistent-volume-provisioner": (
        rule("get list watch create delete", "", "persistentvolumes"),
        rule("get list watch update", "", "persistentvolumeclaims"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule("watch", "", "events"),
        EVENTS,
    ),
    "system:volume-scheduler": (
        rule("get list patch update watch", "", "persistentvolumes"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule("get list patch update watch", "", "persistentvolumeclaims"),
    ),
    "system:kube-scheduler": (
        EVENTS,
        *leader("kube-scheduler"),
        rule(READ, "", "nodes namespaces"),
        rule("delete get list watch", "", "pods"),
        rule("create", "", "bindings pods/binding"),
        rule("patch update", "", "pods/status"),
        rule(READ, "", "replicationcontrollers services persistentvolumeclaims persistentvolumes"),
        rule(READ, ("apps", "extensions"), "replicasets"),
        rule(READ, "apps", "statefulsets"),
        rule(READ, "policy", "poddisruptionbudgets"),
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        rule(READ, "storage.k8s.io", "csinodes csidrivers csistoragecapacities storageclasses volumeattachments"),
        rule(READ, "scheduling.k8s.io", "priorityclasses"),
    ),
    "system:kube-controller-manager": (
        EVENTS,
        *leader("kube-controller-manager"),
        rule("create", "", "secrets serviceaccounts"),
        rule("delete", "", "secrets"),
        rule("get", "", "configmaps namespaces secrets serviceaccounts"),
        rule("update", "", "secrets serviceaccounts"),
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        rule("list watch", "*", "*"),
        rule("create", "", "serviceaccounts/token"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
    ),
    **{
        f"system:certificates.k8s.io:{name}-approver": (
            rule("approve", "certificates.k8s.io", "signers", f"kubernetes.io/{name}"),
        )
        for name in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
    },
}

_WORKLOADS: Final = "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale"
_STATUSES: Final = (
    "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets "
    "replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"
)

AGGREGATED: Final[dict[str, tuple[str, tuple[JsonObject, ...]]]] = {
    "system:aggregate-to-admin": (
        "admin",
        (
            rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            rule(READ_WRITE, RBAC, "rolebindings roles"),
        ),
    ),
    "system:aggregate-to-edit": (
        "edit",
        (
            rule(READ, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
            rule("impersonate", "", "serviceaccounts"),
            rule(WRITE, "", "pods pods/attach pods/exec pods/portforward pods/proxy"),
            rule("create", "", "pods/eviction"),
            rule("patch update", "", "pods/resize"),
            rule(
                WRITE,
                "",
                "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale "
                "secrets serviceaccounts services services/proxy",
            ),
            rule("create", "", "serviceaccounts/token"),
            rule(WRITE, "apps", f"{_WORKLOADS} statefulsets statefulsets/scale"),
            rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
            rule(WRITE, "batch", "cronjobs jobs"),
            rule(WRITE, "extensions", f"{_WORKLOADS} ingresses networkpolicies replicationcontrollers/scale"),
            rule(WRITE, "policy", "poddisruptionbudgets"),
            rule(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
            rule(READ_WRITE, "coordination.k8s.io", "leases"),
        ),
    ),
    "system:aggregate-to-view": (
        "view",
        (
            rule(
                READ,
                "",
                "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
                "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
            ),
            rule(
                READ,
                "",
                "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
                "resourcequotas resourcequotas/status",
            ),
            rule(READ, "", "namespaces"),
            rule(READ, "discovery.k8s.io", "endpointslices"),
            rule(READ, "apps", _STATUSES),
            rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
            rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
            rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
            rule(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
        ),
    ),
}


def aggregate(name: str) -> list[JsonObject]:
    """The rules of admin, edit or view as they are in a new cluster: each holds the next."""
    order = ["admin", "edit", "view"]
    wanted = order[order.index(name) :]
    return [item for into, rules in AGGREGATED.values() if into in wanted for item in rules]


CONTROLLER_ROLES: Final[dict[str, tuple[JsonObject, ...]]] = {
    "attachdetach-controller": (
        rule("list watch", "", "persistentvolumes persistentvolumeclaims pods"),
        rule(READ, "", "nodes"),
        rule("patch update", "", "nodes/status"),
        rule(READ_WRITE, "storage.k8s.io", "volumeattachments"),
        EVENTS,
    ),
    "certificate-controller": (
        rule("delete get list watch", "certificates.k8s.io", "certificatesigningrequests"),
        rule(
            "update", "certificates.k8s.io", "certificatesigningrequests/approval certificatesigningrequests/status"
        ),
        rule("approve sign", "certificates.k8s.io", "signers"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        EVENTS,
    ),
    "clusterrole-aggregation-controller": (rule("escalate get list patch update watch", RBAC, "clusterroles"),),
    "cronjob-controller": (
        rule("get list update watch", "batch", "cronjobs"),
        rule("create delete get list patch update watch", "batch", "jobs"),
        rule("update", "batch", "cronjobs/finalizers cronjobs/status"),
        rule("delete list", "", "pods"),
        EVENTS,
    ),
    "daemon-set-controller": (
        rule(READ, "apps", "daemonsets"),
        rule("update", "apps", "daemonsets/finalizers daemonsets/status"),
        rule("list watch", "", "nodes"),
        rule("create delete list patch watch", "", "pods"),
        rule("create", "", "pods/binding"),
        rule("create delete get list patch update watch", "apps", "controllerrevisions"),
        EVENTS,
    ),
    "deployment-controller": (
        rule("get list update watch", "apps", "deployments"),
        rule("update", "apps", "deployments/finalizers deployments/status"),
        rule("create delete get list patch update watch", "apps", "replicasets"),
        rule("get list update watch", "", "pods"),
        EVENTS,
    ),
    "disruption-controller": (
        rule(READ, "apps", "deployments replicasets statefulsets"),
        rule(READ, "", "replicationcontrollers"),
        rule(READ, "policy", "poddisruptionbudgets"),
        rule("update", "policy", "poddisruptionbudgets/status"),
        rule("patch update", "", "pods/status"),
        rule(READ, "", "pods"),
        rule("get", "*", "*/scale"),
        EVENTS,
    ),
    "endpoint-controller": (
        rule(READ, "", "pods services"),
        rule("create delete get list update watch", "", "endpoints"),
        rule("create", "", "endpoints/restricted"),
        EVENTS,
    ),
    "endpointslice-controller": (
        rule(READ, "", "nodes pods services"),
        rule("update", "", "services/finalizers"),
        rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
        rule("create", "discovery.k8s.io", "endpointslices/restricted"),
        EVENTS,
    ),
    "endpointslicemirroring-controller": (
        rule(READ, "", "endpoints services"),
        rule("update", "", "endpoints/finalizers services/finalizers"),
        rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
        rule("create", "discovery.k8s.io", "endpointslices/restricted"),
        EVENTS,
    ),
    "expand-controller": (
        rule("get list patch update watch", "", "persistentvolumes"),
        rule("patch update", "", "persistentvolumeclaims/status"),
        rule(READ, "", "persistentvolumeclaims"),
        EVENTS,
    ),
    "ephemeral-volume-controller": (
        rule("get list watch", "", "pods"),
        rule("update", "", "pods/finalizers"),
        rule("create get list watch", "", "persistentvolumeclaims"),
        EVENTS,
    ),
    "generic-garbage-collector": (
        rule("delete get list patch update watch", "*", "*"),
        EVENTS,
    ),
    "horizontal-pod-autoscaler": (
        rule(READ, "autoscaling", "horizontalpodautoscalers"),
        rule("update", "autoscaling", "horizontalpodautoscalers/status"),
        rule("get update", "*", "*/scale"),
        rule("list", "", "pods"),
        rule("list", "metrics.k8s.io", "pods"),
        rule("get list", ("custom.metrics.k8s.io", "external.metrics.k8s.io"), "*"),
        EVENTS,
    ),
    "job-controller": (
        rule("get list patch update watch", "batch", "jobs"),
        rule("update", "batch", "jobs/finalizers jobs/status"),
        rule("create delete list patch watch", "", "pods"),
        EVENTS,
    ),
    "namespace-controller": (
        rule("delete get list watch", "", "namespaces"),
        rule("update", "", "namespaces/finalize namespaces/status"),
        rule("delete deletecollection get list", "*", "*"),
    ),
    "node-controller": (
        rule("delete get list patch update watch", "", "nodes"),
        rule("patch update", "", "nodes/status pods/status"),
        rule("delete get list watch", "", "pods"),
        rule(READ, "coordination.k8s.io", "leases"),
        EVENTS,
    ),
    "persistent-volume-binder": (
        rule("create delete get list update watch", "", "persistentvolumes"),
        rule("update", "", "persistentvolumes/status persistentvolumeclaims/status"),
        rule("get list update watch", "", "persistentvolumeclaims"),
        rule("create delete get list watch", "", "pods endpoints services"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        EVENTS,
    ),
    "pod-garbage-collector": (
        rule("delete list watch", "", "pods"),
        rule("get list", "", "nodes"),
        rule("patch", "", "pods/status"),
    ),
    "pv-protection-controller": (rule("get list update watch", "", "persistentvolumes"), EVENTS),
    "pvc-protection-controller": (
        rule("get list update watch", "", "persistentvolumeclaims"),
        rule(READ, "", "pods"),
        EVENTS,
    ),
    "replicaset-controller": (
        rule("get list update watch", "apps", "replicasets"),
        rule("update", "apps", "replicasets/finalizers replicasets/status"),
        rule("create delete list patch watch", "", "pods"),
        EVENTS,
    ),
    "replication-controller": (
        rule("get list update watch", "", "replicationcontrollers"),
        rule("update", "", "replicationcontrollers/finalizers replicationcontrollers/status"),
        rule("create delete list patch watch", "", "pods"),
        EVENTS,
    ),
    "resourcequota-controller": (
        rule("list watch", "*", "*"),
        rule("update", "", "resourcequotas/status"),
        EVENTS,
    ),
    "root-ca-cert-publisher": (rule("create update", "", "configmaps"), EVENTS),
    "route-controller": (rule("list watch", "", "nodes"), rule("patch", "", "nodes/status"), EVENTS),
    "service-account-controller": (rule("create", "", "serviceaccounts"), EVENTS),
    "service-controller": (
        rule(READ, "", "services"),
        rule("patch update", "", "services/status"),
        rule("list watch", "", "nodes"),
        rule("list watch", "discovery.k8s.io", "endpointslices"),
        rule("list watch", "coordination.k8s.io", "leases"),
        EVENTS,
    ),
    "statefulset-controller": (
        rule("list watch", "", "pods"),
        rule(READ, "apps", "statefulsets"),
        rule("update", "apps", "statefulsets/finalizers statefulsets/status"),
        rule("create delete get patch update", "", "pods"),
        rule("create delete get list patch update watch", "apps", "controllerrevisions"),
        rule("create delete get list patch update watch", "", "persistentvolumeclaims"),
        EVENTS,
    ),
    "ttl-controller": (rule("list patch update watch", "", "nodes"), EVENTS),
    "ttl-after-finished-controller": (rule("delete get list watch", "batch", "jobs"), EVENTS),
}

_EVERYONE: Final = "Group:system:authenticated"
_NOBODY: Final = "Group:system:unauthenticated"

CLUSTER_BINDINGS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "cluster-admin": ("cluster-admin", ("Group:system:masters",)),
    "system:monitoring": ("system:monitoring", ("Group:system:monitoring",)),
    "system:discovery": ("system:discovery", (_EVERYONE,)),
    "system:basic-user": ("system:basic-user", (_EVERYONE,)),
    "system:public-info-viewer": ("system:public-info-viewer", (_EVERYONE, _NOBODY)),
    "system:node-proxier": ("system:node-proxier", ("User:system:kube-proxy",)),
    "system:kube-controller-manager": ("system:kube-controller-manager", ("User:system:kube-controller-manager",)),
    "system:kube-dns": ("system:kube-dns", ("ServiceAccount:kube-system/kube-dns",)),
    "argosy:dns": ("argosy:dns", ("User:system:kube-dns",)),
    "argosy:ingress": ("argosy:ingress", ("User:system:argosy-ingress",)),
    "argosy:network-policy": ("argosy:network-policy", ("User:system:kube-proxy",)),
    "argosy:metrics": ("argosy:metrics", ("User:system:metrics-server",)),
    "argosy:metrics:auth-delegator": ("system:auth-delegator", ("User:system:metrics-server",)),
    "argosy:autoscaler": ("argosy:autoscaler", ("User:system:argosy-autoscaler",)),
    "system:kube-scheduler": ("system:kube-scheduler", ("User:system:kube-scheduler",)),
    "system:volume-scheduler": ("system:volume-scheduler", ("User:system:kube-scheduler",)),
    "system:node": ("system:node", ()),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        ("Group:system:serviceaccounts",),
    ),
    **{
        f"argosy:controllers:{name}": (f"system:controller:{name}", ("User:system:kube-controller-manager",))
        for name in CONTROLLER_ROLES
    },
}

_SYSTEM: Final = "kube-system"

ROLES: Final[dict[tuple[str, str], tuple[JsonObject, ...]]] = {
    (_SYSTEM, "extension-apiserver-authentication-reader"): (
        rule(READ, "", "configmaps", "extension-apiserver-authentication"),
    ),
    (_SYSTEM, "argosy:autoscaler"): (
        rule("create", "", "configmaps"),
        rule("get patch", "", "configmaps", "cluster-autoscaler-status"),
    ),
    (_SYSTEM, "system::leader-locking-kube-scheduler"): (
        rule("watch", "", "configmaps"),
        rule("get update", "", "configmaps", "kube-scheduler"),
    ),
    (_SYSTEM, "system::leader-locking-kube-controller-manager"): (
        rule("watch", "", "configmaps"),
        rule("get update", "", "configmaps", "kube-controller-manager"),
    ),
    (_SYSTEM, "system:controller:bootstrap-signer"): (rule(READ, "", "secrets"),),
    (_SYSTEM, "system:controller:token-cleaner"): (rule("delete get list watch", "", "secrets"), EVENTS),
    ("kube-node-lease", "argosy:load-balancer"): (rule("create get patch", "coordination.k8s.io", "leases"),),
    ("kube-public", "system:controller:bootstrap-signer"): (
        rule(READ, "", "configmaps"),
        rule("update", "", "configmaps", "cluster-info"),
        EVENTS,
    ),
}

BINDINGS: Final[dict[tuple[str, str], tuple[str, tuple[str, ...]]]] = {
    (_SYSTEM, "system::extension-apiserver-authentication-reader"): (
        "extension-apiserver-authentication-reader",
        ("User:system:kube-scheduler", "User:system:kube-controller-manager", "User:system:metrics-server"),
    ),
    (_SYSTEM, "argosy:autoscaler"): ("argosy:autoscaler", ("User:system:argosy-autoscaler",)),
    (_SYSTEM, "system::leader-locking-kube-scheduler"): (
        "system::leader-locking-kube-scheduler",
        ("User:system:kube-scheduler", "ServiceAccount:kube-system/kube-scheduler"),
    ),
    (_SYSTEM, "system::leader-locking-kube-controller-manager"): (
        "system::leader-locking-kube-controller-manager",
        ("User:system:kube-controller-manager", "ServiceAccount:kube-system/kube-controller-manager"),
    ),
    (_SYSTEM, "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        ("ServiceAccount:kube-system/bootstrap-signer",),
    ),
    (_SYSTEM, "system:controller:token-cleaner"): (
        "system:controller:token-cleaner",
        ("ServiceAccount:kube-system/token-cleaner",),
    ),
    ("kube-node-lease", "argosy:load-balancer"): ("argosy:load-balancer", ("User:system:kube-proxy",)),
    ("kube-public", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        ("ServiceAccount:kube-system/bootstrap-signer",),
    ),
}
