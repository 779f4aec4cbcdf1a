"""Everything that is no resource: version, health, discovery, OpenAPI, token issuer documents, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import orjson
from aiohttp import web

from argosy.objects import status as errors
from control_plane.apiserver.aggregation.discovery import MergedDiscovery
from control_plane.apiserver.auth.tokens import Tokens
from control_plane.apiserver.metrics import Metrics
from control_plane.apiserver.rest import responses
from control_plane.apiserver.rest.negotiate import Form, negotiate
from control_plane.apiserver.schema.catalog import RELEASE

PUBLIC: Final = ("/healthz", "/livez", "/readyz", "/version")
ANONYMOUS_PREFIXES: Final = ("/healthz/", "/livez/", "/readyz/")
VERSION: Final = {
    "major": str(RELEASE[0]),
    "minor": str(RELEASE[1]),
    "gitVersion": f"v{RELEASE[0]}.{RELEASE[1]}.0",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "cpython",
    "platform": "linux/amd64",
}
OPENAPI_V2_PB: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
OPENAPI_V2_PB_ASKED: Final = ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", OPENAPI_V2_PB)
"""Clients ask with an `@`, but cannot parse an answer that has one."""

Check = Callable[[], bool]


class OpenApiDocuments(Protocol):
    """What `openapi.OpenApi` gives."""

    def v3_root(self) -> bytes: ...

    def v3_group(self, path: str) -> tuple[bytes, str]: ...

    def v2_json(self) -> bytes: ...

    def v2_protobuf(self) -> bytes: ...


class Endpoints:
    def __init__(
        self,
        discovery: MergedDiscovery,
        openapi: Callable[[], OpenApiDocuments],
        tokens: Tokens | None,
        metrics: Metrics,
        checks: Mapping[str, Check],
    ) -> None:
        self._discovery = discovery
        self._openapi = openapi
        self._tokens = tokens
        self._metrics = metrics
        self._checks = dict(checks)

    def is_public(self, path: str) -> bool:
        return path in PUBLIC or path.startswith(ANONYMOUS_PREFIXES) or path == "/version/"

    def knows(self, path: str) -> bool:
        first = path.strip("/").partition("/")[0]
        return first in ("api", "apis", "version", "healthz", "livez", "readyz", "openapi", "metrics")

    async def answer(self, http: web.BaseRequest) -> web.StreamResponse:
        """Raises ApiError."""
        path = http.path.rstrip("/") or "/"
        parts = path.strip("/").split("/")
        if parts[0] in ("healthz", "livez", "readyz"):
            return self._health(http, parts)
        if path == "/version":
            return responses.body(http, orjson.dumps(VERSION))
        if parts[0] in ("api", "apis"):
            return self._discover(http, parts)
        if parts[0] == "openapi":
            return self._openapi_document(http, parts)
        if path == "/metrics":
            return responses.body(http, self._metrics.text(), 200, self._metrics.content_type)
        if path == "/.well-known/openid-configuration" and self._tokens is not None:
            return responses.body(http, orjson.dumps(self._openid()))
        if path == "/openid/v1/jwks" and self._tokens is not None:
            return responses.body(http, orjson.dumps(self._tokens.jwks()), 200, "application/jwk-set+json")
        if path == "/":
            return responses.body(http, orjson.dumps({"paths": self._paths()}))
        return responses.text(http, "404 page not found\n", 404)

    def _paths(self) -> list[str]:
        groups = [f"/apis/{group}" for group, _ in self._discovery.groups()]
        versions = [f"/apis/{group}/{item}" for group, found in self._discovery.groups() for item in found]
        fixed = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics"]
        return sorted(
            [*fixed, *groups, *versions, "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"]
        )

    def _health(self, http: web.BaseRequest, parts: list[str]) -> web.Response:
        if len(parts) > 2 or (len(parts) == 2 and parts[1] not in self._checks and parts[1] != "ping"):
            return responses.text(http, "404 page not found\n", 404)
        excluded = http.query.getall("exclude", [])
        names = parts[1:] or [name for name in self._checks if name not in excluded]
        if parts[0] == "livez" and len(parts) == 1:
            names = [name for name in names if name != "shutdown"]
        lines, good = ["[+]ping ok"], True
        for name in names:
            fine = name == "ping" or self._checks[name]()
            good = good and fine
            if name != "ping":
                lines.append(f"[+]{name} ok" if fine else f"[-]{name} failed: reason withheld")
        if good and "verbose" not in http.query:
            return responses.text(http, "ok")
        verdict = f"{parts[0]} check passed" if good else f"{parts[0]} check failed"
        return responses.text(http, "\n".join([*lines, verdict, ""]), 200 if good else 500)

    def _discover(self, http: web.BaseRequest, parts: list[str]) -> web.Response:
        core = parts[0] == "api"
        allowed = (Form.DISCOVERY,) if len(parts) == 1 else ()
        wanted = negotiate(http.headers.get("Accept", ""), allowed)
        if len(parts) == 1:
            if wanted.form is Form.DISCOVERY:
                body, etag = self._discovery.aggregated(core, wanted.version)
                if http.headers.get("If-None-Match") == etag:
                    return web.Response(status=304, headers={"ETag": etag, "Vary": "Accept"})
                media = f"application/json;g=apidiscovery.k8s.io;v={wanted.version};as=APIGroupDiscoveryList"
                headers = {"ETag": etag, "Vary": "Accept", "Cache-Control": "public"}
                return responses.body(http, body, 200, media, headers)
            return responses.body(http, self._discovery.core_versions() if core else self._discovery.group_list())
        found: bytes | None = None
        if core and len(parts) == 2:
            found = self._discovery.resources("", parts[1])
        elif not core and len(parts) == 2:
            found = self._discovery.group(parts[1])
        elif not core and len(parts) == 3:
            found = self._discovery.resources(parts[1], parts[2])
        if found is None and not core and parts[1] not in dict(self._discovery.groups()):
            return responses.text(http, "404 page not found\n", 404)
        if found is None:
            raise errors.status_error(404, "NotFound", "the server could not find the requested resource")
        return responses.body(http, found)

    def _openapi_document(self, http: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        documents = self._openapi()
        accept = http.headers.get("Accept", "")
        if parts[1:] == ["v2"]:
            if any(media in accept for media in OPENAPI_V2_PB_ASKED):
                return _tagged(http, documents.v2_protobuf(), OPENAPI_V2_PB)
            return _tagged(http, documents.v2_json(), responses.JSON)
        if parts[1:] == ["v3"]:
            return responses.body(http, documents.v3_root())
        if len(parts) > 2 and parts[1] == "v3":
            try:
                body, etag = documents.v3_group("/".join(parts[2:]))
            except KeyError:
                return responses.text(http, "404 page not found\n", 404)
            tag = etag if etag.startswith('"') else f'"{etag}"'
            if http.headers.get("If-None-Match") == tag:
                return web.Response(status=304, headers={"ETag": tag})
            headers = {"ETag": tag, "Vary": "Accept"}
            asked = http.query.get("hash", "").strip('"').upper()
            right = tag.strip('"').upper()
            if asked and asked != right:
                return web.Response(status=301, headers={"Location": f"{http.path}?hash={right}"})
            if asked:
                headers["Cache-Control"] = "public, immutable"
            return responses.body(http, body, 200, responses.JSON, headers)
        return responses.text(http, "404 page not found\n", 404)

    def _openid(self) -> dict[str, object]:
        assert self._tokens is not None
        algorithm = self._tokens.jwks()["keys"][0]["alg"]
        return {
            "issuer": self._tokens.issuer,
            "jwks_uri": f"{self._tokens.issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [algorithm],
        }


def _tagged(http: web.BaseRequest, body: bytes, media: str) -> web.StreamResponse:
    import hashlib

    etag = '"' + hashlib.sha256(body).hexdigest().upper() + '"'
    if http.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    return responses.body(http, body, 200, media, {"ETag": etag, "Vary": "Accept"})
