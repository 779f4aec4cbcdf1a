"""Several machines: a control plane on one, two others that join it by address and token, and one that leaves.

The machines are network namespaces on one bridge, all of this test's making; `argosy` runs in each as it would on a
machine, with a name for each, as they share their disks.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from argosy.host import RealRng
from argosy.testing import CommandFailed, run
from deploy import cleanup, netns
from deploy.layout import Layout
from tests.e2e import clients

SERVER, FIRST, SECOND = 1, 2, 3
GATEWAY = "10.9.0.254"
"""Where the machines' networks end: it knows the machines, but no pods."""
ARGOSY = [sys.executable, "-m", "argosy.cli"]
SETTINGS = ("ip_forward", "conf/all/route_localnet")


@dataclass
class Machine:
    """One of them."""

    number: int
    namespace: str
    name: str
    """What it calls the cluster."""
    kubeconfig: Path

    @property
    def ip(self) -> str:
        return f"10.9.0.{self.number}"

    @property
    def layout(self) -> Layout:
        return Layout(self.name)

    def run(self, *command: str, check: bool = True, timeout_s: float = 180.0) -> subprocess.CompletedProcess[str]:
        line = ["nsenter", f"--net={netns.FOLDER}/{self.namespace}", "--", *command]
        return run(line, environment={"KUBECONFIG": str(self.kubeconfig)}, check=check, timeout_s=timeout_s)

    def argosy(self, *arguments: str) -> str:
        return self.run(*ARGOSY, *arguments, "--name", self.name).stdout

    def refused(self, *arguments: str) -> str:
        """What a command that must fail says."""
        done = self.run(*ARGOSY, *arguments, "--name", self.name, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr

    def settings(self) -> list[str]:
        return [self.run("cat", f"/proc/sys/net/ipv4/{name}").stdout for name in SETTINGS]

    def network(self) -> dict[str, str]:
        """Links and routes, and the rules of either kind, but for the empty built-in chains."""
        saved = self.run("sh", "-c", "iptables-save; ip6tables-save; nft list tables").stdout
        lines = [
            line for line in saved.splitlines() if re.search(r"^-A|^:(KUBE|CNI)|table.* (kube-proxy|argosy)", line)
        ]
        links = sorted(re.findall(r"^\d+: ([^:@]+)", self.run("ip", "-o", "link").stdout, re.MULTILINE))
        return {"links": " ".join(links), "routes": self.run("ip", "route").stdout, "rules": "\n".join(lines)}


@dataclass
class Site:
    """The machines, and a kubectl on the first."""

    machines: dict[int, Machine]
    token: str = ""
    untouched: dict[int, tuple[dict[str, str], list[str]]] = field(default_factory=dict)
    """Network and settings of each machine before it had anything to do with a cluster."""

    @property
    def server(self) -> Machine:
        return self.machines[SERVER]

    @property
    def address(self) -> str:
        return f"{self.server.ip}:6443"

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        return self.server.run(clients.newest(), *arguments, check=check).stdout

    def get(self, *arguments: str) -> dict:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    prefix = "jn" + RealRng().token(3).hex()
    folder = tmp_path_factory.mktemp("join")
    machines = {
        number: Machine(number, f"{prefix}-{number}", f"{prefix}-{number}", folder / f"kubeconfig-{number}")
        for number in (SERVER, FIRST, SECOND)
    }
    found = Site(machines)
    switch = f"{prefix}-0"
    try:
        netns.batch([f"netns add {name}" for name in (switch, *(item.namespace for item in machines.values()))])
        netns.batch(["link add br0 type bridge", f"addr add {GATEWAY}/24 dev br0", "link set br0 up"], switch)
        for item in machines.values():
            cable = f"v{item.number}"
            netns.batch([f"link add {cable} type veth peer name eth0 netns {item.namespace}"], switch)
            netns.batch([f"link set {cable} master br0 up"], switch)
            netns.batch(
                [
                    "link set lo up",
                    f"addr add {item.ip}/24 dev eth0",
                    "link set eth0 up",
                    f"route add default via {GATEWAY}",
                ],
                item.namespace,
            )
            found.untouched[item.number] = item.network(), item.settings()
        yield found
    finally:
        for item in reversed(machines.values()):
            item.run(*ARGOSY, "down", "--name", item.name, check=False)
        netns.batch([f"netns del {name}" for name in (switch, *(m.namespace for m in machines.values()))], force=True)


@pytest.fixture(scope="module")
def joined(site: Site) -> Site:
    """The control plane runs and two machines have joined."""
    printed = site.server.argosy("server", "--flag", "controllers:--node-monitor-grace-period=12")
    command = re.search(rf"argosy join {re.escape(site.address)} --token (\S+)", printed)
    assert command, printed
    site.token = command[1]
    site.machines[FIRST].argosy("join", site.address, "--token", site.token, "--node-name", "first")
    other = ("--node-name", "second", "--proxy-mode", "nftables")
    site.machines[SECOND].argosy("join", site.address, "--token", site.token, *other)
    return site


def deployment(name: str) -> list[dict]:
    """Two pods, one on each node, and a Service for them."""
    labels = {"app": name}
    container = {
        "name": "web",
        "image": "busybox:1.35",
        "command": ["sh", "-c", "mkdir /w; hostname >/w/index.html; echo up; exec httpd -f -p 8080 -h /w"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    apart = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    pod = {
        "terminationGracePeriodSeconds": 0,
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
        "containers": [container],
    }
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]


@pytest.fixture(scope="module")
def web(joined: Site, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The pods of a Deployment, one on each machine."""
    file = tmp_path_factory.mktemp("web") / "web.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": deployment("web")}))
    joined.kubectl("apply", "-f", str(file))
    joined.kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=90s")
    pods = joined.get("pods", "-l", "app=web")["items"]
    assert sorted(pod["spec"]["nodeName"] for pod in pods) == ["first", "second"]
    return pods


def answers(ask: list[str], machine: Machine) -> set[str]:
    """Who answers some requests."""
    script = f"for i in $(seq 30); do {' '.join(ask)}; done"
    return set(machine.run("sh", "-c", script).stdout.split())


def test_both_machines_are_nodes_with_certificates_of_their_own(joined: Site) -> None:
    joined.kubectl("wait", "node/first", "node/second", "--for=condition=Ready", "--timeout=60s")
    nodes = {node["metadata"]["name"]: node for node in joined.get("nodes")["items"]}
    for machine, name in ((joined.machines[FIRST], "first"), (joined.machines[SECOND], "second")):
        addresses = [item["address"] for item in nodes[name]["status"]["addresses"]]
        assert machine.ip in addresses
        pki = Path(machine.layout.node_pki(name))
        assert {path.name for path in pki.iterdir()} == {"agent.crt", "agent.key", "server.crt", "server.key"}
        assert (pki / "agent.key").stat().st_mode & 0o777 == (pki / "server.key").stat().st_mode & 0o777 == 0o600
        assert not list(Path(machine.layout.state).rglob("ca.key")), "the authority's key stays on the server"
    signers = [item["spec"]["signerName"] for item in joined.get("csr")["items"]]
    assert signers.count("kubernetes.io/kubelet-serving") == 2
    assert signers.count("kubernetes.io/kube-apiserver-client-kubelet") == 2


def test_a_service_answers_from_every_pod_and_node_by_address_and_by_name(joined: Site, web: list[dict]) -> None:
    names = {pod["metadata"]["name"] for pod in web}
    vip = joined.get("service", "web")["spec"]["clusterIP"]
    for machine in (joined.machines[FIRST], joined.machines[SECOND]):
        assert answers(["wget", "-qO-", "-T", "5", f"http://{vip}/"], machine) == names
        found = machine.run("busybox", "nslookup", "web.default.svc.cluster.local", "10.96.0.10").stdout
        assert vip in found
    for pod in names:
        for host in (vip, "web", "web.default.svc.cluster.local"):
            script = f"for i in $(seq 30); do wget -qO- http://{host}/; done"
            assert set(joined.kubectl("exec", pod, "--", "sh", "-c", script).split()) == names, (pod, host)


def test_logs_and_exec_go_through_the_api_server(joined: Site, web: list[dict]) -> None:
    for pod in web:
        name = pod["metadata"]["name"]
        assert joined.kubectl("logs", name) == "up\n"
        assert joined.kubectl("exec", name, "--", "hostname").strip() == name


def test_pods_get_out_under_their_machines_address(joined: Site, web: list[dict]) -> None:
    for pod in web:
        joined.kubectl("exec", pod["metadata"]["name"], "--", "ping", "-c", "1", "-W", "5", GATEWAY)


def test_a_port_of_the_host_is_mapped(joined: Site, web: list[dict]) -> None:
    """Only the portmap plugin writes these rules; they must go with the node, too."""
    container = {
        "name": "c",
        "image": "busybox:1.35",
        "command": ["sh", "-c", "mkdir /w; echo mapped >/w/index.html; exec httpd -f -p 80 -h /w"],
        "ports": [{"containerPort": 80, "hostPort": 8088}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "mapped"},
        "spec": {"nodeName": "first", "terminationGracePeriodSeconds": 0, "containers": [container]},
    }
    overrides = json.dumps(pod)
    joined.kubectl("run", "mapped", "--image=busybox:1.35", f"--overrides={overrides}")
    joined.kubectl("wait", "pod/mapped", "--for=condition=Ready", "--timeout=60s")
    url = f"http://{joined.machines[FIRST].ip}:8088/"
    assert joined.machines[SECOND].run("wget", "-qO-", "-T", "5", url).stdout == "mapped\n"


def test_both_kinds_of_machine_say_what_runs_on_them(joined: Site) -> None:
    report = json.loads(joined.server.argosy("status", "-o", "json"))
    assert {item["name"] for item in report["processes"]} == {
        *("supervisor", "etcd-1", "apiserver-1", "controllers-1", "scheduler-1", "autoscaler-1", "metrics-1", "dns-1")
    }
    assert all(item["healthy"] for item in report["processes"])
    assert {node["name"]: node["state"] for node in report["nodes"]} == {"first": "Ready", "second": "Ready"}
    report = json.loads(joined.machines[FIRST].argosy("status", "-o", "json"))
    assert {item["name"]: item["healthy"] for item in report["processes"]} == dict.fromkeys(
        ("supervisor", "first", "first/containerd", "first/agent", "first/proxy"), True
    )
    assert "node registered" in joined.machines[FIRST].argosy("logs", "first/agent")


def test_what_is_not_admitted_is_refused_by_name_and_leaves_nothing(joined: Site) -> None:
    server, first = joined.server, joined.machines[FIRST]
    stranger = Machine(SECOND, server.namespace, f"{server.name}-x", server.kubeconfig)
    token, _, pin = joined.token.rpartition(".")
    unknown = f"{token[:7]}{'0' * 16}.{pin}"
    expired = server.argosy("token", "create", "--ttl", "1ms").split()[-1]
    cases = [
        (joined.address, unknown, "third", "not known or has expired"),
        (joined.address, expired, "third", "not known or has expired"),
        (joined.address, f"{token}.{'0' * 64}", "third", "authority has another key"),
        (joined.address, token, "third", "lacks the pin"),
        ("10.9.0.77:6443", joined.token, "third", "cannot be reached"),
        (f"{server.ip}:1", joined.token, "third", "cannot be reached"),
        (joined.address, joined.token, "first", "has a node 'first' that is Ready"),
    ]
    for address, given, node, message in cases:
        said = stranger.refused("join", address, "--token", given, "--node-name", node)
        assert message in said, said
        assert not cleanup.exists(stranger.layout)
    said = first.refused("join", joined.address, "--token", joined.token)
    assert "has joined already, as node first" in said
    again = Machine(FIRST, first.namespace, f"{first.name}-x", first.kubeconfig)
    assert "cni0" in again.refused("join", joined.address, "--token", joined.token, "--node-name", "third")
    assert not cleanup.exists(again.layout)
    assert "third" not in joined.kubectl("get", "nodes")


def test_nobody_learns_of_the_cluster_without_a_token(joined: Site) -> None:
    path = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
    url = f"https://{joined.address}{path}"
    ask = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}"]
    bearer = f"authorization: Bearer {joined.token.rpartition('.')[0]}"
    assert joined.machines[FIRST].run(*ask, url).stdout in ("401", "403")
    assert joined.machines[FIRST].run(*ask, "-H", bearer, url).stdout == "200"
    secrets = f"https://{joined.address}/api/v1/namespaces/kube-system/secrets"
    assert joined.machines[FIRST].run(*ask, "-H", bearer, secrets).stdout == "403"


def test_tokens_are_listed_without_their_secrets_and_deleted(joined: Site) -> None:
    made = joined.server.argosy("token", "create", "--description", "for a test").split()[-1]
    token_id, secret, _ = made.split(".")
    listed = joined.server.argosy("token", "list")
    assert token_id in listed and "for a test" in listed and secret not in listed
    joined.server.argosy("token", "delete", token_id)
    assert token_id not in joined.server.argosy("token", "list")
    assert "there is no token" in joined.server.refused("token", "delete", token_id)


def test_a_node_that_loses_its_power_comes_back(joined: Site, web: list[dict]) -> None:
    machine = joined.machines[SECOND]
    report = json.loads(machine.argosy("status", "-o", "json"))
    pid = next(item["pid"] for item in report["processes"] if item["name"] == "second")
    os.kill(pid, 9)
    vip = joined.get("service", "web")["spec"]["clusterIP"]

    def serves_again() -> bool:
        try:
            pods = joined.get("pods", "-l", "app=web")["items"]
            restarted = [pod for pod in pods if pod["spec"]["nodeName"] == "second"]
            states = [pod["status"].get("containerStatuses", [{}])[0] for pod in restarted]
            names = {pod["metadata"]["name"] for pod in pods}
            ready = any(state.get("restartCount") and state.get("ready") for state in states)
            return ready and answers(["wget", "-qO-", "-T", "2", f"http://{vip}/"], joined.machines[FIRST]) == names
        except CommandFailed:
            return False

    assert cleanup.wait_until(serves_again, 60.0)


def test_a_machine_leaves_and_nothing_of_the_node_is_left(joined: Site, web: list[dict]) -> None:
    for machine in (joined.machines[FIRST], joined.machines[SECOND]):
        assert machine.network()["rules"], "there was something to take away"
        machine.argosy("down")
        network, settings = joined.untouched[machine.number]
        assert machine.network() == network
        assert machine.settings() == settings
        assert not cleanup.exists(machine.layout)
    joined.kubectl("wait", "node/first", "--for=condition=Ready=Unknown", "--timeout=60s")
    joined.server.argosy("node", "remove", "first")
    assert "first" not in joined.kubectl("get", "nodes")


def test_it_joins_again_under_its_name(joined: Site) -> None:
    """Its Node object may still say Ready: it is the machine's own, by its address."""
    machine = joined.machines[SECOND]
    token = joined.server.argosy("token", "create").split()[-1]
    machine.argosy("join", joined.address, "--token", token, "--node-name", "second")
    joined.kubectl("wait", "node/second", "--for=condition=Ready", "--timeout=60s")


def test_the_server_leaves_nothing_either(joined: Site) -> None:
    joined.machines[SECOND].argosy("down")
    joined.server.argosy("down")
    assert joined.server.network() == joined.untouched[SERVER][0]
    assert not cleanup.exists(joined.server.layout)
