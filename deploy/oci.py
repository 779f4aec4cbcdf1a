"""Writes OCI image archives from files in memory; no registry and no Docker needed. Pure: bytes in, bytes out.

`deploy.builtin_images` builds the project's own images with it; tests build theirs. Layers are stored uncompressed:
they are loaded once, from a local file, and unpacking is what takes time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
CREATED: Final = "2024-01-01T00:00:00Z"
"""A fixed date: the same content is the same digest."""

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le"}


@dataclass(frozen=True)
class Layer:
    """Files, folders and links of one layer; paths are relative, without a leading slash."""

    files: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    """Path → content and mode."""
    folders: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    def tar(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path, mode in sorted(self.folders.items()):
                entry = tarfile.TarInfo(path)
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                archive.addfile(entry)
            for path, (data, mode) in sorted(self.files.items()):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(data), mode
                archive.addfile(entry, io.BytesIO(data))
            for path, target in sorted(self.links.items()):
                entry = tarfile.TarInfo(path)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                archive.addfile(entry)
        return buffer.getvalue()


@dataclass(frozen=True)
class Image:
    """One image: its full names (`docker.io/library/busybox:latest`), tar layers and run configuration."""

    names: Sequence[str]
    layers: Sequence[bytes]
    config: Mapping[str, Any]
    """`Cmd`, `Entrypoint`, `Env`, `ExposedPorts`, … as the OCI image specification has them."""


def architecture() -> str:
    """This machine's, by its OCI name."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def archive(images: Sequence[Image], *, arch: str = "") -> bytes:
    """An OCI archive (a tar) of several images that share the blobs they have in common."""
    arch = arch or architecture()
    blobs: dict[str, bytes] = {}

    def put(blob: bytes) -> dict[str, Any]:
        name = digest(blob)
        blobs[name] = blob
        return {"digest": name, "size": len(blob)}

    manifests = []
    for image in images:
        layers = [{"mediaType": LAYER, **put(layer)} for layer in image.layers]
        config = {
            "created": CREATED,
            "architecture": arch,
            "os": "linux",
            "config": dict(image.config),
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **put(_json(config))},
            "layers": layers,
        }
        reference = put(_json(manifest))
        for name in image.names:
            manifests.append(
                {
                    "mediaType": MANIFEST,
                    **reference,
                    "platform": {"architecture": arch, "os": "linux"},
                    "annotations": {
                        "io.containerd.image.name": name,
                        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
                    },
                }
            )
    files = {f"blobs/sha256/{name.partition(':')[2]}": (blob, 0o644) for name, blob in blobs.items()}
    files["oci-layout"] = (_json({"imageLayoutVersion": "1.0.0"}), 0o644)
    files["index.json"] = (_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}), 0o644)
    return Layer(files=files).tar()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
