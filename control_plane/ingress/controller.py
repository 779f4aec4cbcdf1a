"""The ingress process: watches Ingresses and what they name, keeps nginx by them, tells their status.

Each replica serves; the leader of them writes status. `deploy` makes the IngressClass that is ours, the default one.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Final

from argosy import logs
from argosy.client import Client
from argosy.election import LeaderElector, LeaseConfig
from argosy.events import EventRecorder
from argosy.host import Host
from argosy.informer import Informer, InformerFactory
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.ingress import nginx_config, routes
from control_plane.ingress.config import Config
from control_plane.ingress.nginx import Nginx, NginxError

log = logs.get("ingress")

CONTROLLER: Final = "argosy.dev/ingress-nginx"
CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
LEASE_NAME: Final = "argosy-ingress"
SERVICE_INDEX: Final = "service"
SERVICE_LABEL: Final = "kubernetes.io/service-name"
GATHER_S: Final = 0.05
RETRY_S: Final = 5.0
CHECK_S: Final = 5.0


class Ingress:
    """`run` lasts until cancelled."""

    def __init__(self, config: Config, host: Host, client: Client, nginx: Nginx) -> None:
        self._config = config
        self._host = host
        self._client = client
        self._nginx = nginx
        self._informers = InformerFactory(client, host)
        network = ("networking.k8s.io", "v1")
        self._ingresses = self._informers.informer(*network, "ingresses")
        self._classes = self._informers.informer(*network, "ingressclasses")
        self._services = self._informers.informer("", "v1", "services")
        self._slices = self._informers.informer("discovery.k8s.io", "v1", "endpointslices")
        self._secrets = self._informers.informer("", "v1", "secrets", fields="type=kubernetes.io/tls")
        self._slices.add_index(SERVICE_INDEX, _service_of)
        self._events = EventRecorder(client, host, "argosy-ingress")
        self._complained: dict[str, tuple[str, ...]] = {}
        self._wake = asyncio.Event()
        self._status = asyncio.Event()
        self.reloads = 0
        for informer in self._all:
            informer.add_handler(added=self._touch, updated=lambda _old, new: self._touch(new), deleted=self._touch)

    @property
    def _all(self) -> tuple[Informer, ...]:
        return self._ingresses, self._classes, self._services, self._slices, self._secrets

    async def run(self) -> None:
        self._nginx.clear()
        self._informers.start()
        lease = LeaseConfig(LEASE_NAME, self._config.identity or f"ingress_{self._host.rng.uuid()}")
        try:
            for informer in self._all:
                await informer.wait_synced()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._events.run())
                group.create_task(self._serve())
                group.create_task(LeaderElector(self._client, self._host, lease).run(self._lead))
        finally:
            await self._nginx.stop()
            await self._informers.stop()

    def _touch(self, _obj: JsonObject) -> None:
        self._wake.set()
        self._status.set()

    # ---- serving

    async def _serve(self) -> None:
        self._wake.set()
        while True:
            try:
                async with asyncio.timeout(CHECK_S):
                    await self._wake.wait()
            except TimeoutError:
                if self._nginx.alive:
                    continue
                log.warning("nginx has ended, starting it again")
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            try:
                await self._apply()
            except (NginxError, OSError) as error:
                log.error("the configuration could not be applied, the one before stays", error=error)
                await asyncio.sleep(RETRY_S)
                self._wake.set()

    async def _apply(self) -> None:
        config = self._config
        ours = [item for item in self._ingresses.list() if self._is_ours(item) and not meta.is_deleting(item)]
        files = await asyncio.to_thread(self._nginx.keep_certificates, self._wanted_certificates(ours))
        found = routes.build(ours, self._endpoints, lambda space, name: files.get(f"{space}.{name}", ""))
        text = nginx_config.text(
            found,
            folder=self._nginx.folder,
            ip=config.listen,
            http_port=config.http_port,
            https_port=config.https_port,
            workers=config.workers,
        )
        if await self._nginx.apply(text):
            self.reloads += 1
            log.info("serving", ingresses=len(ours), hosts=len(found.servers))
            self._complain(ours, found)
            await asyncio.sleep(config.reload_period_s)
        else:
            self._complain(ours, found)

    def _complain(self, ours: list[JsonObject], found: routes.Routes) -> None:
        for ingress in ours:
            key = meta.key(ingress)
            texts = found.complaints.get(key, ())
            for text in texts:
                if text not in self._complained.get(key, ()):
                    self._events.event(ingress, "Warning", "Rejected", text)
        self._complained = dict(found.complaints)

    def _wanted_certificates(self, ours: list[JsonObject]) -> dict[str, bytes]:
        result: dict[str, bytes] = {}
        for ingress in ours:
            for item in meta.spec(ingress).get("tls") or ():
                secret = self._secrets.get(f"{meta.namespace(ingress)}/{item.get('secretName')}")
                data = (secret or {}).get("data") or {}
                try:
                    parts = [base64.b64decode(str(data[name]), validate=True) for name in ("tls.crt", "tls.key")]
                except (KeyError, ValueError):
                    continue
                result[f"{meta.namespace(ingress)}.{item['secretName']}"] = b"\n".join(parts)
        return result

    def _is_ours(self, ingress: JsonObject) -> bool:
        name = meta.spec(ingress).get("ingressClassName") or meta.annotations(ingress).get(CLASS_ANNOTATION)
        chosen = self._classes.get(str(name)) if name else None
        return chosen is not None and meta.spec(chosen).get("controller") == CONTROLLER

    def _endpoints(self, namespace: str, name: str, port: JsonObject) -> tuple[str, ...] | None:
        service = self._services.get(f"{namespace}/{name}")
        found = routes.service_port(service, port) if service is not None else None
        if found is None:
            return None
        slices = self._slices.by_index(SERVICE_INDEX, f"{namespace}/{name}")
        return routes.ready_addresses(slices, str(found.get("name") or ""))

    # ---- the leader

    async def _lead(self) -> None:
        self._status.set()
        while True:
            await self._status.wait()
            self._status.clear()
            for ingress in self._ingresses.list():
                await self._tell(ingress)

    async def _tell(self, ingress: JsonObject) -> None:
        if not self._is_ours(ingress) or meta.is_deleting(ingress):
            return
        wanted = [{"ip": address} for address in self._config.publish_address]
        if ((meta.status(ingress).get("loadBalancer") or {}).get("ingress") or []) == wanted:
            return
        try:
            await self._client.resource("networking.k8s.io", "v1", "ingresses").patch(
                meta.name(ingress),
                {"status": {"loadBalancer": {"ingress": wanted}}},
                namespace=meta.namespace(ingress),
                subresource="status",
            )
        except ApiError as error:
            if error.code != 404:
                log.warning("status could not be written", ingress=meta.key(ingress), error=error.message)


def _service_of(piece: JsonObject) -> tuple[str, ...]:
    name = meta.labels(piece).get(SERVICE_LABEL)
    return (f"{meta.namespace(piece)}/{name}",) if name else ()
