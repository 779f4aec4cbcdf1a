"""How objects of a custom resource get from one version to another: by name only, or by a webhook.

A webhook is given many objects at once and trusted with none of what identifies them: metadata comes back as it was,
but for labels and annotations. Upstream: apiextensions-apiserver `pkg/apiserver/conversion/webhook_converter.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from argosy.host import Rng
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd.family import Convert
from control_plane.apiserver.verbs.metadata import validate_annotations, validate_labels
from control_plane.apiserver.webhook_client import WebhookClient, WebhookError

TIMEOUT_S: Final = 30.0
BATCH_OBJECTS: Final = 500
"""Asked for at once; a longer list takes several calls."""
MAX_ANSWER_BYTES: Final = 32 << 20
SUPPORTED: Final = ("v1", "v1beta1")
REVIEW_GROUP: Final = "apiextensions.k8s.io"


class _Unusable(Exception):
    """What the webhook gave cannot be taken."""


class Conversions:
    """Makes the converter of a definition."""

    def __init__(self, client: WebhookClient, rng: Rng) -> None:
        self._client = client
        self._rng = rng

    def of(self, crd: JsonObject) -> Convert | None:
        """None: conversion sets apiVersion, and nothing else."""
        conversion = meta.spec(crd).get("conversion") or {}
        if conversion.get("strategy") != "Webhook":
            return None
        webhook = conversion.get("webhook") or {}
        config: JsonObject = webhook.get("clientConfig") or {}
        version = next((each for each in webhook.get("conversionReviewVersions") or () if each in SUPPORTED), "")

        async def convert(objects: Sequence[JsonObject], api_version: str) -> list[JsonObject]:
            if not version:
                raise errors.internal("no supported conversion review versions")
            result: list[JsonObject] = []
            for start in range(0, len(objects), BATCH_OBJECTS):
                result += await self._ask(config, version, objects[start : start + BATCH_OBJECTS], api_version)
            return result

        return convert

    async def _ask(
        self, config: JsonObject, version: str, objects: Sequence[JsonObject], api_version: str
    ) -> list[JsonObject]:
        uid = self._rng.uuid()
        review: JsonObject = {
            "kind": "ConversionReview",
            "apiVersion": f"{REVIEW_GROUP}/{version}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objects)},
        }
        first = objects[0]
        what = f"conversion webhook for {first.get('apiVersion')}, Kind={first.get('kind')}"
        try:
            answer = await self._client.post(config, review, timeout_s=TIMEOUT_S, max_answer_bytes=MAX_ANSWER_BYTES)
            converted = _converted(answer, version, uid)
        except (WebhookError, _Unusable) as error:
            raise _failed(f"{what} failed: {error}") from None
        if len(converted) != len(objects):
            raise _failed(f"{what} returned {len(converted)} objects, expected {len(objects)}")
        result: list[JsonObject] = []
        for index, (original, given) in enumerate(zip(objects, converted, strict=True)):
            try:
                result.append(_checked(original, given, api_version))
            except _Unusable as error:
                raise _failed(f"{what} returned invalid converted object at index {index}: {error}") from None
        return result


def _failed(text: str) -> ApiError:
    return errors.status_error(500, "", text)


def _converted(answer: JsonObject, version: str, uid: str) -> list[Any]:
    """The objects of a ConversionReview that answers ours. Raises _Unusable."""
    if version == "v1":
        wanted = f"{REVIEW_GROUP}/v1, Kind=ConversionReview"
        given = f"{answer.get('apiVersion', '')}, Kind={answer.get('kind', '')}"
        if given != wanted:
            raise _Unusable(f"expected webhook response of {wanted}, got {given}")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise _Unusable("no response provided")
    if version == "v1" and response.get("uid") != uid:
        raise _Unusable(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result")
    result = result if isinstance(result, dict) else {}
    if result.get("status") != "Success":
        message = result.get("message")
        raise _Unusable(
            str(message) if message else f"response.result.status was '{result.get('status', '')}', not 'Success'"
        )
    objects = response.get("convertedObjects")
    return objects if isinstance(objects, list) else []


def _checked(original: JsonObject, given: Any, api_version: str) -> JsonObject:
    """The converted object with the metadata of the original one. Raises _Unusable."""
    if not isinstance(given, dict):
        raise _Unusable("it is no object")
    if given.get("apiVersion") != api_version:
        raise _Unusable(f"invalid groupVersion (expected {api_version}, received {given.get('apiVersion', '')})")
    if given.get("kind") != original.get("kind"):
        raise _Unusable(f"invalid kind (expected {original.get('kind')}, received {given.get('kind', '')})")
    metadata = given.get("metadata")
    if not isinstance(metadata, dict):
        raise _Unusable("missing metadata in converted object")
    for key, name in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        before, after = original["metadata"].get(key) or "", metadata.get(key) or ""
        if before != after:
            raise _Unusable(f"must have the same {name}: {before} != {after}")
    kept = meta.copy_object(original["metadata"])
    for field in ("labels", "annotations"):
        found = metadata.get(field)
        if found is None:
            kept.pop(field, None)
            continue
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise _Unusable(f"invalid metadata.{field} in converted object")
        if found != kept.get(field):
            check = validate_labels if field == "labels" else validate_annotations
            failures = check(found, f"metadata.{field}")
            if failures:
                raise _Unusable("; ".join(str(failure) for failure in failures))
        kept[field] = found
    return {**given, "metadata": kept}
