"""PID 1 of a node: reaps, and keeps containerd, the agent and the proxy running.

Started by `deploy.boot` inside a node's namespaces (or by systemd on a machine that is a node), with a JSON file that
names its services. It imports little, because there is one per node. `/run/argosy/init.json` says what
runs, for `argosy status`. SIGTERM is an ordered shutdown: agent, proxy, containerd, then whatever is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Any

from argosy.host import Clock, RealClock

STATUS_FILE = "/run/argosy/init.json"
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 10.0
STEADY_S = 10.0
"""A service that ran this long starts over with the shortest back-off."""
STOP_S = 3.0
HOUSEKEEPING_S = 30.0
MAX_LOG_BYTES = 10 << 20
KEPT_LOGS = 3
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


@dataclass
class Service:
    """One supervised process. `stop_order`: lower ones are stopped first."""

    name: str
    arguments: list[str]
    log: str
    stop_order: int = 0
    after: str = ""
    """A file (a socket) to wait for before the first start."""
    hold: str = ""
    """A file that keeps it from being started as long as it is there: a fault (deploy.chaos)."""
    restart_on: list[str] = field(default_factory=list)
    """Files (certificates that are renewed): when one is replaced, the service is ended and started again."""
    stamps: dict[str, int] = field(default_factory=dict)
    """When each of those was last changed, as far as the running process may have read it."""
    pid: int = 0
    started_s: float = 0.0
    due_s: float = 0.0
    backoff_s: float = BACKOFF_FIRST_S
    restarts: int = 0
    exit: str = ""

    def report(self) -> dict[str, object]:
        return {"name": self.name, "pid": self.pid, "restarts": self.restarts, "exit": self.exit}


@dataclass
class Init:
    """The loop: start what is due, reap, wait for a signal or the next due time."""

    services: list[Service]
    environment: dict[str, str]
    clock: Clock = field(default_factory=RealClock)
    status_file: str = STATUS_FILE
    stopping: bool = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._report()
        housekeeping_s = self.clock.monotonic() + HOUSEKEEPING_S
        while not self.stopping:
            now = self.clock.monotonic()
            waiting = self._start_due(now)
            if now >= housekeeping_s:
                for service in self.services:
                    rotate(service.log)
                    self._restart_if_renewed(service)
                housekeeping_s = now + HOUSEKEEPING_S
            wake_s = min([housekeeping_s, *(item.due_s for item in self.services if not item.pid)])
            timeout_s = max(0.0, wake_s - now)
            self._wait(min(timeout_s, 0.02) if waiting else timeout_s)
        self._shut_down()

    def _wait(self, timeout_s: float) -> None:
        got = signal.sigtimedwait(SIGNALS, timeout_s)
        if got is not None and got.si_signo != signal.SIGCHLD:
            self.stopping = True
        self._reap()

    def _start_due(self, now: float) -> bool:
        """Start what is down and due; True when something waits for its file."""
        waiting = False
        for service in self.services:
            if service.pid or service.due_s > now:
                continue
            held = bool(service.hold) and os.path.exists(service.hold)
            if held or (service.after and not os.path.exists(service.after)):
                waiting = True
                continue
            service.stamps = {path: stamp(path) for path in service.restart_on}
            service.pid = self._spawn(service)
            service.started_s = now
            self._report()
        return waiting

    def _restart_if_renewed(self, service: Service) -> None:
        """A file that was not there at the start is not a renewal: the service waited for it itself."""
        if not service.pid:
            return
        now = {path: stamp(path) for path in service.restart_on}
        renewed = [path for path, value in now.items() if service.stamps.get(path) and value != service.stamps[path]]
        service.stamps = now
        if renewed:
            print(f"{service.name} is started again: {', '.join(renewed)} changed", flush=True)
            with contextlib.suppress(ProcessLookupError):
                os.kill(service.pid, signal.SIGTERM)

    def _spawn(self, service: Service) -> int:
        os.makedirs(os.path.dirname(service.log), exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.posix_spawn(
            service.arguments[0],
            service.arguments,
            self.environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, service.log, flags, 0o640),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
        )

    def _reap(self) -> None:
        changed = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            for service in self.services:
                if service.pid == pid:
                    self._ended(service, os.waitstatus_to_exitcode(status))
                    changed = True
        if changed:
            self._report()

    def _ended(self, service: Service, code: int) -> None:
        now = self.clock.monotonic()
        service.pid = 0
        service.exit = f"signal {-code}" if code < 0 else f"code {code}"
        service.restarts += 1
        if now - service.started_s >= STEADY_S:
            service.backoff_s = BACKOFF_FIRST_S
        service.due_s = now + service.backoff_s
        service.backoff_s = min(service.backoff_s * 2, BACKOFF_LAST_S)
        print(f"{service.name} ended with {service.exit}; next start in {service.due_s - now:.1f} s", flush=True)

    def _report(self) -> None:
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self.status_file), exist_ok=True)
            temporary = self.status_file + ".new"
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump({"services": [service.report() for service in self.services]}, file)
            os.rename(temporary, self.status_file)

    def _shut_down(self) -> None:
        for order in sorted({service.stop_order for service in self.services}):
            group = [item for item in self.services if item.stop_order == order and item.pid]
            for service in group:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(service.pid, signal.SIGTERM)
            deadline_s = self.clock.monotonic() + STOP_S
            while any(item.pid for item in group) and self.clock.monotonic() < deadline_s:
                self._wait(max(0.01, deadline_s - self.clock.monotonic()))
            for service in group:
                if service.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(service.pid, signal.SIGKILL)


def stamp(path: str) -> int:
    """When a file was last changed; 0 for one that is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def rotate(path: str) -> None:
    """Copy a log that grew too large aside and empty it: its writers have it open for appending."""
    try:
        if os.path.getsize(path) <= MAX_LOG_BYTES:
            return
    except OSError:
        return
    for number in range(KEPT_LOGS - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}.{number}", f"{path}.{number + 1}")
    with open(path, "r+b") as source, open(f"{path}.1", "wb") as target:
        while part := source.read(1 << 20):
            target.write(part)
        source.truncate(0)


def load(path: str) -> Init:
    """The services of a file `{"services": [{"name", "arguments", "log", …}], "environment": {…}}`."""
    with open(path, encoding="utf-8") as file:
        read: dict[str, Any] = json.load(file)
    return Init([Service(**item) for item in read["services"]], dict(read["environment"]))


def main() -> None:
    load(sys.argv[1]).run()


if __name__ == "__main__":
    main()
