"""Services whose traffic depends on where it comes from, and names that are no addresses, with real pods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from argosy.testing import Cluster, run
from tests.e2e import web
from tests.e2e.conftest import in_node


def test_local_node_ports_and_names(cluster: Cluster) -> None:
    with web.namespace(cluster, "service-kinds") as space:
        cluster.apply(web.deployment(space, replicas=1))
        cluster.apply(web.service(space, type="LoadBalancer", externalTrafficPolicy="Local"))
        cluster.apply(web.service(space, "headless", clusterIP="None"))
        alias = {"type": "ExternalName", "externalName": f"headless.{space}.svc.cluster.local"}
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "alias", "namespace": space},
                "spec": alias,
            }
        )
        cluster.wait("deployment/web", "condition=Available", "-n", space, timeout_s=60)
        (pod,) = cluster.get("pods", "-n", space, "-l", "app=web")["items"]
        home, address = pod["spec"]["nodeName"], pod["status"]["podIP"]
        spec = cluster.get("service", "web", "-n", space)["spec"]
        nodes = {
            node["metadata"]["name"]: next(
                item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP"
            )
            for node in cluster.get("nodes")["items"]
        }

        def code(host: str, port: int) -> str:
            command = ("curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", f"http://{host}:{port}/")
            try:
                return web.on_lan(cluster, *command)
            except (subprocess.CalledProcessError, AssertionError):
                return ""

        def follows() -> bool:
            for name, ip in nodes.items():
                assert code(ip, spec["healthCheckNodePort"]) == ("200" if name == home else "503"), name
                assert code(ip, spec["ports"][0]["nodePort"]) == ("200" if name == home else ""), name
            return True

        cluster.eventually(follows)

        def inside(*command: str) -> str:
            return cluster.kubectl("exec", "-n", space, "deploy/web", "--", *command)

        def resolves() -> bool:
            for name in ("headless", "alias"):
                found = inside("wget", "-qO-", f"http://{name}:8080/")
                assert found.strip() == pod["metadata"]["name"]
            return True

        cluster.eventually(resolves)
        looked_up = inside("nslookup", f"alias.{space}.svc.cluster.local")
        assert "canonical name" in looked_up and address in looked_up
        cluster.kubectl("scale", "deployment/web", "-n", space, "--replicas=0")
        home = ""
        cluster.eventually(follows)


ROUTED = "198.51.100.7"


def test_an_external_ip_that_is_routed_to_a_node(cluster: Cluster) -> None:
    """The LAN's router sends it to node-1, which has no such address and would send it back."""
    with web.namespace(cluster, "external-ips") as space:
        cluster.apply(web.deployment(space), web.service(space, externalIPs=[ROUTED], selector={"app": "nobody"}))
        cluster.wait("deployment/web", "condition=Available", "-n", space, timeout_s=60)
        address = run(in_node(cluster, "node-1", "ip", "-o", "-4", "addr", "show", "eth0")).stdout.split()[3]
        web.on_lan(cluster, "ip", "route", "replace", ROUTED, "via", address.partition("/")[0])
        try:
            _refused_then_served(cluster, space)
        finally:
            web.on_lan(cluster, "ip", "route", "del", ROUTED)


def _refused_then_served(cluster: Cluster, space: str) -> None:
    names = {pod["metadata"]["name"] for pod in cluster.get("pods", "-n", space)["items"]}
    curl = ("curl", "-s", "-m", "2", f"http://{ROUTED}/")
    lan = ["nsenter", f"--net=/run/netns/argosy-{cluster.name}-lan"]
    places = {"lan": lan, **{name: in_node(cluster, name) for name in ("node-1", "node-2", "apiserver-1")}}

    def refused() -> bool:
        codes = {name: run([*enter, *curl], check=False).returncode for name, enter in places.items()}
        assert codes == dict.fromkeys(places, 7), "7 is refused, 28 timed out"
        return True

    cluster.eventually(refused)
    cluster.kubectl("delete", "service", "web", "-n", space)
    tracked = in_node(cluster, "node-1", "conntrack", "-L", "-p", "tcp", "--orig-dst", ROUTED)
    cluster.eventually(lambda: run([*lan, *curl], check=False).returncode, equals=28, what="nobody knows the address")
    run(in_node(cluster, "node-1", "conntrack", "-D", "-p", "tcp", "--orig-dst", ROUTED), check=False)
    patient = ("curl", "-s", "-m", "60", f"http://{ROUTED}/")
    early = subprocess.Popen([*lan, *patient], stdout=subprocess.PIPE, text=True)
    try:
        cluster.eventually(lambda: "SYN_SENT" in run(tracked).stdout)
        cluster.apply(web.service(space, externalIPs=[ROUTED]))
        answer, _ = early.communicate(timeout=70)
        assert answer.strip() in names, "a connection that began before the Service was there"
    finally:
        early.kill()
        early.wait()
    for enter in places.values():
        assert cluster.eventually(lambda enter=enter: run([*enter, *curl], check=False).stdout.strip()) in names
    inside = cluster.kubectl("exec", "-n", space, "deploy/web", "--", "wget", "-qO-", f"http://{ROUTED}/")
    assert inside.strip() in names


SERVE = r"""
mkdir -p /www/cgi-bin
cat >/www/cgi-bin/peer <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n%s %s\n' "$(hostname)" "$REMOTE_ADDR"
END
chmod +x /www/cgi-bin/peer
"$PYTHON" -c "$ANSWER_UDP" &
exec httpd -f -p 8080 -h /www
"""
"""By TCP a pod tells its name and whom it takes the client for, by UDP its name."""
ANSWER_UDP = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 9053))
while True:
    server.sendto(socket.gethostname().encode(), server.recvfrom(100)[1])
"""
ASK_UDP = """
import socket, sys
address, ports = sys.argv[1], sys.argv[2:]
for port in ports:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("", int(port)))
        client.settimeout(5)
        client.connect((address, 53))
        client.send(b"who?")
        print(client.recv(100).decode())
"""
PYTHON = os.path.realpath(sys.executable)
MACHINES = tuple({"/usr", "/lib", "/lib64", os.path.realpath(sys.base_prefix)} - {"/usr/local"})
"""What of the machine makes its Python run in a pod: the built-in image has nothing that answers by UDP."""
HOMES = {"web-a": "node-1", "web-b": "node-1", "web-c": "node-2"}
PATH = "/cgi-bin/peer"
REQUESTS = 20


@dataclass
class Traffic:
    """Servers on two of three nodes, `HOMES`, and a client pod on each: `client-1` is on node-1."""

    cluster: Cluster
    space: str

    def serve(self, name: str, **spec: object) -> str:
        """Make a Service of all servers; gives its address."""
        self.cluster.apply(web.service(self.space, name, **spec))
        address: str = self.cluster.get("service", name, "-n", self.space)["spec"]["clusterIP"]
        return address

    def patch(self, name: str, **spec: object) -> None:
        self.cluster.kubectl("patch", "service", name, "-n", self.space, "-p", json.dumps({"spec": spec}))

    def inside(self, client: str, script: str) -> str:
        """What a command prints in a client's pod. Raises CommandFailed."""
        return self.cluster.kubectl("exec", "-n", self.space, client, "--", "sh", "-ec", script)

    def answers(self, client: str, address: str) -> list[str]:
        """The names of the pods that answer, each time by a connection of its own."""
        wget = f"wget -T 5 -qO- http://{address}{PATH}"
        lines = self.inside(client, f"for i in $(seq {REQUESTS}); do {wget}; done").splitlines()
        assert len(lines) == REQUESTS
        return [line.split()[0] for line in lines]

    def reaches(self, client: str, address: str, *pods: str) -> None:
        what = f"{client} reaches {', '.join(pods)} by {address}"
        self.cluster.eventually(lambda: set(self.answers(client, address)), equals=set(pods), what=what)


def _pod(space: str, name: str, node: str, script: str, **more: object) -> dict:
    environment = {"PYTHON": PYTHON, "ANSWER_UDP": ANSWER_UDP, "ASK_UDP": ASK_UDP}
    folders = {f"machine-{at}": path for at, path in enumerate(MACHINES)}
    container = {
        "name": "c",
        "image": "busybox:1.35",
        "command": ["sh", "-c", script],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "volumeMounts": [{"name": key, "mountPath": path, "readOnly": True} for key, path in folders.items()],
        **more,
    }
    spec = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": key, "hostPath": {"path": path}} for key, path in folders.items()],
    }
    labels = {"app": "web"} if name in HOMES else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": labels},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def traffic(cluster: Cluster) -> Iterator[Traffic]:
    ready = {
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": PATH, "port": "http"}, "periodSeconds": 1},
    }
    with web.namespace(cluster, "service-traffic") as space:
        servers = [_pod(space, name, node, SERVE, **ready) for name, node in HOMES.items()]
        clients = [_pod(space, f"client-{n}", f"node-{n}", "exec sleep 3600") for n in (1, 2, 3)]
        cluster.apply(*servers, *clients)
        cluster.wait("pod", "condition=Ready", "--all", "-n", space, timeout_s=90)
        yield Traffic(cluster, space)


def test_session_affinity_keeps_a_client_with_one_pod(traffic: Traffic) -> None:
    sticky, plain = traffic.serve("sticky", sessionAffinity="ClientIP"), traffic.serve("plain")
    for client in ("client-1", "client-3"):
        traffic.reaches(client, plain, *HOMES)
        first = traffic.cluster.eventually(lambda client=client: traffic.answers(client, sticky))
        assert len(set(first)) == 1
        traffic.reaches(client, plain, *HOMES)
        assert set(traffic.answers(client, sticky)) == set(first), "what else the client does changes nothing"


def test_a_udp_service_reaches_every_pod_and_leaves_one_that_goes(traffic: Traffic) -> None:
    address = traffic.serve("datagrams", ports=[{"protocol": "UDP", "port": 53, "targetPort": 9053}])

    def ask(*ports: int) -> list[str]:
        numbers = " ".join(map(str, ports))
        return traffic.inside("client-3", f'"$PYTHON" -c "$ASK_UDP" {address} {numbers}').splitlines()

    traffic.cluster.eventually(lambda: set(ask(*[0] * REQUESTS)), equals=set(HOMES))
    # To the kernel, all datagrams of one port are one connection; whoever asks on keeps it from ever ending.
    (first,) = ask(9999)
    traffic.cluster.kubectl("label", "pod", first, "-n", traffic.space, "app-")
    try:
        others = HOMES.keys() - {first}
        traffic.cluster.eventually(lambda: set(ask(9999)) <= others, what=f"another pod than {first} answers")
        assert set(ask(*[0] * REQUESTS)) == others
    finally:
        traffic.cluster.kubectl("label", "pod", first, "-n", traffic.space, "app=web")


def test_local_internal_traffic_stays_on_its_node(traffic: Traffic) -> None:
    address = traffic.serve("near")
    for number in (1, 2, 3):
        traffic.reaches(f"client-{number}", address, *HOMES)
    traffic.patch("near", internalTrafficPolicy="Local")
    traffic.reaches("client-1", address, "web-a", "web-b")
    traffic.reaches("client-2", address, "web-c")

    def answered() -> bool:
        # Its own time-out begins only when it is connected: what is sent there is dropped.
        command = ("timeout", "2", "wget", "-qO-", f"http://{address}{PATH}")
        return traffic.cluster.kubectl_result("exec", "-n", traffic.space, "client-3", "--", *command).returncode == 0

    traffic.cluster.eventually(answered, equals=False, what="a node without an endpoint serves nobody")
    traffic.patch("near", internalTrafficPolicy="Cluster")
    traffic.reaches("client-3", address, *HOMES)


def test_local_external_traffic_keeps_the_clients_address(traffic: Traffic) -> None:
    cluster = traffic.cluster
    traffic.serve("far", type="NodePort")
    port = cluster.get("service", "far", "-n", traffic.space)["spec"]["ports"][0]["nodePort"]
    addresses = cluster.get("node", "node-1")["status"]["addresses"]
    (node,) = (item["address"] for item in addresses if item["type"] == "InternalIP")
    route = web.on_lan(cluster, "ip", "-4", "route", "get", node).split()
    own = route[route.index("src") + 1]

    def seen() -> set[tuple[str, str]]:
        """Who answered, and whom it took for the client."""
        url = f"http://{node}:{port}{PATH}?[1-{REQUESTS}]"
        lines = web.on_lan(cluster, "curl", "-s", "-f", "-m", "20", url).splitlines()
        return {(name, peer.strip("[]").removeprefix("::ffff:")) for name, peer in map(str.split, lines)}

    def by_any() -> bool:
        found = seen()
        assert {name for name, _ in found} == HOMES.keys()
        assert own not in {peer for _, peer in found}, "masqueraded, so that answers come back this way"
        return True

    cluster.eventually(by_any)
    traffic.patch("far", externalTrafficPolicy="Local")
    cluster.eventually(seen, equals={("web-a", own), ("web-b", own)})
