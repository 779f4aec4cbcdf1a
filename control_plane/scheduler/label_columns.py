"""Node labels as columns of small integers, made for the keys that somebody asks for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from argosy.objects.types import JsonObject
from control_plane.scheduler.columns import Columns, Ints, Mask

MAX_KEYS = 512
"""The least recently asked for makes room."""
ABSENT = -1


class LabelColumns:
    """`ids(key)` numbers the values of one label key; equal numbers, equal values."""

    def __init__(self, columns: Columns, all_labels: Callable[[], Iterable[tuple[int, Mapping[str, str]]]]) -> None:
        self._columns = columns
        self._all_labels = all_labels
        self._values: OrderedDict[str, dict[str, int]] = OrderedDict()

    def ids(self, key: str) -> Ints:
        """Per row the number of the key's value, ABSENT without the label."""
        values = self._values.get(key)
        if values is None:
            values = self._make(key)
        else:
            self._values.move_to_end(key)
        return self._columns.ints(("label", key), ABSENT)

    def count(self, key: str) -> int:
        """How many numbers `ids(key)` uses."""
        self.ids(key)
        return len(self._values[key])

    def number(self, key: str, value: str) -> int:
        """The number of a value; ABSENT - 1 for one that no node has."""
        self.ids(key)
        return self._values[key].get(value, ABSENT - 1)

    def values(self, key: str) -> dict[str, int]:
        self.ids(key)
        return self._values[key]

    def set_row(self, row: int, labels: Mapping[str, str]) -> None:
        """A node is new, or its labels changed."""
        for key, values in self._values.items():
            value = labels.get(key)
            number = ABSENT if value is None else values.setdefault(value, len(values))
            self._columns.ints(("label", key), ABSENT)[row] = number

    def _make(self, key: str) -> dict[str, int]:
        if len(self._values) >= MAX_KEYS:
            oldest, _ = self._values.popitem(last=False)
            self._columns.drop(("label", oldest))
        values = self._values[key] = {}
        ids = self._columns.ints(("label", key), ABSENT)
        for row, labels in self._all_labels():
            value = labels.get(key)
            if value is not None:
                ids[row] = values.setdefault(value, len(values))
        return values

    def expression(self, expression: JsonObject) -> Mask:
        """Rows whose labels satisfy one NodeSelectorRequirement."""
        key, wanted = str(expression.get("key", "")), expression.get("values") or ()
        ids = self.ids(key)
        operator = expression.get("operator")
        if operator == "Exists":
            return np.not_equal(ids, ABSENT)
        if operator == "DoesNotExist":
            return np.equal(ids, ABSENT)
        if operator == "In":
            return self._any_of(key, ids, wanted)
        if operator == "NotIn":
            return ~self._any_of(key, ids, wanted)
        if operator in ("Gt", "Lt") and wanted:
            return self._compared(key, ids, str(wanted[0]), greater=operator == "Gt")
        return np.zeros(len(ids), np.bool_)

    def equals(self, key: str, value: str) -> Mask:
        return np.equal(self.ids(key), self.number(key, value))

    def _any_of(self, key: str, ids: Ints, wanted: Iterable[str]) -> Mask:
        numbers = [self.number(key, value) for value in wanted]
        if len(numbers) == 1:
            return np.equal(ids, numbers[0])
        return np.isin(ids, numbers)

    def _compared(self, key: str, ids: Ints, bound: str, *, greater: bool) -> Mask:
        try:
            limit = int(bound)
        except ValueError:
            return np.zeros(len(ids), np.bool_)
        numbers = []
        for value, number in self._values[key].items():
            try:
                actual = int(value)
            except ValueError:
                continue
            if actual > limit if greater else actual < limit:
                numbers.append(number)
        return np.isin(ids, numbers)
