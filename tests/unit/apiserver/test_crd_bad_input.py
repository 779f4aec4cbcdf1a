"""Definitions and objects with something wrong anywhere: refused or taken, never an error of the server's own."""

from __future__ import annotations

import copy
import random

from argosy.objects.status import ApiError
from tests.unit.apiserver.crd_cases import (
    SPEC,
    cron_tab,
    cron_tabs,
    definition,
    definitions,
    established,
    schema,
    version,
)

ODD = (
    None,
    True,
    5,
    -1.5,
    "",
    "x",
    [],
    ["x"],
    [None],
    {},
    {"x": 1},
    [{"a": 1}],
    "9" * 30,
    {"type": "string"},
    [[[]]],
)
ROUNDS = 400


def places(value, path=()):
    """Every place inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def spoiled(value, rng):
    result = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        path = rng.choice([place for place in places(result) if len(place) > 1])
        here = result
        for key in path[:-1]:
            here = here[key]
        if rng.random() < 0.2 and isinstance(here, dict):
            here[rng.choice(("x-kubernetes-list-type", "anyOf", "default", "items", "type", "enum", "x"))] = (
                rng.choice(ODD)
            )
        else:
            here[path[-1]] = copy.deepcopy(rng.choice(ODD))
    return result


def rich_definition():
    spec = copy.deepcopy(SPEC)
    spec["properties"]["one"] = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "oneOf": [{"required": ["a"]}],
    }
    spec["properties"]["pod"] = {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    }
    spec["x-kubernetes-validations"] = [
        {"rule": "self.replicas > 0", "message": "m", "fieldPath": ".replicas", "messageExpression": "'x'"}
    ]
    made = version(schema=schema(spec), selectableFields=[{"jsonPath": ".spec.color"}])
    crd = definition(versions=[made, version("v2", storage=False)], shortNames=["ct"], categories=["all"])
    crd["spec"]["conversion"] = {"strategy": "None"}
    return crd


def test_definitions(with_api):
    async def body(api):
        rng = random.Random(11)
        codes: dict[int, int] = {}
        for _ in range(ROUNDS):
            try:
                await definitions(api).create(spoiled(rich_definition(), rng), dry_run=True)
                code = 201
            except ApiError as error:
                code = error.code
                assert code in (400, 409, 422), error.status
            codes[code] = codes.get(code, 0) + 1
        assert codes[400] > 10 and codes[422] > 10 and codes[201] > 10, codes

    with_api(body)


def test_definitions_that_were_taken_can_be_served(with_api):
    async def body(api):
        rng = random.Random(12)
        made = 0
        for _ in range(ROUNDS):
            crd = spoiled(rich_definition(), rng)
            try:
                await definitions(api).create(crd)
            except ApiError:
                continue
            made += 1
            try:
                await cron_tabs(api).create(cron_tab(replicas=2, pod={"metadata": {"name": "x"}}), dry_run=True)
            except ApiError as error:
                assert error.code in (400, 404, 405, 422), (error.status, crd)
            await definitions(api).delete(crd["metadata"]["name"])
            for _ in range(200):
                if not (await definitions(api).list()).items:
                    break
            else:
                raise AssertionError(f"a definition cannot be deleted: {crd}")
            if made == 25:
                break
        assert made == 25

    with_api(body)


def test_objects(with_api):
    async def body(api):
        await established(api, rich_definition())
        rng = random.Random(13)
        good = cron_tab(
            tags=["a"],
            ports=[{"name": "web", "number": 1}],
            free={"a": [1]},
            weights={"a": 1.5},
            one={"a": "x"},
            pod={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}}},
        )
        good["metadata"] |= {"labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["a/b"]}
        await cron_tabs(api).create(good)
        for number in range(ROUNDS):
            obj = spoiled(good, rng)
            try:
                if number % 2:
                    await cron_tabs(api).apply(obj, field_manager="fuzz", force=True)
                else:
                    await cron_tabs(api).create(obj, dry_run=True)
            except ApiError as error:
                typed = "failed to create typed patch object" in error.message
                assert error.code in (400, 404, 409, 422) or typed, error.status
            except (AttributeError, KeyError, TypeError):
                continue  # the client itself could not read the name

    with_api(body)
