"""Ingress objects as nginx's configuration: who serves which path, and that nothing they say can break it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.kinds.ingress import INGRESS, INGRESS_CLASS
from argosy.objects.types import JsonObject
from control_plane.ingress import nginx_config, routes
from control_plane.ingress.nginx import Nginx, NginxError


def backend(name: str = "web", **port: Any) -> JsonObject:
    return {"service": {"name": name, "port": port or {"number": 80}}}


def path(text: str, name: str = "web", kind: str = "Prefix") -> JsonObject:
    return {"path": text, "pathType": kind, "backend": backend(name)}


def ingress(
    name: str, *rules: tuple[str, list[JsonObject]], age: str = "2026-01-01T00:00:00Z", **spec: Any
) -> JsonObject:
    annotations = spec.pop("annotations", {})
    made = [{"host": host, "http": {"paths": paths}} if host else {"http": {"paths": paths}} for host, paths in rules]
    metadata = {"name": name, "namespace": "d", "creationTimestamp": age, "annotations": annotations}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}
    return {**kind, "metadata": metadata, "spec": {**({"rules": made} if made else {}), **spec}}


def build(*ingresses: JsonObject, certificates: dict[str, str] | None = None) -> routes.Routes:
    def endpoints(_namespace: str, name: str, _port: JsonObject) -> tuple[str, ...] | None:
        return {"gone": None, "empty": ()}.get(name, (f"10.0.0.{len(name)}:8080",))

    return routes.build(ingresses, endpoints, lambda _space, name: (certificates or {}).get(name, ""))


def text(found: routes.Routes, folder: str = "/nowhere") -> str:
    return nginx_config.text(found, folder=folder, ip="127.0.0.1", http_port=1080, https_port=1443, workers=1)


def block(config: str, host: str, pattern: str) -> str:
    """What a host's location does."""
    server = config.split(f"server_name {host};")[1].split("  server {")[0]
    return server.split(f"location {pattern} {{")[1].split("}")[0]


def test_exact_wins_over_prefix_and_prefixes_are_whole_elements() -> None:
    config = text(
        build(ingress("a", ("x", [path("/foo", "prefix"), path("/foo", "exact", "Exact"), path("/", "root")])))
    )
    assert "d-exact-80" in block(config, "x", '= "/foo"')
    assert "d-prefix-80" in block(config, "x", '"/foo/"')
    assert "d-root-80" in block(config, "x", "/")


def test_the_older_ingress_has_a_path_that_two_claim() -> None:
    young = ingress("a", ("x", [path("/", "young")]), age="2026-02-01T00:00:00Z")
    found = build(young, ingress("b", ("x", [path("/", "old")])))
    assert "d-old-80" in block(text(found), "x", "/")
    assert found.complaints == {"d/b": (), "d/a": ("path '/' of host 'x' is served by another Ingress or rule",)}


@pytest.mark.parametrize("name", ["gone", "empty"])
def test_what_has_no_endpoints_answers_503(name: str) -> None:
    found = build(ingress("a", ("x", [path("/", name), path("/ok", "web")])))
    assert "return 503" in block(text(found), "x", "/")
    assert "d-web-80" in block(text(found), "x", '"/ok/"')
    assert bool(found.complaints["d/a"]) == (name == "gone")


def test_tls_redirects_and_a_bad_secret_answers_503() -> None:
    tls = [{"hosts": ["x"], "secretName": "s"}]
    whole = text(build(ingress("a", ("x", [path("/")]), tls=tls), certificates={"s": "/tls/s.pem"}))
    assert "return 308" in block(whole, "x", "/")
    assert "ssl_certificate /tls/s.pem;" in whole
    found = build(ingress("a", ("x", [path("/")]), tls=tls))
    assert "return 503" in block(text(found), "x", "/") and "ssl_certificate " not in text(found)
    assert found.complaints["d/a"] == ("TLS secret 's' is missing or cannot be used",)
    plain = {routes.SSL_REDIRECT: "false"}
    both = text(build(ingress("a", ("x", [path("/")]), tls=tls, annotations=plain), certificates={"s": "/s.pem"}))
    assert "proxy_pass" in block(both, "x", "/")


def test_default_backends_take_what_no_rule_takes() -> None:
    config = text(build(ingress("a", ("x", [path("/foo")]), defaultBackend=backend("rest"))))
    assert "d-rest-80" in block(config, "x", "/") and "d-rest-80" in block(config, "_", "/")
    assert "return 404" in block(text(build(ingress("a", ("x", [path("/foo")])))), "x", "/")


def test_a_wildcard_is_one_label() -> None:
    config = text(build(ingress("a", ("*.w.test", [path("/")]))))
    assert r'server_name "~^[^.]+\.w\.test$";' in config


def test_rewrites() -> None:
    strip = ingress(
        "a", ("x", [path("/api(/|$)(.*)", kind="ImplementationSpecific")]), annotations={routes.REWRITE: "/$2"}
    )
    assert 'rewrite "^/api(?:/|$)(.*)" "/$1" break;' in block(text(build(strip)), "x", '"/api/"')
    whole = ingress("a", ("x", [path("/api")]), annotations={routes.REWRITE: "/new"})
    assert 'rewrite "^" "/new" break;' in block(text(build(whole)), "x", '"/api/"')
    for target in ("$1", "/a$1", 'x"', "/$2"):
        assert build(ingress("a", ("x", [path("/api")]), annotations={routes.REWRITE: target})).complaints["d/a"]


def test_unknown_annotations_and_bad_sizes_are_told() -> None:
    annotations = {f"{routes.ANNOTATIONS}server-snippet": "x", routes.BODY_SIZE: "8m; evil"}
    found = build(ingress("a", ("x", [path("/")]), annotations=annotations))
    assert len(found.complaints["d/a"]) == 2 and "evil" not in text(found) and "server-snippet" not in text(found)


NASTY = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ['"; }', "$x", "{", "\\", '\\"', "(/|$)(.*)", "~^(", "#", "\n", "/a b", "%2e"]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(st.tuples(NASTY, st.sampled_from(["Exact", "Prefix", "ImplementationSpecific"])), max_size=6),
    NASTY,
    NASTY,
)
def test_nothing_that_validation_lets_through_breaks_nginx(
    tmp_path: Path, paths: list[tuple[str, str]], target: str, size: str
) -> None:
    annotations = {routes.REWRITE: target, routes.BODY_SIZE: size}
    items = [path("/" + tail, kind=kind) for tail, kind in paths]
    items = [item for item in items if not INGRESS.validate(ingress("a", ("x.test", [item])))]
    config = text(build(ingress("a", ("x.test", items), ("", items), annotations=annotations)), str(tmp_path))
    Nginx(str(tmp_path))._check(config)


def test_a_refused_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(NginxError, match="nonsense"):
        Nginx(str(tmp_path))._check("events {} nonsense;")


def test_only_certificates_that_fit_their_keys_are_kept(tmp_path: Path) -> None:
    pair = []
    for name in ("a", "b"):
        key, certificate = tmp_path / f"{name}.key", tmp_path / f"{name}.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", "/CN=x", "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True,
        )  # fmt: skip
        pair.append((certificate.read_bytes(), key.read_bytes()))
    nginx = Nginx(str(tmp_path / "nginx"))
    wanted = {"good": b"\n".join(pair[0]), "crossed": pair[0][0] + pair[1][1], "rubbish": b"x", "empty": b""}
    kept = nginx.keep_certificates(wanted)
    assert list(kept) == ["good"]
    renewed = nginx.keep_certificates({"good": b"\n".join(pair[1])})
    assert renewed["good"] != kept["good"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec"),
        ({"defaultBackend": {}}, "spec.defaultBackend"),
        ({"defaultBackend": {"service": {"name": "a", "port": {}}}}, "spec.defaultBackend"),
        ({"rules": [{"host": "1.2.3.4", "http": {"paths": [path("/")]}}]}, "spec.rules[0].host"),
        ({"rules": [{"host": "x", "http": {"paths": []}}]}, "spec.rules[0].http.paths"),
        ({"rules": [{"http": {"paths": [path("foo")]}}]}, "spec.rules[0].http.paths[0].path"),
        ({"rules": [{"http": {"paths": [path("/a/../b")]}}]}, "spec.rules[0].http.paths[0].path"),
        (
            {"rules": [{"http": {"paths": [{"path": "/", "backend": backend()}]}}]},
            "spec.rules[0].http.paths[0].pathType",
        ),
        ({"defaultBackend": backend(), "tls": [{"secretName": "A_"}]}, "spec.tls[0].secretName"),
    ],
)
def test_what_is_refused(spec: JsonObject, field: str) -> None:
    assert field in [error.field for error in INGRESS.validate({"metadata": {"name": "a"}, "spec": spec})]


def test_what_is_accepted_and_shown() -> None:
    obj = ingress("a", *((f"h{n}.test", [path("/")]) for n in range(5)), tls=[{"secretName": "s"}])
    assert INGRESS.validate(obj) == []
    shown = {column.name: column.value(obj, 0.0) for column in INGRESS.table[:5]}
    assert shown["Hosts"] == "h0.test,h1.test,h2.test + 2 more..." and shown["Ports"] == "80, 443"
    cls = {"metadata": {"name": "n"}, "spec": {"controller": "example.com/x"}}
    assert INGRESS_CLASS.validate(cls) == []
    assert INGRESS_CLASS.validate({"metadata": {"name": "n"}, "spec": {}})
