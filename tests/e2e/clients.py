"""The kubectl binaries that a machine has, and Debian's own for one that has none."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path("/var/cache/argosy-tests")


@functools.cache
def debian() -> str:
    """Debian's kubernetes-client (1.20), unpacked beside the system: its package clashes with other kubectls."""
    target = CACHE / "kubernetes-client"
    binary = target / "usr/bin/kubectl"
    if not binary.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", "kubernetes-client"], cwd=CACHE, check=True, capture_output=True)
        package = max(CACHE.glob("kubernetes-client_*.deb"))
        subprocess.run(["dpkg", "-x", str(package), str(target)], check=True)
    return str(binary)


@functools.cache
def installed() -> tuple[str, ...]:
    """Every kubectl of this machine, oldest first: beside the one on PATH, and `kubectl.1.NN` in its folder."""
    found: dict[str, Path] = {}
    on_path = shutil.which("kubectl")
    if on_path:
        folder = Path(on_path).resolve().parent
        for path in folder.glob("kubectl.1.*"):
            found[path.name] = path
        if not found:
            found["kubectl"] = Path(on_path)
    return tuple(sorted((str(path) for path in found.values()), key=minor))


@functools.cache
def newest() -> str:
    """The newest kubectl here; Debian's where there is no other."""
    return installed()[-1] if installed() else debian()


def need(version: int, why: str) -> None:
    """Skip the test where no kubectl of this machine is 1.`version` or newer: it would not know `why`."""
    if minor(newest()) < version:
        pytest.skip(f"{why}: needs kubectl 1.{version}, here is 1.{minor(newest())}")


@functools.cache
def minor(binary: str) -> int:
    """27 of version 1.27."""
    command = [binary, "version", "--client", "-o", "json"]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return int(said["clientVersion"]["minor"].rstrip("+"))
