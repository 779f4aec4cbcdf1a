# ruff: noqa: E501  # tables of upstream messages, one to a line
"""PersistentVolumes, claims and storage classes: defaults, rules, what may change, and columns."""

from typing import Any

import pytest

from argosy.kinds import ALL
from argosy.kinds.kind import Kind
from argosy.objects import meta, storage
from argosy.objects.types import JsonObject

NOW = 1767225600.0
AFFINITY = {
    "required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}
}


def kind_of(name: str) -> Kind:
    return next(kind for kind in ALL if kind.kind == name)


def made(name: str, obj: JsonObject) -> JsonObject:
    kind, new = kind_of(name), meta.copy_object(obj)
    new.setdefault("metadata", {"name": "x", "namespace": "default"})
    kind.default(new)
    kind.prepare_create(new)
    return new


def failures(name: str, obj: JsonObject) -> list[str]:
    return [str(error) for error in kind_of(name).validate(made(name, obj))]


def changes(name: str, new: JsonObject, old: JsonObject) -> list[str]:
    return [str(error) for error in kind_of(name).validate_update(new, old)]


def cells(name: str, obj: JsonObject) -> dict[str, object]:
    return {column.name: column.value(obj, NOW) for column in kind_of(name).table}


def volume(**spec: Any) -> JsonObject:
    return {
        "spec": {
            "capacity": {"storage": "1024Mi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/d"},
            **spec,
        }
    }


def claim(status: JsonObject | None = None, annotations: JsonObject | None = None, **spec: Any) -> JsonObject:
    full = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"metadata": {"name": "x", "annotations": annotations or {}}, "spec": full, "status": status or {}}


def test_a_volume_is_retained_pending_and_a_file_system() -> None:
    new = made(
        "PersistentVolume", {"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}, **volume()}
    )
    assert new["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert new["spec"]["volumeMode"] == "Filesystem"
    assert new["spec"]["capacity"] == {"storage": "1Gi"}
    assert new["spec"]["hostPath"] == {"path": "/d", "type": ""}
    assert new["status"] == {"phase": "Pending", "lastPhaseTransitionTime": "2026-01-01T00:00:00Z"}
    assert failures("PersistentVolume", volume()) == []


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"accessModes": []}, "spec.accessModes: Required value"),
        ({"accessModes": ["Often"]}, 'spec.accessModes: Unsupported value: "Often": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'),
        ({"accessModes": ["ReadWriteOnce", "ReadWriteOncePod"]}, "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"),
        ({"capacity": {}}, "spec.capacity: Required value"),
        ({"capacity": {"storage": "0"}}, 'spec.capacity[storage]: Invalid value: "0": must be greater than zero'),
        ({"capacity": {"storage": "1Gi", "cpu": "1"}}, 'spec.capacity: Unsupported value: {"storage":"1Gi","cpu":"1"}: supported values: "storage"'),
        ({"persistentVolumeReclaimPolicy": "Burn"}, 'spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"'),
        ({"hostPath": None}, "spec: Required value: must specify a volume type"),
        ({"nfs": {"server": "a", "path": "/b"}}, "spec.nfs: Forbidden: may not specify more than 1 volume type"),
        ({"hostPath": {"path": "/a/../b"}}, "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
        ({"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"}, "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"),
        ({"hostPath": None, "local": {"path": "/d"}}, "spec.nodeAffinity: Required value: Local volume requires node affinity"),
        ({"hostPath": None, "local": {}, "nodeAffinity": AFFINITY}, "spec.local.path: Required value"),
        ({"nodeAffinity": {}}, "spec.nodeAffinity.required: Required value: must specify required node constraints"),
        ({"volumeMode": "Tape"}, 'spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"'),
        ({"volumeAttributesClassName": ""}, "spec.volumeAttributesClassName: Required value: an empty string is disallowed"),
    ],
)  # fmt: skip
def test_volume_rules(change: JsonObject, failure: str) -> None:
    assert failure in failures("PersistentVolume", volume(**change))


def test_a_volume_keeps_its_source_mode_and_node() -> None:
    old = made("PersistentVolume", volume(nodeAffinity=AFFINITY))
    other = made(
        "PersistentVolume", volume(nodeAffinity={"required": {}}, hostPath={"path": "/e"}, volumeMode="Block")
    )
    assert changes("PersistentVolume", old, old) == []
    assert changes("PersistentVolume", other, old) == [
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
        'volumeMode: Invalid value: "Block": field is immutable',
        'nodeAffinity: Invalid value: {"required":{}}: field is immutable',
    ]
    bigger = made(
        "PersistentVolume", volume(nodeAffinity=AFFINITY, capacity={"storage": "2Gi"}, claimRef={"name": "c"})
    )
    assert changes("PersistentVolume", bigger, old) == []
    assert changes("PersistentVolume", old, made("PersistentVolume", volume())) == []


def test_volume_columns() -> None:
    obj = made("PersistentVolume", volume(claimRef={"namespace": "n", "name": "c"}, storageClassName="fast"))
    assert cells("PersistentVolume", obj) == {
        "Name": "x", "Capacity": "1Gi", "Access Modes": "RWO", "Reclaim Policy": "Retain", "Status": "Pending",
        "Claim": "n/c", "StorageClass": "fast", "VolumeAttributesClass": "<unset>", "Reason": "", "Age": "<unknown>",
        "VolumeMode": "Filesystem",
    }  # fmt: skip
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert cells("PersistentVolume", obj)["Status"] == "Terminating"


def test_a_claim_is_pending_and_its_sources_agree() -> None:
    new = made(
        "PersistentVolumeClaim", claim({"phase": "Bound"}, dataSource={"kind": "PersistentVolumeClaim", "name": "o"})
    )
    assert new["status"] == {"phase": "Pending"}
    assert new["spec"]["volumeMode"] == "Filesystem"
    assert new["spec"]["dataSourceRef"] == new["spec"]["dataSource"]
    assert failures("PersistentVolumeClaim", claim()) == []


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"accessModes": []}, "spec.accessModes: Required value: at least 1 access mode is required"),
        ({"resources": {}}, "spec.resources[storage]: Required value"),
        ({"resources": {"requests": {"storage": "-1"}}}, 'spec.resources[storage]: Invalid value: "-1": must be greater than zero'),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
        ({"volumeMode": "Tape"}, 'spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"'),
        ({"dataSource": {"kind": "Snapshot", "name": "s"}}, "spec.dataSource: Invalid value: \"Snapshot\": must be 'PersistentVolumeClaim' when referencing the default apiGroup"),
    ],
)  # fmt: skip
def test_claim_rules(change: JsonObject, failure: str) -> None:
    assert failure in failures("PersistentVolumeClaim", claim(**change))


IMMUTABLE = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
BIGGER = {"requests": {"storage": "2Gi"}}
SMALLER = {"requests": {"storage": "1Mi"}}
BOUND = {"phase": "Bound", "capacity": {"storage": "1Gi"}}


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (claim(volumeName="v"), claim(), []),
        (claim(volumeName="w"), claim(volumeName="v"), [IMMUTABLE]),
        (claim(accessModes=["ReadWriteMany"]), claim(), [IMMUTABLE]),
        (claim(storageClassName="a"), claim(), []),
        (claim(storageClassName=""), claim(), []),
        (claim(storageClassName="b"), claim(storageClassName="a"), [IMMUTABLE]),
        (claim(), claim(storageClassName=""), [IMMUTABLE]),
        (claim(resources=BIGGER), claim(), [IMMUTABLE]),
        (claim(BOUND, resources=BIGGER), claim(BOUND), []),
        (claim(BOUND, resources=SMALLER), claim(BOUND), ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]),
        (claim(volumeMode="Block"), claim(volumeMode="Filesystem"), [IMMUTABLE, 'volumeMode: Invalid value: "Block": field is immutable']),
        (claim(annotations={storage.BETA_CLASS: "b"}), claim(annotations={storage.BETA_CLASS: "a"}), [f'metadata.annotations[{storage.BETA_CLASS}]: Invalid value: "b": field is immutable']),
    ],
)  # fmt: skip
def test_what_may_change_of_a_claim(new: JsonObject, old: JsonObject, expected: list[str]) -> None:
    assert changes("PersistentVolumeClaim", new, old) == expected


def test_claim_columns() -> None:
    assert cells("PersistentVolumeClaim", claim({"phase": "Pending", "capacity": {"storage": "1Gi"}})) == {
        "Name": "x", "Status": "Pending", "Volume": "", "Capacity": "", "Access Modes": "", "StorageClass": "",
        "VolumeAttributesClass": "<unset>", "Age": "<unknown>", "VolumeMode": "<unset>",
    }  # fmt: skip
    status = {"phase": "Bound", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}
    shown = cells("PersistentVolumeClaim", claim(status, volumeName="v"))
    assert (shown["Capacity"], shown["Access Modes"], shown["Volume"]) == ("2Gi", "RWO,RWX", "v")


def test_storage_classes() -> None:
    new = made("StorageClass", {"provisioner": "example.com/disk"})
    assert (new["reclaimPolicy"], new["volumeBindingMode"]) == ("Delete", "Immediate")
    assert failures("StorageClass", {"provisioner": "example.com/disk"}) == []
    assert failures("StorageClass", {"reclaimPolicy": "Recycle", "volumeBindingMode": "Later"}) == [
        "provisioner: Required value",
        'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
        'volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"',
    ]
    other = {
        "provisioner": "b",
        "parameters": {"a": "b"},
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "Immediate",
    }
    old = {"provisioner": "a", "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer"}
    assert changes("StorageClass", other, old) == [
        "parameters: Forbidden: updates to parameters are forbidden.",
        "provisioner: Forbidden: updates to provisioner are forbidden.",
        "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
        'volumeBindingMode: Invalid value: "Immediate": field is immutable',
    ]
    new["metadata"]["annotations"] = {storage.DEFAULT_CLASS: "true"}
    assert cells("StorageClass", new) == {
        "Name": "x (default)", "Provisioner": "example.com/disk", "ReclaimPolicy": "Delete",
        "VolumeBindingMode": "Immediate", "AllowVolumeExpansion": "false", "Age": "<unknown>",
    }  # fmt: skip


def test_ephemeral_volumes_of_a_pod() -> None:
    def errors(template: JsonObject | None, name: str = "p") -> list[str]:
        pod = {
            "metadata": {"name": name},
            "spec": {
                "containers": [{"name": "c", "image": "i", "terminationMessagePolicy": "File"}],
                "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}],
            },
        }
        return failures("Pod", pod)

    template = {"spec": claim()["spec"]}
    assert errors(template) == []
    assert errors(None) == ["spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"]
    where = "spec.volumes[0].ephemeral.volumeClaimTemplate"
    assert errors({"metadata": {"name": "n"}, "spec": {}}) == [
        f"{where}.metadata.name: Forbidden: cannot be set",
        f"{where}.spec.accessModes: Required value: at least 1 access mode is required",
        f"{where}.spec.resources[storage]: Required value",
    ]
    assert 'PVC name "' in errors(template, "p" * 250)[0]
