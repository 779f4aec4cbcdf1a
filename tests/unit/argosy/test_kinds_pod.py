# ruff: noqa: E501  # tables of upstream messages, one to a line
"""Pods: defaults, rules with upstream's words, what may change, and what `kubectl get pods` shows."""

from typing import Any

import pytest

from argosy.kinds.pod import POD
from argosy.objects import meta
from argosy.objects.types import JsonObject

NOW = 1767225600.0
THEN = "2025-12-31T23:55:00Z"


def pod(spec: JsonObject | None = None, **container: Any) -> JsonObject:
    obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i:1", **container}], **(spec or {})},
    }
    POD.default(obj)
    POD.prepare_create(obj)
    return obj


def failures(spec: JsonObject | None = None, **container: Any) -> list[str]:
    return [str(error) for error in POD.validate(pod(spec, **container))]


def test_defaults() -> None:
    obj = pod(image="busybox", ports=[{"containerPort": 80}], livenessProbe={"httpGet": {"port": 80}})
    spec, container = obj["spec"], obj["spec"]["containers"][0]
    for field, value in {
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": True,
    }.items():  # fmt: skip
        assert spec[field] == value
    assert container["imagePullPolicy"] == "Always"
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["terminationMessagePolicy"] == "File"
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert obj["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert POD.validate(obj) == []


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"), ("a:latest", "Always"), ("a:1", "IfNotPresent"), ("host:5000/a", "Always"),
        ("host:5000/a:2", "IfNotPresent"), ("a@sha256:00", "IfNotPresent"), ("a:latest@sha256:00", "IfNotPresent"),
    ],
)  # fmt: skip
def test_pull_policy(image: str, policy: str) -> None:
    assert pod(image=image)["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_limits_become_requests_in_canonical_form() -> None:
    resources = {"limits": {"cpu": "0.5", "memory": "1024Mi"}, "requests": {"memory": "512Mi"}}
    got = pod(resources=resources)["spec"]["containers"][0]["resources"]
    assert got == {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"memory": "512Mi", "cpu": "500m"}}


def test_host_network_claims_the_ports() -> None:
    obj = pod({"hostNetwork": True}, ports=[{"containerPort": 80}])
    assert obj["spec"]["containers"][0]["ports"][0]["hostPort"] == 80


def test_volumes() -> None:
    volumes = [{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}, {"name": "c", "hostPath": {"path": "/x"}}]
    got = pod({"volumes": volumes})["spec"]["volumes"]
    assert got[0]["emptyDir"] == {}
    assert got[1]["secret"]["defaultMode"] == 420
    assert got[2]["hostPath"]["type"] == ""


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources: JsonObject, qos: str) -> None:
    assert pod(resources=resources)["status"]["qosClass"] == qos


@pytest.mark.parametrize(
    ("container", "failure"),
    [
        ({"name": ""}, "spec.containers[0].name: Required value"),
        ({"image": ""}, "spec.containers[0].image: Required value"),
        ({"image": " i"}, 'spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace'),
        ({"ports": [{}]}, "spec.containers[0].ports[0].containerPort: Required value"),
        (
            {"ports": [{"containerPort": 70000}]},
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]},
            'spec.containers[0].ports[1].name: Duplicate value: "a"',
        ),
        (
            {"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]},
            'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//9"',
        ),
        (
            {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            {"resources": {"limits": {"cpu": "-1"}}},
            'spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0',
        ),
        (
            {"resources": {"limits": {"gpu": "1"}}},
            'spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers',
        ),
        (
            {"resources": {"limits": {"x.io/gpu": "500m"}}},
            'spec.containers[0].resources.limits[x.io/gpu]: Invalid value: "500m": must be an integer',
        ),
        ({"env": [{"name": ""}]}, "spec.containers[0].env[0].name: Required value"),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]},
            'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.x": supported values: '
            '"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", '
            '"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"',
        ),
        (
            {"env": [{"name": "A", "valueFrom": {}}]},
            'spec.containers[0].env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, '
            "`resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        ({"volumeMounts": [{"name": "v", "mountPath": "/x"}]}, 'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
        ({"livenessProbe": {}}, "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        (
            {"livenessProbe": {"tcpSocket": {"port": 1}, "successThreshold": 2}},
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            {"readinessProbe": {"tcpSocket": {"port": 1}, "exec": {"command": ["x"]}}},
            "spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            {"readinessProbe": {"httpGet": {"port": "no_name"}, "periodSeconds": -1}},
            "spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            {"lifecycle": {"preStop": {"sleep": {"seconds": 60}}}},
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 60: must be non-negative and less than "
            "terminationGracePeriodSeconds (30)",
        ),
        (
            {"imagePullPolicy": "Often"},
            'spec.containers[0].imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", '
            '"Never"',
        ),
        (
            {"restartPolicy": "Always"},
            "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers",
        ),
        (
            {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
            'spec.containers[0].securityContext: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: '
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
    ],
)  # fmt: skip
def test_container_rules(container: JsonObject, failure: str) -> None:
    assert failure in failures(None, **container)


@pytest.mark.parametrize(
    ("spec", "failure"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        (
            {"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]},
            'spec.containers[1].name: Duplicate value: "c"',
        ),
        ({"initContainers": [{"name": "c", "image": "i"}]}, 'spec.initContainers[0].name: Duplicate value: "c"'),
        (
            {"initContainers": [{"name": "d", "image": "i", "livenessProbe": {"tcpSocket": {"port": 1}}}]},
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without "
            "restartPolicy=Always",
        ),
        (
            {"restartPolicy": "Sometimes"},
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
        ),
        ({"dnsPolicy": "None"}, "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        ({"volumes": [{"name": "a"}, {"name": "a"}]}, 'spec.volumes[1].name: Duplicate value: "a"'),
        (
            {"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}]},
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            {"volumes": [{"name": "a", "hostPath": {"path": "/x/../y"}}]},
            "spec.volumes[0].hostPath.path: Invalid value: \"/x/../y\": must not contain '..'",
        ),
        (
            {"volumes": [{"name": "a", "configMap": {"name": "m", "items": [{"key": "k", "path": "/abs"}]}}]},
            'spec.volumes[0].configMap.items[0].path: Invalid value: "/abs": must be a relative path',
        ),
        (
            {"volumes": [{"name": "a", "secret": {"secretName": "s", "defaultMode": 512}}]},
            "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), "
            "both inclusive",
        ),
        (
            {"tolerations": [{"operator": "Equal"}]},
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which '
            'means "match all values and all keys"',
        ),
        (
            {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1}]},
            "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when "
            "`tolerationSeconds` is set",
        ),
        (
            {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}]}}},
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: "
            "can not be empty",
        ),
        (
            {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}},
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: "
            "must have at least one node selector term",
        ),
        (
            {"activeDeadlineSeconds": 0},
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            {"hostNetwork": True, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1, "hostPort": 2}]}]},
            "spec.containers[0].ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true",
        ),
        ({"nodeSelector": {"a": "b c"}}, 'spec.nodeSelector: Invalid value: "b c": a valid label must be'),
        ({"hostname": "A"}, 'spec.hostname: Invalid value: "A": a lowercase RFC 1123 label must'),
    ],
)  # fmt: skip
def test_pod_rules(spec: JsonObject, failure: str) -> None:
    assert any(text.startswith(failure) for text in failures(spec)), failures(spec)


def test_a_full_pod_is_fine() -> None:
    spec = {
        "serviceAccountName": "default",
        "initContainers": [
            {"name": "init", "image": "i"},
            {"name": "side", "image": "i", "restartPolicy": "Always", "readinessProbe": {"exec": {"command": ["x"]}}},
        ],
        "volumes": [
            {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]}},
            {"name": "labels", "downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}},
            ]}},
        ],
        "tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 3}],
        "affinity": {
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}}
            ]},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "kubernetes.io/hostname"}
            ]},
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
        ],
    }  # fmt: skip
    env = [{"name": "A", "value": "b"}, {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    assert failures(spec, env=env, volumeMounts=[{"name": "token", "mountPath": "/t", "readOnly": True}]) == []


def changes(old: JsonObject, **spec: Any) -> list[str]:
    new = meta.copy_object(old)
    new["spec"].update(spec)
    return [str(error) for error in POD.validate_update(new, old)]


def test_what_may_change() -> None:
    old = pod()
    image = [{**old["spec"]["containers"][0], "image": "i:2"}]
    toleration = [{"key": "a", "operator": "Exists"}]
    assert changes(old, containers=image) == []
    assert changes(old, activeDeadlineSeconds=5) == []
    assert changes(old, tolerations=toleration) == []
    (refused,) = changes(old, nodeName="n")
    assert refused.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    )
    assert changes(old, containers=[*image, {"name": "d", "image": "i"}]) == [
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    ]
    with_toleration = pod({"tolerations": toleration})
    assert changes(with_toleration, tolerations=[]) == [
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ]
    gated = pod({"schedulingGates": [{"name": "a"}]})
    assert gated["status"]["conditions"][0]["reason"] == "SchedulingGated"
    assert changes(gated, schedulingGates=[]) == []
    assert changes(gated, nodeSelector={"a": "b"}) == []
    assert changes(gated, schedulingGates=[{"name": "b"}]) == [
        "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"
    ]
    assert changes(old, nodeSelector={"a": "b"}) != []


def test_status_rules() -> None:
    ended = {"name": "c", "state": {"terminated": {"exitCode": 0}}}
    old = {"spec": {"restartPolicy": "Never"}, "status": {"containerStatuses": [ended], "qosClass": "Burstable"}}
    back = {"containerStatuses": [{"name": "c", "state": {"running": {}}}], "qosClass": "Burstable"}
    assert [str(error) for error in POD.validate_status_update({**old, "status": back}, old)] == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]
    always = {**old, "spec": {"restartPolicy": "Always"}}
    assert POD.validate_status_update({**always, "status": back}, always) == []
    assert POD.validate_status_update({"status": {"qosClass": "BestEffort"}}, old) != []


def test_only_new_pods() -> None:
    assert [str(error) for error in POD.validate_create(pod({"ephemeralContainers": [{"name": "e"}]}))] == [
        "spec.ephemeralContainers: Forbidden: cannot be set on create"
    ]


def shown(status: JsonObject, *, inits: int = 0, deleting: bool = False, **spec: Any) -> tuple[object, ...]:
    obj = pod({"initContainers": [{"name": f"i{n}", "image": "i"} for n in range(inits)], **spec})
    obj["status"] = status
    if deleting:
        obj["metadata"]["deletionTimestamp"] = THEN
    found = {column.name: column.value(obj, NOW) for column in POD.table}
    return found["Ready"], found["Status"], found["Restarts"]


def state(**parts: Any) -> JsonObject:
    return {"name": "c", "ready": False, "restartCount": 0, **parts}


RUNNING = state(ready=True, state={"running": {}})


@pytest.mark.parametrize(
    ("status", "options", "expected"),
    [
        ({"phase": "Pending"}, {}, ("0/1", "Pending", "0")),
        ({"phase": "Running", "containerStatuses": [RUNNING]}, {}, ("1/1", "Running", "0")),
        ({"phase": "Running", "containerStatuses": [RUNNING]}, {"deleting": True}, ("1/1", "Terminating", "0")),
        (
            {"phase": "Running", "reason": "NodeLost", "containerStatuses": [RUNNING]},
            {"deleting": True},
            ("1/1", "Unknown", "0"),
        ),
        (
            {"phase": "Pending", "containerStatuses": [state(state={"waiting": {"reason": "ContainerCreating"}})]},
            {},
            ("0/1", "ContainerCreating", "0"),
        ),
        (
            {"phase": "Running", "containerStatuses": [state(
                restartCount=3, state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"exitCode": 1, "finishedAt": THEN}},
            )]},
            {},
            ("0/1", "CrashLoopBackOff", "3 (5m ago)"),
        ),
        (
            {"phase": "Succeeded", "containerStatuses": [state(state={"terminated": {"reason": "Completed"}})]},
            {},
            ("0/1", "Completed", "0"),
        ),
        (
            {"phase": "Succeeded", "containerStatuses": [state(state={"terminated": {"reason": "Completed"}})]},
            {"deleting": True},
            ("0/1", "Completed", "0"),
        ),
        (
            {"phase": "Failed", "containerStatuses": [state(state={"terminated": {"exitCode": 137, "signal": 9}})]},
            {},
            ("0/1", "Signal:9", "0"),
        ),
        (
            {"phase": "Failed", "containerStatuses": [state(state={"terminated": {"exitCode": 2}})]},
            {},
            ("0/1", "ExitCode:2", "0"),
        ),
        ({"phase": "Failed", "reason": "Evicted"}, {}, ("0/1", "Evicted", "0")),
        (
            {"phase": "Pending", "initContainerStatuses": [{"name": "i0", "state": {"running": {}}}]},
            {"inits": 2},
            ("0/1", "Init:0/2", "0"),
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [
                {"name": "i0", "state": {"terminated": {"exitCode": 0}}}, {"name": "i1", "state": {"waiting": {}}}
            ]},
            {"inits": 2},
            ("0/1", "Init:1/2", "0"),
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [
                {"name": "i0", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
            ]},
            {"inits": 1},
            ("0/1", "Init:CrashLoopBackOff", "2"),
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [{"name": "i0", "state": {"terminated": {"reason": "Error", "exitCode": 1}}}]},
            {"inits": 1},
            ("0/1", "Init:Error", "0"),
        ),
        (
            {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [
                state(state={"terminated": {"reason": "Completed"}}), {**RUNNING, "name": "d"}
            ]},
            {},
            ("1/1", "NotReady", "0"),
        ),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
            {},
            ("0/1", "SchedulingGated", "0"),
        ),
    ],
)  # fmt: skip
def test_columns(status: JsonObject, options: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert shown(status, **options) == expected


def test_sidecars_count_as_containers() -> None:
    obj = pod({"initContainers": [{"name": "side", "image": "i", "restartPolicy": "Always"}]})
    obj["status"] = {
        "phase": "Running",
        "conditions": [{"type": "Initialized", "status": "True"}],
        "initContainerStatuses": [
            {"name": "side", "started": True, "ready": True, "restartCount": 1, "state": {"running": {}}}
        ],
        "containerStatuses": [RUNNING],
    }
    found = {column.name: column.value(obj, NOW) for column in POD.table}
    assert (found["Ready"], found["Status"], found["Restarts"]) == ("2/2", "Running", "1")


def test_wide_columns() -> None:
    obj = pod({"nodeName": "n", "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]})
    obj["status"] = {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "a", "status": "True"}]}
    wide = {column.name: column.value(obj, NOW) for column in POD.table if column.priority}
    assert wide == {"IP": "10.0.0.1", "Node": "n", "Nominated Node": "<none>", "Readiness Gates": "1/2"}
