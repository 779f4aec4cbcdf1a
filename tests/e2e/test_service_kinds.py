"""Services whose traffic depends on where it comes from, and names that are no addresses, with real pods."""

from __future__ import annotations

import subprocess

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
    curl = ("curl", "-s", "-m", "3", f"http://{ROUTED}/")

    def codes() -> dict[str, int]:
        """What curl ends with: 7 is refused, 28 timed out."""
        found = {node: run(in_node(cluster, node, *curl), check=False) for node in ("node-1", "node-2")}
        lan = ["nsenter", f"--net=/run/netns/argosy-{cluster.name}-lan"]
        return {name: done.returncode for name, done in {**found, "lan": run([*lan, *curl], check=False)}.items()}

    def refused() -> bool:
        assert codes() == {"node-1": 7, "node-2": 7, "lan": 7}
        return True

    cluster.eventually(refused)
    cluster.kubectl("delete", "service", "web", "-n", space)
    tracked = in_node(cluster, "node-1", "conntrack", "-L", "-p", "tcp", "--orig-dst", ROUTED)
    cluster.eventually(lambda: codes()["lan"], equals=28, what="nobody knows the address")
    patient = ("curl", "-s", "-m", "60", f"http://{ROUTED}/")
    early = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/argosy-{cluster.name}-lan", *patient], stdout=subprocess.PIPE, text=True
    )
    try:
        cluster.eventually(lambda: "SYN_SENT" in run(tracked).stdout)
        cluster.apply(web.service(space, externalIPs=[ROUTED]))
        answer, _ = early.communicate(timeout=70)
        assert answer.strip() in names, "a connection that began before the Service was there"
    finally:
        early.kill()
        early.wait()
    for enter in (in_node(cluster, "node-1"), in_node(cluster, "node-2"), in_node(cluster, "apiserver-1")):
        assert cluster.eventually(lambda enter=enter: run([*enter, *curl], check=False).stdout.strip()) in names
    assert (
        cluster.kubectl("exec", "-n", space, "deploy/web", "--", "wget", "-qO-", f"http://{ROUTED}/").strip() in names
    )
