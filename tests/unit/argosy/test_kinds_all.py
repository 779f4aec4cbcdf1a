# ruff: noqa: E501  # tables of upstream messages, one to a line
"""What holds for every kind, and what single kinds default, refuse and show."""

import base64
from typing import Any

import pytest

from argosy.kinds import ALL, KINDS
from argosy.kinds.kind import Kind
from argosy.objects import meta
from argosy.objects.types import JsonObject

NOW = 1767225600.0
THEN = "2025-12-31T23:58:30Z"


def kind_of(name: str) -> Kind:
    return next(kind for kind in ALL if kind.kind == name)


def made(name: str, obj: JsonObject) -> JsonObject:
    """As the API server makes a new object, rules aside."""
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


def test_every_kind_is_there_once() -> None:
    assert len({(kind.group, kind.plural) for kind in ALL}) == len(ALL)
    assert len({(kind.group, kind.kind) for kind in ALL}) == len(ALL)
    for kind in ALL:
        assert kind.singular == kind.kind.lower()
        assert KINDS.resource(kind.group, kind.plural) is kind
        assert KINDS.kind(kind.group, kind.kind) is kind
    assert KINDS.resource("events.k8s.io", "events") is KINDS.resource("", "events")
    short = [name for kind in ALL for name in kind.short_names]
    assert len(set(short)) == len(short)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.kind)
@pytest.mark.parametrize(
    "obj", [{}, {"metadata": {}}, {"metadata": {"name": "x"}, "spec": {}, "status": {}}], ids=str
)
def test_an_empty_object_crashes_nothing(kind: Kind, obj: JsonObject) -> None:
    new = meta.copy_object(obj)
    kind.default(new)
    kind.prepare_create(new)
    kind.validate(new)
    kind.validate_create(new)
    kind.validate_update(new, new)
    kind.validate_status_update(new, new)
    kind.prepare_update(new, meta.copy_object(new))
    for column in kind.table:
        column.value(new, NOW)
    for getter in kind.fields.values():
        assert isinstance(getter(new), str)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.kind)
def test_defaults_settle(kind: Kind) -> None:
    obj: JsonObject = {"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}
    kind.default(obj)
    again = meta.copy_object(obj)
    kind.default(again)
    assert again == obj


def test_deployment_defaults_and_columns() -> None:
    obj = made("Deployment", {"spec": deployment_spec()})
    spec = obj["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert failures("Deployment", {"spec": deployment_spec()}) == []
    obj["status"] = {"readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 0}
    obj["metadata"]["creationTimestamp"] = THEN
    assert cells("Deployment", obj) == {
        "Name": "x", "Ready": "1/1", "Up-to-date": 1, "Available": 0, "Age": "90s",
        "Containers": "c,d", "Images": "i,j:1", "Selector": "app=a",
    }  # fmt: skip


def deployment_spec(**changes: Any) -> JsonObject:
    return {
        "selector": {"matchLabels": {"app": "a"}},
        "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j:1"}]},
        },
        **changes,
    }


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"selector": None}, "spec.selector: Required value"),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for deployment"),
        (
            {"selector": {"matchLabels": {"app": "b"}}},
            'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`',
        ),
        (
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "x"}}},
            "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be a numeric string "
            "followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
        (
            {"strategy": {"type": "Recreate", "rollingUpdate": {}}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            {"strategy": {"type": "Blue"}},
            'spec.strategy.type: Unsupported value: "Blue": supported values: "Recreate", "RollingUpdate"',
        ),
        (
            {"minReadySeconds": 700},
            "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
        ),
    ],
)  # fmt: skip
def test_deployment_rules(change: JsonObject, failure: str) -> None:
    assert failure in failures("Deployment", {"spec": deployment_spec(**change)})


def test_selectors_are_immutable() -> None:
    old = {"spec": {"selector": {"matchLabels": {"app": "a"}}}}
    new = {"spec": {"selector": {"matchLabels": {"app": "b"}}}}
    for name in ("Deployment", "ReplicaSet"):
        assert changes(name, new, old) == [
            'spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable'
        ]
        assert changes(name, old, old) == []


def test_service_defaults() -> None:
    spec = made("Service", {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}})["spec"]
    assert spec["type"] == "ClusterIP"
    assert spec["sessionAffinity"] == "None"
    assert spec["internalTrafficPolicy"] == "Cluster"
    assert "externalTrafficPolicy" not in spec
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    node_port = made(
        "Service", {"spec": {"type": "NodePort", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]}}
    )
    assert node_port["spec"]["externalTrafficPolicy"] == "Cluster"
    assert node_port["spec"]["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


@pytest.mark.parametrize(
    ("spec", "failure"),
    [
        ({}, "spec.ports: Required value"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ({"ports": [{"port": 1}, {"port": 2, "name": "a"}]}, "spec.ports[0].name: Required value"),
        (
            {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]},
            'spec.ports[1].name: Duplicate value: "a"',
        ),
        (
            {"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]},
            'spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}',
        ),
        (
            {"ports": [{"port": 1, "nodePort": 30000}]},
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            {"ports": [{"port": 1, "protocol": "QUIC"}]},
            'spec.ports[0].protocol: Unsupported value: "QUIC": supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            {"type": "Magic", "ports": [{"port": 1}]},
            'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
            '"NodePort"',
        ),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        (
            {"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}]},
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
    ],
)  # fmt: skip
def test_service_rules(spec: JsonObject, failure: str) -> None:
    assert failure in failures("Service", {"spec": spec})


def test_service_keeps_what_was_allocated() -> None:
    old = {
        "spec": {
            "type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}],
        }
    }  # fmt: skip
    new: JsonObject = {"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}}
    kind_of("Service").prepare_update(new, old)
    assert new["spec"] == old["spec"]
    assert changes("Service", new, old) == []
    moved = meta.copy_object(new)
    moved["spec"]["clusterIP"], moved["spec"]["clusterIPs"] = "10.96.0.10", ["10.96.0.10"]
    assert changes("Service", moved, old) == [
        'spec.clusterIPs[0]: Invalid value: ["10.96.0.10"]: may not change once set'
    ]


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({"type": "ClusterIP", "clusterIPs": ["10.0.0.1"]}, {}, ("10.0.0.1", "<none>", "<none>")),
        (
            {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}]},
            {},
            ("10.0.0.1", "<none>", "80:30000/TCP"),
        ),
        ({"type": "LoadBalancer"}, {}, ("<none>", "<pending>", "<none>")),
        (
            {"type": "LoadBalancer", "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
            {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}},
            ("<none>", "1.2.3.4", "53/UDP,53/TCP"),
        ),
        ({"type": "ExternalName", "externalName": "a.b"}, {}, ("<none>", "a.b", "<none>")),
    ],
)  # fmt: skip
def test_service_columns(spec: JsonObject, status: JsonObject, expected: tuple[str, ...]) -> None:
    shown = cells("Service", {"metadata": {"name": "s"}, "spec": spec, "status": status})
    assert (shown["Cluster-IP"], shown["External-IP"], shown["Port(s)"]) == expected


def test_namespace() -> None:
    obj = made("Namespace", {"metadata": {"name": "production"}})
    assert obj["metadata"]["labels"] == {"kubernetes.io/metadata.name": "production"}
    assert obj["spec"]["finalizers"] == ["kubernetes"]
    assert obj["status"] == {"phase": "Active"}
    new: JsonObject = {
        "metadata": {"name": "production"},
        "spec": {"finalizers": []},
        "status": {"phase": "Terminating"},
    }
    kind_of("Namespace").prepare_update(new, obj)
    assert (new["spec"], new["status"]) == (obj["spec"], obj["status"])
    assert kind_of("Namespace").name_validator is not None


def test_secret_takes_string_data_in() -> None:
    obj = made("Secret", {"stringData": {"a": "hello", "b": "new"}, "data": {"b": "b2xk", "c": "Yw=="}})
    assert obj["type"] == "Opaque"
    assert "stringData" not in obj
    assert {key: base64.b64decode(value) for key, value in obj["data"].items()} == {
        "a": b"hello",
        "b": b"new",
        "c": b"c",
    }


def test_secret_and_config_map_rules() -> None:
    assert "data[a/b]" in failures("Secret", {"data": {"a/b": "YQ=="}})[0]
    assert failures("Secret", {"type": "kubernetes.io/tls"}) == [
        "data[tls.crt]: Required value",
        "data[tls.key]: Required value",
    ]
    assert changes("Secret", {"type": "b"}, {"type": "a"}) == ['type: Invalid value: "b": field is immutable']
    frozen = {"immutable": True, "data": {"a": "1"}}
    message = "Forbidden: field is immutable when `immutable` is set"
    for name in ("Secret", "ConfigMap"):
        assert changes(name, frozen, frozen) == []
        assert changes(name, {"data": {"a": "2"}}, frozen) == [f"immutable: {message}", f"data: {message}"]
    assert failures("ConfigMap", {"data": {"a": "x" * (1 << 20) + "y"}}) == [
        "[]: Too long: may not be more than 1048576 bytes"
    ]
    assert failures("ConfigMap", {"data": {"a": ""}, "binaryData": {"a": ""}}) == [
        'data[a]: Invalid value: "a": duplicate of key present in binaryData'
    ]


def test_rbac() -> None:
    role = {"rules": [{"verbs": [], "resources": ["pods"]}, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]}
    assert failures("Role", role) == [
        "rules[0].verbs: Required value: verbs must contain at least one value",
        "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
        'rules[1].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
    ]
    assert failures("ClusterRole", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}) == []
    binding = made(
        "RoleBinding", {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}
    )
    assert binding["roleRef"]["apiGroup"] == binding["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    assert [str(error) for error in kind_of("RoleBinding").validate(binding)] == []
    assert changes("RoleBinding", {**binding, "roleRef": {"kind": "Role", "name": "s"}}, binding) == [
        'roleRef: Invalid value: {"kind":"Role","name":"s"}: cannot change roleRef'
    ]
    assert cells("RoleBinding", binding)["Role"] == "Role/r"


def test_node_columns() -> None:
    obj = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "a"}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1", "osImage": "Debian"},
        },
    }
    shown = cells("Node", obj)
    assert shown["Status"] == "NotReady,SchedulingDisabled"
    assert shown["Roles"] == "a,control-plane"
    assert (shown["Internal-IP"], shown["External-IP"]) == ("10.0.0.1", "<none>")
    assert (shown["OS-Image"], shown["Kernel-Version"]) == ("Debian", "<unknown>")
    assert cells("Node", {"metadata": {"name": "n"}})["Status"] == "Unknown"
    assert kind_of("Node").fields["spec.unschedulable"](obj) == "true"


def test_node_gives_its_capacity_when_it_says_nothing_else() -> None:
    obj = {"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "4000m", "memory": "1024Mi"}}}
    kind_of("Node").default(obj)
    assert obj["status"]["allocatable"] == obj["status"]["capacity"] == {"cpu": "4", "memory": "1Gi"}


def test_events_are_two_views_of_one() -> None:
    kind = kind_of("Event")
    core = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "m", "reason": "r", "type": "Normal",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "source": {"component": "c", "host": "h"},
        "firstTimestamp": THEN, "lastTimestamp": THEN, "count": 3, "reportingComponent": "", "eventTime": None,
    }  # fmt: skip
    (version,) = kind.versions
    new = version.from_storage(core)
    assert new["apiVersion"] == "events.k8s.io/v1"
    assert (new["note"], new["regarding"]["name"], new["deprecatedCount"]) == ("m", "p", 3)
    assert version.to_storage(new) == core
    assert [column.name for column in kind.table] == [
        "Last Seen", "Type", "Reason", "Object", "Subobject", "Source", "Message", "First Seen", "Count", "Name",
    ]  # fmt: skip
    shown = cells("Event", core)
    assert (shown["Last Seen"], shown["Object"], shown["Source"], shown["Count"]) == ("90s", "pod/p", "c, h", 3)
    assert kind.fields["involvedObject.name"](core) == (version.fields or {})["regarding.name"](core) == "p"


def test_endpoints_columns() -> None:
    subset = {"addresses": [{"ip": f"10.0.0.{n}"} for n in range(1, 6)], "ports": [{"port": 80}]}
    assert cells("Endpoints", {"subsets": [subset]})["Endpoints"] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert cells("Endpoints", {})["Endpoints"] == "<none>"
    sliced = {"ports": [{"port": 80}, {"name": "x"}], "endpoints": [{"addresses": ["a"]}, {"addresses": ["b"]}]}
    shown = cells("EndpointSlice", sliced)
    assert (shown["Ports"], shown["Endpoints"]) == ("80,x", "a,b")
    assert cells("EndpointSlice", {})["Ports"] == "<unset>"
    assert failures("Endpoints", {"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]}) == [
        'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'
    ]


def test_priority_classes() -> None:
    assert made("PriorityClass", {"value": 5})["preemptionPolicy"] == "PreemptLowerPriority"
    assert failures("PriorityClass", {"value": 1_000_000_001}) == [
        "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"
    ]
    known = {"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}
    assert failures("PriorityClass", known) == []
    assert "reserved for system use only" in failures("PriorityClass", {"metadata": {"name": "system-x"}})[0]
    assert changes("PriorityClass", {"value": 2}, {"value": 1}) == [
        "value: Forbidden: may not be changed in an update."
    ]


def test_pod_disruption_budgets() -> None:
    both = failures("PodDisruptionBudget", {"spec": {"minAvailable": 1, "maxUnavailable": 1}})
    assert both[0].endswith("minAvailable and maxUnavailable cannot be both set")
    assert failures("PodDisruptionBudget", {"spec": {"minAvailable": "101%"}}) == [
        'spec.minAvailable: Invalid value: "101%": must not be greater than 100%'
    ]
    assert cells("PodDisruptionBudget", {"spec": {"minAvailable": 2}})["Max Unavailable"] == "N/A"


def test_certificate_requests() -> None:
    assert cells("CertificateSigningRequest", {})["Condition"] == "Pending"
    approved = {"status": {"conditions": [{"type": "Approved"}], "certificate": "x"}}
    assert cells("CertificateSigningRequest", approved)["Condition"] == "Approved,Issued"
    kind = kind_of("CertificateSigningRequest")
    assert [str(error) for error in kind.validate_status_update({}, approved)] == [
        'status.conditions: Forbidden: updates may not remove a condition of type "Approved"'
    ]
    assert "spec.request: Required value" in failures("CertificateSigningRequest", {"spec": {}})


def test_leases() -> None:
    assert failures("Lease", {"spec": {"leaseDurationSeconds": 0}}) == [
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"
    ]
    assert not kind_of("Lease").unconditional_update


def test_limit_ranges() -> None:
    item = made("LimitRange", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]}})
    assert item["spec"]["limits"][0]["default"] == {"cpu": "2"}
    assert item["spec"]["limits"][0]["defaultRequest"] == {"cpu": "2"}
    wrong = {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}}
    assert failures("LimitRange", wrong) == [
        'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'
    ]


def test_stateful_set_defaults_and_columns() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    obj = made("StatefulSet", {"spec": deployment_spec(volumeClaimTemplates=[claim])})
    spec = obj["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["podManagementPolicy"]) == (1, 10, "OrderedReady")
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1},
    }  # fmt: skip
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert spec["volumeClaimTemplates"] == [
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}, "status": {"phase": "Pending"},
        }
    ]  # fmt: skip
    assert made("StatefulSet", {"spec": {"updateStrategy": {"type": "OnDelete"}}})["spec"]["updateStrategy"] == {
        "type": "OnDelete"
    }
    obj["status"] = {"readyReplicas": 1}
    obj["metadata"]["creationTimestamp"] = THEN
    assert cells("StatefulSet", obj) == {
        "Name": "x", "Ready": "1/1", "Age": "90s", "Containers": "c,d", "Images": "i,j:1",
    }  # fmt: skip


def claim_template(**changes: Any) -> JsonObject:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **changes}
    return {"metadata": {"name": "data"}, "spec": spec}


def mounting_spec() -> JsonObject:
    spec = deployment_spec(volumeClaimTemplates=[claim_template()])
    spec["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    return spec


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for statefulset"),
        (
            {"podManagementPolicy": "Random"},
            "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
        ),
        (
            {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy "
            "'RollingUpdate'",
        ),
        (
            {"updateStrategy": {"type": "Blue"}},
            "spec.updateStrategy: Invalid value: {\"type\":\"Blue\"}: must be 'RollingUpdate' or 'OnDelete'",
        ),
        (
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": -1}}},
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}},
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
        ),
        (
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "150%"}}},
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"150%\": must not be greater than 100%",
        ),
        ({"ordinals": {"start": -1}}, "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"),
        (
            {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Burn"}},
            'spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Burn": supported values: '
            '"Retain", "Delete"',
        ),
        (
            {"volumeClaimTemplates": [claim_template(accessModes=[])]},
            "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            {"volumeClaimTemplates": [claim_template(resources={})]},
            "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value",
        ),
        ({"volumeClaimTemplates": []}, 'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'),
    ],
)  # fmt: skip
def test_stateful_set_rules(change: JsonObject, failure: str) -> None:
    assert failures("StatefulSet", {"spec": mounting_spec()}) == []
    assert failure in failures("StatefulSet", {"spec": {**mounting_spec(), **change}})


def test_of_a_stateful_set_only_some_fields_change() -> None:
    old = made("StatefulSet", {"spec": mounting_spec()})
    for change in (
        {"replicas": 5}, {"ordinals": {"start": 1}}, {"updateStrategy": {"type": "OnDelete"}},
        {"revisionHistoryLimit": 1}, {"minReadySeconds": 1}, {"template": {}},
        {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"}},
    ):  # fmt: skip
        assert changes("StatefulSet", {"spec": {**old["spec"], **change}}, old) == []
    message = (
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
        "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' "
        "are forbidden"
    )
    for refused in ({"serviceName": "x"}, {"selector": {}}, {"podManagementPolicy": "Parallel"}):
        assert changes("StatefulSet", {"spec": {**old["spec"], **refused}}, old) == [message]


def test_daemon_set_defaults_and_columns() -> None:
    obj = made("DaemonSet", {"spec": deployment_spec()})
    assert obj["spec"]["updateStrategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }  # fmt: skip
    assert obj["spec"]["revisionHistoryLimit"] == 10
    assert failures("DaemonSet", {"spec": deployment_spec()}) == []
    obj["status"] = {"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1}
    obj["metadata"]["creationTimestamp"] = THEN
    assert cells("DaemonSet", obj) == {
        "Name": "x", "Desired": 3, "Current": 2, "Ready": 1, "Up-to-date": 0, "Available": 0,
        "Node Selector": "<none>", "Age": "90s", "Containers": "c,d", "Images": "i,j:1", "Selector": "app=a",
    }  # fmt: skip


def test_a_daemon_set_counts_changes_of_its_template() -> None:
    key = "deprecated.daemonset.template.generation"
    kind = kind_of("DaemonSet")
    old = made("DaemonSet", {"spec": deployment_spec()})
    assert old["metadata"]["annotations"] == {key: "1"}
    new = meta.copy_object(old)
    new["metadata"]["annotations"] = {key: "7", "a": "b"}
    kind.prepare_update(new, old)
    assert new["metadata"]["annotations"] == {key: "1", "a": "b"}
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    kind.prepare_update(new, old)
    assert new["metadata"]["annotations"] == {key: "2", "a": "b"}


@pytest.mark.parametrize(
    ("rolling", "failure"),
    [
        ({"maxUnavailable": 1, "maxSurge": 1}, "maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"),
        ({"maxUnavailable": 0, "maxSurge": "0%"}, "maxUnavailable: Required value: cannot be 0 when maxSurge is 0"),
        ({"maxUnavailable": "101%"}, "maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"),
        ({"maxUnavailable": -1}, "maxUnavailable: Invalid value: -1: must be greater than or equal to 0"),
    ],
)  # fmt: skip
def test_daemon_set_rules(rolling: JsonObject, failure: str) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    found = failures("DaemonSet", {"spec": deployment_spec(updateStrategy=strategy)})
    assert f"spec.updateStrategy.rollingUpdate.{failure}" in found


def test_replication_controller_takes_selector_and_labels_from_its_template() -> None:
    template = deployment_spec()["template"]
    obj = made("ReplicationController", {"spec": {"template": template}})
    assert obj["spec"]["selector"] == obj["metadata"]["labels"] == {"app": "a"}
    assert obj["spec"]["replicas"] == 1
    assert failures("ReplicationController", {"spec": {"template": template}}) == []
    assert failures("ReplicationController", {"spec": {"template": template, "selector": {"app": "b"}}}) == [
        'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'
    ]
    assert "spec.template: Required value" in failures("ReplicationController", {"spec": {}})
    assert cells("ReplicationController", obj)["Selector"] == "app=a"
