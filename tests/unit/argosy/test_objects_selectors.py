"""Selectors against a model that reads them word by word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.objects import fields, selectors
from argosy.objects.fields import FieldSelectorError
from argosy.objects.selectors import EVERYTHING, NOTHING, Operator, Requirement, Selector, SelectorError

KEYS = ["a", "b", "app.io/c"]
VALUES = ["", "x", "y", "7", "12"]
LABELS = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
SETS = st.frozensets(st.sampled_from(VALUES), min_size=1, max_size=3)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, st.sampled_from(KEYS), st.sampled_from([Operator.IN, Operator.NOT_IN]), SETS),
    st.builds(
        Requirement, st.sampled_from(KEYS), st.sampled_from([Operator.EQUALS, Operator.NOT_EQUALS]),
        st.sampled_from(VALUES).map(lambda value: frozenset({value})),
    ),
    st.builds(Requirement, st.sampled_from(KEYS), st.sampled_from([Operator.EXISTS, Operator.NOT_EXISTS])),
    st.builds(
        Requirement, st.sampled_from(KEYS), st.sampled_from([Operator.GREATER, Operator.LESS]),
        st.sampled_from([frozenset({"7"}), frozenset({"10"})]),
    ),
)  # fmt: skip


@given(st.lists(REQUIREMENTS, max_size=4), LABELS)
def test_selectors_match_as_the_model(requirements: list[Requirement], labels: dict[str, str]) -> None:
    selector = Selector(tuple(requirements))
    assert selector.matches(labels) == all(_model(item, labels) for item in requirements)


def _model(requirement: Requirement, labels: dict[str, str]) -> bool:
    value = labels.get(requirement.key)
    if requirement.operator is Operator.EXISTS:
        return value is not None
    if requirement.operator is Operator.NOT_EXISTS:
        return value is None
    if requirement.operator in (Operator.NOT_EQUALS, Operator.NOT_IN):
        return value is None or value not in requirement.values
    if requirement.operator in (Operator.EQUALS, Operator.IN):
        return value is not None and value in requirement.values
    bound = int(next(iter(requirement.values)))
    if value is None or not value.isdigit():
        return False
    return int(value) > bound if requirement.operator is Operator.GREATER else int(value) < bound


@given(st.lists(REQUIREMENTS, max_size=4), LABELS)
def test_the_text_form_means_the_same(requirements: list[Requirement], labels: dict[str, str]) -> None:
    selector = Selector(tuple(requirements))
    again = selectors.parse(str(selector))
    assert again.matches(labels) == selector.matches(labels)
    assert str(selectors.parse(str(again))) == str(again)


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True), ("a", {"a": ""}, True), ("!a", {"a": ""}, False), ("a=", {"a": ""}, True),
        ("a==x", {"a": "x"}, True), ("a = x , b!=y", {"a": "x"}, True), ("a in (x,y)", {"a": "y"}, True),
        ("a in (x, y)", {"a": "z"}, False), ("a notin (x)", {}, True), ("a in ()", {"a": ""}, True),
        ("in=x", {"in": "x"}, True), ("a>5", {"a": "12"}, True), ("a<5", {"a": "x"}, False),
        ("app.io/c=x", {"app.io/c": "x"}, True), ("!a,b in (x),b!=y", {"b": "x"}, True),
    ],
)  # fmt: skip
def test_texts(text: str, labels: dict[str, str], expected: bool) -> None:
    assert selectors.parse(text).matches(labels) is expected


@pytest.mark.parametrize(
    "text", ["=", "a=b=c", "a,,b", ",a", "a,", "a in", "a in x", "a in (x", "a in (x y)", "!", "!a=b", "a!", "a b",
             "-a=x", "a=-x-", "a>x", "x" * 64, "a=" + "x" * 64, "a in (x,y))", "a=(x)", "/a", "a/b/c"],
)  # fmt: skip
def test_bad_texts_are_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        selectors.parse(text)


@given(st.text(max_size=30))
def test_no_text_crashes_the_parsers(text: str) -> None:
    for parse, error in ((selectors.parse, SelectorError), (fields.parse, FieldSelectorError)):
        try:
            parse(text)
        except error:
            pass


def test_label_selector_objects() -> None:
    assert selectors.from_object(None) == NOTHING
    assert selectors.from_object({}) == EVERYTHING
    assert selectors.from_object({}).everything
    assert not NOTHING.matches({})
    selector = selectors.from_object(
        {"matchLabels": {"a": "x"}, "matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["y"]}]}
    )
    assert selector.matches({"a": "x"})
    assert not selector.matches({"a": "x", "b": "y"})
    assert str(selector) == "a=x,b notin (y)"
    assert selector.exact is None
    assert selectors.from_labels({"b": "2", "a": "1"}).exact == (("a", "1"), ("b", "2"))
    for expression in ({"key": "a", "operator": "Near"}, {"key": "a", "operator": "In"}):
        with pytest.raises(SelectorError):
            selectors.from_object({"matchExpressions": [expression]})


POD = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "a,b=c\\"}}
GETTERS = {"spec.nodeName": lambda obj: str(obj["spec"]["nodeName"])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True), ("metadata.name=p", True), ("metadata.name==p,metadata.namespace!=m", True),
        ("metadata.name!=p", False), (r"spec.nodeName=a\,b\=c\\", True), ("spec.nodeName!=", True),
    ],
)  # fmt: skip
def test_field_selectors(text: str, expected: bool) -> None:
    assert fields.parse(text).matcher(GETTERS)(POD) is expected
    assert str(fields.parse(str(fields.parse(text)))) == str(fields.parse(text))


def test_field_selector_errors() -> None:
    with pytest.raises(FieldSelectorError, match=r"field label not supported: spec\.colour"):
        fields.parse("spec.colour=red").matcher(GETTERS)
    for text in ("a", "a in (b)", "a=b=c", "a=b\\", "a=\\n"):
        with pytest.raises(FieldSelectorError):
            fields.parse(text)
    assert fields.parse("metadata.name=x,spec.nodeName!=y").exact("metadata.name") == "x"
    assert fields.parse("spec.nodeName!=y").exact("spec.nodeName") is None
