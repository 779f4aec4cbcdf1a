"""ConfigMaps, Secrets and service account tokens that this node's pods refer to.

Each referenced object is watched on its own, since a node may read no others (NodeRestriction); a change wakes the
pods that use it. What no pod uses any more is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from argosy import logs
from argosy.client import Client
from argosy.host import Host, parse_rfc3339
from argosy.informer import Informer
from argosy.objects import meta, storage
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from node_agent.environment import CONFIG_MAP, RUNTIME_CLASS, SECRET
from node_agent.resources import named_containers

log = logs.get("node_agent.objects")

CLAIM = "persistentvolumeclaims"

Key = tuple[str, str, str]
"""(configmaps, secrets or persistentvolumeclaims, namespace, name)"""


def references(pod: JsonObject) -> list[Key]:
    """Every ConfigMap, Secret and claim that the pod names."""
    found: dict[Key, None] = {}
    namespace = meta.namespace(pod)

    def add(kind: str, name: object) -> None:
        if name:
            found[kind, namespace, str(name)] = None

    for container in named_containers(pod):
        for source in container.get("envFrom") or []:
            add(CONFIG_MAP, (source.get("configMapRef") or {}).get("name"))
            add(SECRET, (source.get("secretRef") or {}).get("name"))
        for variable in container.get("env") or []:
            origin = variable.get("valueFrom") or {}
            add(CONFIG_MAP, (origin.get("configMapKeyRef") or {}).get("name"))
            add(SECRET, (origin.get("secretKeyRef") or {}).get("name"))
    for volume in meta.spec(pod).get("volumes") or []:
        add(CONFIG_MAP, (volume.get("configMap") or {}).get("name"))
        add(SECRET, (volume.get("secret") or {}).get("secretName"))
        for source in (volume.get("projected") or {}).get("sources") or []:
            add(CONFIG_MAP, (source.get("configMap") or {}).get("name"))
            add(SECRET, (source.get("secret") or {}).get("name"))
        add(CLAIM, storage.pod_claim_name(pod, volume))
    for secret in meta.spec(pod).get("imagePullSecrets") or []:
        add(SECRET, secret.get("name"))
    return list(found)


@dataclass
class _Watched:
    informer: Informer
    task: asyncio.Task[None]
    users: dict[str, None] = field(default_factory=dict)
    """Uids of pods."""


class Objects:
    def __init__(
        self, client: Client, host: Host, changed: Callable[[str], None], labels: Callable[[], Mapping[str, str]]
    ) -> None:
        """`changed` gets the uid of a pod that uses an object which changed; `labels` gives the node's."""
        self._labels = labels
        self._client = client
        self._host = host
        self._changed = changed
        self._watched: dict[Key, _Watched] = {}
        self._held: dict[str, list[Key]] = {}

    def hold(self, pod: JsonObject) -> None:
        """Keep what the pod refers to at hand."""
        uid = meta.uid(pod)
        wanted = references(pod)
        for key in self._held.get(uid, []):
            if key not in wanted:
                self._unuse(key, uid)
        for key in wanted:
            self._watch(key).users[uid] = None
        self._held[uid] = wanted

    def release(self, pod_uid: str) -> None:
        for key in self._held.pop(pod_uid, []):
            self._unuse(key, pod_uid)

    def keep_only(self, pod_uids: Iterable[str]) -> None:
        wanted = dict.fromkeys(pod_uids)
        for uid in [uid for uid in self._held if uid not in wanted]:
            self.release(uid)

    async def close(self) -> None:
        tasks = [item.task for item in self._watched.values()]
        self._watched.clear()
        self._held.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def get(self, kind: str, namespace: str, name: str) -> JsonObject | None:
        """The newest known; asked for when no watch has it yet. None when it does not exist. Raises ApiError."""
        watched = self._watched.get((kind, namespace, name))
        if watched is not None and watched.informer.has_synced:
            found = watched.informer.get(f"{namespace}/{name}")
            if found is not None:
                return found
        try:
            group = "node.k8s.io" if kind == RUNTIME_CLASS else ""
            return await self._client.resource(group, "v1", kind).get(name, namespace=namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def config_map(self, namespace: str, name: str) -> JsonObject | None:
        return await self.get(CONFIG_MAP, namespace, name)

    async def secret(self, namespace: str, name: str) -> JsonObject | None:
        return await self.get(SECRET, namespace, name)

    async def claim(self, namespace: str, name: str) -> JsonObject | None:
        return await self.get(CLAIM, namespace, name)

    async def volume(self, name: str) -> JsonObject | None:
        try:
            return await self._client.resource("", "v1", "persistentvolumes").get(name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def node_labels(self) -> Mapping[str, str]:
        return self._labels()

    async def token(self, pod: JsonObject, audience: str, expiration_s: int) -> tuple[str, float]:
        account = str(meta.spec(pod).get("serviceAccountName") or "default")
        spec: JsonObject = {
            "expirationSeconds": expiration_s,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": meta.name(pod), "uid": meta.uid(pod)},
        }
        if audience:
            spec["audiences"] = [audience]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
        accounts = self._client.resource("", "v1", "serviceaccounts")
        answer = await accounts.create(request, namespace=meta.namespace(pod), name=account, subresource="token")
        status = meta.status(answer)
        return str(status["token"]), parse_rfc3339(status["expirationTimestamp"])

    def _watch(self, key: Key) -> _Watched:
        found = self._watched.get(key)
        if found is not None:
            return found
        kind, namespace, name = key
        informer = Informer(
            self._client.resource("", "v1", kind), self._host, namespace=namespace, fields=f"metadata.name={name}"
        )
        task = asyncio.get_running_loop().create_task(informer.run(), name=f"watch {kind} {namespace}/{name}")
        watched = self._watched[key] = _Watched(informer, task)

        def tell(_obj: JsonObject) -> None:
            for uid in list(watched.users):
                self._changed(uid)

        informer.add_handler(added=tell, updated=lambda _old, new: tell(new), deleted=tell)
        return watched

    def _unuse(self, key: Key, pod_uid: str) -> None:
        watched = self._watched.get(key)
        if watched is None:
            return
        watched.users.pop(pod_uid, None)
        if not watched.users:
            watched.task.cancel()
            del self._watched[key]
