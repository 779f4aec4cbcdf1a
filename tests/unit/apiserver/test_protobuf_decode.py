"""Protobuf bodies: decoded to the JSON that Go would write, and never a crash."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects.status import ApiError
from control_plane.apiserver.decode import decode
from control_plane.apiserver.protobuf import MAGIC, ProtobufError, decode_envelope, messages
from control_plane.apiserver.protobuf.messages import Form, Message, ProtoField
from control_plane.apiserver.protobuf.scalars import duration_text


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(number: int, payload: bytes | str) -> bytes:
    payload = payload.encode() if isinstance(payload, str) else payload
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return (
        MAGIC + _bytes(1, _bytes(1, api_version) + _bytes(2, kind)) + _bytes(2, raw) + _bytes(3, "") + _bytes(4, "")
    )


# A small writer of its own: JSON to the wire by the same tables, everything Go would put there included.


def _write(obj: dict[str, Any], message: Message) -> bytes:
    out = b""
    for number, field in message.fields.items():
        if field.name == "~":
            out += _bytes(number, _write(obj, messages.message(field.message)))
        elif field.name in obj:
            value = obj[field.name]
            if field.is_map:
                for key, item in value.items():
                    out += _bytes(number, _bytes(1, key) + _one(2, item, field))
            elif field.repeated:
                out += b"".join(_one(number, item, field) for item in value)
            else:
                out += _one(number, value, field)
        elif not field.pointer and not field.repeated and not field.is_map:
            out += _one(number, _zero(field), field)
    return out


def _zero(field: ProtoField) -> Any:
    numbers = (Form.INT32, Form.INT64, Form.DOUBLE, Form.INT_OR_STRING)
    return 0 if field.form in numbers else {} if field.form is Form.MESSAGE else ""


def _one(number: int, value: Any, field: ProtoField) -> bytes:
    match field.form:
        case Form.STRING:
            return _bytes(number, value)
        case Form.BOOL | Form.INT32 | Form.INT64:
            return _int(number, int(value or 0))
        case Form.MESSAGE:
            return _bytes(number, _write(value, messages.message(field.message)))
        case Form.QUANTITY:
            return _bytes(number, _bytes(1, value))
        case Form.INT_OR_STRING:
            if isinstance(value, int):
                return _bytes(number, _int(1, 0) + _int(2, value) + _bytes(3, ""))
            return _bytes(number, _int(1, 1) + _int(2, 0) + _bytes(3, value))
        case Form.TIME | Form.MICRO_TIME:
            return _bytes(number, b"")
        case Form.DOUBLE:
            return _varint(number << 3 | 1) + struct.pack("<d", value)
    return b""


def test_a_deployment() -> None:
    deployment = {
        "metadata": {"name": "d", "labels": {"app": "x", "e": ""}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {
                    "containers": [
                        {
                            "name": "c",
                            "args": ["", "a"],
                            "ports": [{"containerPort": 80}],
                            "resources": {"limits": {"cpu": "500m"}},
                            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3},
                            "securityContext": {"runAsUser": 0},
                        }
                    ],
                    "volumes": [
                        {"name": "a", "emptyDir": {}},
                        {"name": "b", "configMap": {"name": "cm", "optional": False}},
                    ],
                    "securityContext": {},
                },
            },
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}},
        },
    }
    message = messages.for_kind("apps/v1", "Deployment")
    assert message is not None
    body = _envelope("apps/v1", "Deployment", _write(deployment, message))
    decoded = decode(body, "application/vnd.kubernetes.protobuf").obj
    assert decoded == {"apiVersion": "apps/v1", "kind": "Deployment", **deployment}
    assert list(decoded)[:2] == ["apiVersion", "kind"]


def test_scalars_with_a_form_of_their_own() -> None:
    lease = _bytes(2, _int(2, -1) + _bytes(4, _int(1, 1_700_000_000) + _int(2, 123_456_789)))
    assert decode_envelope(_envelope("coordination.k8s.io/v1", "Lease", lease))["spec"] == {
        "leaseDurationSeconds": -1,
        "renewTime": "2023-11-14T22:13:20.123456Z",
    }
    secret = _bytes(2, _bytes(1, "k") + _bytes(2, b"\x00\xff")) + _bytes(2, _bytes(1, "empty"))
    assert decode_envelope(_envelope("v1", "Secret", secret))["data"] == {"k": "AP8=", "empty": ""}
    revision = _bytes(2, _bytes(1, b'{"a":[1,null]}')) + _int(3, 7)
    assert decode_envelope(_envelope("apps/v1", "ControllerRevision", revision)) == {
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"a": [1, None]}, "revision": 7,
    }  # fmt: skip
    extra = _bytes(1, "scopes") + _bytes(2, _bytes(1, "a") + _bytes(1, "b"))
    review = _bytes(2, _bytes(3, "u") + _bytes(5, extra))
    assert decode_envelope(_envelope("authorization.k8s.io/v1", "SubjectAccessReview", review))["spec"] == {
        "user": "u",
        "extra": {"scopes": ["a", "b"]},
    }


@pytest.mark.parametrize("version", ["v1", "meta.k8s.io/v1", "apps/v1", "policy/v1"])
def test_delete_options_come_under_any_version(version: str) -> None:
    raw = _int(1, 0) + _bytes(2, _bytes(1, "uid-1")) + _bytes(4, "Background") + _bytes(5, "All")
    assert decode_envelope(_envelope(version, "DeleteOptions", raw)) == {
        "apiVersion": version,
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "uid-1"},
        "propagationPolicy": "Background",
        "dryRun": ["All"],
    }


def test_unknown_fields_and_groups_are_skipped() -> None:
    group = _varint(900 << 3 | 3) + _int(1, 5) + _bytes(2, "x") + _varint(900 << 3 | 4)
    raw = _int(500, 1) + _bytes(501, "x") + _varint(502 << 3 | 5) + b"\0\0\0\0" + group + _bytes(1, _bytes(1, "n"))
    assert decode_envelope(_envelope("v1", "ConfigMap", raw))["metadata"] == {"name": "n"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"nope", "does not appear to be a protobuf message"),
        (MAGIC, "Object 'Kind' is missing"),
        (MAGIC + b"\x0a\xff", "unexpected EOF"),
        (_envelope("v1", "Nope", b""), 'no kind "Nope" is registered for version "v1"'),
        (_envelope("example.org/v1", "Pod", b""), 'no kind "Pod" is registered for version "example.org/v1"'),
        (_envelope("v1", "Pod", b"\x0f"), "illegal wireType 7"),
        (_envelope("v1", "Pod", _int(1, 3)), "wrong wireType = 0 for field Pod.metadata"),
        (_envelope("v1", "Pod", b"\x08" + b"\xff" * 11), "integer overflow"),
        (_envelope("apps/v1", "ControllerRevision", _bytes(2, _bytes(1, b"{"))), "embedded object is not JSON"),
    ],
)
def test_malformed_bodies_are_400(body: bytes, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode(body, "application/vnd.kubernetes.protobuf", expected="Pod")
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert message in caught.value.message


def test_nesting_is_bounded() -> None:
    raw = b""
    for _ in range(300):
        raw = _varint(900 << 3 | 3) + raw + _varint(900 << 3 | 4)
    with pytest.raises(ProtobufError, match="nested too deeply"):
        decode_envelope(_envelope("v1", "Pod", raw))


_KINDS = [("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "Secret"), ("discovery.k8s.io/v1", "EndpointSlice")]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(_KINDS), st.binary(max_size=80))
def test_arbitrary_bytes_never_crash(kind: tuple[str, str], raw: bytes) -> None:
    try:
        assert decode_envelope(_envelope(*kind, raw))["kind"] == kind[1]
    except ProtobufError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bodies_never_crash(data: st.DataObject) -> None:
    pod = {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    message = messages.for_kind("v1", "Pod")
    assert message is not None
    body = bytearray(_envelope("v1", "Pod", _write(pod, message)))
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_envelope(bytes(body))
    except ProtobufError:
        pass


_TEXT = st.text(alphabet="abcé", min_size=1, max_size=4)


def _values(message: Message, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a message, as Go would write them: no zero of what it holds by value."""
    parts: dict[str, st.SearchStrategy[Any]] = {}
    for field in message.fields.values():
        inner: st.SearchStrategy[Any]
        if field.name == "~" or field.form in (Form.RAW, Form.TIME, Form.MICRO_TIME, Form.DURATION, Form.STRINGS):
            continue
        match field.form:
            case Form.STRING:
                inner = _TEXT
            case Form.BOOL:
                inner = st.booleans() if field.pointer else st.just(True)
            case Form.INT32:
                inner = st.integers(-(1 << 31), (1 << 31) - 1).filter(lambda n, keep=field.pointer: keep or n)
            case Form.INT64:
                inner = st.integers(-(1 << 63), (1 << 63) - 1).filter(lambda n, keep=field.pointer: keep or n)
            case Form.QUANTITY:
                inner = st.sampled_from(["1", "500m", "1Gi"])
            case Form.INT_OR_STRING:
                inner = st.integers(-5, 5) | _TEXT
            case Form.MESSAGE if depth > 0:
                inner = _values(messages.message(field.message), depth - 1)
                if not (field.pointer or field.repeated or field.is_map):
                    inner = inner.filter(bool)
            case _:
                continue
        if field.is_map:
            inner = st.dictionaries(_TEXT, inner, min_size=1, max_size=2)
        elif field.repeated:
            inner = st.lists(inner, min_size=1, max_size=2)
        parts[field.name] = inner
    chosen = st.lists(st.sampled_from(sorted(parts)), max_size=3, unique=True) if parts else st.just([])
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: parts[name] for name in names}))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_go_writes_comes_back(data: st.DataObject) -> None:
    version, kind = data.draw(st.sampled_from(_KINDS))
    message = messages.for_kind(version, kind)
    assert message is not None
    obj = data.draw(_values(message, 2))
    plain = [field for field in message.fields.values() if not field.pointer and field.form is Form.INT_OR_STRING]
    assert not plain
    decoded = decode_envelope(_envelope(version, kind, _write(obj, message)))
    decoded.pop("apiVersion")
    decoded.pop("kind")
    assert _without_defaults(decoded) == _without_defaults(obj)


def _without_defaults(value: Any) -> Any:
    """IntOrString and Quantity that Go holds by value come back as 0 and "": nobody set them."""
    if isinstance(value, dict):
        return {key: _without_defaults(item) for key, item in value.items() if item not in (0, "", {})}
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    return value


def test_durations_are_written_as_go_does() -> None:
    second = 1_000_000_000
    for nanoseconds, text in (
        (0, "0s"), (1, "1ns"), (1500, "1.5µs"), (150_000_000, "150ms"), (second, "1s"), (90 * second, "1m30s"),
        (3600 * second, "1h0m0s"), (3_723_500_000_000, "1h2m3.5s"), (-second, "-1s"),
    ):  # fmt: skip
        assert duration_text(nanoseconds) == text
