"""Root CA: the ConfigMap `kube-root-ca.crt` in each namespace, by which pods trust the API server.

Upstream: `pkg/controller/certificates/rootcacertpublisher/publisher.go`.
"""

from __future__ import annotations

from typing import Final

from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import NAMESPACES, Context, Controller, ResourceName
from control_plane.controllers.service_account import read

NAME: Final = "kube-root-ca.crt"
DESCRIPTION: Final = "The certificate authority by which pods verify the API server's in-cluster addresses."
PUBLISHED: Final = ResourceName("", "v1", "configmaps", f"metadata.name={NAME}")


class RootCaController(Controller):
    """Keys are namespaces."""

    name = "root-ca-certificate-publisher-controller"
    watches = (NAMESPACES, PUBLISHED)
    writes = (PUBLISHED,)

    def __init__(self, context: Context) -> None:
        """Raises OSError when --root-ca cannot be read."""
        super().__init__(context)
        self._data = {"ca.crt": read(self.config.root_ca).decode()}
        self._namespaces = self.informer(NAMESPACES)
        self._maps = self.informer(PUBLISHED)
        if self._data["ca.crt"]:
            self.enqueue_changes(self._namespaces)
            self._maps.add_handler(updated=lambda _old, new: self._map_changed(new), deleted=self._map_changed)

    def _map_changed(self, config_map: JsonObject) -> None:
        self.queue.add(meta.namespace(config_map))

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or meta.status(namespace).get("phase") == "Terminating" or meta.is_deleting(namespace):
            return None
        current = self._maps.get(f"{key}/{NAME}")
        if current is None:
            await self._create(key)
        elif current.get("data") != self._data:
            await self.writer(PUBLISHED).update({**current, "data": self._data})
        return None

    async def _create(self, namespace: str) -> None:
        metadata = {
            "name": NAME,
            "namespace": namespace,
            "annotations": {"kubernetes.io/description": DESCRIPTION},
        }
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": self._data}
        try:
            await self.writer(PUBLISHED).create(made)
        except ApiError as error:
            if error.reason not in ("AlreadyExists", "Forbidden", "NotFound"):
                raise
