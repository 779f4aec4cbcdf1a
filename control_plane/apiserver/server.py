"""The API server put together: store, caches, pipeline, bootstrap, and the edges that were asked for.

`__main__.py` runs it as a process; tests and the simulator run it in theirs, without REST (aiohttp is only loaded
when REST listens). Several servers on one store are equals.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from argosy import kinds as argosy_kinds
from argosy import logs
from argosy.host import Host
from argosy.http_pool import PooledHttp
from argosy.kinds.kind import Kind
from argosy.objects.status import ApiError
from argosy.rpc import Methods, Network, Server, Tls
from control_plane.apiserver import assembly
from control_plane.apiserver.aggregation.manager import Manager
from control_plane.apiserver.bootstrap import kubernetes_service, objects, rbac_objects
from control_plane.apiserver.config import Config
from control_plane.apiserver.request import User
from control_plane.apiserver.storage import compactor
from control_plane.apiserver.storage.store import Changed

if TYPE_CHECKING:
    from control_plane.apiserver.rest.app import Rest

START_RETRY_S: Final = 0.2
STOP_GRACE_S: Final = 1.0
log = logs.get("apiserver")


class ApiServer:
    """`run` serves until it is cancelled or `stop` is called; `ready` is set once it answers."""

    def __init__(
        self,
        config: Config,
        host: Host,
        network: Network,
        kinds: Iterable[Kind] | None = None,
        *,
        tls: Tls | None = None,
        trusted: User | None = None,
        http: PooledHttp | None = None,
    ) -> None:
        """`tls` stands for the certificate files, for embedding. `trusted` is who gRPC callers without certificate
        and token are: for the simulator only, no flag sets it. `http` asks
        webhooks and aggregated API servers. Raises OSError, ValueError."""
        self.config = config
        self._host = host
        self._network = network
        self._tls = tls
        listed = argosy_kinds.ALL if kinds is None else kinds
        self.parts = assembly.assemble(config, host, network, http or PooledHttp(), listed, trusted)
        self.pipeline = self.parts.pipeline
        self.ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._servers: list[Server] = []
        self._rest: Rest | None = None
        self._keeper: kubernetes_service.Keeper | None = None
        self.rest_addresses: list[tuple[str, int]] = []
        """Where REST listens, ports resolved."""

    @property
    def grpc_addresses(self) -> list[str]:
        return [server.address for server in self._servers]

    def methods(self) -> Methods:
        """The gRPC API, for a server that embeds this one."""
        return self.parts.grpc.methods()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        encryption = self.parts.encryption
        await encryption.start()
        tasks = [asyncio.create_task(self.parts.feeder.run(), name="feeder")]
        if self.config.encryption_provider_config:
            tasks.append(asyncio.create_task(encryption.run(self.parts.feeder.mend), name="encryption"))
        try:
            await self._until_stopped(self.parts.feeder.ready.wait(), tasks)
            if self._stopping.is_set():
                return
            tasks.append(asyncio.create_task(self.parts.custom.run(), name="custom-resources"))
            await self._until_stopped(self._bootstrap(), tasks)
            await self._until_stopped(self.parts.custom.followed(), tasks)
            await self._listen()
            if self.config.compaction_interval_s > 0:
                client = self.parts.store.client
                tasks.append(asyncio.create_task(compactor.run(client, self.config.compaction_interval_s)))
            if self.config.advertise_address:
                self._keeper = kubernetes_service.Keeper(self.parts, self.config, self._host)
                tasks.append(asyncio.create_task(self._keeper.run(), name="kubernetes-service"))
            if self.parts.resources.stored("apiregistration.k8s.io", "apiservices") is not None:
                manager = Manager(self.parts.aggregation, self.pipeline, self.config, self._host.clock)
                tasks.append(asyncio.create_task(manager.run(), name="aggregation"))
            self.parts.healthy = True
            self.ready.set()
            log.info("serving", rest=self.rest_addresses, grpc=self.grpc_addresses)
            await self._until_stopped(self._stopping.wait(), tasks)
        finally:
            await self._shut_down(tasks)

    async def _until_stopped(self, awaitable: object, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for something, for `stop`, or for a task that must not end."""
        waiting = asyncio.ensure_future(awaitable)  # type: ignore[call-overload]
        stopping = asyncio.create_task(self._stopping.wait())
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finished(_task: object) -> None:
            if not done.done():
                done.set_result(None)

        for task in (waiting, stopping, *tasks):
            task.add_done_callback(finished)
        try:
            await done
        finally:
            stopping.cancel()
            for task in (waiting, *tasks):
                task.remove_done_callback(finished)
            if not waiting.done():
                waiting.cancel()
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise RuntimeError("a part of the API server ended") from task.exception()
        if waiting.done() and not waiting.cancelled():
            waiting.result()

    async def _bootstrap(self) -> None:
        """Create what a new cluster has; again until the store lets us."""
        while True:
            try:
                await objects.ensure(self.pipeline, objects.namespaces())
                await objects.ensure(self.pipeline, objects.priority_classes())
                if self.config.local_path_storage:
                    await objects.ensure(self.pipeline, objects.storage_classes())
                await rbac_objects.ensure(self.pipeline)
                if self.config.advertise_address:
                    await kubernetes_service.ensure_service(self.parts, self.config)
                await self.parts.feeder.consistent()
                return
            except ApiError as error:
                log.warning("cannot set up the cluster yet", error=error.message)
                await asyncio.sleep(START_RETRY_S)

    async def _listen(self) -> None:
        config = self.config
        tls = self._tls
        if tls is None and config.certificate:
            tls = Tls.load(config.client_ca or config.ca, config.certificate, config.key)
        for address in config.listen_grpc:
            self._servers.append(await self._network.serve(address, self.parts.grpc.methods(), tls))
        if config.listen or config.listen_fds:
            from control_plane.apiserver.rest import start

            self._rest, self.rest_addresses = await start.listen(self.parts, config, self._host)

    async def _shut_down(self, tasks: list[asyncio.Task[None]]) -> None:
        self.parts.healthy = False
        if self._keeper is not None:
            with contextlib.suppress(ApiError, TimeoutError, Changed):
                await asyncio.wait_for(self._keeper.leave(), STOP_GRACE_S)
        if self._rest is not None:
            await self._rest.stop()
        await asyncio.gather(*(server.stop(STOP_GRACE_S) for server in self._servers))
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await self.parts.store.client.close()
