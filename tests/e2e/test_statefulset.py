"""A real database as a StatefulSet: Redis from Debian, with a volume and a name for each pod.

What is written stays: when the pod is deleted, when its node loses its power, when the set shrinks and grows.
"""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from argosy.testing import Cluster

NAMESPACE = "databases"
SPACE = ("-n", NAMESPACE)
IMAGE = "redis:e2e"
Json = dict[str, Any]
PODS = ("db-0", "db-1", "db-2")


def redis_set() -> Json:
    ping = {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 1}
    container = {
        "name": "redis",
        "image": IMAGE,
        "ports": [{"name": "redis", "containerPort": 6379}],
        "readinessProbe": ping,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": NAMESPACE},
        "spec": {
            "serviceName": "db",
            "replicas": 3,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
            },
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }


def service() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "db", "namespace": NAMESPACE},
        "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"name": "redis", "port": 6379}]},
    }


class Database:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def pod(self, name: str) -> Json:
        return self.cluster.get("pod", name, *SPACE)

    def pods(self) -> dict[str, Json]:
        return {pod["metadata"]["name"]: pod for pod in self.cluster.get("pods", *SPACE, "-l", "app=db")["items"]}

    def redis(self, pod: str, command: str) -> str:
        """Ask the database of one pod from inside it."""
        return self.cluster.kubectl("exec", pod, *SPACE, "--", "redis-cli", *shlex.split(command)).strip()

    def ready(self, *names: str) -> bool:
        """Exactly these are there, and ready."""
        ready = {
            name: any(
                item["type"] == "Ready" and item["status"] == "True" for item in pod["status"].get("conditions", ())
            )
            for name, pod in self.pods().items()
        }
        assert ready == dict.fromkeys(names, True)
        return True

    def answer_by_name(self, *names: str) -> bool:
        """Each pod's short name leads to its own data, once DNS knows of it."""
        for name in names:
            assert self.redis("db-0", f"-h {name}.db get owner") == name
        return True

    def volumes(self) -> dict[str, str]:
        """Claim → volume."""
        claims = self.cluster.get("pvc", *SPACE)["items"]
        return {claim["metadata"]["name"]: claim["spec"]["volumeName"] for claim in claims}


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Database]:
    cluster.argosy(
        "image from-packages", IMAGE, "redis-server", "--command",
        "redis-server --appendonly yes --dir /data --bind 0.0.0.0 --protected-mode no", "--expose", "6379", "--load",
    )  # fmt: skip
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.apply(service(), redis_set())
    found = Database(cluster)
    cluster.eventually(lambda: found.ready(*PODS), what="three databases", timeout_s=90)
    for pod in PODS:
        found.redis(pod, f"set owner {pod}")
    yield found
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_pods_came_one_after_the_other(database: Database) -> None:
    """OrderedReady: each was made when the one before it had been ready."""
    pods = database.pods()

    def ready_at(pod: Json) -> str:
        (condition,) = (item for item in pod["status"]["conditions"] if item["type"] == "Ready")
        return str(condition["lastTransitionTime"])

    for before, after in itertools.pairwise(PODS):
        assert ready_at(pods[before]) <= pods[after]["metadata"]["creationTimestamp"]
    assert {pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] for pod in pods.values()} == {"0", "1", "2"}
    shown = ("get", "sts", "db", *SPACE, "--no-headers")
    database.cluster.eventually(lambda: database.cluster.kubectl(*shown).split()[:2], equals=["db", "3/3"])
    assert set(database.volumes()) == {f"data-{pod}" for pod in PODS}


def test_every_pod_has_a_name_in_dns(database: Database) -> None:
    # The short name works inside the namespace, and leads to that pod's own data.
    database.cluster.eventually(lambda: database.answer_by_name(*PODS))
    for asked in PODS:
        name = f"{asked}.db.{NAMESPACE}.svc.cluster.local"
        told = database.cluster.kubectl("exec", "db-1", *SPACE, "--", "nslookup", name)
        assert f"Address: {database.pod(asked)['status']['podIP']}" in told
    assert database.cluster.kubectl("exec", "db-1", *SPACE, "--", "hostname", "-f").strip() == (
        f"db-1.db.{NAMESPACE}.svc.cluster.local"
    )
    service_record = f"_redis._tcp.db.{NAMESPACE}.svc.cluster.local"
    told = database.cluster.kubectl("exec", "db-0", *SPACE, "--", "nslookup", "-type=srv", service_record)
    assert all(f"6379 {pod}.db.{NAMESPACE}.svc.cluster.local" in told for pod in PODS)


def test_data_outlives_the_pod(database: Database) -> None:
    before, volumes = database.pod("db-1")["metadata"]["uid"], database.volumes()
    database.cluster.kubectl("delete", "pod", "db-1", *SPACE)
    database.cluster.eventually(lambda: database.ready(*PODS) and database.pod("db-1")["metadata"]["uid"] != before)
    assert database.redis("db-1", "get owner") == "db-1"
    assert database.volumes() == volumes


def test_data_outlives_a_crash_of_the_node(database: Database) -> None:
    pod = database.pod("db-2")
    node, uid, volumes = pod["spec"]["nodeName"], pod["metadata"]["uid"], database.volumes()
    database.redis("db-2", "set written just-before-the-crash")
    restarts = pod["status"]["containerStatuses"][0]["restartCount"]
    database.cluster.argosy("node crash", node)
    database.cluster.argosy("node start", node)

    def came_back() -> bool:
        now = database.pod("db-2")
        again = now["metadata"]["uid"] != uid or now["status"]["containerStatuses"][0]["restartCount"] > restarts
        return again and database.ready(*PODS)

    database.cluster.eventually(came_back, what="the databases after the crash", timeout_s=90)
    database.cluster.eventually(lambda: database.redis("db-2", "get written"), equals="just-before-the-crash")
    database.cluster.eventually(lambda: database.answer_by_name(*PODS))
    assert database.volumes() == volumes


def test_data_outlives_shrinking_and_growing(database: Database) -> None:
    volumes = database.volumes()
    database.cluster.kubectl("scale", "sts/db", "--replicas=1", *SPACE)
    database.cluster.eventually(lambda: database.ready("db-0"))
    assert database.volumes() == volumes
    database.cluster.kubectl("scale", "sts/db", "--replicas=3", *SPACE)
    database.cluster.eventually(lambda: database.ready(*PODS))
    database.cluster.eventually(lambda: database.answer_by_name(*PODS))


def test_a_partition_holds_an_update_back_and_undo_takes_it_away(database: Database) -> None:
    cluster = database.cluster
    held = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}}
    cluster.kubectl("patch", "sts", "db", *SPACE, "-p", json.dumps(held))
    cluster.kubectl("set", "env", "sts/db", "CANARY=yes", *SPACE)

    def canaries() -> list[str]:
        return [name for name, pod in sorted(database.pods().items()) if pod["spec"]["containers"][0].get("env")]

    cluster.eventually(canaries, equals=["db-2"])
    cluster.eventually(lambda: database.ready(*PODS))

    def counted() -> tuple[int, int]:
        status = cluster.get("sts", "db", *SPACE)["status"]
        return status["updatedReplicas"], status["currentReplicas"]

    cluster.eventually(counted, equals=(1, 2))
    cluster.kubectl("rollout", "undo", "sts/db", *SPACE)
    cluster.eventually(canaries, equals=[])
    cluster.eventually(lambda: database.ready(*PODS))
    assert database.redis("db-2", "get owner") == "db-2"
