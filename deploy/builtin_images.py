"""The images a cluster has without a registry: the sandbox's pause, busybox, and the demo's two versions.

All are made from Debian's static busybox; the demo is its small HTTP server under a shell that is told how to end.
`argosy up` writes them into one archive and loads it into every node.
"""

from __future__ import annotations

import os
import struct
import subprocess
from typing import Final

from deploy import oci
from deploy.containerd import PAUSE_IMAGE

BUSYBOX: Final = ("/bin/busybox", "/usr/bin/busybox")
DEMO_VERSIONS: Final = ("v2.1.0", "v2.2.0")

_PASSWD: Final = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP: Final = b"root:x:0:\nnogroup:x:65534:\n"

# The demo answers / with its host's name and version. /healthz and /ready are there unless /tmp/unhealthy or
# /tmp/unready exists, looked at once a second without a fork, so that anyone can make either fail. After SIGTERM it
# serves on for three seconds, while rules elsewhere still send it requests, then ends.
_DEMO_START: Final = """#!/bin/sh
mkdir -p /tmp/www
echo "$(hostname) $VERSION" >/tmp/www/index.html
echo ok >/tmp/www/.ok
mkfifo /tmp/.never
exec 3<>/tmp/.never
show() {
  if [ -e "/tmp/$1" ]; then
    [ ! -e "/tmp/www/$2" ] || rm "/tmp/www/$2"
  else
    [ -e "/tmp/www/$2" ] || ln "/tmp/www/.ok" "/tmp/www/$2"
  fi
}
show unhealthy healthz
show unready ready
httpd -f -p 8080 -h /tmp/www &
server=$!
trap 'sleep 3; kill "$server"; exit 0' TERM INT
echo "serving $VERSION on port 8080"
while kill -0 "$server" 2>/dev/null; do
  show unhealthy healthz
  show unready ready
  read -r -t 1 _ <&3
done
"""


def busybox_path() -> str:
    """Raises FileNotFoundError where Debian's busybox-static is not installed."""
    for path in BUSYBOX:
        if os.path.exists(path):
            return path
    raise FileNotFoundError("no busybox; install Debian's package busybox-static")


def busybox_layer() -> bytes:
    path = busybox_path()
    with open(path, "rb") as file:
        program = file.read()
    listed = subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split()
    return oci.Layer(
        files={"bin/busybox": (program, 0o755), "etc/passwd": (_PASSWD, 0o644), "etc/group": (_GROUP, 0o644)},
        folders=dict.fromkeys(("bin", "dev", "etc", "proc", "sys", "usr", "usr/bin", "var"), 493)
        | {"tmp": 0o1777, "root": 0o700},
        links={f"bin/{name}": "busybox" for name in listed if name != "busybox"}
        | {"usr/bin/env": "../../bin/busybox"},
    ).tar()


def demo_layer() -> bytes:
    return oci.Layer(
        files={"api/start": (_DEMO_START.encode(), 0o755)},
        folders={"api": 0o755},
    ).tar()


def pause_program() -> bytes:
    """A static x86-64 ELF of under 200 bytes: ignore SIGCHLD (so that the kernel reaps), then pause forever."""
    code = b"".join(
        (
            b"\xb8\x0d\x00\x00\x00",  # mov eax, rt_sigaction
            b"\xbf\x11\x00\x00\x00",  # mov edi, SIGCHLD
            b"\x48\x8d\x35\x18\x00\x00\x00",  # lea rsi, [rip + 24]: the action below
            b"\x31\xd2",  # xor edx, edx
            b"\x41\xba\x08\x00\x00\x00",  # mov r10d, 8
            b"\x0f\x05",  # syscall
            b"\xb8\x22\x00\x00\x00",  # mov eax, pause
            b"\x0f\x05",  # syscall
            b"\xeb\xf7",  # jmp back to pause
        )
    )
    action_offset = 17 + 24
    code = code.ljust(action_offset, b"\x90") + struct.pack("<QQQQ", 1, 0, 0, 0)  # SIG_IGN, no flags
    base, header = 0x400000, 64 + 56
    size = header + len(code)
    elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + header, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return elf + segment + code


def pause_image(busybox: bytes) -> oci.Image:
    """Every sandbox's first process; a busybox that sleeps where the small program does not run."""
    if oci.architecture() == "amd64":
        layer = oci.Layer(files={"pause": (pause_program(), 0o755)}).tar()
        return oci.Image([PAUSE_IMAGE], [layer], {"Entrypoint": ["/pause"]})
    return oci.Image([PAUSE_IMAGE], [busybox], {"Entrypoint": ["/bin/busybox", "sleep", "2147483647"]})


SHELL_NAMES: Final = ("docker.io/library/busybox:latest", "docker.io/library/busybox:1.35")


def names() -> list[str]:
    """What the built-in images are called: no registry has them, so nodes keep them."""
    return [PAUSE_IMAGE, *SHELL_NAMES, *(f"docker.io/myregistry/api:{version}" for version in DEMO_VERSIONS)]


def images() -> list[oci.Image]:
    busybox, demo = busybox_layer(), demo_layer()
    path = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    shell = oci.Image(
        list(SHELL_NAMES),
        [busybox],
        {"Cmd": ["sh"], "Env": path},
    )
    demos = [
        oci.Image(
            [f"docker.io/myregistry/api:{version}"],
            [busybox, demo],
            {"Entrypoint": ["/api/start"], "Env": [*path, f"VERSION={version}"], "ExposedPorts": {"8080/tcp": {}}},
        )
        for version in DEMO_VERSIONS
    ]
    return [pause_image(busybox), shell, *demos]


def write_archive(path: str) -> None:
    """Write them all into one OCI archive. Raises OSError."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = path + ".new"
    with open(temporary, "wb") as file:
        file.write(oci.archive(images()))
    os.rename(temporary, path)
