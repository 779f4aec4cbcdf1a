"""A Disk for crash tests: it keeps a second tree with only what a power cut would have left.

kill -9 leaves the page cache, so it proves nothing about a disk. Under `--record-disk DIR` every file has a shadow
in DIR that receives its content only when `datasync` returns, and creations, renames and unlinks reach DIR only
with `sync_dir`. A test kills the members, puts the shadow tree in the data directory's place, and starts them.
"""

from __future__ import annotations

import os
import threading

from argosy.host import Disk, File

_CHUNK_BYTES = 1 << 20


class _Inode:
    """One file's durable content, whatever its names."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class RecordingFile:
    def __init__(self, file: File, inode: _Inode) -> None:
        self._file = file
        self._inode = inode
        self._lock = threading.Lock()
        self._dirty: list[tuple[int, int]] = []

    def pwrite(self, data: bytes, offset: int) -> None:
        self._file.pwrite(data, offset)
        with self._lock:
            self._dirty.append((offset, len(data)))

    def pread(self, size_bytes: int, offset: int) -> bytes:
        return self._file.pread(size_bytes, offset)

    def size(self) -> int:
        return self._file.size()

    def truncate(self, size_bytes: int) -> None:
        self._file.truncate(size_bytes)

    def datasync(self) -> None:
        with self._lock:
            dirty, self._dirty = self._dirty, []
        self._file.datasync()
        for offset, size in dirty:
            end = offset + size
            while offset < end:
                data = self._file.pread(min(_CHUNK_BYTES, end - offset), offset)
                if not data:
                    break
                os.pwrite(self._inode.fd, data, offset)
                offset += len(data)
        os.ftruncate(self._inode.fd, self._file.size())

    def close(self) -> None:
        self._file.close()


class RecordingDisk:
    """Wraps a Disk; `root` is the directory recorded, `shadow` gets the durable tree."""

    def __init__(self, disk: Disk, root: str, shadow: str) -> None:
        self._disk = disk
        self._root = os.path.abspath(root)
        self._shadow = os.path.abspath(shadow)
        self._inodes: dict[str, _Inode] = {}
        self._count = 0
        self._store = os.path.join(self._shadow, ".inodes")
        os.makedirs(self._store, exist_ok=True)
        self._adopt(self._root)

    def makedirs(self, path: str) -> None:
        self._disk.makedirs(path)
        os.makedirs(self._target(path), exist_ok=True)

    def open(self, path: str, *, create: bool = False) -> File:
        existed = self._disk.exists(path)
        file = self._disk.open(path, create=create)
        inode = self._inodes.get(path)
        if inode is None or not existed:
            inode = self._inodes[path] = self._new_inode()
        return RecordingFile(file, inode)

    def rename(self, source: str, target: str) -> None:
        self._disk.rename(source, target)
        self._inodes[target] = self._inodes.pop(source)

    def unlink(self, path: str) -> None:
        self._disk.unlink(path)
        self._inodes.pop(path, None)

    def listdir(self, path: str) -> list[str]:
        return self._disk.listdir(path)

    def exists(self, path: str) -> bool:
        return self._disk.exists(path)

    def sync_dir(self, path: str) -> None:
        """Names become durable: the shadow directory gets exactly the names that are there now."""
        self._disk.sync_dir(path)
        target = self._target(path)
        names = {name: self._inodes.get(f"{path}/{name}") for name in self._disk.listdir(path)}
        for name in os.listdir(target):
            if name not in names and os.path.isfile(os.path.join(target, name)):
                os.unlink(os.path.join(target, name))
        for name, inode in names.items():
            if inode is not None:
                self._link(inode, os.path.join(target, name))

    def free_bytes(self, path: str) -> int:
        return self._disk.free_bytes(path)

    def _link(self, inode: _Inode, name: str) -> None:
        temporary = f"{name}.linking"
        if os.path.exists(temporary):
            os.unlink(temporary)
        os.link(inode.path, temporary)
        os.replace(temporary, name)
        if os.path.exists(temporary):
            os.unlink(temporary)

    def _new_inode(self) -> _Inode:
        self._count += 1
        return _Inode(os.path.join(self._store, f"{os.getpid()}-{self._count}"))

    def _target(self, path: str) -> str:
        relative = os.path.relpath(os.path.abspath(path), self._root)
        return os.path.normpath(os.path.join(self._shadow, relative))

    def _adopt(self, root: str) -> None:
        """What is on disk when recording begins counts as durable."""
        for folder, _, names in os.walk(root):
            os.makedirs(self._target(folder), exist_ok=True)
            for name in names:
                path = os.path.join(folder, name)
                inode = self._inodes[path] = self._new_inode()
                with open(path, "rb") as file:
                    while data := file.read(_CHUNK_BYTES):
                        os.write(inode.fd, data)
                self._link(inode, self._target(path))
