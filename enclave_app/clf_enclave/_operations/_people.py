"""Of whom the rows of a table speak: persons of each input, not only rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure
from clf_sdk.errors import InvalidJob

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


@dataclass(frozen=True)
class People:
    """For each input that tells its persons apart, which person each row is of.

    Attributes
    ----------
    codes
        By input a number for each person, -1 where a row has nothing of that input.
    """

    codes: tuple[np.ndarray[Any, np.dtype[np.int64]], ...]

    @classmethod
    def of(cls, persons: pa.Table) -> People:
        """Return the people of what `AlignedData.with_persons` gives."""
        codes = []
        for column in persons.columns:
            found = column.combine_chunks().dictionary_encode().indices.cast(pa.int64())
            codes.append(found.fill_null(-1).to_numpy(zero_copy_only=False))
        return cls(tuple(codes))

    def fewest(self, chosen: Mask) -> int:
        """Count chosen rows, or persons of the input that has fewest; one without any is left out.

        Parameters
        ----------
        chosen
            Truth value for each row.
        """
        counts = [int(np.count_nonzero(chosen))]
        for codes in self.codes:
            found = codes[chosen]
            persons = int(np.count_nonzero(np.bincount(found[found >= 0])))
            if persons:
                counts.append(persons)
        return min(counts)


def check_spread(name: str, values: Numbers, people: People, disclosure: Disclosure) -> None:
    """Check that a column does not single people out, as the indicator of a rare category does.

    A model's coefficient for a column that differs for one person only is that person's outcome.

    Parameters
    ----------
    name
        Name of the column or term, for the message.
    values
        Its values.
    people
        Whose they are.
    disclosure
        The owners' rules.

    Raises
    ------
    PolicyRefused
        Fewer people than the smallest group have one of two values, or differ from all others.
    """
    if disclosure.rules.smallest_group == 1 or not len(values) or np.ptp(values) == 0:
        return
    low = values == values.min()
    if (low | (values == values.max())).all():
        if not disclosure.may_show([people.fewest(low), people.fewest(~low)]):
            disclosure.refuse_group(f"{name!r} divides people in two groups, one of them small")
        return
    # Where most rows have one value, that is the middle one.
    others = values != np.partition(values, len(values) // 2)[len(values) // 2]
    most_alike = 2 * np.count_nonzero(others) < len(values)
    if most_alike and not disclosure.may_show([people.fewest(others)]):
        disclosure.refuse_group(f"{name!r} has one value for all but a few people")


def complete_rows(
    data: AlignedData, columns: list[str], missing: str, disclosure: Disclosure
) -> AlignedData:
    """Return the rows without gaps, of enough people.

    Parameters
    ----------
    data
        The rows.
    columns
        Columns in which they must have a finite value.
    missing
        ``"drop"`` or ``"refuse"`` those that lack one.
    disclosure
        The owners' rules.

    Raises
    ------
    InvalidJob
        Some rows have gaps, and they are to be refused.
    PolicyRefused
        Fewer people have complete rows than the smallest group.
    """
    rows = data.complete(columns)
    if missing == "refuse" and rows.rows < data.rows:
        raise InvalidJob(
            "some rows lack a value or hold an infinite one",
            hint='set missing to "drop" to leave them out',
        )
    disclosure.check_group(rows)
    return rows
