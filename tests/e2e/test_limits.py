"""Memory and CPU limits hold."""

from __future__ import annotations

from argosy.testing import Cluster


def test_the_container_that_eats_memory_is_oom_killed(cluster: Cluster) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "eater", "namespace": "default"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "eater",
                        "image": "busybox:1.35",
                        "command": ["sh", "-c", "x=a; while :; do x=$x$x; done"],
                        "resources": {"limits": {"memory": "32Mi"}},
                    }
                ],
            },
        }
    )
    try:
        cluster.wait("pod/eater", "jsonpath={.status.phase}=Failed")
        state = cluster.get("pod", "eater")["status"]["containerStatuses"][0]["state"]["terminated"]
        assert state["reason"] == "OOMKilled"
        assert state["exitCode"] == 137
    finally:
        cluster.kubectl("delete", "pod", "eater", "--now")


def test_cpu_is_throttled(cluster: Cluster) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "burner", "namespace": "default"},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "burner",
                        "image": "busybox:1.35",
                        "command": ["sh", "-c", "while :; do :; done"],
                        "resources": {"limits": {"cpu": "100m"}},
                    }
                ],
            },
        }
    )
    try:
        cluster.wait("pod/burner", "condition=Ready")

        def throttled() -> bool:
            text = cluster.kubectl(
                "exec",
                "burner",
                "--",
                "sh",
                "-c",
                "cat /sys/fs/cgroup/cpu/cpu.stat /sys/fs/cgroup/cpu.stat 2>/dev/null; true",
            )
            pairs = dict(line.split() for line in text.splitlines())
            return int(pairs["nr_throttled"]) > 5

        cluster.eventually(throttled)
    finally:
        cluster.kubectl("delete", "pod", "burner", "--now")
