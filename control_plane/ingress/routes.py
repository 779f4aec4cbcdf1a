"""What Ingress objects mean: servers by host, their locations and where these lead. Pure.

Semantics: the Ingress API's documentation (hosts, path types, precedence). What cannot be served is a complaint about
its Ingress and answers 503; it never keeps others from being served. Of two Ingresses that claim one path of one
host the older has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy.objects import meta
from argosy.objects.types import JsonObject

ANNOTATIONS: Final = "nginx.ingress.kubernetes.io/"
REWRITE: Final = ANNOTATIONS + "rewrite-target"
SSL_REDIRECT: Final = ANNOTATIONS + "ssl-redirect"
FORCE_REDIRECT: Final = ANNOTATIONS + "force-ssl-redirect"
BODY_SIZE: Final = ANNOTATIONS + "proxy-body-size"
KNOWN: Final = (REWRITE, SSL_REDIRECT, FORCE_REDIRECT, BODY_SIZE)
DEFAULT_BODY_SIZE: Final = "1m"
CAPTURE_SUFFIX: Final = "(/|$)(.*)"
_PLAIN: Final = re.compile(r"[\x21-\x7e]+")
_SIZE: Final = re.compile(r"\d{1,10}[kKmMgG]?")


@dataclass(frozen=True)
class Location:
    """Where requests for a path go."""

    path: str
    """Without a slash at its end, but for `/` itself."""
    exact: bool
    upstream: str = ""
    """Empty: 503."""
    rewrite: tuple[str, str] = ("", "")
    """A regular expression and what is put in its place."""
    body_size: str = DEFAULT_BODY_SIZE
    redirect: bool = False
    """Plain HTTP is sent to HTTPS."""
    refused: bool = False
    """HTTPS is asked for and cannot be had: plain HTTP answers 503."""


@dataclass
class Server:
    """One host; empty: all that have none of their own."""

    host: str
    locations: dict[tuple[str, bool], Location] = field(default_factory=dict)
    certificate: str = ""
    """Path of a PEM file with certificate and key."""


@dataclass(frozen=True)
class Routes:
    servers: Mapping[str, Server]
    upstreams: Mapping[str, tuple[str, ...]]
    """Name to `IP:PORT` of the ready endpoints."""
    complaints: Mapping[str, tuple[str, ...]]
    """Of each Ingress (`namespace/name`), what of it cannot be served."""


Endpoints = Callable[[str, str, JsonObject], "tuple[str, ...] | None"]
"""(namespace, service, backend port) to ready `IP:PORT`s; None: there is no such Service or port."""
Certificates = Callable[[str, str], str]
"""(namespace, secret) to the path of its PEM file; empty: it is missing or cannot be used."""


def build(ingresses: Iterable[JsonObject], endpoints: Endpoints, certificates: Certificates) -> Routes:
    """`ingresses` are ours only, in any order."""
    writer = _Writer(endpoints, certificates)
    for ingress in sorted(ingresses, key=_age):
        writer.add(ingress)
    return Routes(writer.servers, writer.upstreams, {key: tuple(texts) for key, texts in writer.complaints.items()})


def _age(ingress: JsonObject) -> tuple[str, str]:
    return str(meta.metadata(ingress).get("creationTimestamp") or ""), meta.key(ingress)


class _Writer:
    def __init__(self, endpoints: Endpoints, certificates: Certificates) -> None:
        self._endpoints = endpoints
        self._certificates = certificates
        self.servers: dict[str, Server] = {}
        self.upstreams: dict[str, tuple[str, ...]] = {}
        self.complaints: dict[str, list[str]] = {}

    def add(self, ingress: JsonObject) -> None:
        found: list[str] = []
        self.complaints[meta.key(ingress)] = found
        spec, annotations = meta.spec(ingress), meta.annotations(ingress)
        unknown = [name for name in annotations if name.startswith(ANNOTATIONS) and name not in KNOWN]
        found += [f"annotation {name} is not supported and ignored" for name in sorted(unknown)]
        body_size = annotations.get(BODY_SIZE, DEFAULT_BODY_SIZE)
        if not _SIZE.fullmatch(body_size):
            found.append(f"annotation {BODY_SIZE}: {body_size!r} is no size")
            body_size = DEFAULT_BODY_SIZE
        secured = self._secure(ingress, found)
        for rule in spec.get("rules") or ():
            host = str(rule.get("host") or "")
            for item in (rule.get("http") or {}).get("paths") or ():
                self._path(ingress, host, item, body_size, secured, found)
        backend = spec.get("defaultBackend")
        if backend is not None:
            hosts = {str(rule.get("host") or ""): None for rule in spec.get("rules") or ()}
            for host in {**hosts, "": None}:
                item = {"path": "/", "pathType": "Prefix", "backend": backend}
                self._path(ingress, host, item, body_size, secured, found, fallback=True)

    def _secure(self, ingress: JsonObject, found: list[str]) -> dict[str, bool]:
        """Hosts of `tls`, and whether each has its certificate."""
        result: dict[str, bool] = {}
        hosts = [str(rule.get("host") or "") for rule in meta.spec(ingress).get("rules") or ()]
        for item in meta.spec(ingress).get("tls") or ():
            secret = str(item.get("secretName") or "")
            path = self._certificates(meta.namespace(ingress), secret) if secret else ""
            if not path:
                found.append(f"TLS secret {secret!r} is missing or cannot be used")
            for host in item.get("hosts") or hosts:
                result[str(host)] = bool(path)
                server = self.servers.setdefault(str(host), Server(str(host)))
                server.certificate = server.certificate or path
        return result

    def _path(
        self,
        ingress: JsonObject,
        host: str,
        item: JsonObject,
        body_size: str,
        secured: Mapping[str, bool],
        found: list[str],
        *,
        fallback: bool = False,
    ) -> None:
        annotations, text = meta.annotations(ingress), str(item.get("path") or "/")
        target = "" if fallback else annotations.get(REWRITE, "")
        captures = text.endswith(CAPTURE_SUFFIX) and item.get("pathType") != "Exact"
        base = text.removesuffix(CAPTURE_SUFFIX) if captures else text
        if not _PLAIN.fullmatch(base) or (captures and re.search(r"[()\[\]*+?|^$\\]", base)):
            found.append(f"path {text!r} cannot be served")
            return
        rewrite = ("", "")
        if target:
            head = target.removesuffix("$2")
            if not _PLAIN.fullmatch(target) or "$" in head or not target.startswith("/") or '"' in target:
                found.append(f"annotation {REWRITE}: {target!r} is not supported: a path, or one that ends with $2")
                return
            if head != target and not captures:
                found.append(
                    f"path {text!r} has nothing for the $2 of annotation {REWRITE}: it must end with (/|$)(.*)"
                )
                return
            matched = rf"^{re.escape(base.rstrip('/'))}(?:/|$)(.*)"
            rewrite = (matched, f"{head}$1") if captures and head != target else ("^", target)
        wants_redirect = annotations.get(SSL_REDIRECT, "true") != "false"
        has_certificate = secured.get(host)
        location = Location(
            base.rstrip("/") or "/",
            item.get("pathType") == "Exact" and not fallback,
            self._upstream(meta.namespace(ingress), item.get("backend") or {}, found),
            rewrite,
            body_size,
            (bool(has_certificate) and wants_redirect) or annotations.get(FORCE_REDIRECT) == "true",
            has_certificate is False and wants_redirect,
        )
        if location.exact and base != "/" and base.endswith("/"):
            location = Location(base, *list(vars(location).values())[1:])
        server = self.servers.setdefault(host, Server(host))
        taken = server.locations.setdefault((location.path, location.exact), location)
        if taken is not location and not fallback:
            found.append(f"path {text!r} of host {host!r} is served by another Ingress or rule")

    def _upstream(self, namespace: str, backend: JsonObject, found: list[str]) -> str:
        service = backend.get("service")
        if service is None:
            found.append("resource backends are not supported")
            return ""
        name, port = str(service.get("name")), service.get("port") or {}
        shown = port.get("name") or port.get("number")
        addresses = self._endpoints(namespace, name, port)
        if addresses is None:
            found.append(f"service {namespace}/{name} has no port {shown}, or there is no such service")
            return ""
        if not addresses:
            return ""
        upstream = f"{namespace}-{name}-{shown}"
        self.upstreams[upstream] = addresses
        return upstream


def service_port(service: JsonObject, port: JsonObject) -> JsonObject | None:
    """The port that a backend names, by its name or number."""
    if meta.spec(service).get("type") == "ExternalName":
        return None
    for item in meta.spec(service).get("ports") or ():
        by_name = port.get("name") and item.get("name") == port["name"]
        if by_name or (port.get("number") and item.get("port") == port["number"]):
            return item  # type: ignore[no-any-return]
    return None


def ready_addresses(slices: Sequence[JsonObject], port_name: str) -> tuple[str, ...]:
    """`IP:PORT` of the endpoints that get traffic; draining ones when there are no others."""
    ready: dict[str, None] = {}
    draining: dict[str, None] = {}
    for piece in slices:
        numbers = [port.get("port") for port in piece.get("ports") or () if str(port.get("name") or "") == port_name]
        for item in piece.get("endpoints") or ():
            conditions = item.get("conditions") or {}
            for ip in (item.get("addresses") or ())[:1]:
                shown = f"[{ip}]" if ":" in ip else ip
                for number in numbers:
                    if conditions.get("ready") is not False:
                        ready[f"{shown}:{number}"] = None
                    elif conditions.get("serving") and conditions.get("terminating"):
                        draining[f"{shown}:{number}"] = None
    return tuple(sorted(ready or draining))
