"""Debian packages from apt, fetched and never installed: which ones a program needs, and their .deb files.

`deploy.package_image` makes images of them. The host's package lists are used as they are; where they are missing or
stale (a security update removed the file they name), a private copy in the cache folder is brought up to date and
used instead, so the host's own state is not touched and no root is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 600

INSTALLERS: Final = frozenset(
    {
        *(
            "adduser",
            "base-files",
            "base-passwd",
            "cdebconf",
            "debconf",
            "debconf-2.0",
            "dpkg",
            "init-system-helpers",
        ),
        *("install-info", "logrotate", "lsb-base", "passwd", "sysvinit-utils", "tar", "ucf", "usr-is-merged"),
        *("systemd", "systemd-sysv", "usrmerge"),
    }
)
"""What only maintainer scripts and init systems need: left out, with all that nothing else needs."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_URI: Final = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")
_RELATION: Final = re.compile(r"^ (?P<more>[ |])(?P<kind>PreDepends|Depends): (?P<name>\S+)$")


class AptError(Exception):
    """apt could not do it; the text says what it said, and what helps."""


@dataclass(frozen=True)
class Deb:
    """One package file of the cache."""

    path: Path
    sha256: str


Graph = Mapping[str, Sequence[Sequence[str]]]
"""Package → for each dependency the packages that satisfy it, best first."""


def parse_depends(text: str) -> Graph:
    """The output of `apt-cache depends --recurse`. A virtual package stands as the packages that provide it."""
    graph: dict[str, list[list[str]]] = {}
    group: list[str] = []
    virtual = open_ = False
    current: list[list[str]] = []
    for line in text.splitlines():
        if line and not line.startswith(" "):
            current = graph.setdefault(line, [])
            open_ = virtual = False
            continue
        if line.startswith("    "):
            # Providers; of another architecture only where nothing else is.
            name = line.strip()
            if virtual and ":" not in name and name not in group:
                group.append(name)
            continue
        found = _RELATION.match(line)
        if found is None:
            virtual = open_ = False
            continue
        if not open_:
            group = []
            current.append(group)
        name = found["name"]
        virtual = name.startswith("<")
        if not virtual and name not in group:
            group.append(name)
        if virtual and name[1:-1] in INSTALLERS:
            group.append(name[1:-1])
        open_ = found["more"] == "|"
    return {name: [group for group in groups if group] for name, groups in graph.items()}


def closure(roots: Sequence[str], graph: Graph) -> list[str]:
    """`roots` and all that they need to run, sorted. Of alternatives, one that is taken already, else the first."""
    taken = dict.fromkeys(roots)
    waiting = list(roots)
    while waiting:
        for group in graph.get(waiting.pop(0), ()):
            if any(name in taken or name in INSTALLERS for name in group):
                continue
            taken[group[0]] = None
            waiting.append(group[0])
    return sorted(taken)


class Apt:
    """apt with a cache folder of its own for package files and, when needed, package lists."""

    def __init__(self, cache: Path, options: Sequence[str] = ()) -> None:
        """`options` are apt's own, `("-o", "Dir::Etc::sourcelist=…")`. Raises AptError where there is no apt."""
        self._options = tuple(options)
        self._debs = cache / "debs"
        self._lists = cache / "apt-lists"
        self._private = False
        for tool in ("apt-cache", "apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise AptError(f"{tool} is not installed: images from packages are made on Debian and its kin only")

    def fetch(self, packages: Sequence[str]) -> list[Deb]:
        """`packages` and all they need to run, by name. Raises AptError."""
        for name in packages:
            if not _NAME.fullmatch(name):
                raise AptError(f"{name!r} is not the name of a Debian package")
        try:
            return self._fetch(packages)
        except AptError as first:
            try:
                self._update()
            except AptError as second:
                raise AptError(f"{first}; and the package lists cannot be brought up to date: {second}") from None
            return self._fetch(packages)

    def _fetch(self, packages: Sequence[str]) -> list[Deb]:
        try:
            graph = parse_depends(self._run("apt-cache", "depends", "--recurse", *_DEPENDS_ONLY, *packages))
        except AptError as error:
            if "No packages found" not in str(error):
                raise
            graph = {}
        for name in packages:
            if f"<{name}>" in graph:
                raise AptError(f"{name} is a virtual package: name one that provides it")
            if name not in graph:
                raise AptError(f"apt knows no package {name}")
        wanted = closure(packages, graph)
        listed = [
            found for line in self._download("--print-uris", *wanted).splitlines() if (found := _URI.match(line))
        ]
        if len(listed) < len(wanted):
            missing = set(wanted) - {found["file"].partition("_")[0] for found in listed}
            raise AptError(f"apt has no source to fetch {', '.join(sorted(missing)) or 'all of them'} from")
        debs = [Deb(self._debs / f"{found['sha256']}.deb", found["sha256"]) for found in listed]
        absent = {found["file"]: deb for found, deb in zip(listed, debs, strict=True) if not deb.path.exists()}
        if absent:
            self._debs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._debs) as folder:
                self._download(*(name.partition("_")[0] for name in absent), cwd=folder)
                for name, deb in absent.items():
                    _keep(Path(folder, name), deb)
        return debs

    def _download(self, *arguments: str, cwd: str | None = None) -> str:
        # As root, apt would fetch as the user _apt, who may not write into the cache folder.
        return self._run("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *arguments, cwd=cwd)

    def _update(self) -> None:
        (self._lists / "partial").mkdir(parents=True, exist_ok=True)
        self._private = True
        self._run("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any", "-o", "APT::Sandbox::User=root")

    def _run(self, *line: str, cwd: str | None = None) -> str:
        options = self._options + (
            (
                "-o",
                f"Dir::State::lists={self._lists}",
                "-o",
                "Dir::Cache::pkgcache=",
                "-o",
                "Dir::Cache::srcpkgcache=",
            )
            if self._private
            else ()
        )
        command = [line[0], *options, *line[1:]]
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=cwd, env=environment
            )
        except subprocess.TimeoutExpired:
            raise AptError(f"{line[0]} {line[1]} did not end within {TIMEOUT_S} s") from None
        if done.returncode != 0:
            said = [text.removeprefix("E: ") for text in done.stderr.splitlines() if text.startswith("E: ")]
            raise AptError(f"{line[0]} {line[1]}: {'; '.join(said) or done.stderr.strip() or 'failed'}")
        return done.stdout


_DEPENDS_ONLY: Final = tuple(
    f"--no-{relation}" for relation in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
)


def _keep(path: Path, deb: Deb) -> None:
    """Into the cache, once it is what the lists promised. Raises AptError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise AptError(f"apt-get download left no {path.name}") from None
    if hashlib.sha256(data).hexdigest() != deb.sha256:
        raise AptError(f"{path.name} is not what the package lists say (SHA-256 differs)")
    os.replace(path, deb.path)
