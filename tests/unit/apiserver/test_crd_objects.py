"""Custom resources through the API: what comes out after what went in."""

from __future__ import annotations

from tests.unit.apiserver.crd_cases import (
    condition,
    cron_tab,
    cron_tabs,
    definition,
    established,
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
