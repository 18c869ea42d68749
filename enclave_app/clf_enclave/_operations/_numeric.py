"""Columns of numbers without an outcome, for operations that look at all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._people import Numbers, People, check_spread, complete_rows
from clf_enclave._operations._terms import is_number, matrix
from clf_sdk.errors import InvalidJob


@dataclass(frozen=True)
class Numeric:
    """Complete rows of columns of numbers.

    Attributes
    ----------
    columns
        Their names.
    values
        One column each; rows in the order of their values, whoever's rows come first.
    mean, deviation
        Of each column; the deviation with ``n - 1``.
    people
        Whose rows they are.
    dropped
        Rows that were left out.
    """

    columns: list[str]
    values: Numbers
    mean: Numbers
    deviation: Numbers
    people: People
    dropped: int

    @classmethod
    def of(
        cls,
        data: AlignedData,
        columns: Sequence[str] | None,
        *,
        missing: str,
        disclosure: Disclosure,
    ) -> Numeric:
        """Take columns, by default all of numbers.

        Raises
        ------
        InvalidJob
            A column holds no numbers, or one value alone.
        PolicyRefused
            Fewer people than the smallest group have complete rows, or a column differs for fewer.
        """
        if columns is None:
            columns = [name for name in data.columns if is_number(data.schema.field(name).type)]
        chosen = list(columns)
        if not chosen or len(set(chosen)) < len(chosen):
            raise InvalidJob("there is no column of numbers, or one stands twice")
        rows = complete_rows(data, chosen, missing, disclosure)
        table, persons = rows.with_persons(chosen, ordered=True)
        values, people = matrix(table, chosen), People.of(persons)
        mean = values.mean(axis=0)
        deviation = values.std(axis=0, ddof=1)
        for number, name in enumerate(chosen):
            if not deviation[number] > 0:
                raise InvalidJob(f"column {name!r} has one value in all complete rows")
            check_spread(name, values[:, number], people, disclosure)
        return cls(chosen, values, mean, deviation, people, data.rows - len(values))

    def standardised(self, *, scale: bool) -> Numbers:
        """Return the values less their mean; where asked, divided by their deviation."""
        centred: Numbers = self.values - self.mean
        return centred / self.deviation if scale else centred

    @property
    def everybody(self) -> int:
        """Number of people, of the input that has fewest."""
        return self.people.fewest(np.ones(len(self.values), dtype=bool))
