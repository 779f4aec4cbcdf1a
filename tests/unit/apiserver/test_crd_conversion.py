"""Custom resources converted by a webhook: what is asked, what is believed, and what happens when it fails."""

from __future__ import annotations

import json

import pytest

from argosy.client import EventType
from argosy.http import MemoryHttp, Response
from tests.unit.apiserver.crd_cases import (
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

PLAIN = {"type": "object", "properties": {"cronSpec": {"type": "string"}, "image": {"type": "string"}}}
PARTS = {
    "type": "object",
    "properties": {
        "minute": {"type": "string"},
        "rest": {"type": "string"},
        "zone": {"type": "string", "default": "UTC"},
    },
}


class Hook:
    """v1 has cronSpec, v2 its parts."""

    def __init__(self) -> None:
        self.http = MemoryHttp()
        self.http.serve("hook.test:443", self._handle)
        self.asked: list[dict] = []
        self.spoil = lambda review: review

    async def _handle(self, request) -> Response:
        review = json.loads(request.body)
        self.asked.append(review["request"])
        wanted = review["request"]["desiredAPIVersion"]
        converted = [self._converted(obj, wanted) for obj in review["request"]["objects"]]
        answer = {
            "apiVersion": review["apiVersion"],
            "kind": "ConversionReview",
            "response": {
                "uid": review["request"]["uid"],
                "result": {"status": "Success"},
                "convertedObjects": converted,
            },
        }
        return Response(200, {}, json.dumps(self.spoil(answer)).encode())

    @staticmethod
    def _converted(obj, wanted):
        spec = dict(obj["spec"])
        if wanted.endswith("v2"):
            minute, _, rest = spec.pop("cronSpec").partition(" ")
            spec = {"minute": minute, "rest": rest}
        else:
            spec = {"cronSpec": f"{spec['minute']} {spec['rest']}"}
        return {**obj, "apiVersion": wanted, "spec": spec}


def converted_definition():
    crd = definition(
        versions=[
            version(schema=schema(PLAIN)),
            version("v2", storage=False, schema=schema(PARTS), additionalPrinterColumns=None),
        ]
    )
    crd["spec"]["conversion"] = {
        "strategy": "Webhook",
        "webhook": {"clientConfig": {"url": "https://hook.test/convert"}, "conversionReviewVersions": ["v1"]},
    }
    return crd


@pytest.fixture
def with_hook(with_api):
    def run(body):
        hook = Hook()

        async def whole(api):
            await established(api, converted_definition())
            await body(api, hook)

        with_api(whole, http=hook.http)

    return run


def test_reads_and_writes_go_through_the_webhook_once_per_object(with_hook):
    async def body(api, hook):
        await cron_tabs(api).create(cron_tab("one"))
        assert not hook.asked
        second = await cron_tabs(api, "v2").get("one", namespace="default")
        assert second["spec"] == {"minute": "*", "rest": "* * * *", "zone": "UTC"}, "v2's defaults"
        asked = len(hook.asked)
        await cron_tabs(api, "v2").get("one", namespace="default")
        assert len(hook.asked) == asked == 1
        new = {**cron_tab("two", "v2"), "spec": {"minute": "5", "rest": "* * * *"}}
        made = await cron_tabs(api, "v2").create(new)
        assert made["spec"]["zone"] == "UTC"
        assert (await cron_tabs(api).get("two", namespace="default"))["spec"] == {"cronSpec": "5 * * * *"}
        changed = await cron_tabs(api, "v2").patch("one", {"spec": {"minute": "7"}}, namespace="default")
        assert changed["spec"]["minute"] == "7"
        listed = (await cron_tabs(api).list()).items
        assert sorted(obj["spec"]["cronSpec"] for obj in listed) == ["5 * * * *", "7 * * * *"]

    with_hook(body)


def test_a_list_and_a_watch_ask_for_many_at_once(with_hook):
    async def body(api, hook):
        for number in range(5):
            await cron_tabs(api).create(cron_tab(f"tab-{number}"))
        found = (await cron_tabs(api, "v2").list()).items
        assert {obj["apiVersion"] for obj in found} == {"stable.example.com/v2"}
        assert [len(asked["objects"]) for asked in hook.asked] == [5]
        seen = []
        async for event in cron_tabs(api, "v2").watch(initial_events=True):
            if event.type is EventType.ADDED:
                seen.append(event.object["spec"]["minute"])
            if len(seen) == 5:
                break
        assert len(hook.asked) == 1, "what a list converted serves watches too"

    with_hook(body)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda answer: {**answer, "kind": "Other"}, "expected webhook response of"),
        (lambda answer: {**answer, "response": None}, "no response provided"),
        (lambda answer: {**answer, "response": {**answer["response"], "uid": "x"}}, 'got "x"'),
        (
            lambda answer: {
                **answer,
                "response": {**answer["response"], "result": {"status": "Failure", "message": "no"}},
            },
            "failed: no",
        ),
        (lambda answer: {**answer, "response": {**answer["response"], "convertedObjects": []}}, "returned 0 objects"),
        (
            lambda answer: {
                **answer,
                "response": {
                    **answer["response"],
                    "convertedObjects": [
                        {**obj, "metadata": {**obj["metadata"], "name": "another"}}
                        for obj in answer["response"]["convertedObjects"]
                    ],
                },
            },
            "must have the same name",
        ),
    ],
)
def test_an_answer_that_makes_no_sense_is_not_believed(with_hook, spoil, message):
    async def body(api, hook):
        await cron_tabs(api).create(cron_tab())
        hook.spoil = spoil
        error = await refused(cron_tabs(api, "v2").get("a", namespace="default"), 500)
        assert error.message.startswith("conversion webhook for stable.example.com/v1, Kind=CronTab")
        assert message in error.message
        assert (await cron_tabs(api).get("a", namespace="default"))["spec"] == {"cronSpec": "* * * * *"}

    with_hook(body)


def test_metadata_is_not_the_webhooks_but_for_labels_and_annotations(with_hook):
    async def body(api, hook):
        await cron_tabs(api).create(cron_tab())

        def spoil(answer):
            for obj in answer["response"]["convertedObjects"]:
                obj["metadata"].update(
                    {
                        "labels": {"by": "hook"},
                        "finalizers": ["example.com/x"],
                        "generation": 99,
                        "resourceVersion": "1",
                    }
                )
            return answer

        hook.spoil = spoil
        found = await cron_tabs(api, "v2").get("a", namespace="default")
        own = await cron_tabs(api).get("a", namespace="default")
        assert found["metadata"] == {**own["metadata"], "labels": {"by": "hook"}}

    with_hook(body)


def test_a_webhook_that_is_away_spoils_only_what_needs_it(with_hook):
    async def body(api, hook):
        await cron_tabs(api).create(cron_tab())
        hook.http.stop("hook.test:443")
        await refused(cron_tabs(api, "v2").list(), 500)

        async def watched():
            async for _ in cron_tabs(api, "v2").watch(initial_events=True):
                raise AssertionError("nothing can be shown")

        error = await refused(watched(), 500)
        assert "connection refused" in error.message
        assert len((await cron_tabs(api).list()).items) == 1
        await definitions(api).delete("crontabs.stable.example.com")

        async def gone():
            return not (await definitions(api).list()).items

        await until(gone)

    with_hook(body)
