"""The node authoriser: a kubelet may read what the pods bound to its node refer to, and write what is its own.

Rules: plugin/pkg/auth/authorizer/node and the bootstrap policy's NodeRules. References are looked up in the pods of
the node through the cache's index, so a decision costs the pods of one node.
"""

from __future__ import annotations

from typing import Final

from argosy.objects import load_balancer, meta
from argosy.objects.storage import NODE_FIELD, SELECTED_NODE_FIELD, local_node
from argosy.objects.types import JsonObject
from control_plane.apiserver.auth import rules
from control_plane.apiserver.auth.attributes import NO_OPINION, Action, Decision, pinned
from control_plane.apiserver.request import User
from control_plane.apiserver.resources import Resources

NODES: Final = "system:nodes"
PREFIX: Final = "system:node:"
READS: Final = ("get", "list", "watch")

NODE_RULES: Final[tuple[JsonObject, ...]] = (
    {
        "verbs": ["create"],
        "apiGroups": ["authentication.k8s.io"],
        "resources": ["tokenreviews", "selfsubjectreviews"],
    },
    {
        "verbs": ["create"],
        "apiGroups": ["authorization.k8s.io"],
        "resources": ["subjectaccessreviews", "localsubjectaccessreviews", "selfsubjectaccessreviews"],
    },
    {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["services"]},
    {"verbs": ["create", "get", "list", "watch"], "apiGroups": [""], "resources": ["nodes"]},
    {"verbs": ["update", "patch"], "apiGroups": [""], "resources": ["nodes/status", "nodes"]},
    {"verbs": ["create", "update", "patch"], "apiGroups": ["", "events.k8s.io"], "resources": ["events"]},
    {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]},
    {"verbs": ["create", "delete"], "apiGroups": [""], "resources": ["pods"]},
    {"verbs": ["update", "patch"], "apiGroups": [""], "resources": ["pods/status"]},
    {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/eviction"]},
    {
        "verbs": ["create", "get", "list", "watch"],
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests"],
    },
    {"verbs": ["get", "list", "watch"], "apiGroups": ["storage.k8s.io"], "resources": ["csidrivers"]},
    {"verbs": ["get"], "apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"]},
    {"verbs": ["get", "list", "watch"], "apiGroups": ["node.k8s.io"], "resources": ["runtimeclasses"]},
)


def node_name(user: User) -> str:
    """The node that a user is; empty for others."""
    if NODES in user.groups and user.name.startswith(PREFIX):
        return user.name[len(PREFIX) :]
    return ""


class NodeAuthorizer:
    def __init__(self, resources: Resources) -> None:
        self._pods = resources.require("", "pods").cache
        self._volumes = resources.require("", "persistentvolumes").cache

    def decide(self, action: Action) -> Decision:
        node = node_name(action.user)
        if not node or action.path:
            return NO_OPINION
        if action.group == "" and action.resource in ("secrets", "configmaps"):
            return self._reads_reference(node, action)
        if (action.group, action.resource) == ("", "persistentvolumeclaims") and not action.subresource:
            if action.verb in ("list", "watch") and pinned(action.field_selector, SELECTED_NODE_FIELD) == node:
                return Decision(True)
            return self._reads_reference(node, action)
        if (action.group, action.resource) == ("", "persistentvolumes") and not action.subresource:
            return self._volume(node, action)
        if (action.group, action.full_resource) == ("", "serviceaccounts/token"):
            return self._token(node, action)
        if (action.group, action.resource) == ("", "serviceaccounts"):
            return self._reads_reference(node, action)
        if (action.group, action.resource) == ("coordination.k8s.io", "leases"):
            return self._lease(node, action)
        return Decision(rules.allows(NODE_RULES, action))

    def _reads_reference(self, node: str, action: Action) -> Decision:
        if action.verb not in READS or not action.name or not action.namespace:
            return Decision(False, "can only read namespaced object of this type by name")
        for entry in self._pods.select(action.namespace, "spec.nodeName", node):
            if action.name in references(entry.obj, action.resource):
                return Decision(True)
        return Decision(False, f"no relationship found between node '{node}' and this object")

    def _volume(self, node: str, action: Action) -> Decision:
        """Volumes of its pods, and those on its own disk, which it makes and removes (admission says which)."""
        if action.verb in ("list", "watch") and pinned(action.field_selector, NODE_FIELD) == node:
            return Decision(True)
        if action.verb == "create" and not action.name:
            return Decision(True)
        found = self._volumes.get(action.name) if action.name else None
        if found is not None and local_node(found.obj) == node and action.verb in ("get", "update", "delete"):
            return Decision(True)
        if action.verb != "get" or not action.name:
            return Decision(False, "can only get individual resources of this type")
        reference = meta.spec(found.obj).get("claimRef") if found is not None else None
        if isinstance(reference, dict):
            claim, space = str(reference.get("name", "")), str(reference.get("namespace", ""))
            for entry in self._pods.select(space, "spec.nodeName", node):
                if claim in references(entry.obj, "persistentvolumeclaims"):
                    return Decision(True)
        return Decision(False, f"no relationship found between node '{node}' and this object")

    def _token(self, node: str, action: Action) -> Decision:
        if action.verb != "create":
            return Decision(False, "can only create tokens for individual service accounts")
        for entry in self._pods.select(action.namespace, "spec.nodeName", node):
            if meta.spec(entry.obj).get("serviceAccountName") == action.name:
                return Decision(True)
        return Decision(False, f"no relationship found between node '{node}' and this object")

    def _lease(self, node: str, action: Action) -> Decision:
        if action.namespace != "kube-node-lease":
            return Decision(False, "can only access leases in the namespace kube-node-lease")
        if action.verb not in ("get", "create", "update", "patch", "delete"):
            return Decision(False, "can only get, create, update, patch, or delete a node lease")
        if action.name and action.name not in (node, load_balancer.lease_name(node)):
            return Decision(False, "can only access node lease with the same name as the requesting node")
        return Decision(True)


def references(pod: JsonObject, resource: str) -> set[str]:
    """The names of the secrets, configmaps, claims or service accounts that a pod refers to."""
    spec = meta.spec(pod)
    if resource == "serviceaccounts":
        return {str(spec.get("serviceAccountName", ""))}
    found: set[str] = set()
    if resource == "persistentvolumeclaims":
        for volume in spec.get("volumes") or ():
            found.add(str((volume.get("persistentVolumeClaim") or {}).get("claimName", "")))
            if volume.get("ephemeral"):
                found.add(f"{meta.name(pod)}-{volume.get('name')}")
        return found
    secret = resource == "secrets"
    if secret:
        found |= {str(item.get("name", "")) for item in spec.get("imagePullSecrets") or ()}
    for volume in spec.get("volumes") or ():
        found |= _of_volume(volume, secret)
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            for source in container.get("envFrom") or ():
                found.add(str((source.get("secretRef" if secret else "configMapRef") or {}).get("name", "")))
            for variable in container.get("env") or ():
                source = variable.get("valueFrom") or {}
                found.add(str((source.get("secretKeyRef" if secret else "configMapKeyRef") or {}).get("name", "")))
    return found


def _of_volume(volume: JsonObject, secret: bool) -> set[str]:
    found = {str((volume.get("secret") or {}).get("secretName", "") if secret else "")}
    if not secret:
        found.add(str((volume.get("configMap") or {}).get("name", "")))
    for source in (volume.get("projected") or {}).get("sources") or ():
        found.add(str((source.get("secret" if secret else "configMap") or {}).get("name", "")))
    if secret:
        for kind in ("csi", "flexVolume", "cephfs", "rbd", "iscsi", "scaleIO", "storageos"):
            inner = volume.get(kind) or {}
            reference = inner.get("nodePublishSecretRef") or inner.get("secretRef") or {}
            found.add(str(reference.get("name", "")))
    return found
