"""nginx's configuration for routes: pure, and the same text for the same routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from control_plane.ingress.routes import Location, Routes, Server

KEPT_CONNECTIONS: Final = 64
"""Idle ones to a Service's pods, of each worker."""

# No multi_accept: the worker that wakes first would take a whole burst of connections, and keep them all.
HEAD: Final = """\
user www-data;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 65536;
worker_shutdown_timeout 240s;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  server_tokens off;
  tcp_nodelay on;
  sendfile on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server_names_hash_max_size 8192;
  server_names_hash_bucket_size 512;
  variables_hash_max_size 4096;
  keepalive_requests 10000;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tls:4m;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Scheme $scheme;
  proxy_redirect off;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  proxy_connect_timeout 5s;
  proxy_read_timeout 60s;
  proxy_send_timeout 60s;
  proxy_next_upstream error timeout;
  proxy_next_upstream_tries 3;
"""


def text(routes: Routes, *, folder: str, ip: str, http_port: int, https_port: int, workers: int) -> str:
    """`folder` is nginx's own. The first server of each port answers 404 to hosts that nobody claims."""
    lines = [HEAD.format(folder=folder, workers=workers).rstrip()]
    for name, addresses in sorted(routes.upstreams.items()):
        lines.append(f"  upstream {name} {{")
        lines += [f"    server {address} max_fails=0;" for address in addresses]
        lines += [f"    keepalive {KEPT_CONNECTIONS};", "  }"]
    others = routes.servers.get("", Server(""))
    lines += _server(others, f"{ip}:{http_port} default_server", tls=False)
    if others.certificate:
        lines += _server(others, f"{ip}:{https_port} ssl http2 default_server", tls=True)
    else:
        lines.append(f"  server {{ listen {ip}:{https_port} ssl http2 default_server; ssl_reject_handshake on; }}")
    for host, server in sorted(routes.servers.items()):
        if host:
            lines += _server(server, f"{ip}:{http_port}", tls=False)
            if server.certificate:
                lines += _server(server, f"{ip}:{https_port} ssl http2", tls=True)
    return "\n".join([*lines, "}", ""])


def _server(server: Server, listen: str, *, tls: bool) -> Iterator[str]:
    yield "  server {"
    yield f"    listen {listen};"
    yield f"    server_name {_name(server.host)};"
    if tls:
        yield f"    ssl_certificate {server.certificate};"
        yield f"    ssl_certificate_key {server.certificate};"
    for location in _locations(server):
        yield from _location(location, tls=tls)
    yield "  }"


def _name(host: str) -> str:
    """A wildcard stands for one label, where nginx's own would take several."""
    if host.startswith("*."):
        return f'"~^[^.]+{re.escape(host[1:])}$"'
    return host or "_"


def _locations(server: Server) -> list[tuple[str, Location | None]]:
    """Patterns as nginx has them. A prefix is whole path elements: the path itself, and what is below it."""
    result: dict[str, Location | None] = {}
    for (path, exact), location in server.locations.items():
        if exact:
            result[f"= {_quoted(path)}"] = location
    for (path, exact), location in server.locations.items():
        if exact:
            continue
        if path == "/":
            result["/"] = location
        else:
            result.setdefault(f"= {_quoted(path)}", location)
            result[_quoted(path + "/")] = location
    result.setdefault("/", None)
    return sorted(result.items())


def _location(item: tuple[str, Location | None], *, tls: bool) -> Iterator[str]:
    pattern, location = item
    yield f"    location {pattern} {{"
    if location is None:
        yield "      return 404;"
    elif location.redirect and not tls:
        yield "      return 308 https://$host$request_uri;"
    elif not location.upstream or (location.refused and not tls):
        yield "      return 503;"
    else:
        yield f"      client_max_body_size {location.body_size};"
        if location.rewrite[0]:
            yield f"      rewrite {_quoted(location.rewrite[0])} {_quoted(location.rewrite[1])} break;"
        yield f"      proxy_pass http://{location.upstream};"
    yield "    }"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
