"""Requests through the ingress's nginx, configured as in a cluster, beside the same ones straight to what stands for
the pods: an nginx with a small page."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from control_plane.ingress import nginx_config
from control_plane.ingress.routes import Location, Routes, Server
from tests.bench.bench import Bench, CannotMeasure, need, terminate, until
from tests.bench.table import Table
from tests.ports import free_ports

REQUESTS = 40_000
CONNECTIONS = 50
ROUNDS = 3
PAGE = "x" * 1024
PODS = """\
user www-data; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}
http {{ access_log off; keepalive_requests 1000000;
{servers} }}
"""


def measure(bench: Bench) -> Iterator[Table]:
    bench.need_root()
    need("nginx", "h2load")
    first, second, http, https = free_ports(4)
    folders = [bench.folder / name for name in ("pods", "edge")]
    pods = tuple(f"127.0.0.1:{port}" for port in (first, second))
    servers = "\n".join(f'server {{ listen {pod}; location / {{ return 200 "{PAGE}"; }} }}' for pod in pods)
    location = Location("/", False, "bench-web-80")
    routes = Routes({"": Server("", {("/", False): location})}, {"bench-web-80": pods}, {})
    edge = nginx_config.text(
        routes, folder=str(folders[1]), ip="127.0.0.1", http_port=http, https_port=https, workers=2
    )
    texts = [PODS.format(folder=folders[0], servers=servers), edge]
    processes = [_nginx(folder, text) for folder, text in zip(folders, texts, strict=True)]
    try:
        urls = {"straight": f"http://{pods[0]}/", "ingress": f"http://127.0.0.1:{http}/"}
        for url in urls.values():
            until(lambda url=url: _asked(url), f"{url} answers")  # type: ignore[misc]
        table = Table("ingress: requests/s, 1 KiB each, 50 connections", ("round", "straight", "ingress", "ratio"))
        for number in range(ROUNDS):
            rates = {name: _load(url) for name, url in urls.items()}
            table.add(number + 1, rates["straight"], rates["ingress"], rates["ingress"] / rates["straight"])
        table.notes.append("all on one machine: the load, the edge and the pods share its processors")
        yield table
    finally:
        terminate(processes)


def _nginx(folder: Path, text: str) -> subprocess.Popen[bytes]:
    folder.mkdir()
    file = folder / "nginx.conf"
    file.write_text(text)
    return subprocess.Popen(["nginx", "-p", str(folder), "-c", str(file), "-g", "daemon off;"])


def _asked(url: str) -> bool:
    return subprocess.run(["curl", "-sf", "-o", "/dev/null", url], check=False).returncode == 0


def _load(url: str) -> float:
    begun = time.monotonic()
    command = ["h2load", "--h1", "-n", str(REQUESTS), "-c", str(CONNECTIONS), url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) succeeded", printed)
    if found is None or int(found[1]) != REQUESTS:
        raise CannotMeasure(f"not every request succeeded: {printed[-300:]}")
    return REQUESTS / (time.monotonic() - begun)
