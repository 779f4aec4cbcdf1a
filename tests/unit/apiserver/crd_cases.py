"""Definitions and objects for the tests of custom resources."""

from __future__ import annotations

import asyncio
import copy

import pytest

from argosy.objects.status import ApiError

GROUP = "stable.example.com"

SPEC = {
    "type": "object",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {"type": "string", "pattern": r"^(\S+\s){4}\S+$"},
        "image": {"type": "string", "default": "busybox"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
        "color": {"type": "string", "enum": ["red", "green"]},
        "port": {"x-kubernetes-int-or-string": True},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "number": {"type": "integer", "default": 80}},
            },
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "note": {"type": "string", "nullable": True},
        "weights": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
STATUS = {
    "type": "object",
    "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}, "phase": {"type": "string"}},
}


def schema(spec=None, status=None):
    properties = {"spec": copy.deepcopy(SPEC if spec is None else spec)}
    properties["status"] = copy.deepcopy(STATUS if status is None else status)
    return {"openAPIV3Schema": {"type": "object", "properties": properties}}


def version(name="v1", **rest):
    made = {
        "name": name,
        "served": True,
        "storage": True,
        "schema": schema(),
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
    }
    made.update(rest)
    return {key: value for key, value in made.items() if value is not None}


def definition(plural="crontabs", kind="CronTab", group=GROUP, versions=None, scope="Namespaced", **names):
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "kind": kind, **names},
            "versions": [version()] if versions is None else versions,
        },
    }


def cron_tab(name="a", version_="v1", namespace="default", **spec):
    return {
        "apiVersion": f"{GROUP}/{version_}",
        "kind": "CronTab",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"cronSpec": "* * * * *", **spec},
    }


def definitions(api):
    return api.client().resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")


def cron_tabs(api, version_="v1"):
    return api.client().resource(GROUP, version_, "crontabs")


def condition(obj, kind):
    return next((c for c in (obj.get("status") or {}).get("conditions", ()) if c["type"] == kind), {})


async def until(check, seconds=10.0):
    """The first true answer of `await check()`."""
    async with asyncio.timeout(seconds):
        while not (found := await check()):
            await asyncio.sleep(0.01)
        return found


async def established(api, crd):
    """Create a definition and wait for its condition; gives it."""
    await definitions(api).create(crd)

    async def check():
        found = await definitions(api).get(crd["metadata"]["name"])
        return found if condition(found, "Established").get("status") == "True" else None

    return await until(check)


async def refused(awaitable, code):
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value.status
    return caught.value
