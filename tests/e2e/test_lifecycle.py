"""Up and down over whatever a machine may be left with, several clusters side by side, and what cannot start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from argosy.host import RealRng
from argosy.testing import Cluster, run
from tests.e2e import host
from tests.e2e.conftest import in_node
from tests.e2e.test_images import sleeper

SMALL = ("--nodes", "1", "--stores", "1", "--no-uplink")
MINE = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "mine", "cluster": {"server": "https://example.test"}}],
    "users": [{"name": "me", "user": {"token": "t"}}],
    "contexts": [{"name": "mine", "context": {"cluster": "mine", "user": "me"}}],
    "current-context": "mine",
}


@pytest.fixture
def names(tmp_path: Path, cluster_kubectl: str) -> Iterator[tuple[Cluster, Cluster]]:
    """Two clusters that are not there yet, with a kubeconfig that already has another context; both go at the end."""
    if os.geteuid() != 0:
        pytest.skip("a real cluster needs root")
    kubeconfig = tmp_path / "kube" / "config"
    kubeconfig.parent.mkdir()
    kubeconfig.write_text(yaml.safe_dump(MINE))
    found = [Cluster("test-" + RealRng().token(3).hex(), kubeconfig, cluster_kubectl) for _ in range(2)]
    try:
        yield found[0], found[1]
    finally:
        for one in found:
            if host.traces(one.name):
                one.argosy("down")


@pytest.fixture
def one(names: tuple[Cluster, Cluster]) -> Cluster:
    return names[0]


def contexts(cluster: Cluster) -> list[str]:
    return sorted(item["name"] for item in yaml.safe_load(cluster.kubeconfig.read_text())["contexts"])


def works(cluster: Cluster) -> None:
    """The node is Ready and what was written is there."""
    context = f"--context=argosy-{cluster.name}"
    cluster.kubectl(context, "wait", "node/node-1", "--for=condition=Ready", "--timeout=60s")
    assert cluster.kubectl(context, "get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "1"


def up_and_keep(cluster: Cluster) -> None:
    cluster.argosy("up", *SMALL)
    cluster.kubectl(f"--context=argosy-{cluster.name}", "create", "configmap", "kept", "--from-literal=a=1")


def kill_everything(cluster: Cluster) -> None:
    """As when the power goes, but namespaces and groups stay."""

    def dead() -> bool:
        left = host.processes(cluster.name)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    cluster.eventually(dead)


def gone(cluster: Cluster) -> None:
    assert host.traces(cluster.name) == []
    assert f"argosy-{cluster.name}" not in contexts(cluster)


def test_up_twice_changes_nothing_and_down_leaves_nothing(one: Cluster) -> None:
    network = host.network()
    up_and_keep(one)
    assert contexts(one) == sorted(["mine", f"argosy-{one.name}"])
    before = one.processes()
    one.argosy("up")
    assert {name: item.pid for name, item in one.processes().items()} == {
        name: item.pid for name, item in before.items()
    }
    works(one)
    assert "is there with --nodes 1, not 2" in one.argosy("up", "--nodes", "2", check=False)
    assert len(host.traces(one.name)) > 10, "this test must be able to see traces"
    one.argosy("down")
    gone(one)
    assert yaml.safe_load(one.kubeconfig.read_text()) == {**MINE, "current-context": ""}
    assert host.network() == network
    assert Path("/var/log/argosy", one.name, "supervisor.log").exists()
    assert "There is no cluster" in one.argosy("down")


def test_up_after_everything_was_killed_and_after_a_reboot(one: Cluster) -> None:
    up_and_keep(one)
    kill_everything(one)
    one.argosy("up")
    works(one)
    kill_everything(one)
    for item in os.listdir("/run/netns"):
        if item.startswith(f"argosy-{one.name}-"):
            run(["ip", "netns", "del", item])
    shutil.rmtree(f"/run/argosy/{one.name}")
    one.argosy("up")
    works(one)
    kill_everything(one)
    one.argosy("down")
    gone(one)


def test_leftovers_without_state_are_no_hindrance(one: Cluster) -> None:
    one.argosy("up", *SMALL)
    kill_everything(one)
    run(["mount", "-t", "tmpfs", "tmpfs", str(one.state / "nodes")])
    (one.state / "cluster.json").unlink()
    up_and_keep(one)
    works(one)
    kill_everything(one)
    shutil.rmtree(one.state)
    shutil.rmtree(f"/run/argosy/{one.name}")
    assert host.traces(one.name), "namespaces and control groups are left"
    up_and_keep(one)
    works(one)
    # Its processes run, but nothing says so any more.
    shutil.rmtree(one.state)
    shutil.rmtree(f"/run/argosy/{one.name}")
    one.argosy("down")
    gone(one)


@pytest.mark.parametrize("sign", ["lan", "etcd-1", "node-1"])
def test_up_that_was_killed_half_way(one: Cluster, sign: str) -> None:
    line = [sys.executable, "-m", "argosy.cli", "up", "--name", one.name, *SMALL]
    crashing = subprocess.Popen(
        line, env={**os.environ, "KUBECONFIG": str(one.kubeconfig)}, stdout=subprocess.DEVNULL
    )
    one.eventually(lambda: Path(f"/run/netns/argosy-{one.name}-{sign}").exists(), poll_s=0.002)
    crashing.kill()
    crashing.wait()
    if sign != "etcd-1":
        kill_everything(one)
    if sign == "lan":
        one.argosy("down")
        gone(one)
    up_and_keep(one)
    works(one)


def test_two_clusters_side_by_side(names: tuple[Cluster, Cluster]) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(up_and_keep, names))
    assert contexts(names[0]) == sorted(["mine", *(f"argosy-{one.name}" for one in names)])
    for one in names:
        context = f"--context=argosy-{one.name}"
        manifest = sleeper("web", "busybox:1.35")
        manifest["metadata"]["labels"] = {"app": "web"}
        manifest["spec"]["containers"][0]["command"] = [
            *("sh", "-c", f"mkdir /w; echo {one.name} >/w/index.html; exec httpd -f -p 80 -h /w"),
        ]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.7.7", "ports": [{"port": 80}]},
        }
        for obj in (manifest, service):
            one.kubectl(context, "apply", "-f", "-", stdin=yaml.safe_dump(obj))
    ask = [sys.executable, str(Path(__file__).with_name("ask.py")), "http://10.96.7.7/", "1"]

    def answers(one: Cluster) -> bool:
        return run(in_node(one, "node-1", *ask), check=False).stdout.strip() == one.name

    for one in names:
        one.eventually(lambda one=one: answers(one), what=f"the service of {one.name} answers for itself")
    first, second = names
    before = second.processes()
    first.argosy("down")
    gone(first)
    assert contexts(second) == sorted(["mine", f"argosy-{second.name}"])
    assert {name: item.pid for name, item in second.processes().items()} == {
        name: item.pid for name, item in before.items()
    }
    assert answers(second)
    works(second)


# ---- what cannot start


def refused(cluster: Cluster, *command: str, path: str = "") -> str:
    """Run `argosy up` that must fail and change nothing; gives what it said."""
    network, kubeconfig = host.network(), cluster.kubeconfig.read_text()
    line = [*command, sys.executable, "-m", "argosy.cli", "up", "--name", cluster.name, *SMALL]
    environment = {"KUBECONFIG": str(cluster.kubeconfig), "PATH": path or os.environ["PATH"]}
    done = run(line, environment=environment, check=False)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    assert host.traces(cluster.name) == []
    assert not Path("/var/log/argosy", cluster.name).exists()
    assert host.network() == network
    assert cluster.kubeconfig.read_text() == kubeconfig
    return done.stderr


def test_without_root(one: Cluster) -> None:
    nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")
    if run([*nobody, "test", "-r", __file__], check=False).returncode:
        pytest.skip("nobody but root can read this checkout")
    said = refused(one, *nobody)
    assert "argosy: a cluster needs root" in said and "sudo" in said


def test_without_a_program(one: Cluster, tmp_path: Path) -> None:
    said = refused(one, path=str(tmp_path))
    assert "apt-get install containerd" in said and "util-linux" in said


def test_without_a_free_port(one: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        before = host.traces(one.name)
        said = one.argosy("up", *SMALL, "--port", str(port), check=False)
        assert f"port {port} on 127.0.0.1 is in use; choose another with --port" in said
        assert host.traces(one.name) == before == []


def test_a_port_that_somebody_took_while_the_cluster_was_down(one: Cluster) -> None:
    one.argosy("up", *SMALL)
    os.kill(one.processes()["supervisor"].pid, signal.SIGTERM)
    one.eventually(lambda: not host.processes(one.name))
    port = urlsplit(yaml.safe_load(one.kubeconfig.read_text())["clusters"][-1]["cluster"]["server"]).port
    with socket.create_server(("127.0.0.1", port or 0)):
        said = one.argosy("up", check=False)
    assert f"cannot listen on 127.0.0.1:{port}" in said and "Traceback" not in said, said
    one.argosy("up")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stores", "2"], "--stores 2: 1, 3 or 5"),
        (["--nodes", "-1"], "--nodes -1"),
        (["--apiservers", "9"], "--apiservers 9"),
        (["--node-memory", "1Mi"], "--node-memory 1Mi: a node needs 128Mi at least"),
        (["--node-memory", "much"], "--node-memory much: quantities must match"),
        (["--node-disk", "1Mi"], "--node-disk 1Mi: 64Mi at least"),
        (["--store-disk", "some"], "--store-disk some: quantities must match"),
        (["--proxy-mode", "magic"], "--proxy-mode magic: iptables or nftables"),
        (["--registry", "example"], "--registry example: HOST=URL"),
        (["--flag", "controller:--x=1"], "there is no process 'controller'"),
        (["--flag", "etcd"], "--flag etcd: PROCESS:--flag=value"),
        (["--etcd-servers", "http://127.0.0.1:1"], "nothing answers there"),
        (["--etcd-servers", "https://127.0.0.1:1"], "http"),
    ],
)
def test_flags_that_cannot_be(one: Cluster, flags: list[str], message: str) -> None:
    said = one.argosy("up", "--no-uplink", *flags, check=False)
    assert "argosy: " in said and message in said and "Traceback" not in said
    assert host.traces(one.name) == []


def test_a_process_that_cannot_run_is_named(one: Cluster) -> None:
    """Nodes are Ready without it; the cluster is not up, and says why."""
    said = one.argosy("up", *SMALL, "--flag", "metrics:--no-such-flag=1", check=False)
    assert "metrics-1 does not run (code 2)" in said
    assert "unrecognized arguments: --no-such-flag=1" in said


def test_commands_for_a_cluster_that_is_not_there(one: Cluster) -> None:
    for command in ("status", "node add", "node crash node-1", "image load /etc/hostname"):
        said = one.argosy(command, check=False)
        assert f"there is no cluster '{one.name}'" in said and "Traceback" not in said, said
    assert host.traces(one.name) == []
