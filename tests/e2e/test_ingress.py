"""Ingress with real traffic: hosts, paths, TLS, and reloads under load without a failed request."""

from __future__ import annotations

import subprocess
from pathlib import Path

from argosy.testing import Cluster
from tests.e2e import web

EDGE = "10.77.2.1"


def ingress(space: str, **spec: object) -> dict:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": space},
        "spec": spec,
    }


def path(name: str = "web", text: str = "/") -> dict:
    return {"path": text, "pathType": "Prefix", "backend": {"service": {"name": name, "port": {"name": "http"}}}}


def test_hosts_paths_tls_and_reloads_under_load(cluster: Cluster, load, tmp_path: Path) -> None:
    with web.namespace(cluster, "edge") as space:
        key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tls.test", "-keyout", str(key),
             "-out", str(certificate), "-addext", "subjectAltName=DNS:tls.test"], check=True, capture_output=True,
        )  # fmt: skip
        cluster.kubectl("create", "secret", "tls", "tls", "-n", space, f"--cert={certificate}", f"--key={key}")
        cluster.apply(web.deployment(space))
        cluster.apply(web.service(space))
        rules = [{"host": "web.test", "http": {"paths": [path(), path("missing", "/missing")]}}]
        rules += [{"host": "tls.test", "http": {"paths": [path()]}}, {"http": {"paths": [path()]}}]
        tls = [{"hosts": ["tls.test"], "secretName": "tls"}]
        cluster.apply(ingress(space, rules=rules, tls=tls))
        cluster.wait("deployment/web", "condition=Available", "-n", space, timeout_s=60)
        status = cluster.get("ingress", "web", "-n", space)
        assert status["spec"]["ingressClassName"] == "nginx", "the default class"
        cluster.eventually(
            lambda: cluster.get("ingress", "web", "-n", space)["status"]["loadBalancer"].get("ingress"),
            equals=[{"ip": EDGE}],
        )

        def ask(url: str, host: str, *more: str) -> str:
            shown = ("-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}")
            return web.on_lan(cluster, "curl", *shown, "-H", f"Host: {host}", *more, url).strip()

        cluster.eventually(lambda: ask(f"http://{EDGE}/", "web.test"), equals="200")
        assert ask(f"http://{EDGE}/missing/x", "web.test") == "503"
        cluster.eventually(lambda: ask(f"http://{EDGE}/a", "tls.test"), equals="308 https://tls.test/a")
        secure = ("--cacert", str(certificate), "--resolve", f"tls.test:443:{EDGE}")
        assert ask("https://tls.test/", "tls.test", *secure) == "200"
        cluster.eventually(lambda: "service edge/missing" in cluster.kubectl("get", "events", "-n", space))

        generator = load("node-1", f"http://{EDGE}/", 100)
        for number in range(3):
            host = {"host": f"h{number}.test", "http": {"paths": [path()]}}
            cluster.apply(ingress(space, rules=[*rules, host], tls=tls))
            cluster.eventually(lambda number=number: ask(f"http://{EDGE}/", f"h{number}.test"), equals="200")
        cluster.kubectl("rollout", "restart", "-n", space, "deployment/web")
        cluster.kubectl("rollout", "status", "-n", space, "deployment/web", "--timeout=60s")
        result = generator.finish()
        assert result["failed"] == 0, result["errors"]
        assert len({name.rpartition("-")[0] for name in result["answers"]}) == 2, "pods of before and after"
        cluster.kubectl("delete", "ingress", "web", "-n", space)
        cluster.eventually(lambda: ask(f"http://{EDGE}/", "web.test"), equals="404")
