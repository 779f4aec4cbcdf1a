"""What node agents may write, and the taint of new nodes.

NodeRestriction follows plugin/pkg/admission/noderestriction: a kubelet changes its own Node and the pods bound to
it, and nothing that would let it attract other pods. NodeTaint is TaintNodesByCondition: a new node is not ready.
"""

from __future__ import annotations

from typing import Final

from argosy.objects import load_balancer, meta, storage
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.auth.node import node_name
from control_plane.apiserver.resources import Resources

MIRROR: Final = "kubernetes.io/config.mirror"
RESTRICTED_LABEL: Final = "node-restriction.kubernetes.io/"
_OWN_LABELS: Final = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
    }
)
_OWN_PREFIXES: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeTaint(Plugin):
    name = "TaintNodesByCondition"

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.CREATE or not attributes.is_for("", "nodes"):
            return
        assert attributes.obj is not None
        spec = attributes.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        key = "node.kubernetes.io/not-ready"
        if not any(taint.get("key") == key and taint.get("effect") == "NoSchedule" for taint in taints):
            spec["taints"] = [*taints, {"key": key, "effect": "NoSchedule"}]


class NodeRestriction(Plugin):
    name = "NodeRestriction"

    def __init__(self, resources: Resources) -> None:
        self._pods = resources.require("", "pods").cache
        self._nodes = resources.require("", "nodes").cache
        self._claims = resources.require("", "persistentvolumeclaims").cache
        self._classes = resources.require("storage.k8s.io", "storageclasses").cache

    async def validate(self, attributes: Attributes) -> None:
        node = node_name(attributes.user)
        if not node or attributes.operation is Operation.CONNECT:
            return
        kind = attributes.kind
        if kind.group == "" and kind.plural == "pods":
            self._pod(node, attributes)
        elif kind.group == "" and kind.plural == "nodes":
            self._node(node, attributes)
        elif (kind.group, kind.plural) == ("coordination.k8s.io", "leases"):
            self._lease(node, attributes)
        elif (kind.group, kind.plural) == ("", "persistentvolumes"):
            self._volume(node, attributes)

    def _pod(self, node: str, attributes: Attributes) -> None:
        request, pod = attributes.request, attributes.obj
        if attributes.operation is Operation.CREATE and not attributes.subresource:
            assert pod is not None
            if MIRROR not in meta.annotations(pod):
                _refuse(
                    attributes, f"pod does not have {MIRROR!r} annotation, node {node!r} can only create mirror pods"
                )
            if meta.spec(pod).get("nodeName") != node:
                _refuse(attributes, f"node {node!r} can only create pods with spec.nodeName set to itself")
            if meta.spec(pod).get("serviceAccountName"):
                _refuse(attributes, "can not create pods that reference a service account")
            return
        old = attributes.old
        if attributes.subresource == "eviction":
            entry = self._pods.get(f"{request.namespace}/{request.name}")
            old = entry.obj if entry is not None else None
        bound = meta.spec(old or {}).get("nodeName", "")
        if bound != node:
            deletes = attributes.operation is Operation.DELETE or attributes.subresource == "eviction"
            verb = "delete" if deletes else "update status for"
            _refuse(attributes, f"node {node!r} can only {verb} pods with spec.nodeName set to itself")
        if attributes.operation is Operation.UPDATE and attributes.subresource != "status":
            _refuse(attributes, f"unexpected update of a pod by node {node!r}: {request.name}")
        if attributes.subresource == "eviction":
            return
        if pod is not None and meta.labels(pod) != meta.labels(old or {}):
            _refuse(attributes, f"node {node!r} cannot update labels through pod status")

    def _node(self, node: str, attributes: Attributes) -> None:
        name = attributes.request.name or meta.name(attributes.obj or {})
        if name != node:
            _refuse(attributes, f"node {node!r} is not allowed to modify node {name!r}")
        new = attributes.obj or {}
        if attributes.operation is Operation.CREATE:
            forbidden = [key for key in meta.labels(new) if not _may_label(key)]
            if forbidden:
                _refuse(attributes, f"is not allowed to set the following labels: {', '.join(sorted(forbidden))}")
        elif attributes.operation is Operation.UPDATE:
            old = attributes.old or {}
            if meta.spec(new).get("taints") != meta.spec(old).get("taints"):
                _refuse(attributes, f"node {node!r} is not allowed to modify taints")
            changed = _changed(meta.labels(old), meta.labels(new))
            forbidden = [key for key in changed if not _may_label(key)]
            if forbidden:
                _refuse(attributes, f"is not allowed to modify labels: {', '.join(sorted(forbidden))}")
        else:
            _refuse(attributes, f"node {node!r} is not allowed to delete nodes")

    def _volume(self, node: str, attributes: Attributes) -> None:
        """A node makes volumes on its own disk, for claims that the scheduler sent there, and takes them away."""
        new, old = attributes.obj or {}, attributes.old or {}
        if attributes.operation is Operation.CREATE:
            problem = self._wrong_volume(node, new)
            if problem:
                _refuse(attributes, problem)
            return
        if attributes.subresource or storage.local_node(old) != node:
            _refuse(attributes, f"node {node!r} can only modify PersistentVolumes on its own disk")
        if attributes.operation is Operation.UPDATE and not _only_fewer_finalizers(new, old):
            _refuse(attributes, f"node {node!r} can only remove finalizers of a PersistentVolume")

    def _wrong_volume(self, node: str, volume: JsonObject) -> str:
        spec = meta.spec(volume)
        if storage.local_node(volume) != node or storage.source_names(spec) != ["local"]:
            return f"node {node!r} can only create PersistentVolumes on its own disk"
        reference = spec.get("claimRef") or {}
        found = self._claims.get(f"{reference.get('namespace', '')}/{reference.get('name', '')}")
        claim = found.obj if found is not None else {}
        if not reference.get("uid") or meta.uid(claim) != reference["uid"] or storage.selected_node(claim) != node:
            return f"node {node!r} can only create PersistentVolumes for claims whose selected node it is"
        if meta.name(volume) != f"pvc-{meta.uid(claim)}" or storage.volume_class(volume) != storage.claim_class(
            claim
        ):
            return f"node {node!r} can only create the PersistentVolume that the claim asks for"
        provisioner = self._provisioner(storage.volume_class(volume))
        if provisioner != storage.LOCAL_PATH_PROVISIONER:
            return f"node {node!r} is no provisioner of storage class {storage.volume_class(volume)!r}"
        return ""

    def _provisioner(self, class_name: str) -> str:
        found = self._classes.get(class_name)
        return str(found.obj.get("provisioner", "")) if found is not None else ""

    def _lease(self, node: str, attributes: Attributes) -> None:
        name = attributes.request.name or meta.name(attributes.obj or {})
        if attributes.namespace != "kube-node-lease" or name not in (node, load_balancer.lease_name(node)):
            _refuse(attributes, f"can only access node lease with the same name as the requesting node {node!r}")


def _only_fewer_finalizers(new: JsonObject, old: JsonObject) -> bool:
    kept = ("annotations", "labels", "name", "ownerReferences", "uid")
    same = all(meta.metadata(new).get(key) == meta.metadata(old).get(key) for key in kept)
    fewer = set(meta.finalizers(new)) <= set(meta.finalizers(old))
    return same and fewer and meta.spec(new) == meta.spec(old)


def _changed(old: JsonObject, new: JsonObject) -> list[str]:
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]


def _may_label(key: str) -> bool:
    """Labels of Kubernetes' own domains are not a kubelet's to set, but for its own."""
    domain = key.partition("/")[0] if "/" in key else ""
    if domain == "node-restriction.kubernetes.io" or domain.endswith(".node-restriction.kubernetes.io"):
        return False
    if domain not in ("kubernetes.io", "k8s.io") and not domain.endswith((".kubernetes.io", ".k8s.io")):
        return True
    return key in _OWN_LABELS or any(domain == prefix or domain.endswith("." + prefix) for prefix in _OWN_PREFIXES)


def _refuse(attributes: Attributes, detail: str) -> None:
    request = attributes.request
    name = request.name or meta.name(attributes.obj or {})
    raise errors.forbidden(request.served.group, request.served.plural, name, detail.replace("'", '"'))
