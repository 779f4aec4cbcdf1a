"""Services whose traffic depends on where it comes from, and names that are no addresses, with real pods."""

from __future__ import annotations

import subprocess

from argosy.testing import Cluster
from tests.e2e import web


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
