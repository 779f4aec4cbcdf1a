"""What everyone asks of volumes, claims and storage classes: their class, access modes, sizes, and the annotations.

Names are upstream's (k8s.io/component-helpers `storage/volume`); pure, for API server, controllers, scheduler and
node agent alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from argosy.objects import meta, quantity
from argosy.objects.types import JsonObject

BETA_CLASS: Final = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
BETA_DEFAULT_CLASS: Final = "storageclass.beta.kubernetes.io/is-default-class"
BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
"""On a claim: the binder has finished; from now on it only checks."""
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
"""On a claim or volume: the binder chose the other side, no user did."""
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
STORAGE_PROVISIONER: Final = "volume.kubernetes.io/storage-provisioner"
BETA_STORAGE_PROVISIONER: Final = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
PVC_PROTECTION: Final = "kubernetes.io/pvc-protection"
PV_PROTECTION: Final = "kubernetes.io/pv-protection"

NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
LOCAL_PATH: Final = "local-path"
"""The class that every cluster starts with, and its provisioner, which the node agents are."""
LOCAL_PATH_PROVISIONER: Final = "argosy.io/local-path"

IMMEDIATE: Final = "Immediate"
WAIT_FOR_FIRST_CONSUMER: Final = "WaitForFirstConsumer"

ACCESS_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
"""In the order and form in which kubectl shows them."""
VOLUME_MODES: Final = ("Block", "Filesystem")
RECLAIM_POLICIES: Final = ("Delete", "Recycle", "Retain")

NOT_SOURCES: Final = frozenset(
    {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
)
"""Fields of a PersistentVolume's spec that say something other than where the data are."""


def source_names(spec: JsonObject) -> list[str]:
    """The volume sources that a PersistentVolume's spec gives; one, in a valid one."""
    return [name for name, value in spec.items() if name not in NOT_SOURCES and isinstance(value, dict)]


def short_modes(modes: Iterable[str] | None) -> str:
    given = set(modes or ())
    return ",".join(short for mode, short in ACCESS_MODES.items() if mode in given)


def volume_class(volume: JsonObject) -> str:
    """The class of a PersistentVolume; empty for none."""
    old = meta.annotations(volume).get(BETA_CLASS)
    return str(meta.spec(volume).get("storageClassName") or "") if old is None else old


def claim_class(claim: JsonObject) -> str:
    """The class of a claim; empty for none, whether it asked for none or said nothing."""
    return claim_class_or_none(claim) or ""


def claim_class_or_none(claim: JsonObject) -> str | None:
    """The same, with None for a claim that says nothing: the default class may yet be given to it."""
    old = meta.annotations(claim).get(BETA_CLASS)
    if old is not None:
        return old
    given = meta.spec(claim).get("storageClassName")
    return None if given is None else str(given)


def is_default_class(storage_class: JsonObject) -> bool:
    notes = meta.annotations(storage_class)
    return notes.get(DEFAULT_CLASS) == "true" or notes.get(BETA_DEFAULT_CLASS) == "true"


def default_class(classes: Iterable[JsonObject]) -> JsonObject | None:
    """The newest of the default classes, and by name among equals."""
    marked = sorted((item for item in classes if is_default_class(item)), key=meta.name)
    marked.sort(key=lambda item: str(meta.metadata(item).get("creationTimestamp", "")), reverse=True)
    return marked[0] if marked else None


def waits_for_consumer(storage_class: JsonObject) -> bool:
    return storage_class.get("volumeBindingMode") == WAIT_FOR_FIRST_CONSUMER


def volume_mode(obj: JsonObject) -> str:
    """Of a claim or volume."""
    return str(meta.spec(obj).get("volumeMode") or "Filesystem")


def _bytes(text: object) -> int:
    try:
        return quantity.value(text)
    except quantity.QuantityError:
        return 0


def claim_bytes(claim: JsonObject) -> int:
    """How much a claim asks for."""
    return _bytes(((meta.spec(claim).get("resources") or {}).get("requests") or {}).get("storage", 0))


def volume_bytes(volume: JsonObject) -> int:
    """How much a volume has."""
    return _bytes((meta.spec(volume).get("capacity") or {}).get("storage", 0))


def is_bound(claim: JsonObject) -> bool:
    """Whether the binder has finished with a claim (its phase may follow a moment later)."""
    return bool(meta.spec(claim).get("volumeName")) and BIND_COMPLETED in meta.annotations(claim)


def ephemeral_claim_name(pod: JsonObject, volume: JsonObject) -> str:
    return f"{meta.name(pod)}-{volume.get('name', '')}"


def pod_claim_name(pod: JsonObject, volume: JsonObject) -> str | None:
    """The claim that one of a pod's volumes stands for; None for every other source."""
    named = volume.get("persistentVolumeClaim")
    if isinstance(named, dict):
        return str(named.get("claimName", ""))
    return ephemeral_claim_name(pod, volume) if isinstance(volume.get("ephemeral"), dict) else None


def pod_claim_names(pod: JsonObject) -> list[str]:
    """Of every volume that stands for one, in order."""
    found = (pod_claim_name(pod, volume) for volume in meta.spec(pod).get("volumes") or ())
    return [name for name in found if name]


def is_owned_by(claim: JsonObject, pod: JsonObject) -> bool:
    """Whether an ephemeral volume's claim was made for this pod, and for no other of the same name."""
    return any(
        owner.get("controller") and owner.get("uid") == meta.uid(pod) for owner in meta.owner_references(claim)
    )


SELECTED_NODE_FIELD: Final = "argosy.io/selected-node"
NODE_FIELD: Final = "argosy.io/node"
"""Field selector labels (of claims, of volumes) by which a node's provisioner sees what is its own alone."""
HOSTNAME: Final = "kubernetes.io/hostname"


def selected_node(claim: JsonObject) -> str:
    return meta.annotations(claim).get(SELECTED_NODE, "")


def local_affinity(node: str) -> JsonObject:
    """The node affinity of a volume that is on one node's disk."""
    expression = {"key": HOSTNAME, "operator": "In", "values": [node]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


def local_node(volume: JsonObject) -> str:
    """The node that made a volume on its disk; empty for volumes of any other kind."""
    if meta.annotations(volume).get(PROVISIONED_BY) != LOCAL_PATH_PROVISIONER:
        return ""
    try:
        (term,) = meta.spec(volume)["nodeAffinity"]["required"]["nodeSelectorTerms"]
        (expression,) = term["matchExpressions"]
        (node,) = expression["values"]
    except (KeyError, TypeError, ValueError):
        return ""
    return str(node) if meta.spec(volume)["nodeAffinity"] == local_affinity(str(node)) else ""
