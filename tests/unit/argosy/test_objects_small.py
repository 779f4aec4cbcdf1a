"""The small helpers: names, durations, IntOrString, generated names, conditions, messages."""

import pytest

from argosy.host import SeededRng
from argosy.objects import conditions, durations, generate, intstr, names
from argosy.objects import status as errors


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.check_label, ["a", "a-b", "0", "x" * 63], ["", "-a", "a-", "A", "a_b", "x" * 64, "a.b", "a\n"]),
        (names.check_subdomain, ["a", "a.b-c", "1.2", "x" * 253], ["", "a..b", ".a", "A", "x" * 254, "a/b", "a\n"]),
        (names.check_label_1035, ["a", "a1"], ["1a", "", "a-", "a.b"]),
        (names.check_qualified_name, ["a", "A_b.c", "x.io/Y"], ["", "/a", "a/", "a/b/c", "-a", "X.io/y", "a" * 64]),
        (names.check_label_value, ["", "a", "A_b.c-1"], ["-", "a b", "x" * 64, "a\n"]),
        (names.check_config_key, ["a", ".a", "A_b-c", "a.."], ["", "a/b", "..", ".", "..a", "x" * 254]),
        (names.check_env_name, ["A", "a.b-c", "with space"], ["", "a=b", "é"]),
        (names.check_path_segment, ["system:node", "a b"], [".", "..", "a/b", "a%b"]),
        (names.check_port_name, ["http", "a-1"], ["", "-a", "1", "a--b", "HTTP", "x" * 16]),
        (names.check_port, [1, 65535], [0, 65536, -1, None]),
        (names.check_http_header, ["X-A"], ["", "a b", "é"]),
        (names.check_ip, ["10.0.0.1", "::1"], ["", "1.2.3", "fe80::1%eth0", "010.0.0.1", None, 1]),
        (names.check_cidr, ["10.0.0.0/8", "10.0.0.1/8", "fd00::/64"], ["10.0.0.0", "10.0.0.0/33", "", None]),
    ],
)  # fmt: skip
def test_names(check, good, bad) -> None:  # type: ignore[no-untyped-def]
    assert [text for text in good if check(text)] == []
    assert [text for text in bad if not check(text)] == []


def test_complaints_are_upstreams() -> None:
    assert names.check_subdomain("A") == [
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
    assert names.check_label("A")[0].endswith(
        "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    )
    assert names.check_label("x" * 64) == ["must be no more than 63 bytes"]
    assert names.check_label("a.b") == ["must not contain dots"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-0.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (599, "9m59s"),
        (600, "10m"), (3 * 3600 - 1, "179m"), (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"), (8 * 3600 + 60, "8h"),
        (47 * 3600, "47h"), (48 * 3600, "2d"), (49 * 3600, "2d1h"), (8 * 86400, "8d"), (729 * 86400, "729d"),
        (730 * 86400, "2y"), (731 * 86400, "2y1d"), (8 * 365 * 86400, "8y"),
    ],
)  # fmt: skip
def test_human_durations(seconds: float, text: str) -> None:
    assert durations.human(seconds) == text


def test_ages() -> None:
    assert durations.age("2026-01-01T00:00:00Z", 1767225600 + 90) == "90s"
    assert durations.age(None, 0) == durations.age("soon", 0) == "<unknown>"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("1h5m", 3900), ("1.5s", 1.5), ("300ms", 0.3), ("-2m", -120), (".5s", 0.5), ("1us", 1e-6)],
)
def test_go_durations(text: str, seconds: float) -> None:
    assert durations.parse_go(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "--1s", "1s ", "1h-5m", "."])
def test_bad_go_durations(text: str) -> None:
    with pytest.raises(ValueError):
        durations.parse_go(text)


def test_int_or_string() -> None:
    assert intstr.scaled(2, 10, round_up=True) == 2
    assert intstr.scaled("25%", 3, round_up=True) == 1
    assert intstr.scaled("25%", 3, round_up=False) == 0
    assert intstr.scaled("100%", 7, round_up=False) == 7
    for bad in ("25", "%", "-5%", "2.5%", None, True):
        with pytest.raises(ValueError):
            intstr.scaled(bad, 1, round_up=True)


def test_generated_names() -> None:
    rng = SeededRng(1)
    name = generate.name("x" * 80, rng)
    assert len(name) == 63
    assert set(name[-5:]) <= set(generate.ALPHABET)
    assert generate.name("a-", rng) != generate.name("a-", rng)


def test_hashes_follow_content_and_collisions() -> None:
    one = {"spec": {"a": 1, "b": [1, 2]}}
    assert generate.template_hash(one) == generate.template_hash({"spec": {"b": [1, 2], "a": 1}})
    assert generate.template_hash(one) != generate.template_hash({"spec": {"a": 2, "b": [1, 2]}})
    assert generate.template_hash(one) != generate.template_hash(one, 1)
    assert names.check_label_value(generate.template_hash(one)) == []


def test_conditions_keep_the_time_of_the_last_transition() -> None:
    first = conditions.make("Ready", False, "t1", "Why", "because")
    same = conditions.with_condition([first], conditions.make("Ready", "False", "t2", "Other"))
    assert same == [{"type": "Ready", "status": "False", "lastTransitionTime": "t1", "reason": "Other"}]
    flipped = conditions.with_condition(same, conditions.make("Ready", True, "t3"))
    assert flipped[0]["lastTransitionTime"] == "t3"
    assert conditions.is_true({"status": {"conditions": flipped}}, "Ready")
    assert conditions.without(flipped, "Ready") == []
    assert first["lastTransitionTime"] == "t1"


def test_messages_of_failures() -> None:
    error = errors.invalid(
        "apps", "Deployment", "d", [errors.required("spec.a"), errors.invalid_value("spec.b", None, "bad")]
    )
    assert error.message == (
        'Deployment.apps "d" is invalid: [spec.a: Required value, spec.b: Invalid value: null: bad]'
    )
    assert [cause["reason"] for cause in error.status["details"]["causes"]] == [
        "FieldValueRequired",
        "FieldValueInvalid",
    ]
    assert str(errors.not_supported("x", "q", ["b", "a"])) == 'x: Unsupported value: "q": supported values: "b", "a"'
