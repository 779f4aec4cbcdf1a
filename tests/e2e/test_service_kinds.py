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
