"""A handle for each built-in resource, by its plural name: `client.deployments`, `client.services`, …

Custom resources are found by `Client.find`, built-in ones by any of their names by `Client.kind`. `argosy.client` is
the caller; pods have a class of their own (`argosy.pods`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.client import Resource


class Builtin:
    """One attribute: a resource of the API group and version, under the attribute's own name."""

    def __init__(self, group: str = "", version: str = "v1") -> None:
        self.group, self.version, self.plural = group, version, ""

    def __set_name__(self, _owner: type, name: str) -> None:
        self.plural = name

    def __get__(self, client: BuiltinResources, _owner: type | None = None) -> Resource:
        return client.resource(self.group, self.version, self.plural)


class BuiltinResources:
    """The attributes that `Client` has for built-in resources."""

    def resource(self, group: str, version: str, plural: str) -> Resource:
        raise NotImplementedError

    configmaps = Builtin()
    endpoints = Builtin()
    events = Builtin()
    limitranges = Builtin()
    namespaces = Builtin()
    nodes = Builtin()
    persistentvolumeclaims = Builtin()
    persistentvolumes = Builtin()
    podtemplates = Builtin()
    replicationcontrollers = Builtin()
    resourcequotas = Builtin()
    secrets = Builtin()
    serviceaccounts = Builtin()
    services = Builtin()
    controllerrevisions = Builtin("apps")
    daemonsets = Builtin("apps")
    deployments = Builtin("apps")
    replicasets = Builtin("apps")
    statefulsets = Builtin("apps")
    horizontalpodautoscalers = Builtin("autoscaling", "v2")
    cronjobs = Builtin("batch")
    jobs = Builtin("batch")
    certificatesigningrequests = Builtin("certificates.k8s.io")
    customresourcedefinitions = Builtin("apiextensions.k8s.io")
    leases = Builtin("coordination.k8s.io")
    endpointslices = Builtin("discovery.k8s.io")
    runtimeclasses = Builtin("node.k8s.io")
    poddisruptionbudgets = Builtin("policy")
    clusterrolebindings = Builtin("rbac.authorization.k8s.io")
    clusterroles = Builtin("rbac.authorization.k8s.io")
    rolebindings = Builtin("rbac.authorization.k8s.io")
    roles = Builtin("rbac.authorization.k8s.io")
    priorityclasses = Builtin("scheduling.k8s.io")
    storageclasses = Builtin("storage.k8s.io")
    apiservices = Builtin("apiregistration.k8s.io")
    mutatingwebhookconfigurations = Builtin("admissionregistration.k8s.io")
    validatingwebhookconfigurations = Builtin("admissionregistration.k8s.io")
