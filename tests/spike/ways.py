"""The three ways by which pods and nodes come to a load: on CPU, ahead of it by a schedule, by a queue's length."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Protocol

from argosy.testing import Cluster
from deploy import package_image
from deploy.apt import AptError
from tests.spike.observer import Observer

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"
AHEAD_REPLICAS = 5
AHEAD_S = 30.0
"""So much sooner than the load the schedule begins, at least."""
QUEUE_IMAGE = "redis:spike"
ITEMS_SHARE = 0.375
"""Items a second for the queue, for each request a second of the other ways: 15 of 40."""


class Skipped(Exception):
    """A way that cannot be gone here; the text says why."""


class Way(Protocol):
    name: str
    title: str
    app: str
    """The Deployment that is scaled; its pods have it as their label `app`."""

    def need(self) -> None:
        """Before a cluster is started. Raises Skipped."""

    def prepare(self, cluster: Cluster) -> None:
        """Everything that is there before the load, ready."""

    def before_load(self, cluster: Cluster, observer: Observer, load_s: float) -> None:
        """Returns when the load is to begin."""

    def load(self, cluster: Cluster, rate: float) -> list[str]:
        """The command line that makes it, to be run in a node's network."""


class OnCpu:
    """CPU rises, the HorizontalPodAutoscaler asks for pods."""

    name = "hpa"
    title = "HPA on CPU"
    app = "shop"

    def need(self) -> None:
        """Nothing but a cluster."""

    def prepare(self, cluster: Cluster) -> None:
        cluster.kubectl("apply", "-f", str(EXAMPLES / "spike.yaml"))
        cluster.wait("deployment/shop", "condition=Available")

    def before_load(self, cluster: Cluster, observer: Observer, load_s: float) -> None:
        cluster.wait("hpa/shop", "condition=ScalingActive", timeout_s=90)

    def load(self, cluster: Cluster, rate: float) -> list[str]:
        script = str(Path(__file__).parents[1] / "load.py")
        url = f"http://{cluster_ip(cluster, 'shop')}/cgi-bin/buy"
        return [sys.executable, script, url, str(rate), "--every-second", "--timeout-s", "10"]


class Ahead(OnCpu):
    """A ScaledObject with a schedule has the pods there before the load, and lets them go when it ends."""

    name = "ahead"
    title = "pre-warmed by schedule"

    def __init__(self) -> None:
        self._window = (0.0, 0.0)

    def prepare(self, cluster: Cluster) -> None:
        super().prepare(cluster)
        cluster.kubectl("delete", "hpa", "shop")

    def before_load(self, cluster: Cluster, observer: Observer, load_s: float) -> None:
        start_s, end_s = window(time.time(), load_s)
        cluster.apply(schedule(start_s, end_s))
        # The clock alone says when load comes; whether pods are there by then is what is measured.
        observer.wait(lambda _: False, timeout_s=end_s - load_s - time.time())


class ByQueue:
    """A ScaledObject looks at the length of a list in Redis; without items there is no worker."""

    name = "queue"
    title = "queue in Redis"
    app = "worker"

    def __init__(self) -> None:
        self._image = Path()

    def need(self) -> None:
        try:
            self._image = package_image.build(package_image.PackageImage(QUEUE_IMAGE, ["redis-server"]))
        except AptError as error:
            raise Skipped(f"no image of Redis could be made: {error}") from None

    def prepare(self, cluster: Cluster) -> None:
        cluster.argosy("image load", str(self._image))
        cluster.kubectl("apply", "-f", str(EXAMPLES / "spike-queue.yaml"))
        cluster.wait("deployment/queue", "condition=Available")
        cluster.wait("scaledobject/worker", "condition=Ready")

    def before_load(self, cluster: Cluster, observer: Observer, load_s: float) -> None:
        observer.wait(lambda state: state.wanted == state.ready == 0, timeout_s=30.0, what="no worker yet")

    def load(self, cluster: Cluster, rate: float) -> list[str]:
        items = str(rate * ITEMS_SHARE)
        return [sys.executable, "-m", "tests.spike.queue_load", cluster_ip(cluster, "queue"), items]


def cluster_ip(cluster: Cluster, service: str) -> str:
    return str(cluster.get("service", service)["spec"]["clusterIP"])


def window(now_s: float, load_s: float) -> tuple[float, float]:
    """From a coming full minute to the one with which the load ends; pure. Unix times.

    Schedules know whole minutes: the start is not before the next one, the load is the window's last part.
    """
    start_s = (now_s + 5.0) // 60 * 60 + 60
    minutes = -(-(AHEAD_S + load_s) // 60)
    return start_s, start_s + minutes * 60


def schedule(start_s: float, end_s: float) -> dict[str, Any]:
    """The ScaledObject that has pods there in the window; pure."""
    start, end = (f"{moment.tm_min} {moment.tm_hour} * * *" for moment in map(time.gmtime, (start_s, end_s)))
    trigger = {
        "type": "cron",
        "metadata": {"timezone": "UTC", "start": start, "end": end, "desiredReplicas": str(AHEAD_REPLICAS)},
    }
    return {
        "apiVersion": "scaling.argosy.io/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"name": "shop"},
            "pollingInterval": 1,
            "cooldownPeriod": 3,
            "minReplicaCount": 1,
            "maxReplicaCount": 6,
            "triggers": [trigger],
        },
    }


def all_ways() -> tuple[Way, ...]:
    return OnCpu(), Ahead(), ByQueue()
