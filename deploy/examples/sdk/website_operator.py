"""An operator: every Website has a Deployment that serves its text, and tells how many of its pods are ready."""

import asyncio

from argosy.client import Client
from argosy.controller import Context, Controller, ResourceName, run_controllers
from argosy.host import real_host
from argosy.objects import meta
from argosy.objects.types import JsonObject

WEBSITES = ResourceName("example.com", "v1", "websites")
DEPLOYMENTS = ResourceName("apps", "v1", "deployments")
SERVE = 'echo "$TEXT" > index.html && exec httpd -f -p 8080'


class Websites(Controller[None]):
    name, watches, writes = "websites", (WEBSITES, DEPLOYMENTS), (WEBSITES, DEPLOYMENTS)

    def __init__(self, context: Context[None]) -> None:
        super().__init__(context)
        for each in self.watches:  # a Deployment has its website's name, hence its key
            self.enqueue_changes(self.informer(each))

    async def reconcile(self, key: str) -> None:
        site = self.informer(WEBSITES).get(key)
        if site is None or meta.is_deleting(site):
            return  # the garbage collector removes what the website owns
        made = await self.writer(DEPLOYMENTS).apply(deployment(site), field_manager=self.name, force=True)
        status = {"ready": meta.status(made).get("readyReplicas", 0)}
        if meta.status(site) != status:
            await self.writer(WEBSITES).update_status({**site, "status": status})


def deployment(site: JsonObject) -> JsonObject:
    labels, text = {"website": meta.name(site)}, {"name": "TEXT", "value": meta.spec(site)["text"]}
    server = {"name": "web", "image": "busybox:1.35", "command": ["sh", "-c", SERVE], "env": [text]}
    pod = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [server]}}
    spec = {"replicas": meta.spec(site)["replicas"], "selector": {"matchLabels": labels}, "template": pod}
    metadata = {"name": meta.name(site), "namespace": meta.namespace(site)}
    owned = {**metadata, "ownerReferences": [meta.owner_reference(site)]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": owned, "spec": spec}


async def main() -> None:
    async with Client.from_kubeconfig() as client:
        await run_controllers(Context(None, real_host(), client), [Websites])


asyncio.run(main())
