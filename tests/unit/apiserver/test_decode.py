"""Request bodies: every malformed one gets Kubernetes' words, none ends the process."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects.status import ApiError
from control_plane.apiserver.decode import decode, parse_json
from control_plane.apiserver.decode_errors import json_problem


def _refusal(body: bytes, content_type: str = "application/json") -> ApiError:
    with pytest.raises(ApiError) as caught:
        decode(body, content_type, expected="Pod")
    return caught.value


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a":1', "unexpected end of JSON input"),
        (b"nope", "invalid character 'o' in literal null (expecting 'u')"),
        (b'{"a"}', "invalid character '}' after object key"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        (b'{"a":[1 2]}', "invalid character '2' after array element"),
        (b'{"a":1}x', "invalid character 'x' after top-level value"),
        (b'{"a":"\n"}', "invalid character '\\n' in string literal"),
        (b'{"a":"\\q"}', "invalid character 'q' in string escape code"),
        (b'{"a":1.x}', "invalid character 'x' after decimal point in numeric literal"),
        (b"<html>", "invalid character '<' looking for beginning of value"),
    ],
)
def test_malformed_json(body: bytes, problem: str) -> None:
    error = _refusal(body)
    assert (error.code, error.reason) == (400, "BadRequest")
    assert error.message.startswith(
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; "
        f"json parse error: {problem} ("
    )


def test_a_body_that_is_no_object() -> None:
    assert "cannot unmarshal array into Go value" in _refusal(b"[1]").message
    assert "Object 'Kind' is missing in 'null'" in _refusal(b"null").message


def test_nesting_is_bounded() -> None:
    assert "exceeded max depth" in _refusal(b'{"a":' * 300 + b"1" + b"}" * 300).message
    assert "exceeded max depth" in _refusal(b"[" * 3_000_000).message
    assert "exceeded max depth" in _refusal(b"[" * 3_000_000, "application/yaml").message
    assert "exceeded max depth" in _refusal(b"- " * 100_000 + b"a", "application/yaml").message


def test_content_types() -> None:
    assert decode(b'{"a":1}', "").obj == {"a": 1}
    assert decode(b'{"a":1}', "application/json; charset=utf-8").obj == {"a": 1}
    error = _refusal(b"", "text/plain")
    assert (error.code, error.reason) == (415, "UnsupportedMediaType")
    assert "application/vnd.kubernetes.protobuf" in error.message


def test_applied_configurations_are_json_or_yaml() -> None:
    apply = "application/apply-patch+yaml"
    assert decode(b'{"a":{"b":1}}', apply).obj == {"a": {"b": 1}}
    assert decode(b"{a: {b: 1}}", apply).obj == {"a": {"b": 1}}
    assert decode(b"a:\n  b: 1\n", apply).obj == {"a": {"b": 1}}
    assert decode(b'{"a":1,"a":2}', apply).duplicates == ['duplicate field "a"']
    assert "cannot unmarshal array" in _refusal(b"[1]", apply).message
    assert "found unexpected end of stream" in _refusal(b'{"a": "', apply).message


def test_duplicate_json_fields_are_found_and_the_last_wins() -> None:
    decoded = decode(b'{"a":{"b":1,"b":2},"c":[{},{"x":1,"x":1}],"t":"12:30:11"}', "application/json")
    assert decoded.obj["a"] == {"b": 2}
    assert decoded.duplicates == ['duplicate field "a.b"', 'duplicate field "c[1].x"']
    assert decode(b'{"a":1,"a":2}', "", find_duplicates=False).duplicates == []
    assert decode(b'{"a":"\\u003a","a":"x"}', "").duplicates == ['duplicate field "a"']


def test_yaml_resolves_as_kubernetes_does() -> None:
    text = b"""
a: &A {x: 1, when: 2020-01-01, mode: 0644, hex: 0x1F, e: 1e3, f: 1.5, t: 1:30, q: "yes", nil: ~, u: 1_000}
b: *A
c: {<<: *A, x: 2}
1: [on, off, y]
s: !!str 5
"<<": 1
m: [<<, {k: <<}]
"""
    obj = decode(text, "application/yaml").obj
    assert obj["a"] == {
        "x": 1, "when": "2020-01-01", "mode": 420, "hex": 31, "e": 1000, "f": 1.5, "t": "1:30", "q": "yes",
        "nil": None, "u": 1000,
    }  # fmt: skip
    assert obj["b"] == obj["a"] and obj["b"] is not obj["a"]
    assert obj["c"]["x"] == 2 and obj["c"]["mode"] == 420
    assert obj["1"] == [True, False, True]
    assert obj["s"] == "5"
    assert obj["<<"] == 1 and obj["m"] == ["<<", {"k": "<<"}], "it merges as a plain key only"


def test_yaml_faults() -> None:
    assert "line 1: mapping values are not allowed" in _refusal(b"a: b: c", "application/yaml").message
    assert "unknown anchor 'x'" in _refusal(b"a: *x", "application/yaml").message
    assert "scalar" in _refusal(b"{? [a] : b}", "application/yaml").message
    assert decode(b"a: 1\na: 2\n", "application/yaml").duplicates == [
        'yaml: unmarshal errors:\n  line 2: key "a" already set in map'
    ]
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(9)
    )
    assert "excessive aliasing" in _refusal(bomb, "application/yaml").message


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_decoded_or_refused(body: bytes) -> None:
    for content_type in ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"):
        try:
            assert isinstance(decode(body, content_type).obj, dict)
        except ApiError as error:
            assert error.code == 400


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(_VALUES, st.text(max_size=3), st.integers(0, 200))
def test_the_scanner_agrees_with_the_parser(value: object, noise: str, at: int) -> None:
    text = json.dumps(value)
    assert json_problem(text) == ""
    assert parse_json(text.encode()) == value
    broken = text[: at % (len(text) + 1)] + noise + text[at % (len(text) + 1) :]
    try:
        parse_json(broken.encode("utf-8", errors="surrogatepass"))
    except ValueError as error:
        assert str(error)
    else:
        assert json_problem(broken) == ""


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=5), _VALUES, max_size=4))
def test_no_duplicates_are_seen_where_there_are_none(value: dict[str, object]) -> None:
    assert decode(json.dumps(value).encode(), "").duplicates == []
