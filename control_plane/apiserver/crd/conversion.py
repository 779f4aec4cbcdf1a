"""How objects of a custom resource get from one version to another: by name only, or by a webhook."""

from __future__ import annotations

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd.family import Convert


class Conversions:
    """Makes the converter of a definition."""

    def of(self, crd: JsonObject) -> Convert | None:
        """None: conversion sets apiVersion, and nothing else."""
        conversion = meta.spec(crd).get("conversion") or {}
        if conversion.get("strategy") != "Webhook":
            return None
        raise NotImplementedError
