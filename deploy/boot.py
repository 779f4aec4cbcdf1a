"""Boots a node: enters its namespaces, lays its root file system out and becomes its PID 1.

Run as a script (`python -I -S boot.py SPEC.json`) by the supervisor, before anything heavy is imported, so that a
node's PID 1 stays small: standard library only. Prints the host's pid of the node's PID 1 and ends; the child lives
on. The specification is `deploy.node.boot_spec`'s.

The root is an overlay of the host's root on a tmpfs, so that a node has the host's programs and its own /etc; /var is
the node's own folder on disk, which lives through a crash, /run and /tmp begin empty. /sys/fs/cgroup is mounted anew
inside a cgroup namespace, so that the node's own group is the root there.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE, MS_SHARED = 16384, 1 << 18, 1 << 20
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000
LARGE_TMPFS = "size=50%,nr_inodes=0,mode=755"

_libc = ctypes.CDLL(None, use_errno=True)

Spec = dict[str, Any]


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    _check(
        _libc.mount(source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode()),
        f"mount {kind or 'bind'} {source} on {target}",
    )


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Bind a folder or file, making the place for it."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "ab"):
            pass
    mount(source, target, flags=MS_BIND)
    if read_only:
        mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def enter(spec: Spec) -> None:
    """Join the node's network namespace and control groups; further namespaces are new.

    Without a network namespace the node stays in the one of its starter: the machine's own network is its network.
    """
    if spec["netns"]:
        fd = os.open(spec["netns"], os.O_RDONLY | os.O_CLOEXEC)
        _check(_libc.setns(fd, CLONE_NEWNET), f"enter {spec['netns']}")
        os.close(fd)
    for folder in spec["cgroups"]:
        with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP
    _check(_libc.unshare(flags), "unshare")


def lay_root(spec: Spec) -> str:
    """Build the node's root below `spec["folder"]`; gives its path."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    folder = str(spec["folder"])
    base = folder + "/root"
    os.makedirs(base, exist_ok=True)
    mount("tmpfs", base, "tmpfs", 0, LARGE_TMPFS)
    root = base + "/root"
    for name in ("upper", "work", "root"):
        os.mkdir(f"{base}/{name}")
    mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={base}/upper,workdir={base}/work")
    for path in spec["disks"]:
        # Other disks of the host hold programs too; they are shared, so read-only.
        bind(path, root + path, read_only=True)
    for path in ("/run", "/tmp"):  # noqa: S108  # mounted here, empty
        os.makedirs(root + path, exist_ok=True)
        mount("tmpfs", root + path, "tmpfs", MS_NOSUID | MS_NODEV, LARGE_TMPFS)
    os.chmod(root + "/tmp", 0o1777)  # noqa: S103, S108  # as everywhere
    bind(folder + "/var", root + "/var")
    for path in ("/run/lock", "/run/netns", "/var/log", "/var/lib", "/var/cache"):
        os.makedirs(root + path, exist_ok=True)
    for link, target in (("/var/run", "/run"), ("/var/lock", "/run/lock")):
        if not os.path.lexists(root + link):
            os.symlink(target, root + link)
    for source, target, writable in spec["binds"]:
        bind(source, root + target, read_only=not writable)
    return root


def mount_system(root: str, spec: Spec) -> None:
    """/proc, /sys, /dev and the control groups, as a booted machine has them."""
    mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", root + "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("/dev", root + "/dev", flags=MS_BIND)
    mount("devpts", root + "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    if os.path.isdir(root + "/dev/shm"):  # noqa: S108
        mount("tmpfs", root + "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV)  # noqa: S108
    with contextlib.suppress(OSError):
        mount("mqueue", root + "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    groups = root + "/sys/fs/cgroup"
    if spec["unified"]:
        mount("cgroup2", groups, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        delegate(groups)
        return
    mount("tmpfs", groups, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755")
    for name, options in spec["hierarchies"]:
        os.mkdir(f"{groups}/{name}")
        mount("cgroup", f"{groups}/{name}", "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
        controllers = [] if options.startswith("none,") else options.split(",")
        for controller in controllers:
            if controller != name and len(controllers) > 1:
                os.symlink(name, f"{groups}/{controller}")


def delegate(groups: str) -> None:
    """Version 2 allows no process beside groups with controllers: this one moves into a leaf."""
    os.makedirs(f"{groups}/init", exist_ok=True)
    with open(f"{groups}/init/cgroup.procs", "w", encoding="ascii") as file:
        file.write("0")
    with open(f"{groups}/cgroup.controllers", encoding="ascii") as file:
        controllers = file.read().split()
    for controller in controllers:
        with contextlib.suppress(OSError), open(f"{groups}/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write(f"+{controller}")


def pivot(root: str) -> None:
    """Make `root` the root; the old one goes. What the node mounts is then seen by its containers."""
    old = root + "/.old"
    os.mkdir(old)
    _check(_libc.pivot_root(root.encode(), old.encode()), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/.old", MNT_DETACH), "umount /.old")
    os.rmdir("/.old")
    mount("none", "/", flags=MS_REC | MS_SHARED)


def become_init(spec: Spec) -> None:
    """In the new pid namespace: everything up to the exec of the node's PID 1."""
    # A signal that comes before PID 1 waits for it is kept: the kernel drops one that it neither blocks nor handles.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD))
    os.setsid()
    root = lay_root(spec)
    mount_system(root, spec)
    for path, text in spec["files"].items():
        target = root + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(target):
            os.unlink(target)
        with open(target, "w", encoding="utf-8") as file:
            file.write(text)
    pivot(root)
    name = spec["hostname"].encode()
    _check(_libc.sethostname(name, len(name)), "sethostname")
    os.execve(spec["init"][0], spec["init"], spec["environment"])  # noqa: S606  # the node's PID 1


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        spec: Spec = json.load(file)
    enter(spec)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        try:
            # Whoever started this waits for the end of its standard output: the log takes its place.
            os.dup2(2, 1)
            become_init(spec)
        except BaseException as error:
            os.write(writer, f"{spec['hostname']}: {error}".encode()[:4000])
            os._exit(1)
    os.close(writer)
    problem = os.read(reader, 4000)
    if problem:
        sys.exit(problem.decode(errors="replace"))
    print(pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
