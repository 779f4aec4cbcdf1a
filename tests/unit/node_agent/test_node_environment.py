"""Environment variables, the downward API, DNS and hosts, resources and security: pure rules."""

import asyncio
import base64

import pytest

from argosy.objects.pod_qos import qos_class
from argosy.objects.types import JsonObject
from node_agent import dns, resources
from node_agent.admission import admit
from node_agent.backoff import Backoff, text
from node_agent.environment import ConfigError, Surroundings, environment, expand, service_variables
from node_agent.fields import FieldError, field_value, resource_value
from node_agent.images import docker_credentials, with_tag
from node_agent.observed import observed
from node_agent.runtime.runtime import ContainerStatus, Dns, Image, Namespace, Profile, Sandbox, Security, State
from node_agent.security import container_security, sandbox_security, share_target
from tests.unit.node_agent.node_world import make_pod

AROUND = Surroundings(("10.244.1.2",), ("10.77.3.1",), {"cpu": "4", "memory": "8Gi"}, ())


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a $(X) b", "a 1 b"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(X)", "$(X)"),
        ("$X $", "$X $"),
        ("$(X", "$(X"),
        ("$$", "$"),
        ("$(X)$(Y)", "12"),
    ],
)
def test_expansion(given: str, wanted: str) -> None:
    assert expand(given, {"X": "1", "Y": "2"}) == wanted


def variables(container: JsonObject, objects: dict[tuple[str, str], JsonObject], **more: object) -> dict[str, str]:
    async def lookup(kind: str, namespace: str, name: str) -> JsonObject | None:
        assert namespace == "default"
        return objects.get((kind, name))

    pod = make_pod(containers=[container], **more)
    services = [
        {"metadata": {"name": "kubernetes", "namespace": "default"},
         "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}},
        {"metadata": {"name": "my-db", "namespace": "default"},
         "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 5432, "protocol": "TCP"}]}},
        {"metadata": {"name": "headless", "namespace": "default"},
         "spec": {"clusterIP": "None", "ports": [{"port": 1}]}},
        {"metadata": {"name": "elsewhere", "namespace": "other"},
         "spec": {"clusterIP": "10.96.0.8", "ports": [{"port": 1}]}},
    ]  # fmt: skip
    around = Surroundings(AROUND.pod_ips, AROUND.host_ips, AROUND.allocatable, services)
    return dict(asyncio.run(environment(pod, pod["spec"]["containers"][0], around, lookup)))


def test_variables_from_everywhere() -> None:
    container = {
        "name": "main",
        "resources": {"limits": {"cpu": "1500m"}},
        "envFrom": [
            {"prefix": "P_", "configMapRef": {"name": "cfg"}},
            {"secretRef": {"name": "no", "optional": True}},
        ],
        "env": [
            {"name": "PLAIN", "value": "x-$(P_a)-$(MY_DB_SERVICE_PORT)"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Gi"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
            {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "key", "key": "no", "optional": True}}},
        ],
    }
    objects = {
        ("configmaps", "cfg"): {"metadata": {"name": "cfg"}, "data": {"a": "1", "bad=key": "2"}},
        ("secrets", "key"): {"metadata": {"name": "key"}, "data": {"k": base64.b64encode(b"s").decode()}},
    }
    found = variables(container, objects)
    assert found["P_a"] == "1" and "P_bad=key" not in found
    assert found["PLAIN"] == "x-1-5432"
    assert (found["NODE"], found["CPU"], found["MEMORY"], found["SECRET"]) == ("node-1", "2", "8", "s")
    assert "ABSENT" not in found
    assert found["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert found["MY_DB_PORT_5432_TCP_ADDR"] == "10.96.0.9" and found["MY_DB_PORT"] == "tcp://10.96.0.9:5432"
    assert not any(name.startswith(("HEADLESS", "ELSEWHERE")) for name in found)


def test_service_links_can_be_turned_off_but_for_the_api() -> None:
    found = variables({"name": "main"}, {}, enableServiceLinks=False)
    assert "KUBERNETES_SERVICE_HOST" in found and "MY_DB_SERVICE_HOST" not in found


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "no", "key": "k"}}, 'secret "no" not found'),
        ({"configMapKeyRef": {"name": "cfg", "key": "z"}}, "couldn't find key z in ConfigMap default/cfg"),
        ({"fileKeyRef": {"path": "x"}}, "env valueFrom is not supported: fileKeyRef"),
        ({"fieldRef": {"fieldPath": "spec.secret"}}, "unsupported fieldPath: spec.secret"),
    ],
)
def test_what_cannot_be_resolved_is_said(source: JsonObject, message: str) -> None:
    objects = {("configmaps", "cfg"): {"metadata": {"name": "cfg"}, "data": {}}}
    with pytest.raises(ConfigError) as caught:
        variables({"name": "main", "env": [{"name": "A", "valueFrom": source}]}, objects)
    assert str(caught.value) == message


def test_ipv6_services_are_bracketed() -> None:
    service = {"metadata": {"name": "six"}, "spec": {"clusterIP": "fd00::1", "ports": [{"port": 80}]}}
    assert service_variables([service])["SIX_PORT"] == "tcp://[fd00::1]:80"


def test_fields() -> None:
    pod = make_pod(annotations={"a": 'x"y'}, containers=[{"name": "main"}])
    pod["metadata"]["labels"] = {"b": "2", "a": "1"}
    assert field_value(pod, "metadata.labels['b']", (), ()) == "2"
    assert field_value(pod, "metadata.labels", (), ()) == 'a="1"\nb="2"'
    assert field_value(pod, "metadata.annotations", (), ()) == 'a="x\\"y"'
    assert field_value(pod, "status.podIPs", ("1.1.1.1", "fd::1"), ()) == "1.1.1.1,fd::1"
    with pytest.raises(FieldError):
        field_value(pod, "spec.containers", (), ())
    with pytest.raises(FieldError, match="container other not found"):
        resource_value(pod, {"containerName": "other", "resource": "limits.cpu"}, "", {})


def test_dns_by_policy() -> None:
    node = Dns(("9.9.9.9",), ("example.com",), ("timeout:1",))
    first = dns.pod_dns(make_pod(dnsPolicy="ClusterFirst"), node, ("10.96.0.10",), "cluster.local")
    assert first.servers == ("10.96.0.10",) and first.options == ("ndots:5",)
    assert first.searches == ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com")
    assert dns.pod_dns(make_pod(dnsPolicy="Default"), node, ("10.96.0.10",), "cluster.local") == node
    assert dns.pod_dns(make_pod(hostNetwork=True), node, ("10.96.0.10",), "cluster.local") == node
    own = {"nameservers": ["1.1.1.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}]}
    none = dns.pod_dns(make_pod(dnsPolicy="None", dnsConfig=own), node, ("10.96.0.10",), "cluster.local")
    assert none == Dns(("1.1.1.1",), ("a.b",), ("ndots:2",))
    assert dns.parse_resolv_conf("# x\nnameserver 1.2.3.4\nsearch a b\noptions ndots:1 rotate\n") == Dns(
        ("1.2.3.4",), ("a", "b"), ("ndots:1", "rotate")
    )


def test_hosts_and_hostnames() -> None:
    pod = make_pod(hostname="h", subdomain="s", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["x", "y"]}])
    content = dns.hosts_file(pod, ("10.244.1.2",), "cluster.local", "")
    assert "10.244.1.2\th.s.default.svc.cluster.local\th\n" in content
    assert content.endswith("# Entries added by HostAliases.\n1.2.3.4\tx\ty\n")
    assert dns.sandbox_hostname({**pod, "spec": {**pod["spec"], "setHostnameAsFQDN": True}}, "cluster.local") == (
        "h.s.default.svc.cluster.local"
    )
    assert len(dns.hostname(make_pod("x" * 62 + "-yz"))) == 62


def sized(**lists: JsonObject) -> JsonObject:
    return {"name": "main", "image": "busybox:1", "resources": lists}


ALL_SAID: JsonObject = {side: {"cpu": "1", "memory": "1Gi"} for side in ("limits", "requests")}


@pytest.mark.parametrize(
    ("containers", "wanted"),
    [
        ([sized()], "BestEffort"),
        ([sized(**ALL_SAID)], "Guaranteed"),
        ([sized(**ALL_SAID), {"name": "b"}], "Burstable"),
        ([sized(requests={"cpu": "1"})], "Burstable"),
        ([sized(limits={"cpu": "1", "memory": "1Gi"}, requests={"cpu": "500m"})], "Burstable"),
    ],
)
def test_qos(containers: list[JsonObject], wanted: str) -> None:
    assert qos_class(make_pod(containers=containers)) == wanted
    assert qos_class({"spec": {"containers": containers, "resources": ALL_SAID}}) == "Guaranteed"


def test_cgroup_values() -> None:
    limited = sized(limits={"cpu": "500m", "memory": "64Mi"}, requests={"cpu": "250m", "memory": "32Mi"})
    pod = make_pod(containers=[limited])
    found = resources.container_resources(pod, limited, 1 << 30)
    assert (found.cpu_shares, found.cpu_quota_us, found.cpu_period_us) == (256, 50_000, 100_000)
    assert found.memory_limit_bytes == 64 << 20
    assert found.oom_score_adj == 1000 - 1000 * 32 // 1024
    assert resources.pod_limits(pod) == resources.PodLimits(256, 50_000, 64 << 20)
    assert resources.pod_limits(make_pod(containers=[limited, {"name": "b"}])) == resources.PodLimits(256, 0, 0)
    assert resources.cpu_shares(0) == 2 and resources.cpu_quota_us(1) == 1000
    assert resources.oom_score(make_pod(), {"name": "main"}, 1 << 30) == 1000


def test_a_pods_request_counts_sidecars_and_the_greatest_init_container() -> None:
    inits = [
        {**sized(requests={"cpu": "100m"}), "name": "side", "restartPolicy": "Always"},
        {**sized(requests={"cpu": "2"}), "name": "init"},
    ]
    pod = make_pod(containers=[sized(requests={"cpu": "1"})], initContainers=inits, overhead={"cpu": "50m"})
    assert resources.pod_amount(pod, "cpu") == (2100 + 50) * 10**6
    pod["spec"]["resources"] = {"requests": {"cpu": "3"}}
    assert resources.pod_amount(pod, "cpu") == 3050 * 10**6


def test_admission() -> None:
    ported = make_pod(containers=[{"name": "main", "ports": [{"containerPort": 80, "hostPort": 80}]}])
    full = {"cpu": "1", "memory": "1Gi", "pods": "2", "ephemeral-storage": "1Gi"}
    assert admit(ported, [], full, None) is None
    assert (admit(ported, [ported], full, None) or ("",))[0] == "NodePorts"
    assert (admit(make_pod(), [make_pod("a"), make_pod("b")], full, None) or ("",))[0] == "OutOfpods"
    gpu = make_pod(containers=[sized(limits={"example.com/gpu": "1"})])
    assert (admit(gpu, [], full, None) or ("",))[0] == "OutOfexample.com/gpu"
    node = {"metadata": {"name": "n", "labels": {"disk": "hdd"}}, "status": {"allocatable": {"example.com/gpu": "1"}}}
    assert admit(gpu, [], full, node) is None, "somebody told the node of one"
    assert (admit(gpu, [gpu], full, node) or ("",))[0] == "OutOfexample.com/gpu"
    assert admit(make_pod(nodeSelector={"disk": "ssd"}), [], full, node) == (
        "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
    )  # fmt: skip
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "ssd", "operator": "Exists"}]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    assert (admit(make_pod(affinity=affinity), [], full, node) or ("",))[0] == "NodeAffinity"
    tainted = {"metadata": {"name": "n"}, "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}
    assert (admit(make_pod(), [], full, tainted) or ("",))[0] == "TaintToleration"
    assert admit(make_pod(tolerations=[{"key": "k", "operator": "Exists"}]), [], full, tainted) is None
    assert (admit(make_pod(os={"name": "windows"}), [], full, None) or ("",))[0] == "PodOSNotSupported"
    strict = make_pod(securityContext={"supplementalGroupsPolicy": "Strict"})
    assert (admit(strict, [], full, None) or ("",))[0] == "SupplementalGroupsPolicyNotSupported"


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        ({"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}}, ""),
        ({"securityContext": {"sysctls": [{"name": "net/ipv4/tcp_syncookies", "value": "1"}]}}, ""),
        (
            {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
            'forbidden sysctl: "kernel.msgmax" not allowlisted',
        ),
        (
            {
                "hostNetwork": True,
                "securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]},
            },
            'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
        ),
        (
            {"hostIPC": True, "securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}},
            'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled',
        ),
    ],
)
def test_only_harmless_sysctls_are_allowed(spec: JsonObject, refusal: str) -> None:
    expected = ("SysctlForbidden", refusal) if refusal else None
    assert admit(make_pod(**spec), [], {"pods": "2"}, None) == expected


def test_a_group_alone_means_root_in_that_group() -> None:
    pod = make_pod(securityContext={"runAsGroup": 2002})
    assert sandbox_security(pod).run_as_user == 0
    container = pod["spec"]["containers"][0]
    assert container_security(pod, container, Image("i", (), (), 0)).run_as_user == 0
    assert container_security(pod, container, Image("i", (), (), 0, None, "app")).run_as_username == "app"


def test_seccomp_profiles_of_the_node() -> None:
    local = {"seccompProfile": {"type": "Localhost", "localhostProfile": "audit/x.json"}}
    pod = make_pod(securityContext=local)
    container = pod["spec"]["containers"][0]
    found = container_security(pod, container, Image("i", (), (), 0)).seccomp
    assert (found.type, found.localhost_ref) == (Profile.LOCALHOST, "/var/lib/kubelet/seccomp/audit/x.json")
    assert sandbox_security(pod).seccomp.type is Profile.RUNTIME_DEFAULT


def test_a_debug_container_sees_its_targets_processes() -> None:
    running = ContainerStatus("c1", "main", 0, State.RUNNING, 1, 1, 0, 0, "", "", "i", "i", "")
    seen = observed([Sandbox("s1", "web", "default", "u", 0, True, 0.0)], [running], {"c1": "s1"})
    shared = share_target(Security(), {"name": "debugger", "targetContainerName": "main"}, seen)
    assert (shared.pid, shared.target_id) == (Namespace.TARGET, "c1")
    assert share_target(Security(), {"name": "debugger"}, seen) == Security()
    with pytest.raises(ConfigError, match="unable to find target container other"):
        share_target(Security(), {"name": "debugger", "targetContainerName": "other"}, seen)


def test_backoff() -> None:
    crashes = Backoff()
    assert crashes.wait_s("a", 0.0, 0.0) == 0
    crashes.failed("a", 0.0)
    assert crashes.wait_s("a", 5.0, 7.0) == 8.0
    for at in (15.0, 40.0, 90.0, 180.0, 400.0, 500.0):
        crashes.failed("a", at)
    assert crashes.delay_s("a") == 300.0
    assert crashes.wait_s("a", 2000.0, 2000.0) == 0, "ten minutes without a failure"
    crashes.failed("a", 2000.0)
    assert crashes.delay_s("a") == 10.0
    crashes.forget("a")
    assert crashes.delay_s("a") == 0.0
    assert (text(10), text(160), text(300)) == ("10s", "2m40s", "5m0s")


def test_image_names_and_credentials() -> None:
    assert with_tag("busybox") == "busybox:latest"
    assert with_tag("localhost:5000/a/b") == "localhost:5000/a/b:latest"
    assert with_tag("a@sha256:" + "0" * 64) == "a@sha256:" + "0" * 64
    for bad in ("", "UPPER", "a b", "a:", "http://x/y"):
        with pytest.raises(ValueError, match="invalid reference format"):
            with_tag(bad)
    config = b'{"auths": {"https://reg.example.com/v2/": {"auth": "dTpw"}, "other.io": {"username": "x"}}}'
    secret = {"data": {".dockerconfigjson": base64.b64encode(config).decode()}}
    (auth,) = docker_credentials(secret, "reg.example.com/a:1")
    assert (auth.username, auth.password) == ("u", "p")
    assert auth.server == "", "containerd would hold it against a mirror's host"
    assert docker_credentials(secret, "busybox:1") == []


def test_security_contexts() -> None:
    container = {
        "name": "main",
        "securityContext": {
            "runAsUser": 5, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"}, "readOnlyRootFilesystem": True,
        },
    }  # fmt: skip
    pod = make_pod(containers=[container], securityContext={"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3},
                   shareProcessNamespace=True)  # fmt: skip
    found = container_security(pod, container, Image("i", (), (), 0))
    assert (found.run_as_user, found.run_as_group, found.supplemental_groups) == (5, 2, (3,))
    assert found.no_new_privileges and found.readonly_rootfs and found.drop_capabilities == ("ALL",)
    assert found.seccomp.type is Profile.RUNTIME_DEFAULT and found.masked_paths
    assert found.pid is Namespace.POD and found.network is Namespace.POD
    assert sandbox_security(make_pod(hostNetwork=True, hostPID=True)).network is Namespace.NODE
    bare = {"name": "main", "securityContext": {"privileged": True}}
    assert container_security(make_pod(containers=[bare]), bare, Image("i", (), (), 0)).masked_paths == ()


@pytest.mark.parametrize(
    ("context", "image", "message"),
    [
        ({"runAsNonRoot": True}, Image("i", (), (), 0, uid=0), "image will run as root"),
        ({"runAsNonRoot": True}, Image("i", (), (), 0), "image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, Image("i", (), (), 0, uid=9), "breaks non-root policy"),
        ({"runAsNonRoot": True}, Image("i", (), (), 0, username="www"), "non-numeric user (www)"),
        ({"seLinuxOptions": {"level": "x"}}, Image("i", (), (), 0), "seLinuxOptions is not supported"),
    ],
)
def test_forbidden_users_and_refused_fields(context: JsonObject, image: Image, message: str) -> None:
    container = {"name": "main", "securityContext": context}
    with pytest.raises(ConfigError) as caught:
        container_security(make_pod(containers=[container]), container, image)
    assert message in str(caught.value)
