"""NetworkPolicies with real traffic: pods of one node and of two, in both directions, until the policies are gone."""

from __future__ import annotations

from argosy.testing import Cluster
from tests.e2e import web

SERVE = "mkdir -p /www && hostname >/www/index.html && httpd -p 8080 -h /www && exec httpd -f -p 9090 -h /www"


def _pod(space: str, name: str, node: str) -> dict:
    container = {
        "name": "web",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", SERVE],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": {"app": name}},
        "spec": {"containers": [container], "nodeName": node, "terminationGracePeriodSeconds": 0},
    }


def _policy(space: str, name: str, selector: dict, **spec: object) -> dict:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": space},
        "spec": {"podSelector": selector, **spec},
    }


def test_policies_are_enforced_on_one_node_and_across_nodes(cluster: Cluster) -> None:
    with web.namespace(cluster, "policies") as space, web.namespace(cluster, "policies-other") as other:
        places = {"server": "node-1", "near": "node-1", "far": "node-2"}
        cluster.apply(*(_pod(space, name, node) for name, node in places.items()))
        cluster.apply(_pod(other, "stranger", "node-2"))
        cluster.apply({**web.service(space), "spec": {"selector": {"app": "server"}, "ports": _SERVICE_PORTS}})
        cluster.wait("pod", "condition=Ready", "--all", "-n", space)
        cluster.wait("pod", "condition=Ready", "--all", "-n", other)
        addresses = {name: cluster.get("pod", name, "-n", space)["status"]["podIP"] for name in places}
        vip = cluster.get("service", "web", "-n", space)["spec"]["clusterIP"]
        where = {"near": space, "far": space, "server": space, "stranger": other}

        def reaches(client: str, address: str) -> bool:
            wget = ("timeout", "1", "wget", "-q", "-O", "-", f"http://{address}/")
            return cluster.kubectl_result("exec", client, "-n", where[client], "--", *wget).returncode == 0

        def may(port: int = 8080, **clients: bool) -> None:
            """Traffic to the server is as said, as soon as the nodes know."""
            for client, allowed in clients.items():
                what = f"{client} {'reaches' if allowed else 'does not reach'} port {port}"
                cluster.eventually(
                    lambda client=client: reaches(client, f"{addresses['server']}:{port}"), equals=allowed, what=what
                )

        may(near=True, far=True, stranger=True)
        cluster.apply(_policy(space, "deny", {}, policyTypes=["Ingress"]))
        may(near=False, far=False, stranger=False)
        assert not reaches("near", vip) and not reaches("far", vip), "a Service is no way around"

        allowed = [{"from": [{"podSelector": {"matchLabels": {"app": "near"}}}], "ports": [{"port": "http"}]}]
        cluster.apply(_policy(space, "near", {"matchLabels": {"app": "server"}}, ingress=allowed))
        may(near=True, far=False, stranger=False)
        cluster.eventually(lambda: reaches("near", vip))
        may(9090, near=False)
        cluster.kubectl("label", "pod", "far", "-n", space, "app=near", "--overwrite")
        may(far=True)

        allowed = [{"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": other}}}]}]
        cluster.apply(_policy(space, "near", {"matchLabels": {"app": "server"}}, ingress=allowed))
        may(near=False, far=False, stranger=True)

        cluster.kubectl("delete", "networkpolicy", "near", "deny", "-n", space)
        block = {"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{addresses['server']}/32"]}}
        cluster.apply(
            _policy(space, "out", {"matchLabels": {"app": "near"}}, policyTypes=["Egress"], egress=[{"to": [block]}])
        )
        may(near=False, far=False, stranger=True)
        cluster.eventually(lambda: reaches("near", f"{addresses['far']}:8080"), what="others are not excepted")
        assert not reaches("near", vip), "egress is judged by the pod's address behind the Service"

        ready = cluster.get("pod", "server", "-n", space)["status"]["conditions"]
        assert {item["type"]: item["status"] for item in ready}["Ready"] == "True", (
            "the node probes its pods all along"
        )
        cluster.kubectl("delete", "networkpolicy", "--all", "-n", space)
        may(near=True, far=True, stranger=True)


_SERVICE_PORTS = [{"port": 80, "targetPort": 8080}]
