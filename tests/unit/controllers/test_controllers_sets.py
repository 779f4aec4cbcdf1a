"""Stateful and daemon sets and replication controllers on a whole API server: its rules, roles and defaults."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.client import PatchType
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from tests.unit.controllers.cluster import Cluster, run

NAMES = (
    "statefulset-controller",
    "daemonset-controller",
    "replicationcontroller-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "persistentvolumeclaim-protection-controller",
)


def template(image: str = "app:1", app: str = "db") -> JsonObject:
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "app", "image": image}]}}


def made(kind: str, **spec: Any) -> JsonObject:
    return {
        "apiVersion": "v1" if kind == "ReplicationController" else "apps/v1",
        "kind": kind,
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"template": template(), **spec},
    }


def stateful(**spec: Any) -> JsonObject:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    return made(
        "StatefulSet",
        selector={"matchLabels": {"app": "db"}}, serviceName="db", replicas=2, volumeClaimTemplates=[claim], **spec,
    )  # fmt: skip


async def images(cluster: Cluster) -> dict[str, str]:
    return {meta.name(pod): pod["spec"]["containers"][0]["image"] for pod in await cluster.list("pods", "default")}


def test_a_stateful_set_lives_updates_goes_back_and_goes() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        cluster.kubelet("node-1", "node-2")
        await cluster.settle()
        policy = {"whenDeleted": "Delete", "whenScaled": "Retain"}
        await cluster.create("statefulsets.apps", stateful(persistentVolumeClaimRetentionPolicy=policy))
        await cluster.settle(10)
        assert await images(cluster) == {"db-0": "app:1", "db-1": "app:1"}
        first = await cluster.get("statefulsets.apps", "default/db")
        assert first is not None and first["status"]["readyReplicas"] == 2
        claims = await cluster.list("persistentvolumeclaims")
        assert [meta.name(each) for each in claims] == ["data-db-0", "data-db-1"]

        await cluster.patch("statefulsets.apps", "default/db", {"spec": {"template": template("app:2")}})
        await cluster.settle(20)
        assert set((await images(cluster)).values()) == {"app:2"}
        # Going back as `kubectl rollout undo` does: the revision's data is a strategic merge patch.
        revisions = sorted(await cluster.list("controllerrevisions.apps"), key=lambda each: each["revision"])
        await cluster.resource("statefulsets.apps").patch(
            "db", revisions[0]["data"], namespace="default", type=PatchType.STRATEGIC
        )
        await cluster.settle(20)
        assert set((await images(cluster)).values()) == {"app:1"}
        after = await cluster.get("statefulsets.apps", "default/db")
        assert after is not None
        assert after["status"]["currentRevision"] == first["status"]["currentRevision"]
        assert after["spec"]["template"] == first["spec"]["template"]

        await cluster.resource("statefulsets.apps").patch(
            "db", {"spec": {"replicas": 1}}, namespace="default", subresource="scale"
        )
        await cluster.settle(10)
        assert list(await images(cluster)) == ["db-0"]
        assert len(await cluster.list("persistentvolumeclaims")) == 2
        with pytest.raises(ApiError, match="updates to statefulset spec for fields other than"):
            await cluster.patch("statefulsets.apps", "default/db", {"spec": {"serviceName": "other"}})

        await cluster.delete("statefulsets.apps", "default/db")
        await cluster.settle(30)
        for resource in ("pods", "persistentvolumeclaims", "controllerrevisions.apps", "statefulsets.apps"):
            assert await cluster.list(resource, "default") == []

    run(body)


def test_daemon_set_and_replication_controller_work_by_their_roles() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        cluster.kubelet("node-1")
        for name in ("node-1", "node-2"):
            await cluster.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
            # A new node is tainted until it says that it is ready.
            await cluster.patch("nodes", name, {"spec": {"taints": None}})
        await cluster.settle()
        daemons = made("DaemonSet", selector={"matchLabels": {"app": "db"}})
        daemons["metadata"]["name"] = "agent"
        await cluster.create("daemonsets.apps", daemons)
        controller = made("ReplicationController", replicas=3)
        controller["spec"]["template"] = template(app="rc")
        await cluster.create("replicationcontrollers", controller)
        await cluster.settle(10)
        found = await cluster.get("daemonsets.apps", "default/agent")
        assert found is not None
        assert (found["status"]["desiredNumberScheduled"], found["status"]["numberReady"]) == (2, 2)
        assert meta.annotations(found)["deprecated.daemonset.template.generation"] == "1"
        rc = await cluster.get("replicationcontrollers", "default/db")
        assert rc is not None and rc["status"]["readyReplicas"] == 3
        assert rc["spec"]["selector"] == {"app": "rc"}
        scale = await cluster.resource("replicationcontrollers").get("db", namespace="default", subresource="scale")
        assert (scale["spec"]["replicas"], scale["status"]["selector"]) == (3, "app=rc")
        await cluster.delete("daemonsets.apps", "default/agent", propagation="Foreground")
        await cluster.delete("replicationcontrollers", "default/db")
        await cluster.settle(30)
        for resource in ("pods", "controllerrevisions.apps", "daemonsets.apps", "replicationcontrollers"):
            assert await cluster.list(resource, "default") == []

    run(body)
