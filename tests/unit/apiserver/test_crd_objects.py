"""Custom resources through the API: what comes out after what went in."""

from __future__ import annotations

import asyncio

from argosy.client import EventType, PatchType
from tests.unit.apiserver.crd_cases import (
    SPEC,
    condition,
    cron_tab,
    cron_tabs,
    definition,
    definitions,
    established,
    refused,
    schema,
    until,
    version,
)


def test_a_definition_is_established_and_its_objects_are_served_at_once(with_api):
    async def body(api):
        crd = await established(api, definition(shortNames=["ct"], categories=["all"]))
        assert crd["spec"]["names"] == {
            "plural": "crontabs",
            "singular": "crontab",
            "kind": "CronTab",
            "listKind": "CronTabList",
            "shortNames": ["ct"],
            "categories": ["all"],
        }
        assert crd["status"]["acceptedNames"] == crd["spec"]["names"]
        assert crd["status"]["storedVersions"] == ["v1"]
        assert condition(crd, "NamesAccepted")["reason"] == "NoConflicts"
        assert condition(crd, "Established")["reason"] == "InitialNamesAccepted"
        made = await cron_tabs(api).create(cron_tab(ports=[{"name": "web"}], unknown=1))
        assert made["spec"] == {
            "cronSpec": "* * * * *",
            "image": "busybox",
            "replicas": 1,
            "ports": [{"name": "web", "number": 80}],
        }
        assert made["metadata"]["generation"] == 1
        assert await cron_tabs(api).get("a", namespace="default") == made
        listed = await cron_tabs(api).list(namespace="default")
        assert listed.items == [made]

    with_api(body)


def test_a_deleted_definition_deletes_its_objects_first(with_api):
    async def body(api):
        await established(api, definition())
        await cron_tabs(api).create(cron_tab("a"))
        held = cron_tab("held")
        held["metadata"]["finalizers"] = ["example.com/held"]
        await cron_tabs(api).create(held)
        gone = await definitions(api).delete("crontabs.stable.example.com")
        assert condition(gone, "Terminating")["status"] == "True"
        assert gone["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]

        async def one_left():
            left = (await cron_tabs(api).list(namespace="default")).items
            return left if len(left) == 1 else None

        (left,) = await until(one_left)
        assert left["metadata"]["name"] == "held" and left["metadata"]["deletionTimestamp"]
        error = await refused(cron_tabs(api).create(cron_tab("late")), 405)
        assert error.message == "create not allowed while custom resource definition is terminating"
        crd = await definitions(api).get("crontabs.stable.example.com")
        assert condition(crd, "Terminating")["reason"] == "InstanceDeletionInProgress"
        await cron_tabs(api).patch("held", {"metadata": {"finalizers": None}}, namespace="default")

        async def no_definition():
            return not (await definitions(api).list()).items

        await until(no_definition)
        await refused(cron_tabs(api).list(), 404)
        await established(api, definition())
        assert (await cron_tabs(api).list()).items == []

    with_api(body)


def test_values_are_what_the_schema_allows(with_api):
    async def body(api):
        await established(api, definition())
        bad = cron_tab(replicas=11, color="blue", tags=["a", "a"], port=True, weights={"x": "heavy"})
        bad["spec"]["cronSpec"] = "never"
        error = await refused(cron_tabs(api).create(bad), 422)
        assert error.reason == "Invalid"
        causes = {(c["field"], c["reason"]): c["message"] for c in error.status["details"]["causes"]}
        assert causes == {
            ("spec.cronSpec", "FieldValueInvalid"): 'Invalid value: "never": spec.cronSpec in body should match '
            r"'^(\S+\s){4}\S+$'",
            ("spec.replicas", "FieldValueInvalid"): "Invalid value: 11: spec.replicas in body should be less than or "
            "equal to 10",
            ("spec.color", "FieldValueNotSupported"): 'Unsupported value: "blue": supported values: "red", "green"',
            ("spec.tags[1]", "FieldValueDuplicate"): 'Duplicate value: "a"',
            ("spec.port", "FieldValueTypeInvalid"): 'Invalid value: "boolean": spec.port in body must be of type '
            'integer,string: "boolean"',
            ("spec.weights.x", "FieldValueTypeInvalid"): 'Invalid value: "string": spec.weights.x in body must be of '
            'type number: "string"',
        }
        missing = cron_tab()
        del missing["spec"]["cronSpec"]
        error = await refused(cron_tabs(api).create(missing), 422)
        assert error.message == 'CronTab.stable.example.com "a" is invalid: spec.cronSpec: Required value'
        made = await cron_tabs(api).create(cron_tab(port="http", free={"any": [1, {"x": None}]}, note=None))
        assert made["spec"]["free"] == {"any": [1, {"x": None}]}
        assert made["spec"]["note"] is None and made["spec"]["port"] == "http"

    with_api(body)


def test_an_update_needs_a_resource_version_and_strategic_patches_are_refused(with_api):
    async def body(api):
        await established(api, definition())
        made = await cron_tabs(api).create(cron_tab())
        error = await refused(cron_tabs(api).update(cron_tab(replicas=3)), 422)
        assert error.status["details"]["causes"][0]["field"] == "metadata.resourceVersion"
        changed = await cron_tabs(api).update({**made, "spec": {**made["spec"], "replicas": 3}})
        assert changed["metadata"]["generation"] == 2
        error = await refused(
            cron_tabs(api).patch("a", {"spec": {}}, namespace="default", type=PatchType.STRATEGIC), 415
        )
        assert "application/merge-patch+json, application/apply-patch+yaml" in error.message
        patched = await cron_tabs(api).patch(
            "a",
            [{"op": "replace", "path": "/spec/replicas", "value": 4}],
            namespace="default",
            type=PatchType.JSON,
        )
        assert patched["spec"]["replicas"] == 4
        await refused(cron_tabs(api).patch("a", {"spec": {"replicas": "x"}}, namespace="default"), 422)

    with_api(body)


def test_status_is_apart_where_the_definition_says_so(with_api):
    async def body(api):
        await established(api, definition())
        made = await cron_tabs(api).create({**cron_tab(), "status": {"phase": "Up"}})
        assert "status" not in made
        up = await cron_tabs(api).update_status({**made, "spec": {"cronSpec": "x"}, "status": {"phase": "Up"}})
        assert up["spec"] == made["spec"] and up["status"] == {"phase": "Up"}
        assert up["metadata"]["generation"] == 1
        same = await cron_tabs(api).update({**up, "status": {"phase": "Down"}})
        assert same["status"] == {"phase": "Up"}
        bad = {**up, "status": {"phase": 5}}
        error = await refused(cron_tabs(api).update_status(bad), 422)
        assert error.status["details"]["causes"][0]["field"] == "status.phase"
        plain = definition("plains", "Plain", versions=[version(subresources=None)])
        await established(api, plain)
        plains = api.client().resource("stable.example.com", "v1", "plains")
        made = await plains.create({**cron_tab(), "kind": "Plain", "status": {"phase": "Up"}})
        assert made["status"] == {"phase": "Up"}
        changed = await plains.update({**made, "status": {"phase": "Down"}})
        assert changed["metadata"]["generation"] == 2
        await refused(plains.update_status(changed), 404)

    with_api(body)


def test_scale_reads_and_writes_the_paths_of_the_definition(with_api):
    async def body(api):
        await established(api, definition())
        made = await cron_tabs(api).create(cron_tab(replicas=2))
        await cron_tabs(api).update_status({**made, "status": {"replicas": 1, "selector": "app=x"}})
        scale = await cron_tabs(api).get("a", namespace="default", subresource="scale")
        assert scale["spec"] == {"replicas": 2} and scale["status"] == {"replicas": 1, "selector": "app=x"}
        scale["spec"]["replicas"] = 5
        assert (await cron_tabs(api).update(scale, subresource="scale"))["spec"] == {"replicas": 5}
        obj = await cron_tabs(api).get("a", namespace="default")
        assert obj["spec"]["replicas"] == 5 and obj["metadata"]["generation"] == 2
        await refused(
            cron_tabs(api).patch("a", {"spec": {"replicas": 11}}, namespace="default", subresource="scale"), 422
        )

    with_api(body)


def test_several_versions_of_one_object(with_api):
    async def body(api):
        narrow = {"type": "object", "properties": {"cronSpec": {"type": "string"}, "kept": {"type": "string"}}}
        versions = [
            version(),
            version("v2", storage=False, schema=schema(narrow)),
            version("v1beta1", storage=False, served=False),
        ]
        await established(api, definition(versions=versions))
        await cron_tabs(api).create(cron_tab(replicas=3))
        second = await cron_tabs(api, "v2").get("a", namespace="default")
        assert second["apiVersion"] == "stable.example.com/v2"
        assert second["spec"] == {"cronSpec": "* * * * *"}, "the other version's schema prunes"
        await refused(cron_tabs(api, "v1beta1").list(), 404)
        changed = await cron_tabs(api, "v2").patch("a", {"spec": {"kept": "x"}}, namespace="default")
        assert changed["spec"] == {"cronSpec": "* * * * *", "kept": "x"}
        events = cron_tabs(api, "v2").watch(namespace="default", initial_events=True)
        async for event in events:
            assert event.type is EventType.ADDED and event.object["apiVersion"] == "stable.example.com/v2"
            break

    with_api(body)


def test_defaults_follow_the_schema_on_stored_objects(with_api):
    async def body(api):
        crd = await established(api, definition())
        await cron_tabs(api).create(cron_tab())
        spec = {**SPEC, "properties": {**SPEC["properties"], "zone": {"type": "string", "default": "UTC"}}}
        crd["spec"]["versions"][0]["schema"] = schema(spec)
        crd = await definitions(api).update(crd)

        async def zoned():
            found = await cron_tabs(api).get("a", namespace="default")
            return found["spec"].get("zone")

        assert await until(zoned) == "UTC"
        assert (await cron_tabs(api).list()).items[0]["spec"]["zone"] == "UTC"

    with_api(body)


def test_the_storage_version_moves_and_old_objects_stay_readable(with_api):
    async def body(api):
        crd = await established(api, definition(versions=[version(), version("v2", storage=False)]))
        await cron_tabs(api).create(cron_tab("old"))
        crd["spec"]["versions"][0]["storage"] = False
        crd["spec"]["versions"][1]["storage"] = True
        crd = await definitions(api).update(crd)
        assert crd["status"]["storedVersions"] == ["v1", "v2"]
        await cron_tabs(api, "v2").create(cron_tab("new", "v2"))
        for wanted in ("v1", "v2"):
            found = (await cron_tabs(api, wanted).list()).items
            assert {obj["metadata"]["name"]: obj["apiVersion"] for obj in found} == {
                "new": f"stable.example.com/{wanted}",
                "old": f"stable.example.com/{wanted}",
            }
        crd["spec"]["versions"] = crd["spec"]["versions"][1:]
        error = await refused(definitions(api).update(crd), 422)
        assert "missing from spec.versions; v1 was previously a storage version" in error.message

    with_api(body)


def test_watch_sees_changes_and_selectable_fields_select(with_api):
    async def body(api):
        made = version(selectableFields=[{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.replicas"}])
        await established(api, definition(versions=[made]))
        seen = []

        async def follow():
            async for event in cron_tabs(api).watch(fields="spec.color=red", initial_events=True):
                if event.type is not EventType.BOOKMARK:
                    seen.append((event.type.name, event.object["metadata"]["name"]))

        task = asyncio.create_task(follow())
        try:
            await cron_tabs(api).create(cron_tab("red", color="red"))
            await cron_tabs(api).create(cron_tab("green", color="green"))
            await cron_tabs(api).patch("green", {"spec": {"color": "red"}}, namespace="default")
            await cron_tabs(api).delete("red", namespace="default")

            async def all_seen():
                return len(seen) == 3

            await until(all_seen)
        finally:
            task.cancel()
        assert seen == [("ADDED", "red"), ("ADDED", "green"), ("DELETED", "red")]
        listed = await cron_tabs(api).list(fields="spec.replicas=1")
        assert [obj["metadata"]["name"] for obj in listed.items] == ["green"]
        await refused(cron_tabs(api).list(fields="spec.image=x"), 400)
        await cron_tabs(api).delete_collection(namespace="default", fields="spec.color=green")
        assert len((await cron_tabs(api).list()).items) == 1

    with_api(body)


def test_names_of_a_group_are_given_once_and_again_when_they_are_free(with_api):
    async def body(api):
        await established(api, definition(shortNames=["ct"]))
        await definitions(api).create(definition("cranetabs", "CronTab", singular="cranetab", shortNames=["ct"]))

        async def judged():
            found = await definitions(api).get("cranetabs.stable.example.com")
            return found if condition(found, "NamesAccepted") else None

        crd = await until(judged)
        accepted = condition(crd, "NamesAccepted")
        assert (accepted["status"], accepted["reason"]) == ("False", "ListKindConflict")
        assert accepted["message"] == '"CronTabList" is already in use'
        assert condition(crd, "Established")["reason"] == "NotAccepted"
        await refused(api.client().resource("stable.example.com", "v1", "cranetabs").list(), 404)
        await definitions(api).delete("crontabs.stable.example.com")

        async def served():
            found = await definitions(api).get("cranetabs.stable.example.com")
            return condition(found, "Established")["status"] == "True"

        await until(served)
        assert (await api.client().resource("stable.example.com", "v1", "cranetabs").list()).items == []

    with_api(body)


def test_rules_in_cel_on_create_and_on_update(with_api):
    async def body(api):
        spec = {**SPEC, "properties": dict(SPEC["properties"])}
        spec["properties"]["image"] = {
            "type": "string",
            "default": "busybox",
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "image is immutable"}],
        }
        spec["properties"]["maxReplicas"] = {"type": "integer"}
        spec["x-kubernetes-validations"] = [
            {
                "rule": "!has(self.maxReplicas) || self.replicas <= self.maxReplicas",
                "messageExpression": "'%d is over %d'.format([self.replicas, self.maxReplicas])",
                "reason": "FieldValueForbidden",
                "fieldPath": ".replicas",
            },
            {"rule": "!has(self.ports) || self.ports.all(p, p.number > 0)"},
        ]
        await established(api, definition(versions=[version(schema=schema(spec))]))
        error = await refused(cron_tabs(api).create(cron_tab(replicas=3, maxReplicas=2)), 422)
        (cause,) = error.status["details"]["causes"]
        assert cause == {
            "reason": "FieldValueForbidden",
            "message": "Forbidden: 3 is over 2",
            "field": "spec.replicas",
        }
        error = await refused(cron_tabs(api).create(cron_tab(ports=[{"name": "a", "number": 0}])), 422)
        assert "failed rule: !has(self.ports) || self.ports.all(p, p.number > 0)" in error.message
        made = await cron_tabs(api).create(cron_tab())
        error = await refused(cron_tabs(api).patch("a", {"spec": {"image": "x"}}, namespace="default"), 422)
        assert error.status["details"]["causes"][0]["message"] == 'Invalid value: "x": image is immutable'
        assert await cron_tabs(api).get("a", namespace="default") == made

    with_api(body)


def test_what_did_not_change_is_not_refused_again(with_api):
    async def body(api):
        crd = await established(api, definition())
        await cron_tabs(api).create(cron_tab(replicas=9))
        spec = {**SPEC, "properties": {**SPEC["properties"], "replicas": {"type": "integer", "maximum": 5}}}
        crd["spec"]["versions"][0]["schema"] = schema(spec)
        await definitions(api).update(crd)

        async def stricter():
            try:
                await cron_tabs(api).create(cron_tab("b", replicas=9), dry_run=True)
            except Exception:
                return True
            return False

        await until(stricter)
        changed = await cron_tabs(api).patch("a", {"spec": {"image": "y"}}, namespace="default")
        assert changed["spec"]["replicas"] == 9
        await refused(cron_tabs(api).patch("a", {"spec": {"replicas": 8}}, namespace="default"), 422)

    with_api(body)
