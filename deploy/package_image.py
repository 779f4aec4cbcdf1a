"""`argosy image from-packages`: an image of Debian packages, without Docker, a registry or an installation.

The packages and what they need to run are fetched by apt (deploy/apt.py), put into one layer with busybox
(deploy/deb_layer.py) and written as an OCI archive, which is kept in the cache folder under a name made of everything
that went in: the same packages in the same versions are built once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from argosy.host import RealClock
from deploy import deb_layer, oci
from deploy.apt import Apt, AptError, Deb
from deploy.builtin_images import busybox_path

RECIPE: Final = 1
"""To be raised with every change of what is built from the same packages."""
KEEP_S: Final = 30 * 86400.0
PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?"
_REFERENCE: Final = re.compile(
    rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
)
_PORT: Final = re.compile(r"(?P<number>[0-9]{1,5})(?:/(?P<protocol>tcp|udp|sctp))?")


@dataclass(frozen=True)
class PackageImage:
    """What is to be built."""

    name: str
    """`redis:7`, `registry.test/team/web:1`; without a tag it is `latest`."""
    packages: Sequence[str]
    command: Sequence[str] = ()
    """The entry point; none: busybox's shell."""
    user: str = ""
    """`NAME`, `UID` or `UID:GID`; empty: root. It stands in the image as numbers, so that runAsNonRoot can tell."""
    expose: Sequence[str] = ()
    """`6379`, `53/udp`."""
    env: Sequence[str] = ()
    """`KEY=VALUE`."""
    writable: Sequence[str] = ()
    """Folders of the image that the user owns."""
    without: Sequence[str] = ()
    """What packages bring and the image is not to have: `/usr/bin/promtool`, `/usr/share/javascript/*`."""


def full_name(name: str) -> str:
    """As containerd and the kubelet know it: with its registry and tag. Raises ValueError."""
    if len(name) > 255 or not _REFERENCE.fullmatch(name):
        raise ValueError(f"{name!r} is not an image's name: NAME[:TAG] is wanted, in lower case")
    first, slash, _rest = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not (set(first) & set(".:") or first == "localhost"):
        name = f"docker.io/{name}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def run_config(spec: PackageImage) -> dict[str, Any]:
    """The image's run configuration. Raises ValueError."""
    _name, uid, gid = deb_layer.resolve_user(spec.user)
    config: dict[str, Any] = {"Env": [PATH, *spec.env]}
    for item in spec.env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", item, re.DOTALL):
            raise ValueError(f"--env {item}: KEY=VALUE is wanted")
    if spec.command:
        config["Entrypoint"] = list(spec.command)
    else:
        config["Cmd"] = ["/bin/sh"]
    if spec.user:
        config["User"] = f"{uid}:{gid}"
    ports: dict[str, dict[str, str]] = {}
    for item in spec.expose:
        found = _PORT.fullmatch(item)
        if found is None or not 0 < int(found["number"]) < 65536:
            raise ValueError(f"--expose {item}: a port is wanted, as 6379 or 53/udp")
        ports[f"{int(found['number'])}/{found['protocol'] or 'tcp'}"] = {}
    if ports:
        config["ExposedPorts"] = ports
    return config


def cache_folder() -> Path:
    """The user's (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argosy"


def build(spec: PackageImage, cache: Path | None = None, apt_options: Sequence[str] = ()) -> Path:
    """The image's archive in the cache folder, built if it is not there. Folder default: `cache_folder()`.

    Raises ValueError for what cannot be, AptError, FileNotFoundError without busybox-static, OSError.
    """
    cache = cache or cache_folder()
    name, config = full_name(spec.name), run_config(spec)
    if not spec.packages:
        raise ValueError("no package is named")
    debs = Apt(cache, apt_options).fetch(sorted(set(spec.packages)))
    busybox = Path(busybox_path()).read_bytes()
    inputs = {
        "recipe": RECIPE,
        "spec": {**asdict(spec), "packages": [deb.sha256 for deb in debs], "name": name},
        "busybox": oci.digest(busybox),
    }
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]
    path = cache / "images" / f"{re.sub('[^a-z0-9.]+', '-', name.rpartition('/')[2].lower())}-{key}.tar"
    _prune(cache, (path, *(deb.path for deb in debs)))
    if path.exists():
        return path
    layer = deb_layer.build(
        _contents(debs), busybox, _applets(), user=spec.user, writable=spec.writable, without=spec.without
    )
    data = oci.archive([oci.Image([name], [layer], config)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(data)
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise
    return path


def _prune(cache: Path, used: Iterable[Path]) -> None:
    """What nobody asked for in a month goes; what is used now was asked for now."""
    for path in used:
        if path.exists():
            os.utime(path)
    oldest_s = RealClock().now() - KEEP_S
    for path in (*cache.glob("debs/*.deb"), *cache.glob("images/*.tar")):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest_s:
                path.unlink()


def _contents(debs: Sequence[Deb]) -> list[bytes]:
    """The data archive of each, as tar."""

    def unpack(deb: Deb) -> bytes:
        done = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb.path)], capture_output=True, check=False)
        if done.returncode != 0 or not _is_tar(done.stdout):
            raise AptError(f"{deb.path}: {done.stderr.decode(errors='replace').strip() or 'not a package'}")
        return done.stdout

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(unpack, debs))


def _is_tar(data: bytes) -> bool:
    return tarfile.is_tarfile(io.BytesIO(data))


def _applets() -> list[str]:
    listed = subprocess.run([busybox_path(), "--list"], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if name != "busybox"]
