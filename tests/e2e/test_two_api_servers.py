"""Two API servers, controller managers and schedulers: either group may die, and nobody above notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from argosy.client import Client
from argosy.rpc import GrpcNetwork, Tls
from argosy.testing import Cluster
from tests.e2e.stream import Stream

GROUP = ("apiserver", "controllers", "scheduler", "autoscaler", "metrics")
LEASES = [
    *("--flag", "controllers:--leader-elect-lease-duration=4"),
    *("--flag", "controllers:--leader-elect-renew-deadline=3"),
    *("--flag", "controllers:--leader-elect-retry-period=1"),
    *("--flag", "scheduler:--leader-elect-lease-duration-s=4"),
    *("--flag", "scheduler:--leader-elect-renew-deadline-s=3"),
    *("--flag", "scheduler:--leader-elect-retry-period-s=1"),
]
SERVICES = 40


@pytest.fixture(scope="module")
def pair(cluster_kubectl: str) -> Iterator[Cluster]:
    running = Cluster.start(nodes=1, stores=1, flags=["--apiservers", "2", *LEASES], kubectl=cluster_kubectl)
    try:
        yield running
    finally:
        running.stop()


def deployment(replicas: int) -> dict:
    container = {"name": "c", "image": "busybox:1.35", "command": ["sleep", "3600"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    }


def test_both_serve_and_one_of_each_leads(pair: Cluster) -> None:
    def all_healthy() -> bool:
        found = pair.processes()
        return all(found[f"{kind}-{number}"].healthy for kind in GROUP for number in (1, 2))

    def led() -> bool:
        leases = pair.get("leases", "-n", "kube-system")["items"]
        holders = {item["metadata"]["name"]: item["spec"].get("holderIdentity") for item in leases}
        return holders["kube-scheduler"] in ("scheduler-1", "scheduler-2") and bool(
            holders["kube-controller-manager"]
        )

    def advertised() -> bool:
        addresses = pair.get("endpoints", "kubernetes")["subsets"][0]["addresses"]
        return {item["ip"] for item in addresses} == {"10.77.2.1", "10.77.2.2"}

    for check in (all_healthy, led, advertised):
        pair.eventually(check)


def test_addresses_and_ports_given_out_by_both_at_once_are_unique(pair: Cluster) -> None:
    pki = pair.state / "pki"
    tls = Tls.load(str(pki / "ca.crt"), str(pki / "admin.crt"), str(pki / "admin.key"), "localhost")

    async def make(client: Client, number: int) -> dict:
        spec = {"type": "NodePort", "selector": {"app": "x"}, "ports": [{"port": 80}]}
        return await client.resource("", "v1", "services").create(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": f"many-{number}", "namespace": "default"},
                "spec": spec,
            }
        )

    async def make_all() -> list[dict]:
        sockets = [f"/run/argosy/{pair.name}/{name}.sock" for name in ("api", "api-2")]
        clients = [Client(GrpcNetwork(), [f"unix:{path}"], tls) for path in sockets]
        try:
            return await asyncio.gather(*(make(clients[number % 2], number) for number in range(SERVICES)))
        finally:
            for client in clients:
                await client.close()

    made = asyncio.run(make_all())
    assert len({item["spec"]["clusterIP"] for item in made}) == SERVICES
    assert len({item["spec"]["ports"][0]["nodePort"] for item in made}) == SERVICES
    pair.kubectl("delete", "services", *(f"many-{number}" for number in range(SERVICES)))


def test_either_group_dies_under_writes_and_a_rolling_update(pair: Cluster) -> None:
    pair.apply(deployment(2))
    pair.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    with Stream(pair, "moved") as stream:
        for number in (1, 2):
            stream.flows()
            pair.kubectl("set", "env", "deployment/web", f"ROUND={number}")
            with pair.unsupervised():
                pair.kill(*(f"{kind}-{number}" for kind in GROUP))
                # The host's kubectl: the listening socket is shared, so that the other one accepts.
                pair.kubectl("get", "nodes")
                stream.flows()
                pair.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
                watch_sees(pair, f"seen-{number}")
            pair.eventually(lambda number=number: all(pair.processes()[f"{kind}-{number}"].healthy for kind in GROUP))
    assert not stream.lost()
    pods = pair.get("pods", "-l", "app=web")["items"]
    living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    rounds = [pod["spec"]["containers"][0]["env"][0]["value"] for pod in living]
    assert rounds == ["2", "2"]
    assert pair.get("node", "node-1")["status"]["conditions"][-1]["status"] == "True"


def watch_sees(cluster: Cluster, name: str) -> None:
    """A service account's token is made by controllers that watch through a living server: so do they all."""
    cluster.kubectl("create", "namespace", name)
    cluster.eventually(lambda: json.dumps(cluster.get("serviceaccount", "default", "-n", name)))
