"""managedFields of plain writes: who owns what after creates, updates and status writes."""

from typing import Any

from argosy.objects.meta import copy
from control_plane.apiserver.managed_fields import record
from control_plane.apiserver.schema import Catalog, Schemas

SCHEMAS = Schemas(Catalog.load())
DEPLOYMENT = SCHEMAS.for_kind("apps", "v1", "Deployment")
CONFIG_MAP = SCHEMAS.for_kind("", "v1", "ConfigMap")
POD = SCHEMAS.for_kind("", "v1", "Pod")

NOW = 1_000_000_000.0

Obj = dict[str, Any]


def _config_map(**data: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "uid": "u"}, "data": data}


def _write(new: Obj, old: Obj | None, manager: str, at: float = NOW, subresource: str = "") -> Obj:
    result = copy(new)
    record(result, old, manager, "Update", "v1", subresource, at, CONFIG_MAP)
    return result


def _owners(obj: Obj) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", [])}


def test_a_creation_owns_what_was_set_in_upstreams_form() -> None:
    deployment: Obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "uid": "u", "labels": {"app": "x"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "x"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {
                    "containers": [
                        {"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80, "protocol": "TCP"}]}
                    ],
                    "tolerations": [{"key": "a"}],
                },
            },
        },
    }
    record(deployment, None, "kubectl-create", "Update", "apps/v1", "", NOW, DEPLOYMENT)
    port = 'k:{"containerPort":80,"protocol":"TCP"}'
    assert deployment["metadata"]["managedFields"] == [
        {
            "manager": "kubectl-create",
            "operation": "Update",
            "apiVersion": "apps/v1",
            "time": "2001-09-09T01:46:40Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:selector": {},
                    "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
                    "f:template": {
                        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"nginx"}': {
                                    ".": {},
                                    "f:image": {},
                                    "f:name": {},
                                    "f:ports": {".": {}, port: {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                                }
                            },
                            "f:tolerations": {},
                        },
                    },
                },
            },
        }
    ]


def test_an_update_takes_over_what_it_changes() -> None:
    first = _write(_config_map(a="1", b="1"), None, "one")
    second = _write({**first, "data": {"a": "2", "b": "1", "c": "1"}}, first, "two", NOW + 5)
    assert _owners(second) == {
        "one": {"f:data": {".": {}, "f:b": {}}},
        "two": {"f:data": {"f:a": {}, "f:c": {}}},
    }
    assert [entry["time"][-3:] for entry in second["metadata"]["managedFields"]] == ["40Z", "45Z"]


def test_removed_fields_have_no_owner_and_empty_managers_vanish() -> None:
    first = _write(_config_map(a="1"), None, "one")
    second = _write({**first, "data": {"a": "1", "b": "1"}}, first, "two")
    third = _write({**second, "data": {"a": "1"}}, second, "three")
    assert _owners(third) == {"one": {"f:data": {".": {}, "f:a": {}}}}


def test_a_write_that_changes_nothing_keeps_the_entries_and_their_times() -> None:
    first = _write(_config_map(a="1"), None, "one")
    assert _write(first, first, "two", NOW + 9)["metadata"]["managedFields"] == first["metadata"]["managedFields"]
    bare = copy(first)
    del bare["metadata"]["managedFields"]
    assert _write(bare, first, "two", NOW + 9)["metadata"]["managedFields"] == first["metadata"]["managedFields"]


def test_the_same_manager_keeps_one_entry() -> None:
    first = _write(_config_map(a="1"), None, "one")
    second = _write({**first, "data": {"a": "2"}}, first, "one", NOW + 1)
    assert len(second["metadata"]["managedFields"]) == 1
    assert _owners(second) == _owners(first)
    assert second["metadata"]["managedFields"][0]["time"].endswith("41Z")


def test_subresources_are_managers_of_their_own_and_cannot_set_managed_fields() -> None:
    pod: Obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n"}}
    record(pod, None, "agent", "Update", "v1", "", NOW, POD)
    changed = {**copy(pod), "status": {"phase": "Running"}}
    changed["metadata"]["managedFields"] = [{}]
    record(changed, pod, "agent", "Update", "v1", "status", NOW, POD)
    assert [(entry["manager"], entry.get("subresource")) for entry in changed["metadata"]["managedFields"]] == [
        ("agent", None),
        ("agent", "status"),
    ]
    assert changed["metadata"]["managedFields"][1]["fieldsV1"] == {"f:status": {"f:phase": {}}}


def test_reset_forgets_and_untracked_objects_stay_untracked() -> None:
    first = _write(_config_map(a="1"), None, "one")
    for reset in ([], [{}]):
        cleared = copy(first)
        cleared["metadata"]["managedFields"] = reset
        cleared["data"]["a"] = "2"
        cleared = _write(cleared, first, "two")
        assert "managedFields" not in cleared["metadata"]
        later = _write({**cleared, "data": {"a": "3"}}, cleared, "three")
        assert "managedFields" not in later["metadata"]


def test_a_client_may_write_entries_but_not_nonsense() -> None:
    first = _write(_config_map(a="1"), None, "one")
    renamed = copy(first)
    renamed["metadata"]["managedFields"][0]["manager"] = "new"
    assert list(_owners(_write(renamed, first, "x"))) == ["new"]
    for nonsense in (
        [{"manager": "x", "operation": "Steal"}],
        [{"operation": "Update", "fieldsV1": {"z": {}}}],
        ["x"],
    ):
        broken = copy(first)
        broken["metadata"]["managedFields"] = nonsense
        assert list(_owners(_write(broken, first, "x"))) == ["one"]


def test_old_update_managers_are_folded() -> None:
    obj = _write(_config_map(k0="0"), None, "m0")
    for index in range(1, 14):
        obj = _write({**obj, "data": {**obj["data"], f"k{index}": "x"}}, obj, f"m{index}", NOW + index)
    entries = obj["metadata"]["managedFields"]
    assert len(entries) == 10
    ancient = next(entry for entry in entries if entry["manager"] == "ancient-changes")
    assert set(ancient["fieldsV1"]["f:data"]) == {".", "f:k0", "f:k1", "f:k2", "f:k3", "f:k4"}
    assert ancient["time"].endswith("44Z")


def test_the_stored_object_is_not_changed() -> None:
    first = _write(_config_map(a="1"), None, "one")
    before = copy(first)
    _write({**first, "data": {"a": "2"}}, first, "two")
    assert first == before


def test_nobody_owns_what_the_server_sets() -> None:
    obj = _config_map(a="1")
    obj["metadata"].update(creationTimestamp="2001-09-09T01:46:40Z", generation=1, resourceVersion="5")
    assert _owners(_write(obj, None, "one")) == {"one": {"f:data": {".": {}, "f:a": {}}}}
