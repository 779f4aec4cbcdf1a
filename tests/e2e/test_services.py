"""Load balancers with real traffic from outside of the nodes."""

from __future__ import annotations

import subprocess

from argosy.testing import Cluster
from tests.e2e import web

NODE = "argosy.dev/load-balancer-node"


def test_a_load_balancer_answers_outside_and_moves_when_its_node_hangs(cluster: Cluster) -> None:
    with web.namespace(cluster, "balancers") as space:
        cluster.apply(web.deployment(space))
        cluster.apply(web.service(space, type="LoadBalancer"))
        cluster.wait("deployment/web", "condition=Available", "-n", space, timeout_s=60)

        def answer(address: str) -> str:
            curl = ("curl", "-s", "-f", "-m", "2", f"http://{address}/")
            try:
                return web.on_lan(cluster, *curl).strip()
            except (subprocess.CalledProcessError, AssertionError):
                return ""

        def holder() -> str:
            return cluster.get("service", "web", "-n", space)["metadata"]["annotations"][NODE]

        def address() -> str:
            (found,) = cluster.get("service", "web", "-n", space)["status"]["loadBalancer"]["ingress"]
            assert found["ipMode"] == "VIP"
            return found["ip"]

        ip = cluster.eventually(lambda: _need(address))
        assert ip.startswith("10.77.200.")
        cluster.eventually(lambda: answer(ip).startswith("web-"))
        before = holder()
        with cluster.chaos.pause(f"{before}/proxy"):
            cluster.eventually(lambda: holder().strip("-") not in ("", before))
            cluster.eventually(lambda: answer(ip).startswith("web-"))
            held = web.on_lan(cluster, "ip", "-4", "-o", "addr", "show", "dev", "eth0", member=before)
            assert f" {ip}/" not in held, "the kernel of the node that hangs has let go of it"
        cluster.kubectl("delete", "service", "web", "-n", space, "--timeout=30s")
        cluster.eventually(lambda: answer(ip), equals="")


def _need(value: object) -> str:
    try:
        return value()  # type: ignore[operator,no-any-return]
    except (KeyError, ValueError) as error:
        raise AssertionError(error) from None
