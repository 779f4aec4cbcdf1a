"""A whole cluster on Debian's etcd-server on this machine's loopback: plain, and with client certificates."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy import pki
from argosy.host import real_host
from argosy.testing import Cluster, run
from tests.e2e.stream import Stream
from tests.e2e.test_images import sleeper
from tests.ports import free_ports

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("etcd") is None, reason="Debian's etcd-server is not installed"),
]


class Etcd:
    """Debian's etcd: members on loopback ports; with `tls`, clients must show a certificate."""

    def __init__(self, folder: Path, members: int, *, tls: bool) -> None:
        self._folder = folder
        self._tls = tls
        ports = free_ports(2 * members)
        scheme = "https" if tls else "http"
        self.urls = [f"{scheme}://127.0.0.1:{port}" for port in ports[:members]]
        self._peers = [f"http://127.0.0.1:{port}" for port in ports[members:]]
        self._processes: list[subprocess.Popen[bytes]] = []
        if tls:
            authority = pki.Authority.create("etcd-test", real_host())
            (folder / "ca.crt").write_bytes(authority.certificate)
            authority.issue("etcd", hosts=["127.0.0.1"], server=True).write(str(folder / "server"))
            authority.issue("argosy").write(str(folder / "client"))
        for at in range(members):
            self.start(at)

    def start(self, at: int) -> None:
        cluster = ",".join(f"m{other}={url}" for other, url in enumerate(self._peers))
        line = ["etcd", "--name", f"m{at}", "--data-dir", str(self._folder / f"m{at}"), "--log-level", "error"]
        line += ["--listen-client-urls", self.urls[at], "--advertise-client-urls", self.urls[at]]
        line += ["--listen-peer-urls", self._peers[at], "--initial-advertise-peer-urls", self._peers[at]]
        line += ["--initial-cluster", cluster]
        if self._tls:
            line += ["--client-cert-auth", "--trusted-ca-file", str(self._folder / "ca.crt")]
            line += ["--cert-file", str(self._folder / "server.crt"), "--key-file", str(self._folder / "server.key")]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._processes[at:] = [process, *self._processes[at + 1 :]]

    def kill(self, at: int) -> None:
        self._processes[at].kill()
        self._processes[at].wait()

    def stop(self) -> None:
        for at in range(len(self._processes)):
            self.kill(at)

    def keys(self, prefix: str) -> list[str]:
        """As etcdctl sees them."""
        line = ["etcdctl", "--endpoints", ",".join(self.urls), "get", "--prefix", "--keys-only", prefix]
        if self._tls:
            files = {"cacert": "ca.crt", "cert": "client.crt", "key": "client.key"}
            line += [f"--{flag}={self._folder / name}" for flag, name in files.items()]
        return run(line, environment={"ETCDCTL_API": "3"}).stdout.split()

    def up_flags(self) -> list[str]:
        """As `argosy up` has them."""
        flags = ["--etcd-servers", ",".join(self.urls)]
        if self._tls:
            files = {"ca": "ca.crt", "certificate": "client.crt", "key": "client.key"}
            flags += [f"--etcd-{flag}={self._folder / name}" for flag, name in files.items()]
        return flags


@pytest.fixture(params=[False, True], ids=["http", "https"])
def etcd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcd]:
    """One plain member, or three with client certificates."""
    running = Etcd(tmp_path, 3 if request.param else 1, tls=request.param)
    try:
        yield running
    finally:
        running.stop()


def test_a_cluster_runs_on_it(etcd: Etcd, cluster_kubectl: str) -> None:
    cluster = Cluster.start(nodes=1, stores=0, flags=etcd.up_flags(), kubectl=cluster_kubectl)
    try:
        assert "etcd-relay" in cluster.processes() and "etcd-1" not in cluster.processes()
        cluster.apply(sleeper("guest", "busybox:1.35"))
        cluster.wait("pod/guest", "condition=Ready")
        assert etcd.keys("/registry/pods/") == ["/registry/pods/default/guest"]
        with Stream(cluster, "external") as stream:
            stream.flows()
            etcd.kill(0)
            if len(etcd.urls) > 1:
                stream.flows()
            etcd.start(0)
            stream.flows()
            cluster.kill("etcd-relay")
            stream.flows()
        assert not stream.lost()
        assert cluster.get("pod", "guest")["status"]["containerStatuses"][0]["restartCount"] == 0
        cluster.argosy("up", "--no-uplink")
    finally:
        cluster.stop()
    assert "/registry/pods/default/guest" in etcd.keys("/registry/"), "what is not ours is not removed"
