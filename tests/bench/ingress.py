"""Requests through a cluster's ingress, beside a plain nginx in the same place that sends straight to the same pods.

The peer is what somebody would write by hand: one upstream with the pods' addresses, kept connections, no access log.
It runs in the namespace of the ingress's control-plane group, so both have the same way to the pods. Two kinds of
pods: nginx of the node's own (they cost little, so the edge's own cost shows), and the demo's.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from argosy.objects.types import JsonObject
from argosy.testing import Cluster
from tests.bench import usage
from tests.bench.bench import EXAMPLES, Bench, CannotMeasure, median, need, terminate, until
from tests.bench.table import Table

NAMESPACE = "bench-ingress"
DEMO_NAMESPACE = "production"
AIM = 0.8
CONNECTIONS = 50
PORT = 8080
PEER_PORT = 8079
PAGE = "x" * 1024
PODS = f"""\
user root; worker_processes 1; pid /tmp/nginx.pid; error_log stderr; events {{}}
http {{
  access_log off; keepalive_requests 1000000;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server {{ listen {PORT}; location / {{ return 200 "{PAGE}"; }} }}
}}
"""
PEER = """\
user www-data; worker_processes {workers}; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}
http {{
  access_log off; keepalive_requests 1000000;
  upstream pods {{ {servers} keepalive 64; }}
  server {{
    listen {ip}:{port};
    location / {{ proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://pods; }}
  }}
}}
"""
WORKERS = 2
"""The ingress's own number (`--workers`)."""


def measure(bench: Bench) -> Iterator[Table]:
    bench.need_root()
    need("nginx", "h2load", "kubectl")
    bench.start("--nodes", "2", "--stores", "1", "--ingress")
    cluster = bench.cluster()
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("create", "configmap", "nginx", "-n", NAMESPACE, f"--from-literal=nginx.conf={PODS}")
    cluster.apply(*_nginx_pods())
    cluster.kubectl("create", "namespace", DEMO_NAMESPACE)
    for name in ("api-server.yaml", "api-server-services.yaml"):
        cluster.kubectl("apply", "-f", str(EXAMPLES / name))
    cluster.apply(_ingress(DEMO_NAMESPACE, "api-server"))
    fast = _Pods(NAMESPACE, "web", "2 pods of nginx, 1 KiB an answer", 12_000, rounds=5)
    demo = _Pods(DEMO_NAMESPACE, "api-server", "the demo's 3 pods (a process a request)", 500, rounds=3)
    for number, pods in enumerate((fast, demo)):
        cluster.wait(f"deployment/{pods.name}", "condition=Available", "-n", pods.space, timeout_s=90)
        yield _compare(bench, cluster, pods, PEER_PORT + number)


@dataclass(frozen=True)
class _Pods:
    """A Deployment with an Ingress of its name, and how it is measured."""

    space: str
    name: str
    what: str
    requests: int
    rounds: int


def _compare(bench: Bench, cluster: Cluster, pods: _Pods, peer_port: int) -> Table:
    status = cluster.eventually(
        lambda: cluster.get("ingress", pods.name, "-n", pods.space)["status"]["loadBalancer"]["ingress"],
        what="published",
    )
    ip, addresses = status[0]["ip"], _addresses(cluster, pods)
    to = {"pod": addresses[0], "plain": f"{ip}:{peer_port}", "ingress": f"{ip}:80"}
    url = f"http://{pods.name}.test/"
    columns = ("round", "straight to a pod", "plain nginx", "ingress", "ingress / plain", "aim at least")
    table = Table(f"ingress: requests/s, {CONNECTIONS} connections; {pods.what}", columns)
    ratios = []
    failed = dict.fromkeys(to, 0)
    spent_s = dict.fromkeys(("plain", "ingress"), 0.0)
    with _peer(bench, addresses, ip, peer_port) as peer:
        for way, address in to.items():
            until(lambda address=address: _asked(cluster, url, address), f"{way} {address} answers")  # type: ignore[misc]
        edges = {"plain": peer.pid, "ingress": cluster.processes()["ingress-1"].pid}
        for number in range(pods.rounds):
            rates = {}
            # Neighbours on the machine weigh on all three alike, or nearly, when they take turns.
            for way in list(to)[number % 3 :] + list(to)[: number % 3]:
                edge = edges.get(way)
                before = usage.tree(edge) if edge else {}
                load = _load(cluster, url, to[way], pods.requests)
                rates[way] = load.rate
                failed[way] += load.failed
                if edge:
                    spent_s[way] += usage.cpu_s(usage.tree(edge).values()) - usage.cpu_s(before.values())
            ratios.append(rates["ingress"] / rates["plain"])
            table.add(number + 1, rates["pod"], rates["plain"], rates["ingress"], ratios[-1], None)
    table.add("median", None, None, None, median(ratios), AIM)
    for way, seconds in spent_s.items():
        table.notes.append(f"{way}: {seconds / pods.rounds / pods.requests * 1e6:.0f} µs of processor time a request")
    asked = pods.rounds * pods.requests
    table.notes += [f"{way}: {count:,} of {asked:,} not answered with 200" for way, count in failed.items() if count]
    table.notes.append("all on one machine: the load, the edge and the pods share its processors")
    return table


def _nginx_pods() -> Sequence[JsonObject]:
    """Two pods that run the nginx of their node."""
    shared = {"/usr": "/usr", "/lib": "/usr/lib", "/lib64": "/usr/lib64"}
    mounts = [{"name": f"at{number}", "mountPath": path, "readOnly": True} for number, path in enumerate(shared)]
    volumes: list[JsonObject] = [
        {"name": f"at{number}", "hostPath": {"path": path}} for number, path in enumerate(shared.values())
    ]
    container = {
        "name": "web",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/sbin/nginx", "-c", "/config/nginx.conf", "-g", "daemon off;"],
        "ports": [{"name": "http", "containerPort": PORT}],
        "volumeMounts": [*mounts, {"name": "config", "mountPath": "/config"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
    }
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "containers": [container],
            "terminationGracePeriodSeconds": 1,
            "volumes": [*volumes, {"name": "config", "configMap": {"name": "nginx"}}],
        },
    }
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    about = {"name": "web", "namespace": NAMESPACE}
    service = {"selector": {"app": "web"}, "ports": ports}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": service},
        _ingress(NAMESPACE, "web"),
    ]


def _ingress(space: str, name: str) -> JsonObject:
    backend = {"service": {"name": name, "port": {"name": "http"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": space},
        "spec": {"rules": [{"host": f"{name}.test", "http": {"paths": paths}}]},
    }


def _addresses(cluster: Cluster, pods: _Pods) -> list[str]:
    found = cluster.get("pods", "-n", pods.space, "-l", f"app={pods.name}")["items"]
    return [f"{pod['status']['podIP']}:{PORT}" for pod in found]


@contextlib.contextmanager
def _peer(bench: Bench, pods: Sequence[str], ip: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A plain nginx before the pods, in the namespace where the ingress is."""
    folder = Path("/tmp") / f"{bench.name}-peer-{port}"  # its workers are another user
    folder.mkdir(mode=0o755)
    file = folder / "nginx.conf"
    # Left to itself it would hold a pod for dead for ten seconds that once refused a connection.
    servers = " ".join(f"server {pod} max_fails=0;" for pod in pods)
    file.write_text(PEER.format(workers=WORKERS, folder=folder, servers=servers, ip=ip, port=port))
    command = bench.in_node("ingress-1", "nginx", "-p", str(folder), "-c", str(file), "-g", "daemon off;")
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        terminate([process])
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        os.rmdir(folder)


def _outside(cluster: Cluster, *command: str) -> list[str]:
    """From the LAN, where the cluster's clients are."""
    return ["nsenter", f"--net=/run/netns/argosy-{cluster.name}-lan", *command]


def _asked(cluster: Cluster, url: str, address: str) -> bool:
    command = _outside(cluster, "curl", "-sf", "-o", "/dev/null", "--connect-to", f"::{address}", url)
    return subprocess.run(command, check=False).returncode == 0


@dataclass(frozen=True)
class _Load:
    rate: float
    """Requests answered with 200, per second."""
    failed: int


def _load(cluster: Cluster, url: str, address: str, requests: int) -> _Load:
    begun = time.monotonic()
    load = ("h2load", "--h1", "-n", str(requests), "-c", str(CONNECTIONS), "--connect-to", address, url)
    printed = subprocess.run(_outside(cluster, *load), capture_output=True, text=True, check=True).stdout
    taken_s = time.monotonic() - begun
    found = re.search(r"(\d+) 2xx", printed)
    if found is None or not int(found[1]):
        raise CannotMeasure(f"no request was answered with 200: {printed[-500:]}")
    return _Load(int(found[1]) / taken_s, requests - int(found[1]))
