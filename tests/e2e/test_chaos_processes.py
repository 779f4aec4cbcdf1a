"""Leaders that lose time, clocks that are wrong and disks that are full, on a small cluster of its own: two control
planes, one store member and one node, both with disks of their own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argosy.host import parse_rfc3339
from argosy.testing import Cluster, run
from deploy import disks, netns
from deploy.chaos import links, relaying
from deploy.layout import Layout
from tests.e2e.stream import Stream
from tests.e2e.test_two_api_servers import LEASES, deployment
from tests.processes import state

FLAGS = [
    *("--apiservers", "2", "--node-disk", "768Mi", "--store-disk", "128Mi", *LEASES),
    *("--flag", "controllers-1:--identity=controllers-1", "--flag", "controllers-2:--identity=controllers-2"),
    *("--flag", "agent:--pressure-transition-s=2", "--flag", "agent:--node-status-update-s=1"),
    *("--flag", "agent:--eviction-monitoring-period-s=1"),
]


@pytest.fixture(scope="module")
def small(cluster_kubectl: str) -> Iterator[Cluster]:
    found = Cluster.start(nodes=1, stores=1, flags=FLAGS, kubectl=cluster_kubectl)
    try:
        yield found
    finally:
        found.stop()


def lease(cluster: Cluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("lease", name, "-n", "kube-system")["spec"]
    return found


def created(cluster: Cluster) -> set[str]:
    """Every pod that was ever made for a ReplicaSet."""
    events = cluster.get("events", "--field-selector", "reason=SuccessfulCreate")["items"]
    return {item["message"] for item in events}


def running(cluster: Cluster) -> list[str]:
    found = cluster.get("pods", "-l", "app=web")["items"]
    return [
        item["metadata"]["name"]
        for item in found
        if item["status"].get("phase") == "Running" and "deletionTimestamp" not in item["metadata"]
    ]


def stepped_down(cluster: Cluster, name: str) -> int:
    """How often a candidate noticed that the lease is not its own any more."""
    return Path(Layout(cluster.name).log(name)).read_text(errors="replace").count("lost the lease")


def test_leaders_that_sleep_beyond_their_lease_do_nothing_twice(small: Cluster) -> None:
    leases = ("kube-controller-manager", "kube-scheduler")
    old = [small.eventually(lambda name=name: lease(small, name)["holderIdentity"]) for name in leases]
    asleep = [pids(small)[name] for name in old]
    lost = [stepped_down(small, name) for name in old]
    with small.chaos.pause(*old):
        small.apply(deployment(4))
        for name, holder in zip(leases, old, strict=True):
            small.eventually(lambda name=name, holder=holder: lease(small, name)["holderIdentity"] != holder)
        small.eventually(lambda: len(running(small)), equals=4)
        assert [state(pid) for pid in asleep] == ["T", "T"]
        assert [stepped_down(small, name) for name in old] == lost, "they do not know yet"
    # They wake up in the belief that they lead, and find out.
    small.eventually(lambda: "T" not in [state(pid) for pid in asleep])
    for name, before in zip(old, lost, strict=True):
        small.eventually(
            lambda name=name, before=before: stepped_down(small, name) > before, what=f"{name} steps down"
        )
    small.apply(deployment(6))
    small.eventually(lambda: len(running(small)), equals=6)
    assert len(created(small)) == 6, created(small)
    assert all(lease(small, name)["holderIdentity"] != holder for name, holder in zip(leases, old, strict=True))
    small.kubectl("delete", "deployment", "web")


def test_a_wrong_clock_shows_in_what_a_process_stamps_and_issues(small: Cluster) -> None:
    holder = lease(small, "kube-scheduler")["holderIdentity"]
    before_s = parse_rfc3339(lease(small, "kube-scheduler")["renewTime"])

    def off_s() -> float:
        return parse_rfc3339(lease(small, "kube-scheduler")["renewTime"]) - before_s

    with small.chaos.skew_clock(holder, skew_s=-86400):
        small.eventually(lambda: off_s() < -80000, what="its lease is stamped by its clock")
        # Whoever waits for the lease goes by when it changes, not by what it says.
        assert lease(small, "kube-scheduler")["holderIdentity"] == holder
    small.eventually(lambda: off_s() > 0)
    with small.chaos.skew_clock("apiserver-1", "apiserver-2", skew_s=3600):
        token = issued(small)
        assert knows(small, token)
    # Issued in what is the future for a clock that is right.
    small.eventually(lambda: not knows(small, token))


def issued(cluster: Cluster) -> str:
    """A token for ten minutes, asked for as any kubectl can."""
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    return json.loads(cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(wanted)))["status"][
        "token"
    ]


def knows(cluster: Cluster, token: str) -> bool:
    """Whether the API server takes a token for whose it is."""
    server = json.loads(cluster.kubectl("config", "view", "-o", "json"))["clusters"][0]["cluster"]["server"]
    line = ["--server", server, "--certificate-authority", str(cluster.state / "pki" / "ca.crt"), "--token", token]
    command = ["create", "--raw", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "-f", "-"]
    review = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    done = run([cluster.kubectl_binary, "--kubeconfig", "/dev/null", *line, *command], stdin=review, check=False)
    return "system:serviceaccount:default:default" in done.stdout


def test_a_full_disk_of_the_store(small: Cluster) -> None:
    with Stream(small, "full") as stream:
        stream.flows()
        with small.chaos.fill_disk("etcd-1"):
            small.eventually(lambda: any("database space exceeded" in text for text in stream.refused))
            small.kubectl("get", "nodes")
        stream.flows()
    assert not stream.lost()


def conditions(cluster: Cluster) -> dict[str, str]:
    found = cluster.get("node", "node-1")
    return {item["type"]: item["status"] for item in found["status"]["conditions"]}


def taints(cluster: Cluster) -> set[str]:
    return {item["key"] for item in cluster.get("node", "node-1")["spec"].get("taints", ())}


def sleeper(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "busybox:1.35", "command": ["sh", "-c", spec.pop("script", "sleep 3600")]}
    metadata = {"name": name, "namespace": "default"}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_a_full_disk_of_a_node(small: Cluster) -> None:
    greedy = "dd if=/dev/zero of=/large bs=1M count=40; sleep 3600"
    small.apply(sleeper("greedy", script=greedy), sleeper("modest"))
    small.wait("pod/modest", "condition=Ready")
    small.wait("pod/greedy", "condition=Ready")
    size = ("exec", "greedy", "--", "stat", "-c", "%s", "/large")
    small.eventually(lambda: small.kubectl(*size).strip(), equals=str(40 << 20))
    with small.chaos.fill_disk("node-1", percent=92):
        small.eventually(lambda: conditions(small)["DiskPressure"], equals="True")
        small.eventually(lambda: "node.kubernetes.io/disk-pressure" in taints(small))
        small.eventually(lambda: small.get("pod", "greedy")["status"].get("reason"), equals="Evicted")
        said = small.get("pod", "greedy")["status"]["message"]
        assert said.startswith("The node was low on resource: ephemeral-storage. Threshold quantity: "), said
        small.apply(sleeper("late"))
        small.eventually(
            lambda: "untolerated taint" in json.dumps(small.get("pod", "late")["status"].get("conditions", ()))
        )
        small.apply(sleeper("placed", nodeName="node-1"))
        small.eventually(lambda: small.get("pod", "placed")["status"].get("reason"), equals="Evicted")
        assert "The node had condition: [DiskPressure]" in small.get("pod", "placed")["status"]["message"]
    small.eventually(lambda: conditions(small)["DiskPressure"], equals="False")
    small.wait("pod/late", "condition=Ready")
    small.kubectl("delete", "pod", "late", "modest", "greedy", "placed", "--ignore-not-found")


def pids(cluster: Cluster) -> dict[str, int]:
    return {name: item.pid for name, item in cluster.processes().items()}


def test_random_faults_are_replayable_and_end_healed(small: Cluster) -> None:
    line = ("--seed", "5", "--duration", "4s", "--faults", "3")
    small.eventually(lambda: all(item.healthy for item in small.processes().values()))
    before = pids(small)
    planned = small.argosy("chaos random", *line, "--dry-run")
    assert planned == small.argosy("chaos random", *line, "--dry-run")
    assert "No fault is in force" in small.argosy("chaos status")
    assert pids(small) == before
    printed = small.argosy("chaos random", *line)
    assert printed.startswith(planned)
    *said, over = printed.removeprefix(planned).splitlines()
    failed = [text for text in said if re.match(r" *[0-9.]+ s  not ", text)]
    assert len(said) == 3 and len(failed) <= 1, printed
    assert over == "Over; its faults are healed."
    assert "No fault is in force" in small.argosy("chaos status")
    small.eventually(lambda: all(item.healthy for item in small.processes().values()))


def test_a_node_is_kept_down_and_comes_back(small: Cluster) -> None:
    with small.chaos.kill("node-1", hold=True):
        small.eventually(lambda: not small.processes()["node-1"].pid)
        assert "node-1 killed and kept down" in small.argosy("status")
    small.eventually(lambda: small.processes()["node-1/agent"].healthy)


def test_faults_outlive_the_supervisor_and_heal_without_it(small: Cluster) -> None:
    small.argosy("chaos partition", "node-1", "--from", "etcd-1")
    small.argosy("chaos delay", "node-1", "--by", "20ms", "--for", "2s")
    small.chaos.kill("supervisor")
    small.eventually(
        lambda: [fault.kind for fault in small.chaos.active()], equals=["partition"], what="its time is over"
    )
    assert "Healed: node-1 | etcd-1." in small.argosy("chaos heal")
    said = small.argosy("up", "--node-disk", "2Gi", check=False)
    assert "is there with other disks than --node-disk asks for" in said
    small.argosy("up", "--no-uplink", "--node-disk", "768Mi")
    small.eventually(lambda: all(item.healthy for item in small.processes().values()))


def test_a_cluster_goes_with_its_faults(small: Cluster) -> None:
    """The last test: nothing of faults keeps a cluster from being removed."""
    small.eventually(lambda: all(item.healthy for item in small.processes().values()))
    there, layout = pids(small), Layout(small.name)
    small.argosy("chaos pause", "node-1")
    small.argosy("chaos pause", "etcd-1", "--for", "1h")
    small.argosy("chaos fill-disk", "node-1")
    small.argosy("chaos delay", "etcd-1", "--by", "20ms")
    small.argosy("chaos kill", "scheduler-1", "--hold")
    found = json.loads(small.argosy("chaos status", "-o", "json"))["faults"]
    assert [item["what"] for item in found] == [
        "node-1 paused",
        "etcd-1 paused",
        "node-1: disk 100 % full",
        "etcd-1 delayed by 20 ms each way",
        "scheduler-1 killed and kept down",
    ]
    small.eventually(
        lambda: [state(there[name]) for name in ("node-1", "etcd-1", "scheduler-1")], equals=["T", "T", ""]
    )
    disk = os.statvfs(disks.of_node(layout, "node-1"))
    assert disk.f_bavail * disk.f_frsize < 1 << 20
    lan = layout.namespace("lan")
    delayed = relaying.port("etcd-1") in links.devices(lan) or "netem" in netns.tool(["tc", "-n", lan, "qdisc"])
    assert delayed
    small.argosy("down")
    assert not small.state.exists()
    assert small.name not in Path("/proc/self/mountinfo").read_text()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if small.name in _command(path)]


def _command(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
