"""The nginx that serves: started as a child that ends with this process, and reloaded when its configuration changes.

A configuration takes effect only when `nginx -t` accepts it; until then the one before is served. A reload drops no
request: old workers finish what they have.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Mapping
from typing import Final

from argosy import logs

log = logs.get("ingress.nginx")

TEST_S: Final = 30.0
STOP_S: Final = 5.0
SHOWN_CHARS: Final = 500


class NginxError(Exception):
    """nginx refuses a configuration or does not run; the message says why."""


class Nginx:
    """`folder` is its own: configuration, certificates, pid."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._applied = ""
        self._certificates: tuple[str, ...] = ()

    @property
    def config_file(self) -> str:
        return f"{self.folder}/nginx.conf"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def apply(self, text: str) -> bool:
        """Serve by this configuration; whether anything changed. Raises NginxError."""
        if text == self._applied and self.alive:
            return False
        await asyncio.to_thread(self._check, text)
        if self.alive:
            assert self._process is not None
            self._process.send_signal(signal.SIGHUP)
        else:
            self._start()
        self._applied = text
        return True

    def _check(self, text: str) -> None:
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        fresh = self.config_file + ".new"
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
        try:
            done = subprocess.run(
                ["nginx", "-t", "-q", "-p", self.folder, "-c", fresh],
                capture_output=True,
                text=True,
                timeout=TEST_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NginxError(f"nginx -t: {error}") from None
        if done.returncode != 0:
            raise NginxError(done.stderr.strip()[:SHOWN_CHARS])
        os.replace(fresh, self.config_file)

    def _start(self) -> None:
        """From the main thread: the kernel sends the signal when the thread that started it ends."""
        command = ["setpriv", "--pdeathsig", "TERM", "nginx", "-p", self.folder, "-c", self.config_file]
        try:
            self._process = subprocess.Popen([*command, "-g", "daemon off;"], stdin=subprocess.DEVNULL)
        except OSError as error:
            raise NginxError(f"nginx cannot be started: {error}") from None

    async def stop(self) -> None:
        """Let it finish what it has for a moment."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGQUIT)
        try:
            await asyncio.to_thread(process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            process.terminate()

    # ---- certificates

    def keep_certificates(self, wanted: Mapping[str, bytes]) -> dict[str, str]:
        """File name to PEM text; gives those that hold a certificate and its key, with their paths."""
        folder = f"{self.folder}/tls"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        result = {}
        for name, pem in wanted.items():
            # A renewed certificate is a new file, so that the configuration changes with it.
            path = f"{folder}/{name}-{hashlib.sha256(pem).hexdigest()[:16]}.pem"
            if _read(path) != pem:
                fresh = path + ".new"
                with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    file.write(pem)
                if not _usable(fresh):
                    os.unlink(fresh)
                    continue
                os.replace(fresh, path)
            result[name] = path
        # Those of the round before may be in the configuration that is still served.
        for file_name in os.listdir(folder):
            if f"{folder}/{file_name}" not in {*result.values(), *self._certificates}:
                os.unlink(f"{folder}/{file_name}")
        self._certificates = tuple(result.values())
        return result

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path: str) -> bytes | None:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read()
    return None


def _usable(path: str) -> bool:
    """Whether a TLS server can be made of it: certificate and key are there and belong together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, password=lambda: "")
    except (OSError, ValueError):
        return False
    return True
