"""What a node does with a pod, as a table: the pod, and what its status, its events and its log must say then.

`test_node_behaviours.py` applies all of them at once. Expectations are upstream's: the API's reference, the node
conformance tests, and what a kubelet writes in events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
IMAGE = "busybox:1.35"


@dataclass(frozen=True)
class Case:
    name: str
    spec: Json = field(default_factory=dict)
    """Of the pod, beside its container."""
    container: Json = field(default_factory=dict)
    script: str = "sleep 1000"
    notes: Json = field(default_factory=dict)
    """Annotations."""
    status: Json = field(default_factory=dict)
    """Fields that the pod's status must have; a text is found within the status' text."""
    state: Json = field(default_factory=dict)
    """Likewise of the (first) container's status."""
    init: Json = field(default_factory=dict)
    """Likewise of the first init container's."""
    events: Sequence[tuple[str, str]] = ()
    """(reason, part of the message) of events that there must be."""
    log: Sequence[str] = ()
    """Lines that the container's log must have."""

    def pod(self, namespace: str) -> Json:
        container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", self.script], **self.container}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": namespace,
                "labels": {"case": self.name},
                "annotations": self.notes,
            },
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **self.spec},
        }


NEVER: Json = {"restartPolicy": "Never"}
ON_FAILURE: Json = {"restartPolicy": "OnFailure"}
FAILED, SUCCEEDED, RUNNING, PENDING = ({"phase": phase} for phase in ("Failed", "Succeeded", "Running", "Pending"))
READY: Json = {"ready": True, "started": True, "restartCount": 0}


def ended(reason: str, code: int, message: str = "") -> Json:
    told: Json = {"reason": reason, "exitCode": code}
    return {"state": {"terminated": {**told, "message": message} if message else told}}


def waits(reason: str, message: str = "") -> Json:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def secure(**context: Any) -> Json:
    return {"securityContext": context}


def field_of(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def resource_of(name: str, resource: str, divisor: str = "0") -> Json:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}}


def step(name: str, script: str, **more: Any) -> Json:
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], **more}


def probed(kind: str, **probe: Any) -> Json:
    return {f"{kind}Probe": {"periodSeconds": 1, "failureThreshold": 1, **probe}}


def mounted(*paths: str, **more: Any) -> Json:
    return {"volumeMounts": [{"name": path.strip("/").split("/")[0], "mountPath": path, **more} for path in paths]}


def volumes(**sources: Json) -> Json:
    return {"volumes": [{"name": name, **source} for name, source in sources.items()]}


SERVER = "mkdir -p /tmp/w; echo hi >/tmp/w/index.html; httpd -f -p {port} -h /tmp/w"
EXITS = (
    Case("exit-always-0", script="exit 0", status=RUNNING,
         state=waits("CrashLoopBackOff", "restarting failed container=main")),
    Case("exit-onfailure-0", ON_FAILURE, script="exit 0", status=SUCCEEDED, state=ended("Completed", 0)),
    Case("exit-onfailure-3", ON_FAILURE, script="exit 3", status=RUNNING, state=waits("CrashLoopBackOff"),
         events=[("BackOff", "Back-off restarting failed container main in pod exit-onfailure-3_")]),
    Case("exit-never-3", NEVER, script="exit 3", status=FAILED, state=ended("Error", 3)),
    Case("exit-by-signal", NEVER, script="sleep 9 & kill -9 $!; wait $!; exit $?", status=FAILED,
         state=ended("Error", 137)),
    Case("message-file", NEVER, script="echo -n done >/dev/termination-log", status=SUCCEEDED,
         state=ended("Completed", 0, "done")),
    Case("message-path", {**NEVER, **secure(runAsUser=1000)}, {"terminationMessagePath": "/dev/elsewhere"},
         "echo -n done >/dev/elsewhere", status=SUCCEEDED, state=ended("Completed", 0, "done")),
    Case("message-from-log", NEVER, {"terminationMessagePolicy": "FallbackToLogsOnError"}, "echo said; exit 1",
         status=FAILED, state=ended("Error", 1, "said\n")),
    Case("deadline", {"activeDeadlineSeconds": 2}, status={"phase": "Failed", "reason": "DeadlineExceeded"}),
    Case("out-of-memory", NEVER, {"resources": {"limits": {"memory": "32Mi"}}}, "x=a; while :; do x=$x$x; done",
         status=FAILED, state=ended("OOMKilled", 137)),
)  # fmt: skip
REFUSALS = (
    Case("no-command", {}, {"command": ["/no/such"]}, state={"lastState": {"terminated": {"exitCode": 128}}},
         events=[("Failed", "/no/such")]),
    Case("bad-image-name", {}, {"image": "UPPER::x"}, state=waits("InvalidImageName", "invalid reference format")),
    Case("image-never", {}, {"image": "not/here:1", "imagePullPolicy": "Never"}, state=waits("ErrImageNeverPull")),
    Case("root-forbidden", {}, secure(runAsNonRoot=True),
         state=waits("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")),
    Case("config-missing", {}, {"envFrom": [{"secretRef": {"name": "nope"}}]},
         state=waits("CreateContainerConfigError", 'secret "nope" not found')),
    Case("volume-unsupported", volumes(v={"nfs": {"server": "x", "path": "/"}}), mounted("/v"), status=PENDING,
         events=[("FailedMount", "volume source nfs is not supported on this node")]),
    Case("volume-missing", volumes(v={"configMap": {"name": "nope"}}), mounted("/v"), status=PENDING,
         events=[("FailedMount", 'MountVolume.SetUp failed for volume "v" : configmap "nope" not found')]),
    Case("host-path-type", volumes(v={"hostPath": {"path": "/etc", "type": "Socket"}}), mounted("/v"),
         status=PENDING, events=[("FailedMount", "hostPath type check failed: /etc is not a socket file")]),
    Case("sub-path-absolute", volumes(v={"emptyDir": {}}), {**mounted("/v", subPathExpr="$(P)"),
         "env": [{"name": "P", "value": "/tmp"}]}, state=waits("CreateContainerConfigError")),
    Case("sysctl-unsafe", secure(sysctls=[{"name": "kernel.msgmax", "value": "65536"}]),
         status={"phase": "Failed", "reason": "SysctlForbidden",
                 "message": 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'}),
    Case("does-not-fit", {"nodeName": "node-1"}, {"resources": {"requests": {"cpu": "1000"}}},
         status={"phase": "Failed", "reason": "OutOfcpu"},
         events=[("OutOfcpu", "Node didn't have enough resource: cpu, requested: 1000000")]),
    Case("wrong-node", {"nodeName": "node-1", "nodeSelector": {"no": "such"}},
         status={"phase": "Failed", "reason": "NodeAffinity"}),
    Case("fills-its-volume", volumes(v={"emptyDir": {"sizeLimit": "1Mi"}}), mounted("/v"),
         "head -c 4000000 /dev/zero >/v/x; sleep 1000", status={"phase": "Failed", "reason": "Evicted"},
         events=[("Evicted", 'Usage of EmptyDir volume "v" exceeds the limit "1Mi"')]),
)  # fmt: skip
ORDER = (
    Case("init-in-order", {**NEVER, "initContainers": [step("one", "echo 1"), step("two", "echo 2")]},
         script="echo main", status=SUCCEEDED, init={"ready": True, **ended("Completed", 0)}),
    Case("init-fails", {**NEVER, "initContainers": [step("one", "exit 7")]}, status=FAILED, init=ended("Error", 7),
         state=waits("PodInitializing")),
    Case("init-retries", {"initContainers": [step("one", "exit 7")]}, status=PENDING,
         init=waits("CrashLoopBackOff"), state=waits("PodInitializing")),
    Case("sidecar-ends-last", {**NEVER, "initContainers": [
        step("side", "trap 'exit 0' TERM; while :; do sleep 0.1; done", restartPolicy="Always")]},
         script="echo main", status=SUCCEEDED, init=ended("Completed", 0)),
    Case("post-start", {}, {"lifecycle": {"postStart": {"exec": {"command": ["touch", "/tmp/hook"]}}}},
         "until [ -e /tmp/hook ]; do sleep 0.1; done; echo hooked; sleep 1000", state=READY, log=["hooked"]),
    Case("post-start-fails", {}, {"lifecycle": {"postStart": {"exec": {"command": ["false"]}}}},
         state={"lastState": {"terminated": {"exitCode": 137}}},
         events=[("FailedPostStartHook", "PostStartHook failed")]),
)  # fmt: skip
PROBES = (
    Case("live-http-fails", {}, probed("liveness", httpGet={"path": "/", "port": 81}),
         events=[("Unhealthy", "dial tcp"), ("Killing", "Container main failed liveness probe, will be restarted")]),
    Case("live-exec-fails", {}, probed("liveness", exec={"command": ["false"]}, terminationGracePeriodSeconds=1),
         events=[("Killing", "Container main failed liveness probe, will be restarted")]),
    Case("live-tcp", {}, {
        **probed("liveness", tcpSocket={"port": 8080}),
        **probed("startup", tcpSocket={"port": 8080}, failureThreshold=60)}, SERVER.format(port=8080), state=READY),
    Case("ready-by-name", {}, {**probed("readiness", httpGet={"path": "/", "port": "web"}),
         "ports": [{"name": "web", "containerPort": 8080}]}, SERVER.format(port=8080), state=READY),
    Case("ready-never", {}, probed("readiness", exec={"command": ["sleep", "9"]}, timeoutSeconds=1),
         state={"ready": False, "started": True, "restartCount": 0},
         events=[("Unhealthy", 'Readiness probe failed: command timed out: "sleep 9" timed out after 1s')]),
    Case("ready-in-host-network", {"hostNetwork": True}, {
        **probed("readiness", httpGet={"path": "/", "port": 18080}),
        **probed("liveness", tcpSocket={"port": 18080}, initialDelaySeconds=3)}, SERVER.format(port=18080),
         state=READY),
    Case("startup-holds-back", {}, {
        **probed("startup", exec={"command": ["cat", "/tmp/up"]}, failureThreshold=60),
        **probed("liveness", exec={"command": ["cat", "/tmp/up"]})}, "sleep 2; touch /tmp/up; sleep 1000",
         state=READY, events=[("Unhealthy", "Startup probe failed: cat: can't open '/tmp/up'")]),
    Case("gate-closed", {"readinessGates": [{"conditionType": "example.com/gate"}]}, state=READY,
         status={"conditions": "ReadinessGatesNotReady"}),
)  # fmt: skip
ENVIRONMENT = (
    Case("expansion", NEVER, {"command": ["echo"], "args": ["$(A)", "$$(A)", "$(NO)"],
         "env": [{"name": "A", "value": "1"}]}, status=SUCCEEDED, log=["1 $(A) $(NO)"]),
    Case("fields", {}, {"env": [
        field_of("NAME", "metadata.name"), field_of("CASE", "metadata.labels['case']"),
        field_of("NOTE", "metadata.annotations['a.b/c']"), field_of("ACCOUNT", "spec.serviceAccountName"),
        field_of("HOST", "status.hostIPs"), field_of("POD", "status.podIPs")]},
        'echo "$NAME $CASE $NOTE $ACCOUNT ${HOST%.*.*} ${POD%.*.*}"; sleep 1000', {"a.b/c": "note"}, state=READY,
        log=["fields fields note default 10.77 10.244"]),
    Case("resources", {}, {"env": [
        resource_of("CPU", "limits.cpu"), resource_of("MILLI", "limits.cpu", "1m"),
        resource_of("MEMORY", "limits.memory", "1Mi"), resource_of("REQUEST", "requests.memory", "1Ki")],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}},
        'echo "$CPU $MILLI $MEMORY $REQUEST"; sleep 1000', state=READY, log=["2 1250 64 16384"]),
    Case("from-objects", {}, {"envFrom": [
        {"configMapRef": {"name": "words"}, "prefix": "p_"}, {"configMapRef": {"name": "nope", "optional": True}}],
        "env": [{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "pw"}}}]},
        'echo "$p_a $SECRET"; sleep 1000', state=READY, log=["1 s3"]),
    Case("no-links", {"enableServiceLinks": False}, script="env | grep -c KUBERNETES_SERVICE_HOST; sleep 1000",
         state=READY, log=["1"]),
)  # fmt: skip
SECURITY = (
    Case("user-and-groups", {**secure(runAsUser=1001, runAsGroup=2002, fsGroup=3003, supplementalGroups=[4004]),
         **volumes(v={"emptyDir": {}})}, mounted("/v"), "id; touch /v/a; stat -c '%u %g' /v/a; sleep 1000",
         state=READY, log=["uid=1001 gid=2002 groups=2002,3003,4004", "1001 3003"]),
    Case("group-alone", secure(runAsGroup=2002), script="id -u; id -g; sleep 1000", state=READY, log=["0", "2002"]),
    Case("read-only-root", {}, secure(readOnlyRootFilesystem=True), "touch /x || echo refused; sleep 1000",
         state=READY, log=["refused"]),
    Case("no-new-privileges", {}, secure(allowPrivilegeEscalation=False),
         "grep NoNewPrivs /proc/self/status; sleep 1000", state=READY, log=["NoNewPrivs:\t1"]),
    Case("no-capabilities", {}, secure(capabilities={"drop": ["ALL"]}), "grep CapEff /proc/self/status; sleep 1000",
         state=READY, log=["CapEff:\t0000000000000000"]),
    Case("seccomp", secure(seccompProfile={"type": "RuntimeDefault"}),
         script="grep Seccomp: /proc/self/status; sleep 1000", state=READY, log=["Seccomp:\t2"]),
    Case("sysctl-safe", secure(sysctls=[{"name": "kernel.shm_rmid_forced", "value": "1"}]),
         script="cat /proc/sys/kernel/shm_rmid_forced; sleep 1000", state=READY, log=["1"]),
    Case("shared-processes", {"shareProcessNamespace": True}, script="cat /proc/1/comm; sleep 1000", state=READY,
         log=["pause"]),
)  # fmt: skip
NAMES = (
    Case("aliases", {"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}], "hostname": "box",
         "subdomain": "sub"}, script="hostname; cat /etc/hosts; sleep 1000", state=READY,
         log=["box", "# Kubernetes-managed hosts file.", "1.2.3.4\tfoo\tbar"]),
    Case("full-name", {"hostname": "box", "subdomain": "sub", "setHostnameAsFQDN": True},
         script="hostname; sleep 1000", state=READY, log=["box.sub.node-cases.svc.cluster.local"]),
    Case("own-dns", {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b"],
         "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}, script="cat /etc/resolv.conf; sleep 1000",
         state=READY, log=["nameserver 1.1.1.1", "search a.b", "options ndots:2 edns0"]),
)  # fmt: skip
VOLUMES = (
    Case("volume-modes", volumes(
        c={"configMap": {"name": "words", "defaultMode": 0o400, "items": [
            {"key": "a", "path": "x/y", "mode": 0o444}, {"key": "b", "path": "b"}]}},
        s={"secret": {"secretName": "hidden"}}, o={"configMap": {"name": "nope", "optional": True}},
        m={"emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}), mounted("/c", "/s", "/o", "/m"),
        "stat -Lc '%a %n' /c/x/y /c/b /s/pw /m; ls /o; echo x >/c/n || echo read-only; "
        "grep -c ' /m tmpfs' /proc/mounts; readlink /c/b; sleep 1000", state=READY,
        log=["444 /c/x/y", "400 /c/b", "644 /s/pw", "777 /m", "read-only", "1", "..data/b"]),
    Case("projected", volumes(p={"projected": {"sources": [
        {"configMap": {"name": "words", "items": [{"key": "a", "path": "all/a"}]}}, {"secret": {"name": "hidden"}},
        {"downwardAPI": {"items": [{"path": "all/case", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}]}}), mounted("/p"),
        "cat /p/all/a; echo; cat /p/pw; echo; cat /p/all/case; echo; cut -c1-2 /p/token; sleep 1000", state=READY,
        log=["1", "s3", 'case="projected"', "ey"]),
    Case("sub-paths", volumes(e={"emptyDir": {}}, c={"configMap": {"name": "words"}}), {"volumeMounts": [
        {"name": "e", "mountPath": "/e"}, {"name": "e", "mountPath": "/d", "subPathExpr": "x-$(N)/y"},
        {"name": "c", "mountPath": "/file", "subPath": "b"}], "env": [field_of("N", "metadata.name")]},
        "touch /d/made; ls /e/x-sub-paths/y; cat /file; echo; sleep 1000", state=READY, log=["made", "two"]),
)  # fmt: skip
ALL = (*EXITS, *REFUSALS, *ORDER, *PROBES, *ENVIRONMENT, *SECURITY, *NAMES, *VOLUMES)
