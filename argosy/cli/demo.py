"""The demo of `argosy up --demo`: the Deployment and its two Services, run and asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from argosy.cli.options import DEFAULT_NAME, own_name
from argosy.cli.progress import Progress
from argosy.cli.up import examples

if TYPE_CHECKING:
    from argosy.client import Client
    from argosy.objects.types import JsonObject
    from deploy.cluster import ClusterConfig
    from deploy.layout import Layout

NAMESPACE = "production"
TIMEOUT_S = 120.0
FILES = ("api-server.yaml", "api-server-services.yaml")
PLURALS = {"Namespace": ("", "v1", "namespaces"), "Deployment": ("apps", "v1", "deployments")}
PLURALS["Service"] = ("", "v1", "services")


def run(layout: Layout, config: ClusterConfig, progress: Progress) -> None:
    """Apply it, wait for its pods, print what to try. Raises NotUp, ApiError."""
    from deploy import bring_up, kubeconfig

    async def show() -> None:
        api = bring_up.client(layout, config)
        try:
            for obj in _objects():
                await _ensure(api, obj)
            with progress.step("the demo's 3 pods are Ready"):
                await bring_up.until(lambda: _ready(api), "the demo's pods are not Ready", TIMEOUT_S)
        finally:
            await api.close()

    asyncio.run(show())
    context = kubeconfig.context_name(layout.name)
    which = "" if layout.name == DEFAULT_NAME else f" --name {layout.name}"
    print(
        f"""
Up after {progress.total_s():.1f} s. kubectl's context is {context!r}. Try:
    kubectl get pods -n production -o wide
    kubectl set image -n production deployment/api-server api=myregistry/api:v2.2.0
    kubectl rollout status -n production deployment/api-server
    kubectl exec -n production deployment/api-server -- wget -qO- http://api-server.production
    {own_name()} node crash node-2{which}
    {own_name()} status{which}
    {own_name()} down{which}"""
    )


def _objects() -> list[JsonObject]:
    import yaml

    found: list[Any] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    for name in FILES:
        with open(examples() / name, encoding="utf-8") as file:
            found += [obj for obj in yaml.safe_load_all(file) if obj]
    return found


async def _ensure(api: Client, obj: JsonObject) -> None:
    from argosy.objects.status import ApiError

    group, version, plural = PLURALS[obj["kind"]]
    try:
        await api.resource(group, version, plural).create(obj)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise


async def _ready(api: Client) -> bool | None:
    deployment = await api.resource("apps", "v1", "deployments").get("api-server", namespace=NAMESPACE)
    return True if deployment.get("status", {}).get("readyReplicas", 0) >= deployment["spec"]["replicas"] else None
