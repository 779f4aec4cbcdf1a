"""CEL rules evaluated: values as CEL sees them, Kubernetes' functions, transition rules, costs."""

from __future__ import annotations

import pytest

from control_plane.apiserver.cel.environment import CelError, Environment
from control_plane.apiserver.crd import evaluate
from control_plane.apiserver.crd.evaluate import EXHAUSTED, Evaluator
from control_plane.apiserver.crd.rule_types import escape
from control_plane.apiserver.crd.structure import parse


def judged(schema, value, old=None):
    return [f"{error.field}: {error.message}" for error in Evaluator(parse(schema)).validate(value, old)]


def ruled(schema, *rules, **properties):
    return {
        **schema,
        "properties": {**schema.get("properties", {}), **properties},
        "x-kubernetes-validations": [rule if isinstance(rule, dict) else {"rule": rule} for rule in rules],
    }


OBJECT = {"type": "object"}
TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


@pytest.mark.parametrize(
    ("rule", "given"),
    [
        ("self.when < timestamp('2030-01-01T00:00:00Z')", {"when": {**TEXT, "format": "date-time"}}),
        ("self.long < duration('2h')", {"long": {**TEXT, "format": "duration"}}),
        ("self.raw == b'abc'", {"raw": {**TEXT, "format": "byte"}}),
        ("self.share + 0.5 > 2.0", {"share": {"type": "number"}}),
        ("self.a__dash__b == 'x' && self.__namespace__ == 'n'", {"a-b": TEXT, "namespace": TEXT}),
        ("self.tags.all(t, self.tags.exists(u, t == u))", {"tags": {"type": "array", "items": TEXT}}),
        ("self.labels['a.b'] == 'c'", {"labels": {**OBJECT, "additionalProperties": TEXT}}),
        ("type(self.port) == int ? self.port > 1 : false", {"port": {"x-kubernetes-int-or-string": True}}),
        ("self.none == null", {"none": {**TEXT, "nullable": True}}),
        ("!has(self.absent) && !has(self.deep.x)", {"absent": TEXT, "deep": {**OBJECT, "properties": {"x": TEXT}}}),
        ("self.?absent.orValue('z') == 'z'", {"absent": TEXT}),
    ],
)
def test_values_are_what_their_schema_says(rule, given):
    value = {
        "when": "2026-01-01T00:00:00Z",
        "long": "90m",
        "raw": "YWJj",
        "share": 2,
        "a-b": "x",
        "namespace": "n",
        "tags": ["a", "b"],
        "labels": {"a.b": "c"},
        "port": 5,
        "none": None,
        "deep": {},
    }
    assert judged(ruled(OBJECT, rule, **given), {key: value[key] for key in given if key in value}) == []


@pytest.mark.parametrize(
    "expression",
    [
        "[1, 2, 3].isSorted() && [1, 2].sum() == 3 && [2, 1].min() == 1 && [2, 1].max() == 2 && [].sum() == 0",
        "'abc123'.find('[0-9]+') == '123' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "'a1b2c3'.findAll('[0-9]', 2) == ['1', '2']",
        "url('https://u@h.example:80/p%20q?a=b').getHost() == 'h.example:80'",
        "url('https://[::1]:80/').getHostname() == '::1' && url('https://h/').getPort() == ''",
        "url('https://h/p%20q?a=b').getEscapedPath() == '/p%20q' && url('https://h?a=b').getQuery()['a'] == ['b']",
        "isURL('https://h') && !isURL('h') && url('/p').getScheme() == ''",
        "quantity('1.5Gi').isGreaterThan(quantity('1G')) && quantity('1k') == quantity('1000')",
        "quantity('100m').add(quantity('900m')).asInteger() == 1 && quantity('2').sub(1).sign() == 1",
        "!isQuantity('x') && !quantity('100m').isInteger() && quantity('2').compareTo(quantity('3')) == -1",
        "ip('10.0.0.1').family() == 4 && isIP('::1') && ip('::1').isLoopback() && !isIP('10.0.0')",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "cidr('10.0.0.0/8').containsIP(ip('10.1.2.3')) && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
        "isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0') && cidr('10.0.0.0/8').prefixLength() == 8",
        "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1]) && !sets.intersects([1], [2])",
        "'a,b'.split(',').join('-') == 'a-b' && 'A'.lowerAscii() == 'a' && '%s %d'.format(['x', 1]) == 'x 1'",
    ],
)
def test_the_functions_of_kubernetes(expression):
    assert Environment({}).compile(expression).evaluate({}) is True


def test_expressions_that_cannot_be_are_told_so():
    environment = Environment({"self": "dyn"})
    for text in ("self.indexOf(5)", "semver('1.2.3')", "1 + 'a'", "self."):
        with pytest.raises(CelError):
            environment.compile(text)
    for text, value, message in (
        ("self.a > 1", {}, "no such key: a"),
        ("self[3] == 1", [1], "index out of bounds: 3"),
        ("1 / self == 1", 0, "division by zero"),
        ("self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", list(range(50)), "cost limit exceeded"),
        ("self.x < quantity('1').x", {"x": 1}, "no such key: x"),
    ):
        with pytest.raises(CelError, match=message):
            environment.compile(text).evaluate({"self": value})


def test_a_rule_that_fails_says_what_and_where():
    schema = ruled(
        OBJECT,
        {"rule": "self.low < self.high", "message": "low must be low", "fieldPath": ".low"},
        {
            "rule": "self.high < 10",
            "messageExpression": "'%d is too high'.format([self.high])",
            "reason": "FieldValueForbidden",
        },
        {"rule": "self.high < 11", "messageExpression": "self.text", "message": "the other text"},
        low=NUMBER,
        high=NUMBER,
        text=TEXT,
    )
    root = {"type": "object", "properties": {"spec": schema}}
    assert judged(root, {"spec": {"low": 12, "high": 11}}) == [
        "spec.low: Invalid value: low must be low",
        "spec: Forbidden: 11 is too high",
        "spec: Invalid value: the other text",
    ]
    items = {
        "type": "object",
        "properties": {"list": {"type": "array", "items": ruled({"type": "integer"}, "self > 0")}},
    }
    assert judged(items, {"list": [1, 0]}) == ["list[1]: Invalid value: 0: failed rule: self > 0"]


def test_transition_rules_compare_what_can_be_compared():
    item = {"type": "object", "properties": {"name": TEXT, "size": ruled(NUMBER, "self >= oldSelf")}}
    listed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": item,
    }
    schema = {"type": "object", "properties": {"list": listed}}
    old = {"list": [{"name": "a", "size": 3}, {"name": "b", "size": 5}]}
    assert judged(
        schema, {"list": [{"name": "b", "size": 5}, {"name": "a", "size": 2}, {"name": "c", "size": 0}]}, old
    ) == ["list[1].size: Invalid value: 2: failed rule: self >= oldSelf"]
    assert judged(schema, {"list": [{"name": "a", "size": 2}]}) == []


def test_an_optional_old_value():
    schema = ruled(
        OBJECT,
        {"rule": "oldSelf.hasValue() ? oldSelf.value().x == self.x : self.x == 1", "optionalOldSelf": True},
        x=NUMBER,
    )
    assert judged(schema, {"x": 1}) == [] and judged(schema, {"x": 2}, {"x": 2}) == []
    assert len(judged(schema, {"x": 2})) == 1 and len(judged(schema, {"x": 3}, {"x": 2})) == 1


def test_what_did_not_change_may_stay_wrong():
    schema = {"type": "object", "properties": {"a": ruled(NUMBER, "self > 5"), "b": NUMBER}}
    assert judged(schema, {"a": 1, "b": 2}, {"a": 1, "b": 1}) == []
    assert judged(schema, {"a": 2, "b": 2}, {"a": 1, "b": 1}) == ["a: Invalid value: 2: failed rule: self > 5"]


def test_what_rules_may_cost_is_bounded():
    items = ruled({"type": "object", "additionalProperties": NUMBER}, *["self.size() >= 0"] * 10)
    schema = {"type": "object", "properties": {"list": {"type": "array", "items": items}}}
    many = {"list": [{"a": 1}] * (evaluate.BUDGET // (10 * evaluate.EVALUATION))}
    found = judged(schema, many)
    assert len(found) == 1 and found[0].endswith(EXHAUSTED)


def test_names_are_escaped():
    assert escape("a.b-c/d") == "a__dot__b__dash__c__slash__d"
    assert escape("a__b") == "a__underscores__b" and escape("in") == "__in__"
    assert escape("a b") is None and escape("1a") is None
