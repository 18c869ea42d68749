"""Whether columns of a design single people out, found in two passes over blocks of rows.

The rules are those of `check_spread`: a column that divides people in two groups needs enough of
them in both, and one that has one value for most needs enough of those who differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._people import Mask, Numbers

Codes: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


class Range:
    """Smallest and largest value of each column, and the value that most rows have, if one does.

    Parameters
    ----------
    columns
        How many.
    """

    def __init__(self, columns: int) -> None:
        self.rows = 0
        self.least = np.full(columns, np.inf)
        self.most = np.full(columns, -np.inf)
        self.common = np.zeros(columns)
        self._lead = np.zeros(columns, dtype=np.int64)

    def add(self, values: Numbers) -> None:
        """Take in rows."""
        rows = len(values)
        if not rows:
            return
        self.rows += rows
        np.minimum(self.least, values.min(axis=0), out=self.least)
        np.maximum(self.most, values.max(axis=0), out=self.most)
        # Boyer and Moore's majority vote (1991), a block at a time: rows of unlike values cancel
        # each other out, and what a block leaves over is its middle value, so many times.
        middle = np.partition(values, rows // 2, axis=0)[rows // 2]
        alike = np.count_nonzero(values == middle, axis=0)
        lead = np.where(2 * alike > rows, 2 * alike - rows, rows % 2)
        same = middle == self.common
        keeps = same | (self._lead >= lead)
        self.common = np.where(keeps, self.common, middle)
        self._lead = np.where(same, self._lead + lead, np.abs(self._lead - lead))


@dataclass
class _Group:
    """Rows of one kind: how many there are, and up to a limit whose."""

    rows: int = 0
    persons: list[set[Any]] = field(default_factory=list)


class Spread:
    """Whose rows have the smallest, the largest, or an uncommon value of each column.

    Persons are kept only until there are enough.

    Parameters
    ----------
    found
        What the first pass found.
    inputs
        How many inputs tell their persons apart.
    enough
        The smallest group.
    """

    def __init__(self, found: Range, *, inputs: int, enough: int) -> None:
        self._range = found
        self._enough = enough
        self._groups = [
            [_Group(persons=[set() for _ in range(inputs)]) for _ in range(3)] for _ in found.least
        ]

    def add(self, values: Numbers, persons: pa.Table) -> None:
        """Take in rows, and what tells the persons of each input apart."""
        coded: list[tuple[Codes, pa.Array]] = []
        for column in persons.columns:
            made = column.combine_chunks().dictionary_encode()
            codes = made.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
            coded.append((codes, made.dictionary))
        found = self._range
        for number, groups in enumerate(self._groups):
            column = values[:, number]
            kinds: Sequence[Mask] = (
                column == found.least[number],
                column == found.most[number],
                column != found.common[number],
            )
            for group, chosen in zip(groups, kinds, strict=True):
                group.rows += int(np.count_nonzero(chosen))
                for known, (codes, dictionary) in zip(group.persons, coded, strict=True):
                    if len(known) < self._enough:
                        self._note(known, codes[chosen], dictionary)

    def _note(self, known: set[Any], codes: Codes, dictionary: pa.Array) -> None:
        seen = np.unique(codes[codes >= 0])
        for start in range(0, len(seen), self._enough):
            if len(known) >= self._enough:
                return
            known.update(dictionary.take(pa.array(seen[start : start + self._enough])).to_pylist())

    def check(self, names: Sequence[str | None], disclosure: Disclosure) -> None:
        """Check that no column singles people out.

        Parameters
        ----------
        names
            Of the columns, for the message; None for one that is not checked.
        disclosure
            The owners' rules.

        Raises
        ------
        PolicyRefused
            Fewer people than the smallest group have one of two values, or differ from most.
        """
        found = self._range
        for number, name in enumerate(names):
            if name is None or found.least[number] == found.most[number]:
                continue
            low, high, others = self._groups[number]
            if low.rows + high.rows == found.rows:
                if not disclosure.may_show([_fewest(low), _fewest(high)]):
                    disclosure.refuse_group(
                        f"{name!r} divides people in two groups, one of them small"
                    )
            elif 2 * others.rows < found.rows and not disclosure.may_show([_fewest(others)]):
                disclosure.refuse_group(f"{name!r} has one value for all but a few people")


def _fewest(group: _Group) -> int:
    """Return the least of rows and persons; an input that has nobody there is left out."""
    return min([group.rows, *(len(each) for each in group.persons if each)])
