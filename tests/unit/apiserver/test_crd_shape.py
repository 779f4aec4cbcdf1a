"""The pure parts of custom resources: pruning, defaults, paths, formats, patterns, columns."""

from __future__ import annotations

import copy

import pytest

from control_plane.apiserver.crd import formats, paths, shape, values
from control_plane.apiserver.crd.columns import columns
from control_plane.apiserver.crd.names import accepted, needs_names
from control_plane.apiserver.crd.structure import parse

TEXT = {"type": "string"}
DEEP = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "known": TEXT,
                "defaulted": {**TEXT, "default": "d"},
                "nullable": {**TEXT, "nullable": True, "default": "n"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"x": {**TEXT, "default": "x"}}}},
                "map": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "properties": {"y": {**TEXT, "default": "y"}}},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "half": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"inner": {"type": "object", "properties": {"z": TEXT}}},
                },
                "embedded": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {"spec": {"type": "object", "properties": {"a": TEXT}}},
                },
                "outer": {
                    "type": "object",
                    "default": {},
                    "properties": {"inner": {**TEXT, "default": "i"}},
                },
            },
        }
    },
}


def test_what_is_not_in_the_schema_goes_and_is_named():
    obj = {
        "apiVersion": "a/v1",
        "kind": "K",
        "metadata": {"name": "n", "odd": 1},
        "extra": 1,
        "spec": {
            "known": "k",
            "unknown": {"deep": 1},
            "list": [{"x": "1", "y": "2"}],
            "map": {"a": {"y": "1", "z": 1}},
            "free": {"any": [{"thing": None}]},
            "half": {"other": 1, "inner": {"z": "z", "w": 1}},
            "embedded": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "p", "odd": 1},
                "spec": {"a": "a", "b": 1},
                "status": {},
            },
        },
    }
    unknown = shape.prune(obj, parse(DEEP))
    assert unknown == [
        "extra",
        "spec.embedded.metadata.odd",
        "spec.embedded.spec.b",
        "spec.embedded.status",
        "spec.half.inner.w",
        "spec.list[0].y",
        "spec.map.a.z",
        "spec.unknown",
    ]
    assert obj == {
        "apiVersion": "a/v1",
        "kind": "K",
        "metadata": {"name": "n", "odd": 1},
        "spec": {
            "known": "k",
            "list": [{"x": "1"}],
            "map": {"a": {"y": "1"}},
            "free": {"any": [{"thing": None}]},
            "half": {"other": 1, "inner": {"z": "z"}},
            "embedded": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "p"},
                "spec": {"a": "a"},
            },
        },
    }


def test_defaults_come_in_level_by_level_and_nulls_go():
    obj = {"spec": {"known": None, "defaulted": None, "nullable": None, "list": [{}, {"x": "1"}], "map": {"a": {}}}}
    shape.default(obj, parse(DEEP))
    assert obj["spec"] == {
        "defaulted": "d",
        "nullable": None,
        "list": [{"x": "x"}, {"x": "1"}],
        "map": {"a": {"y": "y"}},
        "outer": {"inner": "i"},
    }
    again = copy.deepcopy(obj)
    shape.default(again, parse(DEEP))
    assert again == obj


OBJ = {
    "metadata": {"name": "n", "annotations": {"a.b/c": "v"}},
    "spec": {"list": [{"name": "x", "v": 1}, {"name": "y", "v": 2}], "map": {"k": True}},
}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (".metadata.name", ["n"]),
        (".", [OBJ]),
        (r".metadata.annotations.a\.b/c", ["v"]),
        (".metadata.annotations['a.b/c']", ["v"]),
        (".spec.list[0].name", ["x"]),
        (".spec.list[-1].name", ["y"]),
        (".spec.list[*].v", [1, 2]),
        (".spec.list[0:1].v", [1]),
        ('.spec.list[?(@.name=="y")].v', [2]),
        (".spec.list[?(@.v>1)].name", ["y"]),
        (".spec.list[?(@.none)].name", []),
        ("..v", [1, 2]),
        (".spec.map.*", [True]),
        (".spec.none.deep", []),
    ],
)
def test_paths_of_printer_columns(path, wanted):
    assert paths.compiled(path)(OBJ) == wanted


def test_paths_that_make_no_sense():
    for path in (".a[", ".a[?(@.b=c d)]", "a", ".a[::0]"):
        with pytest.raises(paths.PathError):
            paths.compiled(path)


def test_columns_show_what_their_types_say():
    given = [
        ("Text", "string", ".t", {"t": {"a": [1]}}, '{"a":[1]}'),
        ("Int", "integer", ".t", {"t": 5.0}, 5),
        ("Int", "integer", ".t", {"t": "5"}, None),
        ("Num", "number", ".t", {"t": 5}, 5.0),
        ("Bool", "boolean", ".t", {"t": True}, True),
        ("Date", "date", ".t", {"t": "1970-01-01T00:00:00Z"}, "90s"),
        ("None", "string", ".none", {}, None),
    ]
    for name, kind, path, obj, wanted in given:
        (column,) = columns({"additionalPrinterColumns": [{"name": name, "type": kind, "jsonPath": path}]})
        assert column.value(obj, 90.0) == wanted, name
    assert [column.name for column in columns({})] == ["Age"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "date-time",
            ["2026-02-28T01:02:03Z", "2026-02-28T01:02:03.5+01:00"],
            ["2026-02-30T01:02:03Z", "2026-02-28"],
        ),
        ("date", ["2026-02-28"], ["2026-2-28", "2026-02-30"]),
        ("duration", ["1h30m", "-1.5s", "3 days"], ["soon", "1"]),
        ("ipv4", ["10.0.0.1"], ["10.0.0", "::1"]),
        ("ipv6", ["::1"], ["10.0.0.1"]),
        ("cidr", ["10.0.0.0/8", "fd00::/8"], ["10.0.0.0", "10.0.0.0/40"]),
        ("mac", ["01:02:03:04:05:06"], ["01:02"]),
        ("uuid", ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"], ["6ba7b810"]),
        ("uuid4", ["16fd2706-8baf-433b-82eb-8c7fada847da"], ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"]),
        ("byte", ["YWJj"], ["?"]),
        ("email", ["a@b.c"], ["a"]),
        ("hostname", ["a.b-c"], ["a b"]),
        ("uri", ["https://a/b", "/p"], ["a b", "p"]),
        ("hexcolor", ["#fff"], ["#ff"]),
        ("isbn", ["0321751043", "9780321751041"], ["1"]),
        ("creditcard", ["4111111111111111"], ["4111111111111112"]),
        ("k8s-short-name", ["a-b"], ["A"]),
    ],
)
def test_formats(name, good, bad):
    check = formats.check_of(name)
    assert check is not None
    assert [text for text in good if not check(text)] == [] and [text for text in bad if check(text)] == []
    assert not formats.is_known("nonsense") and formats.is_known("int32")


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^a$", ["a"], ["a\n", "b"]),
        (r"^\d+$", ["5"], ["٥"]),
        ("^[[:alpha:]_]+$", ["aB_"], ["a1"]),
        (r"^(a|b$)", ["a", "b"], ["b\n"]),
        ("(?i)^abc$", ["ABC"], ["AB"]),
        (r"\$$", ["5$"], ["$5"]),
        (r"^a\z", ["a"], ["a\n"]),
    ],
)
def test_go_patterns(pattern, good, bad):
    compiled = values.compiled_pattern(pattern)
    assert compiled is not None
    assert all(compiled.search(text) for text in good) and not any(compiled.search(text) for text in bad)


def test_combinations_of_schemas():
    def messages(schema, value):
        return [str(error) for error in values.validate(value, parse(schema), "spec")]

    one = {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert messages(one, {"a": 1}) == []
    assert messages(one, {"a": 1, "b": 1}) == [
        '<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    ]
    assert messages(one, {})[0].endswith("Found none valid")
    assert messages({"anyOf": [{"minimum": 5}, {"maximum": 1}]}, 3)[0] == (
        '<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)'
    )
    assert messages({"allOf": [{"minimum": 5}, {"maximum": 9}]}, 7) == []
    assert len(messages({"allOf": [{"minimum": 5}]}, 3)) == 2
    assert messages({"not": {"minimum": 5}}, 7) == [
        '<nil>: Invalid value: "": "spec" must not validate the schema (not)'
    ]


def test_names_are_accepted_as_far_as_they_are_free():
    def crd(name, kind, **rest):
        names = {"plural": name, "singular": name[:-1], "kind": kind, "listKind": kind + "List", **rest}
        return {"metadata": {"name": name}, "spec": {"group": "g.io", "names": names}}

    first = crd("as", "A", shortNames=["x"])
    first["status"] = accepted(first, [], "now")
    assert first["status"]["acceptedNames"] == first["spec"]["names"] and not needs_names(first)
    second = crd("bs", "B", shortNames=["x", "y"])
    second["status"] = accepted(second, [first], "now")
    by_type = {each["type"]: each for each in second["status"]["conditions"]}
    assert by_type["NamesAccepted"]["reason"] == "ShortNamesConflict"
    assert by_type["NamesAccepted"]["message"] == '"x" is already in use'
    assert "shortNames" not in second["status"]["acceptedNames"] and needs_names(second)
    second["status"] = accepted(second, [], "later")
    assert second["status"]["acceptedNames"]["shortNames"] == ["x", "y"] and not needs_names(second)
