"""Label and field selectors of a request, as one test of objects plus what an index can use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from argosy.objects import fields as field_selectors
from argosy.objects import meta, selectors
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.request import Request


@dataclass(frozen=True)
class Selection:
    labels: selectors.Selector
    fields: field_selectors.FieldSelector
    match: Callable[[JsonObject], bool] | None
    """None: everything matches."""
    name: str
    """The only name that can match, where one is pinned."""
    namespace: str

    def pinned(self, field: str) -> str | None:
        return self.fields.exact(field)


def parse(request: Request) -> Selection:
    """Raises ApiError 400."""
    options = request.options
    try:
        labels = selectors.parse(options.label_selector)
    except selectors.SelectorError as error:
        raise errors.bad_request(str(error)) from None
    try:
        fields = field_selectors.parse(options.field_selector)
        by_field = fields.matcher(request.served.fields) if fields.terms else None
    except field_selectors.FieldSelectorError as error:
        raise errors.bad_request(str(error)) from None
    name = fields.exact("metadata.name") or ""
    if request.name:
        if name and name != request.name:
            detail = f"fieldSelector metadata.name={name} does not match the requested name {request.name}"
            raise errors.bad_request(detail)
        name = request.name
    match = _combined(labels, by_field, request.name)
    namespace = request.namespace or fields.exact("metadata.namespace") or ""
    return Selection(labels, fields, match, name, namespace)


def _combined(
    labels: selectors.Selector, by_field: Callable[[JsonObject], bool] | None, name: str
) -> Callable[[JsonObject], bool] | None:
    tests: list[Callable[[JsonObject], bool]] = []
    if name:
        tests.append(lambda obj: meta.name(obj) == name)
    if by_field is not None:
        tests.append(by_field)
    if not labels.everything:
        tests.append(lambda obj: labels.matches(meta.labels(obj)))
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda obj: all(test(obj) for test in tests)


def select(request: Request, selection: Selection) -> list[Entry]:
    """The cached objects of a request, in key order, through the narrowest index."""
    cache = request.served.cache
    if selection.name and (selection.namespace or not request.served.kind.namespaced):
        entry = cache.get(request.served.cache_key(selection.namespace, selection.name))
        found = [entry] if entry is not None else []
    else:
        found = _indexed(request, selection)
    if selection.match is not None:
        found = [entry for entry in found if selection.match(entry.obj)]
    return found


def _indexed(request: Request, selection: Selection) -> list[Entry]:
    cache = request.served.cache
    for term in selection.fields.terms:
        if not term.negated and cache.indexes(term.field):
            return cache.select(selection.namespace, term.field, term.value)
    return cache.select(selection.namespace)
