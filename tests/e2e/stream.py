"""A stream of writes through the API, and what became of those that were acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass

from argosy.client import Client
from argosy.objects.status import ApiError
from argosy.testing import Cluster

NAMESPACE = "default"
PAUSE_S = 0.01


@dataclass(frozen=True)
class Acknowledged:
    """One write that the API server answered with success."""

    name: str
    value: str
    begun_s: float
    done_s: float
    """On `time.monotonic`."""


class Stream:
    """ConfigMaps created one after the other by several writers, each of a name of its own, from a thread.

    with Stream(cluster, "label") as stream: …; afterwards `stream.lost()` is what was acknowledged and is not there.
    """

    def __init__(self, cluster: Cluster, label: str, writers: int = 4) -> None:
        self._cluster = cluster
        self._label = label
        self._writers = writers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()))
        self.acknowledged: list[Acknowledged] = []
        self.refused: list[str] = []
        """Errors of writes that were not acknowledged."""

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.finish()

    def finish(self) -> None:
        self._stop.set()
        self._thread.join()

    def flows(self, more: int = 20) -> None:
        """Wait until `more` writes that begin from now on are acknowledged."""
        begun = time.monotonic()

        def enough() -> bool:
            found = sum(write.begun_s >= begun for write in self.acknowledged[-10 * more :])
            assert found >= more, f"{found} of {more} acknowledged; refused last: {self.refused[-1:]}"
            return True

        self._cluster.eventually(enough, timeout_s=60, what="writes go on")

    def pause_s(self, since_s: float) -> float:
        """The longest time without an acknowledgement from `since_s` (on `time.monotonic`) on."""
        times = [since_s, *(write.done_s for write in self.acknowledged if write.done_s > since_s)]
        return max(after - before for before, after in itertools.pairwise(times))

    def lost(self) -> list[str]:
        """Acknowledged writes that the API does not have, or has otherwise."""

        async def listed() -> dict[str, str]:
            client = self._cluster.client()
            try:
                found = await client.resource("", "v1", "configmaps").list(
                    namespace=NAMESPACE, labels=f"stream={self._label}"
                )
            finally:
                await client.close()
            return {item["metadata"]["name"]: item["data"]["value"] for item in found.items}

        stored = asyncio.run(listed())
        return [write.name for write in self.acknowledged if stored.get(write.name) != write.value]

    async def _write(self) -> None:
        clients = [self._cluster.client() for _ in range(self._writers)]
        try:
            await asyncio.gather(*(self._writer(client, at) for at, client in enumerate(clients)))
        finally:
            for client in clients:
                await client.close()

    async def _writer(self, client: Client, at: int) -> None:
        maps = client.resource("", "v1", "configmaps")
        number = 0
        while not self._stop.is_set():
            number += 1
            name, value = f"{self._label}-{at}-{number}", f"{number}" * 20
            begun_s = time.monotonic()
            try:
                await maps.create(
                    {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"stream": self._label}},
                        "data": {"value": value},
                    }
                )
            except ApiError as error:
                self.refused.append(str(error))
                await asyncio.sleep(PAUSE_S)
            else:
                self.acknowledged.append(Acknowledged(name, value, begun_s, time.monotonic()))
