"""Debian's docker-registry inside a cluster's LAN, and images that are pushed to it or archived by hand."""

from __future__ import annotations

import base64
import http.client
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from argosy.testing import Cluster
from deploy import builtin_images, netns, oci

PUBLIC_PORT, PRIVATE_PORT = 5000, 5001
HOST = "10.77.0.1"
USER, PASSWORD = "ali", "sesame"
PASSWORD_BCRYPT = "$2a$05$abcdefghijklmnopqrstuuKcS.CYWVYVaLiiCKrrc0A5s3mGesJ9O"


class Registry:
    """Runs in the LAN's own namespace, whose address every node reaches; `private` asks for a password."""

    def __init__(self, cluster: Cluster, folder: Path, *, private: bool) -> None:
        folder.mkdir()
        self._namespace = f"/run/netns/argosy-{cluster.name}-lan"
        self._port = PRIVATE_PORT if private else PUBLIC_PORT
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"} if private else {}
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": f"{HOST}:{self._port}"},
        }
        if private:
            (folder / "htpasswd").write_text(f"{USER}:{PASSWORD_BCRYPT}\n")
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
        (folder / "config.yml").write_text(json.dumps(config))
        line = ["nsenter", f"--net={self._namespace}", "docker-registry", "serve", str(folder / "config.yml")]
        self._process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cluster.eventually(lambda: netns.accepts(self._namespace, HOST, self._port))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def push(self, repository: str, tag: str, image: oci.Image) -> str:
        """Store an image; gives its manifest's digest."""
        blobs = archived(oci.archive([image]))
        (entry,) = json.loads(blobs["index.json"])["manifests"]
        manifest = blobs[f"blobs/sha256/{entry['digest'].partition(':')[2]}"]
        described = json.loads(manifest)

        def send() -> None:
            for part in (described["config"], *described["layers"]):
                content = blobs[f"blobs/sha256/{part['digest'].partition(':')[2]}"]
                where = self._ask("POST", f"/v2/{repository}/blobs/uploads/").headers["Location"]
                where = where.partition(f":{self._port}")[2] or where
                self._ask("PUT", f"{where}&digest={part['digest']}", content, "application/octet-stream")
            self._ask("PUT", f"/v2/{repository}/manifests/{tag}", manifest, described["mediaType"])

        netns.inside(self._namespace, send)
        return str(entry["digest"])

    def _ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=20)
        connection.request(method, path, body, {**self._headers, **({"Content-Type": kind} if kind else {})})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status < 300, (method, path, answer.status, text)
        return answer


def image(name: str, word: str) -> oci.Image:
    """Busybox with a file /word; `name` is its name in an archive."""
    busybox = next(Path(path) for path in builtin_images.BUSYBOX if Path(path).exists())
    layer = oci.Layer(
        files={"bin/busybox": (busybox.read_bytes(), 0o755), "word": (word.encode(), 0o644)},
        folders={"bin": 0o755, "tmp": 0o1777},
        links={"bin/sh": "busybox", "bin/sleep": "busybox", "bin/cat": "busybox"},
    )
    return oci.Image([name], [layer.tar()], {"Cmd": ["/bin/sleep", "3600"], "Env": ["PATH=/bin"]})


def archived(archive: bytes) -> dict[str, bytes]:
    """The files of a tar."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {item.name: tar.extractfile(item).read() for item in tar if item.isfile()}  # type: ignore[union-attr]


def docker_archive(one: oci.Image) -> bytes:
    """As `docker save` writes it."""
    layers = {f"{oci.digest(layer)[7:]}/layer.tar": (layer, 0o644) for layer in one.layers}
    config = json.dumps(
        {
            "architecture": oci.architecture(),
            "os": "linux",
            "config": dict(one.config),
            "rootfs": {"type": "layers", "diff_ids": [oci.digest(layer) for layer in one.layers]},
        }
    ).encode()
    config_name = f"{oci.digest(config)[7:]}.json"
    manifest = [{"Config": config_name, "RepoTags": list(one.names), "Layers": list(layers)}]
    files = {**layers, config_name: (config, 0o644), "manifest.json": (json.dumps(manifest).encode(), 0o644)}
    return oci.Layer(files=files).tar()
