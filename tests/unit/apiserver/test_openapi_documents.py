"""OpenAPI documents: complete in themselves, and read by every kubectl that is installed."""

import glob
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from argosy.kinds import ALL
from control_plane.apiserver.openapi import V2_PROTOBUF, OpenApi
from control_plane.apiserver.openapi.operations import group_path, group_versions, served_as
from control_plane.apiserver.schema import Catalog

CATALOG = Catalog.load(ALL)
OPENAPI = OpenApi(ALL, CATALOG)
PATHS = [group_path(group, version) for group, version in group_versions(ALL)]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_the_root_names_every_group_and_its_hash() -> None:
    root = orjson.loads(OPENAPI.v3_root())["paths"]
    assert sorted(root) == sorted(PATHS)
    for path in PATHS:
        _, digest = OPENAPI.v3_group(path)
        assert root[path]["serverRelativeURL"] == f"/openapi/v3/{path}?hash={digest}"


@pytest.mark.parametrize("path", PATHS)
def test_v3_documents_refer_only_to_what_they_have(path: str) -> None:
    body, _ = OPENAPI.v3_group(path)
    document = orjson.loads(body)
    schemas = document["components"]["schemas"]
    assert {name.rpartition("/")[2] for name in _references(document)} <= schemas.keys()
    ids = [item[m]["operationId"] for item in document["paths"].values() for m in item if m != "parameters"]
    assert len(ids) == len(set(ids))


def test_patch_operations_say_what_kubectl_looks_for() -> None:
    for group, version in group_versions(ALL):
        document = orjson.loads(OPENAPI.v3_group(group_path(group, version))[0])
        patched = {
            tuple(item["patch"]["x-kubernetes-group-version-kind"].values()): item["patch"]
            for path, item in document["paths"].items()
            if "patch" in item and path.endswith("{name}")
        }
        for kind in ALL:
            if (group, version) not in served_as(kind) or "patch" not in kind.verbs:
                continue
            operation = patched[group, kind.kind, version]
            assert {"fieldValidation", "dryRun", "fieldManager", "force"} <= {
                p["name"] for p in operation["parameters"]
            }
            assert "application/strategic-merge-patch+json" in operation["requestBody"]["content"]


def test_schemas_are_real() -> None:
    schemas = orjson.loads(OPENAPI.v3_group("api/v1")[0])["components"]["schemas"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["items"]["$ref"] == "#/components/schemas/io.k8s.api.core.v1.Container"
    assert "containers belonging to the pod" in containers["description"]
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert pod["properties"]["spec"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]


def test_v2_refers_only_to_what_it_has() -> None:
    document = orjson.loads(OPENAPI.v2_json())
    assert {name.rpartition("/")[2] for name in _references(document)} <= document["definitions"].keys()
    assert "patch" in document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]


def test_hashes_follow_the_kinds() -> None:
    fewer = OpenApi(ALL[1:], CATALOG)
    assert fewer.v3_group("api/v1")[1] != OPENAPI.v3_group("api/v1")[1]
    assert OpenApi(ALL, CATALOG).v3_root() == OPENAPI.v3_root()
    with pytest.raises(KeyError):
        OPENAPI.v3_group("apis/none/v1")


def _discovery(group: str, version: str) -> dict[str, Any]:
    resources = [
        {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(kind.verbs),
            "shortNames": list(kind.short_names),
        }
        for kind in ALL
        if (group, version) in served_as(kind)
    ]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}


def _groups() -> dict[str, Any]:
    groups = [
        {
            "name": group,
            "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
            "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
        }
        for group, version in group_versions(ALL)
        if group
    ]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


class _Handler(BaseHTTPRequestHandler):
    """Just enough of an API server for `explain` and client-side validation."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        plain = {"api": {"kind": "APIVersions", "versions": ["v1"]}, "apis": _groups()}
        media, body, headers = "application/json", b"", {}
        if path in PATHS:
            group, _, version = path.removeprefix("apis/").removeprefix("api/").rpartition("/")
            body = orjson.dumps(_discovery(group, version))
        elif path in plain:
            body = orjson.dumps(plain[path])
        elif path == "openapi/v3":
            body = OPENAPI.v3_root()
        elif path.removeprefix("openapi/v3/") in PATHS:
            body, digest = OPENAPI.v3_group(path.removeprefix("openapi/v3/"))
            headers = {"Etag": f'"{digest}"', "Cache-Control": "public, immutable"}
        elif path == "openapi/v2" and "proto-openapi" in self.headers.get("Accept", ""):
            media, body = V2_PROTOBUF, OPENAPI.v2_protobuf()
        elif path == "openapi/v2":
            body = OPENAPI.v2_json()
        self.send_response(200 if body else 404)
        for name, value in {"Content-Type": media, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def _server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _kubectls() -> list[str]:
    """The oldest and the newest beside the system's own."""
    google = sorted(glob.glob("/usr/lib/google-cloud-sdk/bin/kubectl.1.*"))
    own = shutil.which("kubectl")
    found = [*google[:1], *google[-1:]]
    if own and "google-cloud-sdk" not in str(Path(own).resolve()):
        found.append(own)
    return found


@pytest.mark.parametrize("program", _kubectls() or [""], ids=lambda path: Path(path).name or "none")
def test_kubectl_reads_them(program: str, tmp_path: Path) -> None:
    if not program:
        pytest.skip("kubectl is not installed")
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}}},
    }
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps(deployment))
    with _server() as address:

        def run(*arguments: str) -> str:
            done = subprocess.run(
                [program, "--server", address, "--cache-dir", str(tmp_path / "cache"), *arguments],
                capture_output=True, text=True, check=False, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout

        ports = run("explain", "pod.spec.containers.ports")
        assert "List of ports to expose from the container" in ports
        assert "containerPort\t<integer>" in ports and "required" in ports
        assert "maxSurge" in run("explain", "deployment.spec.strategy.rollingUpdate")
        assert "tolerationSeconds" in run("explain", "pod", "--recursive")
        assert "created (dry run)" in run("create", "--dry-run=client", "-f", str(file))
