"""Nodes come and go at will."""

from __future__ import annotations

from argosy.testing import Cluster


def test_a_node_is_added_and_removed(cluster: Cluster) -> None:
    cluster.argosy("node add", "node-9")
    try:
        cluster.wait("node/node-9", "condition=Ready")
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "pioneer", "namespace": "default"},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": "node-9"},
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "c", "image": "busybox:1.35", "command": ["sleep", "3600"]}],
                },
            }
        )
        cluster.wait("pod/pioneer", "condition=Ready")
    finally:
        cluster.kubectl("delete", "pod", "pioneer", "--now", "--ignore-not-found")
        cluster.argosy("node remove", "node-9")
    assert "node-9" not in cluster.processes()
    cluster.eventually(lambda: "node-9" not in cluster.kubectl("get", "nodes"))
