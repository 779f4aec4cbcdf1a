"""The wheel: built from the sources, installed into empty environments, and used from a folder outside the checkout.

Nothing is fetched: an environment gets links to what this one has, the SDK's dependencies only, or the servers' too.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from argosy.testing import Cluster, run
from tests.e2e import clients

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("argosy", "etcd", "control_plane", "node_agent", "deploy")
SERVERS_ONLY = ("aiohttp", "numpy", "kubernetes_validate", "pysyncobj", "redis", "dnslib", "hpack")
NAME = f"wheel-{os.getpid()}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("built")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, sources / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, sources)
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(sources))
    (found,) = built.glob("argosy-*.whl")
    return found


def pip(python: str, *arguments: str) -> None:
    run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", python, *arguments])


def needed(extras: Sequence[str]) -> Iterator[str]:
    """The distributions that Argosy asks for, and what those ask for."""
    seen, waiting = set(), [("argosy", extra) for extra in extras]
    while waiting:
        name, extra = waiting.pop()
        for text in importlib.metadata.requires(name) or ():
            requirement, _, marker = text.partition(";")
            wanted = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
            other = re.split(r"[^A-Za-z0-9_.-]", requirement.strip())[0]
            if (wanted[1] if wanted else "") != extra or other in seen or not has(other):
                continue
            seen.add(other)
            waiting.append((other, ""))
            yield other


def has(name: str) -> bool:
    """Some are for other systems and versions of Python only."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def link(environment: Path, extras: Sequence[str]) -> None:
    """Let an environment have what Argosy needs, from here."""
    (packages,) = environment.glob("lib/python*/site-packages")
    for name in needed(extras):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {".."}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))


def outside(arguments: Sequence[str], folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command from outside the checkout, with nothing of it in sight."""
    return run(["env", "-u", "PYTHONPATH", "-C", str(folder), *arguments], check=check)


@pytest.fixture(scope="module")
def sdk(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin of an empty environment with the wheel and the SDK's dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True, with_pip=False)
    pip(str(folder / "bin" / "python"), "install", "--no-index", "--no-deps", "--no-compile", str(wheel))
    link(folder, ("",))
    return folder / "bin"


def test_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"argosy/py.typed", "argosy/pb/api_pb2.pyi", "deploy/examples/api-server.yaml"} <= names
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)


def test_the_sdk_needs_no_server(sdk: Path, tmp_path: Path) -> None:
    python = str(sdk / "python")
    program = f"""
import argosy, importlib.util, sys
assert argosy.__path__[0].startswith({str(sdk.parent)!r}), argosy.__path__
import argosy.client, argosy.connecting, argosy.controller, argosy.discovery, argosy.election, argosy.following
import argosy.informer, argosy.pods, argosy.rpc_grpc, argosy.kinds
there = [name for name in {SERVERS_ONLY!r} if importlib.util.find_spec(name)]
assert not there, there
"""
    outside([python, "-c", program], tmp_path)
    assert "Usage: argosy" in outside([str(sdk / "argosy"), "--help"], tmp_path).stdout
    refused = outside([str(sdk / "argosy"), "up", "--name", NAME, "--no-uplink"], tmp_path, check=False)
    assert refused.returncode == 1
    assert "pip install argosy[cluster]" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not Path("/var/lib/argosy", NAME).exists()


def test_the_sdk_reaches_a_cluster(cluster: Cluster, sdk: Path, tmp_path: Path) -> None:
    program = """
import asyncio, sys
from argosy.client import Client

async def main():
    async with Client.from_kubeconfig(sys.argv[1]) as client:
        print(sorted(node["metadata"]["name"] for node in (await client.nodes.list()).items))

asyncio.run(main())
"""
    done = outside([str(sdk / "python"), "-c", program, str(cluster.kubeconfig)], tmp_path)
    assert "node-1" in done.stdout


def test_a_cluster_of_the_installed_wheel(sdk: Path, tmp_path: Path) -> None:
    """The last test: the environment has the servers' dependencies from here on."""
    link(sdk.parent, ("", "cluster"))
    look = f"import {', '.join(PACKAGES)}; print(*(each.__path__[0] for each in ({', '.join(PACKAGES)})))"
    paths = outside([str(sdk / "python"), "-c", look], tmp_path).stdout.split()
    assert len(paths) == len(PACKAGES) and all(path.startswith(f"{sdk.parent}/lib") for path in paths)
    kubeconfig = str(tmp_path / "kubeconfig")
    argosy = ["env", f"KUBECONFIG={kubeconfig}", str(sdk / "argosy")]
    kubectl = [clients.newest(), "--kubeconfig", kubeconfig]
    try:
        outside([*argosy, "up", "--name", NAME, "--nodes", "1", "--stores", "1", "--no-uplink"], tmp_path)
        outside([*kubectl, "run", "p", "--image=busybox:1.35", "--", "sleep", "60"], tmp_path)
        outside([*kubectl, "wait", "pod/p", "--for=condition=Ready", "--timeout=60s"], tmp_path)
        assert "uid=0" in outside([*kubectl, "exec", "p", "--", "id"], tmp_path).stdout
        said = outside([*argosy, "status", "--name", NAME], tmp_path).stdout
        assert "node-1/agent" in said
    finally:
        outside([*argosy, "down", "--name", NAME], tmp_path)
    assert not Path("/var/lib/argosy", NAME).exists()
