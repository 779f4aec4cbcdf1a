"""Images of Debian packages: which packages, what is in the layer, and real apt on a repository of the test's own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy import deb_layer, package_image
from deploy.apt import Apt, AptError, closure, parse_depends
from deploy.package_image import PackageImage

DEPENDS = """web
  PreDepends: libc6
 |Depends: debconf
  Depends: <debconf-2.0>
    cdebconf
    debconf
 |Depends: small
  Depends: large
  Depends: <engine>
    engine-a
    engine-b
  Depends: adduser
libc6
  Depends: libgcc-s1
small
large
engine-a
  Depends: large
<engine>
adduser
  Depends: passwd
passwd
libgcc-s1
  Depends: libc6
"""


def test_closure_takes_what_runs_and_leaves_what_only_installs() -> None:
    graph = parse_depends(DEPENDS)
    assert closure(["web"], graph) == ["engine-a", "large", "libc6", "libgcc-s1", "small", "web"]
    assert closure(["large", "web"], graph) == ["engine-a", "large", "libc6", "libgcc-s1", "web"]
    assert closure(["adduser"], graph) == ["adduser"]


def tar_of(files: Mapping[str, bytes], links: Mapping[str, str] = {}, hard: Mapping[str, str] = {}) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(f"./{path}")
            entry.size, entry.mode, entry.uid, entry.mtime = len(data), 0o4755, 33, 12345
            archive.addfile(entry, io.BytesIO(data))
        for kind, pairs in ((tarfile.SYMTYPE, links), (tarfile.LNKTYPE, hard)):
            for path, target in pairs.items():
                entry = tarfile.TarInfo(f"./{path}")
                entry.type, entry.linkname = kind, target
                archive.addfile(entry)
    return buffer.getvalue()


def members(layer: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        return {member.name: member for member in archive}


def content(layer: bytes, path: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        file = archive.extractfile(path)
        assert file is not None
        return file.read()


def test_layer_has_the_files_in_a_merged_usr() -> None:
    package = tar_of(
        {
            "bin/ls": b"real",
            "lib/x/libz.so.1": b"z",
            "usr/share/doc/z/README": b"r",
            "usr/share/doc/z/copyright": b"c",
        },
        links={"lib/x/libz.so": "libz.so.1", "lib/x/up": "../../usr/lib/other", "lib": "usr/lib"},
        hard={"bin/dir": "./bin/ls"},
    )
    layer = deb_layer.build([package], b"busybox", ["ls", "sh"])
    found = members(layer)
    assert content(layer, "usr/bin/ls") == b"real"
    assert (found["usr/bin/ls"].mode, found["usr/bin/ls"].uid, found["usr/bin/ls"].mtime) == (0o4755, 33, 0)
    assert found["bin"].linkname == "usr/bin" and found["lib"].linkname == "usr/lib"
    assert found["usr/bin/sh"].linkname == "busybox"
    assert found["usr/lib/x/libz.so"].linkname == "libz.so.1"
    assert found["usr/lib/x/up"].linkname == "/usr/lib/other"
    assert found["usr/bin/dir"].islnk() and found["usr/bin/dir"].linkname == "usr/bin/ls"
    assert "usr/share/doc/z/README" not in found and "usr/share/doc/z/copyright" in found
    assert found["tmp"].mode == 0o1777
    names = list(found)
    for name in names:
        parent = name.rpartition("/")[0]
        assert not parent or names.index(parent) < names.index(name)


def test_layer_of_the_same_packages_is_the_same() -> None:
    a, b = tar_of({"usr/bin/a": b"1"}), tar_of({"usr/bin/b": b"2"})
    assert deb_layer.build([a, b], b"x", ["sh", "ls"]) == deb_layer.build([b, a], b"x", ["ls", "sh"])


def test_what_is_left_out_and_what_the_user_owns() -> None:
    package = tar_of({"usr/bin/big": b"1", "usr/share/js/a/b": b"2", "usr/bin/small": b"3"})
    layer = deb_layer.build(
        [package], b"x", [], user="redis", writable=["/var/lib/data"], without=["/usr/bin/big", "/usr/share/js/*"]
    )
    found = members(layer)
    assert "usr/bin/small" in found
    assert not {"usr/bin/big", "usr/share/js/a/b"} & set(found)
    owned = found["var/lib/data"]
    assert owned.isdir() and (owned.uid, owned.gid) == (999, 999)
    assert b"redis:x:999:999:redis:/:/usr/sbin/nologin\n" in content(layer, "etc/passwd")
    assert b"redis:x:999:\n" in content(layer, "etc/group")


@pytest.mark.parametrize("folder", ["data", "/", "/.."])
def test_writable_folder_must_be_a_path_in_the_image(folder: str) -> None:
    with pytest.raises(ValueError, match="--writable"):
        deb_layer.build([], b"x", [], writable=[folder])


@pytest.mark.parametrize(
    ("user", "resolved"),
    [
        ("", ("root", 0, 0)),
        ("www-data", ("www-data", 33, 33)),
        ("redis", ("redis", 999, 999)),
        ("1000", ("", 1000, 1000)),
        ("33:5", ("www-data", 33, 5)),
    ],
)
def test_users(user: str, resolved: tuple[str, int, int]) -> None:
    assert deb_layer.resolve_user(user) == resolved


@pytest.mark.parametrize("user", ["a:b", "-x", "x y", "4294967295", "1:x"])
def test_users_that_cannot_be(user: str) -> None:
    with pytest.raises(ValueError, match="--user"):
        deb_layer.resolve_user(user)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("redis", "docker.io/library/redis:latest"),
        ("redis:7", "docker.io/library/redis:7"),
        ("team/web:1.2-a", "docker.io/team/web:1.2-a"),
        ("localhost/web", "localhost/web:latest"),
        ("reg.test:5000/a/b:c", "reg.test:5000/a/b:c"),
        ("reg:5000/a", "reg:5000/a:latest"),
    ],
)
def test_image_names(name: str, full: str) -> None:
    assert package_image.full_name(name) == full


@pytest.mark.parametrize("name", ["", "Redis", "a b", "a:", ":1", "a//b", "a@sha256:0", "x" * 256, "../a"])
def test_image_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="image's name"):
        package_image.full_name(name)


def test_run_configuration() -> None:
    spec = PackageImage("x", ["p"], ["serve", "-v"], "redis", ["6379", "053/udp"], ["A=b=c"])
    assert package_image.run_config(spec) == {
        "Env": [package_image.PATH, "A=b=c"],
        "Entrypoint": ["serve", "-v"],
        "User": "999:999",
        "ExposedPorts": {"6379/tcp": {}, "53/udp": {}},
    }
    assert package_image.run_config(PackageImage("x", ["p"])) == {"Env": [package_image.PATH], "Cmd": ["/bin/sh"]}


@pytest.mark.parametrize(
    "change", [{"expose": ["0"]}, {"expose": ["1/icmp"]}, {"expose": ["65536"]}, {"env": ["=x"]}]
)
def test_run_configuration_that_cannot_be(change: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match=r"--(expose|env)"):
        package_image.run_config(PackageImage("x", ["p"], **change))


needs_apt = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("apt-get", "dpkg-deb")), reason="this is not Debian"
)


class Repository:
    """A folder of packages with a package list, and apt's options that make it the only source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: list[str] = []
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "pool").mkdir()
        (folder / "sources.list").write_text(f"deb [trusted=yes] file:{folder}/pool ./\n")
        (folder / "status").write_text("")
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
        }
        self.options = tuple(part for key, value in settings.items() for part in ("-o", f"{key}={value}"))

    def add(self, name: str, files: Mapping[str, str], depends: str = "") -> Path:
        root = self.folder / "build" / name
        control = f"Package: {name}\nVersion: 1:1.0\nArchitecture: all\nMaintainer: x <x@x.test>\nDescription: x\n"
        control += f"Depends: {depends}\n" if depends else ""
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN" / "control").write_text(control)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        deb = self.folder / "pool" / f"{name}.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", root, deb], check=True, capture_output=True)
        data = deb.read_bytes()
        self._entries.append(
            f"{control}Filename: ./{name}.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
        (self.folder / "pool" / "Packages").write_text("\n".join(self._entries))
        return deb


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@needs_apt
def test_image_of_packages_from_apt(repository: Repository, tmp_path: Path) -> None:
    """The package lists are not there at first: a private copy is made, and the host's stays as it was."""
    repository.add("argosy-lib", {"usr/lib/argosy.txt": "library"})
    repository.add("argosy-app", {"usr/bin/app": "program", "etc/app.conf": "setting"}, "argosy-lib, adduser")
    spec = PackageImage("app:1", ["argosy-app"], ["app"])
    archive = package_image.build(spec, tmp_path / "cache", repository.options)
    assert not [path for path in (repository.folder / "lists").iterdir() if path.is_file()]
    again = package_image.build(spec, tmp_path / "cache", repository.options)
    other = package_image.build(spec, tmp_path / "other", repository.options)
    assert again == archive
    assert other.read_bytes() == archive.read_bytes()
    stale = [tmp_path / "cache" / name for name in ("debs/old.deb", "images/old.tar")]
    for path in stale:
        path.write_text("")
        os.utime(path, (0, 0))
    os.utime(archive, (0, 0))
    assert package_image.build(spec, tmp_path / "cache", repository.options) == archive
    assert archive.exists() and not any(path.exists() for path in stale)
    with tarfile.open(archive) as outer:

        def blob(digest: str) -> bytes:
            file = outer.extractfile(f"blobs/sha256/{digest.removeprefix('sha256:')}")
            assert file is not None
            return file.read()

        index = json.load(outer.extractfile("index.json"))  # type: ignore[arg-type]
        (entry,) = index["manifests"]
        assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/app:1"
        manifest = json.loads(blob(entry["digest"]))
        assert json.loads(blob(manifest["config"]["digest"]))["config"]["Entrypoint"] == ["app"]
        (layer,) = (blob(item["digest"]) for item in manifest["layers"])
    assert content(layer, "usr/lib/argosy.txt") == b"library"
    assert content(layer, "usr/bin/app") == b"program"
    assert content(layer, "etc/app.conf") == b"setting"


@needs_apt
def test_what_apt_cannot_give_is_said(repository: Repository, tmp_path: Path) -> None:
    deb = repository.add("argosy-app", {"usr/bin/app": "program"})
    apt = Apt(tmp_path / "cache", repository.options)
    with pytest.raises(AptError, match="apt knows no package nothing-like-it"):
        apt.fetch(["argosy-app", "nothing-like-it"])
    with pytest.raises(AptError, match="not the name of a Debian package"):
        apt.fetch(["--option"])
    deb.write_bytes(b"something else")
    with pytest.raises(AptError, match="argosy-app"):
        apt.fetch(["argosy-app"])
    assert not list((tmp_path / "cache").glob("debs/*"))
    (repository.folder / "sources.list").write_text("")
    with pytest.raises(AptError, match="apt knows no package argosy-app"):
        Apt(tmp_path / "cache", repository.options).fetch(["argosy-app"])
