"""Columns over rows: numpy arrays that grow together and are addressed by key."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

MIN_ROWS = 64


class Columns:
    """Arrays of one length. Growing replaces them, so that nobody keeps one across an insertion."""

    def __init__(self) -> None:
        self.capacity = MIN_ROWS
        self._arrays: dict[Hashable, npt.NDArray[Any]] = {}
        self._fills: dict[Hashable, int] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._arrays

    def ints(self, key: Hashable, fill: int = 0) -> Ints:
        """The integer column of that key, made on first use."""
        array = self._arrays.get(key)
        if array is None:
            array = self._arrays[key] = np.full(self.capacity, fill, np.int64)
            self._fills[key] = fill
        return array

    def mask(self, key: Hashable) -> Mask:
        array = self._arrays.get(key)
        if array is None:
            array = self._arrays[key] = np.zeros(self.capacity, np.bool_)
            self._fills[key] = 0
        return array

    def find(self, key: Hashable) -> npt.NDArray[Any] | None:
        return self._arrays.get(key)

    def drop(self, key: Hashable) -> None:
        self._arrays.pop(key, None)
        self._fills.pop(key, None)

    def grow(self) -> None:
        """Twice the rows; new ones hold each column's fill."""
        for key, old in self._arrays.items():
            new = np.full(self.capacity * 2, self._fills[key], old.dtype)
            new[: self.capacity] = old
            self._arrays[key] = new
        self.capacity *= 2

    def clear_row(self, row: int) -> None:
        """Every column of a row that is given up goes back to its fill."""
        for key, array in self._arrays.items():
            array[row] = self._fills[key]
