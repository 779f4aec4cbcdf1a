"""What a CustomResourceDefinition may say, in upstream's words where it may not."""

from __future__ import annotations

import json
import time

import pytest

from control_plane.apiserver.crd.schema_rules import check_version
from tests.unit.apiserver.crd_cases import condition, definition, definitions, established, refused, schema, version

AT = "v.schema.openAPIV3Schema"


def complaints(root, **rest):
    """Of a version with this schema: {path below the schema: message}."""
    found = check_version({"schema": {"openAPIV3Schema": root}, **rest}, "v")
    return {error.field.removeprefix(AT).removeprefix("."): error.message for error in found}


def object_of(**properties):
    return {"type": "object", "properties": properties}


def test_every_level_says_what_it_is():
    assert complaints({}) == {"type": "Required value: must not be empty at the root"}
    assert complaints({"type": "array", "items": {"type": "string"}}) == {
        "type": 'Invalid value: "array": must be object at the root'
    }
    assert complaints(object_of(a={}, b={"type": "array", "items": {}}, c={"type": "array"})) == {
        "properties[a].type": "Required value: must not be empty for specified object fields",
        "properties[b].items": "Required value: must be specified",
        "properties[c].items": "Required value: must be specified",
    } | {"properties[b].items.type": "Required value: must not be empty for specified array items"}
    assert complaints(object_of(a={"x-kubernetes-preserve-unknown-fields": True})) == {}
    assert complaints(object_of(a={"type": "text"})) == {
        "properties[a].type": 'Unsupported value: "text": supported values: "array", "boolean", "integer", "number", '
        '"object", "string"'
    }


@pytest.mark.parametrize("name", ["allOf", "anyOf", "oneOf"])
def test_combinations_only_restrict(name):
    nested = {"type": "string", "default": "x", "description": "d", "x-kubernetes-int-or-string": True}
    found = complaints(object_of(a={"type": "string", name: [nested]}))
    assert {field.rpartition(".")[2]: text.partition(": ")[2] for field, text in found.items()} == {
        "type": "must be empty to be structural",
        "default": "must be undefined to be structural",
        "description": "must be empty to be structural",
        "x-kubernetes-int-or-string": "must be false to be structural",
    }
    any_of = [{"type": "integer"}, {"type": "string"}]
    assert complaints(object_of(a={"x-kubernetes-int-or-string": True, "anyOf": any_of})) == {}
    assert complaints(object_of(a={"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": any_of}]})) == {}


def test_metadata_is_the_servers():
    labels = {"type": "object", "properties": {"labels": {"type": "object"}}}
    assert complaints(object_of(metadata=labels)) == {
        "properties[metadata]": "Forbidden: must not specify anything other than name and generateName, "
        "but metadata is "
        "implicitly specified"
    }
    named = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}
    assert complaints(object_of(metadata=named, kind={"type": "string"})) == {}
    assert complaints(object_of(kind={"type": "integer"})) == {
        "properties[kind].type": 'Invalid value: "integer": must be string'
    }
    assert complaints(object_of(kind={"type": "string", "default": "X"})) == {
        "properties[kind].default": "Forbidden: must not be set in top-level kind"
    }


def test_what_is_not_supported_is_named():
    root = object_of(
        a={"type": "object", "additionalProperties": True, "properties": {"x": {"type": "string"}}},
        b={"type": "array", "uniqueItems": True, "items": {"type": "string"}},
        c={"type": "string", "$ref": "#/x"},
        d={"type": "object", "patternProperties": {"a": {"type": "string"}}},
        e={"type": "object", "x-kubernetes-preserve-unknown-fields": False},
        f={"type": "string", "pattern": "("},
    )
    assert complaints({**root, "properties": {"f": root["properties"]["f"]}})["properties[f].pattern"].startswith(
        'Invalid value: "(": must be a valid regular expression'
    )
    del root["properties"]["f"]
    assert complaints(root) == {
        "properties[a].additionalProperties": "Forbidden: additionalProperties and properties are mutual exclusive",
        "properties[b].uniqueItems": "Forbidden: uniqueItems cannot be set to true since the runtime "
        "complexity becomes "
        "quadratic",
        "properties[c].$ref": "Forbidden: $ref is not supported",
        "properties[d].patternProperties": "Forbidden: patternProperties is not supported",
        "properties[e].x-kubernetes-preserve-unknown-fields": "Invalid value: false: must be true or undefined",
    }
    assert complaints(object_of(), subresources={"status": {}}) == {}
    assert (
        "fields are allowed at the root"
        in complaints({"type": "object", "allOf": [{"required": ["a"]}]}, subresources={"status": {}})[""]
    )


def test_list_types_and_their_keys():
    item = object_of(name={"type": "string"}, deep={"type": "object"})

    def listed(**rest):
        return complaints(object_of(a={"type": "array", "items": item, **rest}))

    map_type = {"x-kubernetes-list-type": "map"}
    assert listed(**map_type) == {
        "properties[a].x-kubernetes-list-map-keys": "Required value: must not be empty if "
        "x-kubernetes-list-type is map"
    }
    assert listed(**map_type, **{"x-kubernetes-list-map-keys": ["deep", "none"]}) == {
        "properties[a].x-kubernetes-list-map-keys": 'Invalid value: ["deep","none"]: entries must all be '
        "names of item "
        "properties",
        "properties[a].items.properties[deep].type": 'Invalid value: "object": must be a scalar type if '
        "parent array's "
        "x-kubernetes-list-type is map",
        "properties[a].items.properties[deep].default": "Required value: this property is in "
        "x-kubernetes-list-map-keys, so it must have a default or be a required property",
    }
    assert (
        "must be atomic" in listed(**{"x-kubernetes-list-type": "set"})["properties[a].items.x-kubernetes-map-type"]
    )
    assert "supported values" in listed(**{"x-kubernetes-list-type": "bag"})["properties[a].x-kubernetes-list-type"]


def test_defaults_are_what_the_schema_allows():
    assert complaints(object_of(a={"type": "integer", "default": "x"})) == {
        "properties[a].default": 'Invalid value: "string": '
        "v.schema.openAPIV3Schema.properties[a].default in body must "
        'be of type integer: "string"'
    }
    nested = {**object_of(b={"type": "string"}), "default": {"c": 1}}
    assert complaints(object_of(a=nested)) == {
        "properties[a].default": 'Invalid value: {"c":1}: must not have unknown fields'
    }
    assert complaints(object_of(a={**object_of(b={"type": "string"}), "default": {"b": "x"}})) == {}


def test_selectable_fields_are_scalars_of_the_schema():
    root = object_of(spec=object_of(color={"type": "string"}, deep={"type": "object"}))

    def selectable(*paths):
        found = check_version(
            {"schema": {"openAPIV3Schema": root}, "selectableFields": [{"jsonPath": path} for path in paths]}, "v"
        )
        return [f"{error.field}: {error.message}" for error in found]

    assert selectable(".spec.color") == []
    assert "must point to a field of type string, boolean or integer" in selectable(".spec.deep")[0]
    assert "is an invalid path" in selectable(".spec.none")[0]
    assert selectable(".spec.color", ".spec.color") == [
        'v.selectableFields[1].jsonPath: Duplicate value: ".spec.color"'
    ]


def test_rules_are_compiled_against_the_schema():
    def ruled(rule, **rest):
        spec = {
            **object_of(
                replicas={"type": "integer"},
                name={"type": "string"},
                tags={
                    "type": "array",
                    "items": {"type": "string", "x-kubernetes-validations": rest.pop("tag_rules", [])},
                },
                **{"a-b": {"type": "string"}},
            ),
            "x-kubernetes-validations": [{"rule": rule, **rest}],
        }
        found = complaints(object_of(spec=spec))
        return {field.rpartition("x-kubernetes-validations")[2]: text for field, text in found.items()}

    assert ruled("self.replicas > 1 && self.name.startsWith('a') && self.a__dash__b == 'x'") == {}
    assert "undefined field 'nope'" in ruled("self.nope == 1")["[0].rule"]
    assert (
        "found no matching overload for '_==_' applied to '(int, string)'"
        in ruled("self.replicas == 'a'")["[0].rule"]
    )
    assert "undeclared reference to 'unknown'" in ruled("unknown(self)")["[0].rule"]
    assert "cel expression must evaluate to a bool" in ruled("self.replicas")["[0].rule"]
    assert "Syntax error" in ruled("self.replicas >")["[0].rule"]
    assert ruled(" ") == {"[0].rule": "Required value: rule is not specified"}
    assert (
        "messageExpression must evaluate to a string" in ruled("true", messageExpression="1")["[0].messageExpression"]
    )
    assert "Unsupported value" in ruled("true", reason="Because")["[0].reason"]
    assert ruled("true", fieldPath=".replicas") == {}
    assert ruled("true", fieldPath=".none") == {"[0].fieldPath": 'Invalid value: ".none": must be a valid path'}
    assert ruled("oldSelf.replicas <= self.replicas") == {}
    assert ruled("!oldSelf.hasValue() || oldSelf.value().replicas <= self.replicas", optionalOldSelf=True) == {}
    assert "may not be set if oldSelf is not used" in ruled("true", optionalOldSelf=True)["[0].optionalOldSelf"]
    uncorrelated = ruled("true", tag_rules=[{"rule": "self == oldSelf"}])
    assert "oldSelf cannot be used on the uncorrelatable portion" in uncorrelated["[0].rule"]


def test_names_versions_columns_and_conversion(with_api):
    async def body(api):
        crd = definition()
        crd["metadata"]["name"] = "other.stable.example.com"
        crd["spec"]["scope"] = "Somewhere"
        crd["spec"]["versions"] = [
            version("V1"),
            version("v2", additionalPrinterColumns=[{"name": "", "type": "text", "jsonPath": "spec"}]),
        ]
        crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v3"]}}
        error = await refused(definitions(api).create(crd), 422)
        causes = {cause["field"]: cause["message"] for cause in error.status["details"]["causes"]}
        assert causes["metadata.name"].endswith('must be spec.names.plural+"."+spec.group')
        assert causes["spec.scope"].endswith('supported values: "Cluster", "Namespaced"')
        assert "a DNS-1035 label must consist of" in causes["spec.versions[0].name"]
        assert causes["spec.versions"].endswith("must have exactly one version marked as storage version")
        path = "spec.versions[1].additionalPrinterColumns[0]"
        assert causes[f"{path}.name"] == "Required value"
        assert causes[f"{path}.type"].endswith("must be one of boolean,date,integer,number,string")
        assert causes[f"{path}.jsonPath"].endswith("must be a simple json path starting with .")
        assert (
            causes["spec.conversion.webhook.clientConfig"]
            == "Required value: required when strategy is set to Webhook"
        )
        assert "must include at least one of v1" in causes["spec.conversion.webhook.conversionReviewVersions"]
        guarded = definition(group="mine.k8s.io")
        error = await refused(definitions(api).create(guarded), 422)
        assert 'protected groups must have approval annotation "api-approved.kubernetes.io"' in error.message
        guarded["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
        made = await established(api, guarded)
        conformant = condition(made, "KubernetesAPIApprovalPolicyConformant")
        assert (conformant["status"], conformant["reason"]) == ("False", "UnapprovedAnnotation")

    with_api(body)


def test_what_cannot_be_decoded_is_refused_wherever_it_stands(with_api):
    async def body(api):
        for broken in (
            {"type": "array", "items": {"type": 5}},
            {"type": "object", "additionalProperties": {"properties": 5}},
            {"type": "array", "items": {"type": "array", "items": {"required": "x"}}},
        ):
            crd = definition(versions=[version(schema=schema({"type": "object", "properties": {"a": broken}}))])
            error = await refused(definitions(api).create(crd), 400)
            assert "cannot unmarshal" in error.message
        for odd in ([], "x", {"items": "x"}, {"allOf": 5}):
            crd = definition(versions=[version(schema=schema({"type": "object", "properties": {"a": odd}}))])
            assert await refused(
                definitions(api).create(crd), 422 if isinstance(odd, dict) and "items" in odd else 400
            )

    with_api(body)


def test_an_established_definition_keeps_its_scope_and_kind(with_api):
    async def body(api):
        crd = await established(api, definition())
        crd["spec"]["scope"] = "Cluster"
        crd["spec"]["names"]["kind"] = "Other"
        error = await refused(definitions(api).update(crd), 422)
        assert {cause["field"] for cause in error.status["details"]["causes"]} == {"spec.scope", "spec.names.kind"}

    with_api(body)


def test_the_status_of_a_definition_has_a_subresource(with_api):
    async def body(api):
        crd = await established(api, definition())
        status = await definitions(api).get(crd["metadata"]["name"], subresource="status")
        status["status"]["conditions"].append(
            {"type": "Custom", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        )
        changed = await definitions(api).update_status(status)
        assert condition(changed, "Custom")["status"] == "True"
        patched = await definitions(api).patch(
            crd["metadata"]["name"], {"status": {"storedVersions": ["v1"]}}, subresource="status"
        )
        assert condition(patched, "Established")["status"] == "True"

    with_api(body)


def big_schema():
    """As large as those of prometheus-operator: some 300 KB."""

    def level(depth, name):
        fields = {
            f"{name}{index}": {
                "type": ("string", "integer", "boolean")[index % 3],
                "description": f"What the field number {index} of {name} is for, in a sentence of some length.",
            }
            for index in range(7)
        }
        if depth:
            fields |= {f"part{index}": level(depth - 1, f"{name}{index}") for index in range(5)}
            fields["many"] = {"type": "array", "items": level(depth - 1, f"{name}x")}
        fields["port"] = {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": "^[0-9a-z]+$",
        }
        return {"type": "object", "description": f"The structure {name}.", "properties": fields}

    return level(3, "a")


def test_a_definition_as_large_as_there_are_is_checked_and_served_in_no_time(with_api):
    made = schema(big_schema())
    assert len(json.dumps(made)) > 250_000
    started = time.process_time()
    assert check_version({"schema": made}, "v") == []
    assert time.process_time() - started < 1.0

    async def body(api):
        await established(api, definition("bigs", "Big", versions=[version(schema=made, subresources=None)]))
        bigs = api.client().resource("stable.example.com", "v1", "bigs")
        obj = {
            "apiVersion": "stable.example.com/v1",
            "kind": "Big",
            "metadata": {"name": "b", "namespace": "default"},
            "spec": {"part0": {"part1": {"many": [{"port": "x"}], "bad": 1}}, "a1": 5},
        }
        stored = await bigs.create(obj)
        assert stored["spec"] == {"part0": {"part1": {"many": [{"port": "x"}]}}, "a1": 5}

    with_api(body)
