"""Real clusters in pytest: the `cluster` fixture, and the `Cluster` it gives.

    def test_my_operator(cluster):
        cluster.kubectl("apply", "-f", "operator.yaml")
        cluster.wait("deployment/operator", "condition=Available")

A cluster is a real one: `argosy up` in namespaces of its own (so tests need root), without an uplink, stopped and
removed at the end of the test session even when tests fail. `Cluster.start` gives further ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from argosy import places
from argosy.host import RealClock, RealRng

if TYPE_CHECKING:
    from argosy.client import Client
    from deploy.chaos.api import Chaos

T = TypeVar("T")

COMMAND_TIMEOUT_S = 120.0
POLL_S = 0.1
_ANY: Any = object()
"""Any value that is true."""
_harmed: set[str] = set()
"""Clusters whose faults were asked for since the last test ended."""


class CommandFailed(AssertionError):
    """A command of a test ended with an error; the message holds what it printed."""


def run(
    arguments: Sequence[str],
    *,
    stdin: str | None = None,
    environment: dict[str, str] | None = None,
    timeout_s: float = COMMAND_TIMEOUT_S,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Raises CommandFailed when it fails (with `check`) or takes too long."""
    try:
        done = subprocess.run(
            list(arguments),
            input=stdin if stdin is not None else "",
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(
            f"{' '.join(arguments)}: not done after {timeout_s} s\n{error.stdout!r}\n{error.stderr!r}"
        ) from None
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


@dataclass(frozen=True)
class Process:
    """One process of a cluster, as `argosy status` reports it."""

    name: str
    pid: int
    healthy: bool


class Cluster:
    """A running cluster. Every method raises AssertionError with what was seen when it does not succeed in time."""

    def __init__(self, name: str, kubeconfig: Path, kubectl_binary: str) -> None:
        self.name = name
        self.kubeconfig = kubeconfig
        self.kubectl_binary = kubectl_binary
        self._clock = RealClock()
        self._held: dict[str, Process] = {}

    @classmethod
    def start(
        cls, name: str = "", *, nodes: int = 3, stores: int = 3, flags: Sequence[str] = (), kubectl: str = "kubectl"
    ) -> Cluster:
        """`argosy up`; returns once every node is Ready."""
        name = name or "test-" + RealRng().token(3).hex()
        folder = Path(tempfile.mkdtemp(prefix=f"argosy-{name}-"))
        cluster = cls(name, folder / "kubeconfig", kubectl)
        try:
            cluster.argosy(
                "up", "--nodes", str(nodes), "--stores", str(stores), "--no-uplink", *flags, timeout_s=180.0
            )
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def stop(self) -> None:
        """`argosy down`: nothing is left but logs."""
        try:
            self.argosy("down", timeout_s=120.0)
        finally:
            shutil.rmtree(self.kubeconfig.parent, ignore_errors=True)

    # ---- commands

    def argosy(self, command: str, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S, check: bool = True) -> str:
        """Run `argosy COMMAND --name THIS …`; gives its output."""
        line = [sys.executable, "-m", "argosy.cli", *command.split(), "--name", self.name, *arguments]
        done = run(line, environment={"KUBECONFIG": str(self.kubeconfig)}, timeout_s=timeout_s, check=check)
        return done.stdout + (done.stderr if not check else "")

    def kubectl(
        self,
        *arguments: str,
        stdin: str | None = None,
        timeout_s: float = COMMAND_TIMEOUT_S,
        binary: str = "",
    ) -> str:
        """Run kubectl; gives its standard output. Raises CommandFailed."""
        return self.kubectl_result(*arguments, stdin=stdin, timeout_s=timeout_s, binary=binary, check=True).stdout

    def kubectl_result(
        self,
        *arguments: str,
        stdin: str | None = None,
        timeout_s: float = COMMAND_TIMEOUT_S,
        binary: str = "",
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        line = [binary or self.kubectl_binary, "--kubeconfig", str(self.kubeconfig), *arguments]
        return run(line, stdin=stdin, timeout_s=timeout_s, check=check)

    def apply(self, *objects: dict[str, Any]) -> None:
        # One document: kubectl tells JSON from YAML once, and then knows no "---" between JSON objects.
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(objects[0] if len(objects) == 1 else listed))

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get … -o json`."""
        result: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return result

    def wait(self, target: str, condition: str, *flags: str, timeout_s: float = 60.0) -> None:
        """`kubectl wait TARGET --for=CONDITION`, with any kubectl: old ones know neither `jsonpath=` nor `create`,
        and take what is deleted already for an error. Raises CommandFailed or, for these two, AssertionError."""
        what = f"{target} --for={condition}"
        if condition == "create":
            self.eventually(
                lambda: self.kubectl_result("get", target, *flags).returncode,
                equals=0,
                timeout_s=timeout_s,
                what=what,
            )
        elif condition.startswith("jsonpath="):
            path, _, value = condition.rpartition("=")
            self.eventually(
                lambda: self.kubectl_result("get", target, *flags, "-o", path).stdout,
                equals=value,
                timeout_s=timeout_s,
                what=what,
            )
        else:
            arguments = ("wait", target, f"--for={condition}", f"--timeout={int(timeout_s)}s", *flags)
            done = self.kubectl_result(*arguments)
            gone = condition == "delete" and "no matching resources found" in done.stderr
            if done.returncode and not gone:
                raise CommandFailed(f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}")

    def client(self) -> Client:
        """A gRPC client with the administrator's certificate; use it within one event loop and close it."""
        from argosy.client import Client

        return Client.from_cluster(self.name)

    # ---- processes and nodes

    @property
    def state(self) -> Path:
        """The cluster's folder on disk: certificates, store members, nodes."""
        return places.state(self.name)

    def processes(self) -> dict[str, Process]:
        """By name: `etcd-1`, `apiserver-1`, `scheduler-1`, `node-1`, `node-1/agent`, …"""
        report = json.loads(self.argosy("status", "-o", "json"))
        return {
            item["name"]: Process(item["name"], int(item["pid"] or 0), bool(item["healthy"]))
            for item in report["processes"]
        }

    def kill(self, *names: str) -> int:
        """kill -9 processes by their names, all at once; gives the former pid of the first."""
        import signal

        found = self._held or self.processes()
        pids = [found[name].pid for name in names]
        assert all(pids), f"not all of {', '.join(names)} are running"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids[0]

    @contextlib.contextmanager
    def unsupervised(self) -> Iterator[dict[str, Process]]:
        """What dies inside the block stays dead until its end: the supervisor is stopped, then goes on.

        Gives the processes as they were. `argosy` commands wait for the supervisor, so they are for after the block.
        """
        import signal

        held = self.processes()
        supervisor = held["supervisor"].pid
        os.kill(supervisor, signal.SIGSTOP)
        self._held = held
        try:
            yield held
        finally:
            self._held = {}
            os.kill(supervisor, signal.SIGCONT)

    # ---- faults

    @property
    def chaos(self) -> Chaos:
        """Faults: `with cluster.chaos.partition("node-1", from_=["apiserver-1"]): …`; docs/faults.md has them all.

        Whatever a test leaves in force is healed when it ends.
        """
        from deploy.chaos.api import Chaos

        _harmed.add(self.name)
        return Chaos(self.name)

    # ---- waiting

    def eventually(
        self,
        check: Callable[[], T],
        *,
        equals: object = _ANY,
        timeout_s: float = 60.0,
        poll_s: float = POLL_S,
        what: str = "",
    ) -> T:
        """Call `check` until it neither raises AssertionError nor gives a false value; gives its last value.

        With `equals` it is to give that value, and a failure says what it gave instead.
        """
        import threading

        deadline = self._clock.monotonic() + timeout_s
        pause = threading.Event()
        while True:
            problem: object
            try:
                value = check()
                if value == equals if equals is not _ANY else value:
                    return value
                problem = repr(value) if equals is _ANY else f"{value!r}, not {equals!r}"
            except (AssertionError, KeyError, IndexError) as error:
                problem = error if isinstance(error, AssertionError) else repr(error)
            if self._clock.monotonic() >= deadline:
                raise AssertionError(f"{what or check.__name__}: not so after {timeout_s} s: {problem}")
            pause.wait(poll_s)


@pytest.fixture(autouse=True)
def heal_faults() -> Iterator[None]:
    """Heals, at the end of each test, also of one that fails, what `cluster.chaos` injected and nobody healed."""
    yield
    while _harmed:
        from deploy.chaos.api import Chaos
        from deploy.layout import Layout

        name = _harmed.pop()
        if os.path.isdir(Layout(name).run):
            Chaos(name).heal()


@pytest.fixture(scope="session")
def cluster_kubectl() -> str:
    """The kubectl of the `cluster` fixture; override it in a conftest.py to test with another."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl on this machine")
    return found


@pytest.fixture(scope="session")
def cluster_flags() -> Sequence[str]:
    """Further flags of `argosy up` for the `cluster` fixture; override it in a conftest.py."""
    return ()


@pytest.fixture(scope="session")
def cluster(cluster_kubectl: str, cluster_flags: Sequence[str]) -> Iterator[Cluster]:
    """A cluster of 3 nodes and 3 store members, shared by the tests of a session."""
    if os.geteuid() != 0:
        pytest.skip("a real cluster needs root")
    running = Cluster.start(kubectl=cluster_kubectl, flags=cluster_flags)
    try:
        yield running
    finally:
        running.stop()
