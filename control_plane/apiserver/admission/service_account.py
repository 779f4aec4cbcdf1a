"""ServiceAccount: every pod runs as one, and gets its token by a projected volume.

Rules: plugin/pkg/admission/serviceaccount: the volume `kube-api-access-XXXXX` with a token of 3607 s, the root
certificate and the namespace, mounted where the containers have nothing.
"""

from __future__ import annotations

from typing import Final

from argosy.host import Rng
from argosy.objects import generate, meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.admission.nodes import MIRROR
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.storage.store import Store

MOUNT_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX: Final = "kube-api-access-"
TOKEN_S: Final = 3607
"""An hour and 7 s, by which upstream tells its own from users' hour-long ones."""
DEFAULT: Final = "default"


class ServiceAccountAdmission(Plugin):
    name = "ServiceAccount"

    def __init__(self, resources: Resources, store: Store, rng: Rng) -> None:
        self._accounts = resources.require("", "serviceaccounts")
        self._store = store
        self._rng = rng

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.CREATE or not attributes.is_for("", "pods"):
            return
        pod = attributes.obj
        assert pod is not None
        spec = pod["spec"]
        if MIRROR in meta.annotations(pod):
            return
        legacy = spec.pop("serviceAccount", None)
        name = spec.get("serviceAccountName") or legacy or DEFAULT
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._find(attributes.namespace, name)
        if account is None:
            detail = (
                f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found'
            )
            raise errors.forbidden("", "pods", meta.name(pod), detail)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = meta.copy(account["imagePullSecrets"])
        if _automounts(spec, account):
            self._mount(spec)

    async def _find(self, namespace: str, name: str) -> JsonObject | None:
        entry = self._accounts.cache.get(f"{namespace}/{name}")
        if entry is not None:
            return entry.obj
        stored = await self._store.read(self._accounts.store_key(namespace, name))
        return None if stored is None else Entry.stored(name, stored.value, stored.revision).obj

    def _mount(self, spec: JsonObject) -> None:
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        bare = [
            container
            for container in containers
            if all(mount.get("mountPath") != MOUNT_PATH for mount in container.get("volumeMounts") or ())
        ]
        if not bare:
            return
        volumes = spec.get("volumes") or []
        name = next((item["name"] for item in volumes if item.get("name", "").startswith(VOLUME_PREFIX)), "")
        if not name:
            name = VOLUME_PREFIX + generate.suffix(self._rng)
            spec["volumes"] = [*volumes, _volume(name)]
        for container in bare:
            mount = {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}
            container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _automounts(spec: JsonObject, account: JsonObject) -> bool:
    for source in (spec, account):
        if source.get("automountServiceAccountToken") is not None:
            return bool(source["automountServiceAccountToken"])
    return True


def _volume(name: str) -> JsonObject:
    return {
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_S, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
        },
    }
