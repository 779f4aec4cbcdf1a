"""One image layer from the files of Debian packages. Bytes in, bytes out; the same packages give the same bytes.

Packages are not installed: no maintainer script runs. /bin, /sbin and /lib are links into /usr as on every Debian;
busybox gives the shell and each command that no package brings; accounts are those of Debian's base-passwd, and the
one that the image runs as. Documentation, manuals and translations stay behind, copyright files come along.
"""

from __future__ import annotations

import fnmatch
import io
import posixpath
import tarfile
from collections.abc import Iterable, Sequence
from typing import Final

MERGED: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Top folders that are links into /usr (usrmerge)."""
_ALWAYS: Final = ("bin", "sbin", "lib")
_LEFT_OUT: Final = tuple(
    f"usr/share/{name}/" for name in ("bug", "doc", "doc-base", "info", "lintian", "locale", "man")
)
FOLDERS: Final = {
    **dict.fromkeys(("dev", "etc", "home", "proc", "run", "sys", "usr", "usr/bin", "usr/sbin", "usr/lib"), 0o755),
    **dict.fromkeys(("var", "var/cache", "var/lib", "var/log", "var/spool"), 0o755),
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
}

_ACCOUNTS: Final = (
    *(("root", 0, "/root"), ("daemon", 1, "/usr/sbin"), ("bin", 2, "/bin"), ("sys", 3, "/dev"), ("man", 6, "/")),
    *(("mail", 8, "/var/mail"), ("www-data", 33, "/var/www"), ("backup", 34, "/var/backups"), ("nobody", 65534, "/")),
)
_GROUPS: Final = (
    *(("root", 0), ("daemon", 1), ("bin", 2), ("sys", 3), ("adm", 4), ("tty", 5), ("man", 6), ("mail", 8)),
    *(("www-data", 33), ("backup", 34), ("utmp", 43), ("staff", 50), ("users", 100), ("nogroup", 65534)),
)
FIRST_ID: Final = 999
"""The id of an account that Debian has no fixed one for, as its packages' own system users get them."""


def resolve_user(user: str) -> tuple[str, int, int]:
    """Name, uid and gid of `NAME`, `UID` or `UID:GID`; a name without a fixed id gets one. Raises ValueError."""
    if not user:
        return "root", 0, 0
    known = {name: uid for name, uid, _home in _ACCOUNTS}
    first, _, second = user.partition(":")
    if first.isdigit() and (second.isdigit() or not second):
        uid = int(first)
        gid = int(second) if second else uid
        if max(uid, gid) > 2**32 - 2:
            raise ValueError(f"--user {user}: ids end at 4294967294")
        return next((name for name, each in known.items() if each == uid), ""), uid, gid
    if second or not first.replace("-", "").replace("_", "").isalnum() or not first[0].isalpha():
        raise ValueError(f"--user {user}: a name, a uid or uid:gid is wanted")
    uid = known.get(first, FIRST_ID)
    return first, uid, uid


def passwd(name: str, uid: int, gid: int) -> tuple[bytes, bytes]:
    """The files /etc/passwd and /etc/group."""
    accounts = [(each, number, number, home) for each, number, home in _ACCOUNTS]
    groups = list(_GROUPS)
    if name and all(each != name for each, *_rest in accounts):
        accounts.append((name, uid, gid, "/"))
        groups.append((name, gid))
    lines = [
        f"{each}:x:{number}:{group if number != 65534 else 65534}:{each}:{home}:"
        f"{'/bin/sh' if number == 0 else '/usr/sbin/nologin'}\n"
        for each, number, group, home in accounts
    ]
    return "".join(lines).encode(), "".join(f"{each}:x:{number}:\n" for each, number in groups).encode()


def merged(path: str) -> str:
    """Where a packaged path is in the image."""
    top = path.partition("/")[0]
    return f"usr/{path}" if top in MERGED else path


class LayerBuilder:
    """Files of one layer by path; a later one replaces an earlier one."""

    def __init__(self, without: Sequence[str] = ()) -> None:
        """`without` are patterns of absolute paths that no package brings in; `*` stands for slashes too."""
        self._without = without
        self._entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
        for path, mode in FOLDERS.items():
            self.folder(path, mode)

    def folder(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, uid, gid
        self._entries[path] = entry, b""

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        entry = tarfile.TarInfo(path)
        entry.mode, entry.size = mode, len(data)
        self._entries[path] = entry, data

    def link(self, path: str, target: str) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        self._entries[path] = entry, b""

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def package(self, data_tar: bytes) -> None:
        """The files of one package, as `dpkg-deb --fsys-tarfile` gives them. Raises tarfile.TarError."""
        with tarfile.open(fileobj=io.BytesIO(data_tar)) as archive:
            for member in archive:
                self._add(member, archive)

    def _add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        path = posixpath.normpath(member.name).lstrip("/")
        if path in (".", *MERGED) or path.startswith("../"):
            return
        new = merged(path)
        if f"{new}/".startswith(_LEFT_OUT) and (member.isdir() or not new.endswith("/copyright")):
            return
        if any(fnmatch.fnmatchcase(f"/{new}", pattern) for pattern in self._without):
            return
        if member.isdir() and new in self._entries:
            return
        entry = tarfile.TarInfo(new)
        entry.type, entry.mode = member.type, member.mode & 0o7777
        entry.uid, entry.gid, entry.size = member.uid, member.gid, member.size
        data = b""
        if member.issym():
            entry.linkname = member.linkname
            if new != path and member.linkname.startswith("../"):
                # Relative to where it was; it moved one folder down.
                entry.linkname = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), member.linkname))
        elif member.islnk():
            entry.linkname = merged(posixpath.normpath(member.linkname).lstrip("/"))
        elif member.isreg():
            source = archive.extractfile(member)
            data = source.read() if source is not None else b""
        elif not member.isdir():
            return
        self._entries[new] = entry, data

    def commands(self, busybox: bytes, names: Iterable[str]) -> None:
        """busybox, under the name of each of its commands that nothing else brought."""
        self.file("usr/bin/busybox", busybox, 0o755)
        for name in names:
            if all(f"usr/{folder}/{name}" not in self for folder in ("bin", "sbin")):
                self.link(f"usr/bin/{name}", "busybox")

    def tar(self) -> bytes:
        """Every folder before what is in it; hard links after their target."""
        for path in list(self._entries):
            parent = posixpath.dirname(path)
            while parent and parent not in self._entries:
                self.folder(parent)
                parent = posixpath.dirname(parent)
        for name in MERGED:
            if name in _ALWAYS or f"usr/{name}" in self._entries:
                self.link(name, f"usr/{name}")
        ordered = sorted(self._entries.values(), key=lambda item: (item[0].islnk(), item[0].name))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for entry, data in ordered:
                archive.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()


def build(
    packages: Sequence[bytes],
    busybox: bytes,
    commands: Iterable[str],
    *,
    user: str = "",
    writable: Sequence[str] = (),
    without: Sequence[str] = (),
) -> bytes:
    """The layer. `packages` are their data archives, `writable` absolute folders that the user owns, `without`
    patterns of absolute paths that are left out.

    Raises ValueError for a user or folder that cannot be, tarfile.TarError.
    """
    name, uid, gid = resolve_user(user)
    builder = LayerBuilder(without)
    for data in packages:
        builder.package(data)
    builder.commands(busybox, commands)
    accounts, groups = passwd(name, uid, gid)
    builder.file("etc/passwd", accounts)
    builder.file("etc/group", groups)
    for folder in writable:
        path = posixpath.normpath(folder)
        if not folder.startswith("/") or path == "/":
            raise ValueError(f"--writable {folder}: an absolute path is wanted, and not /")
        builder.folder(merged(path.lstrip("/")), 0o755, uid, gid)
    return builder.tar()
