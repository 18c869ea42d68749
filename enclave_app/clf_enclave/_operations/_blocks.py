"""Rows of a linear model block by block, as often as they are needed.

Memory is a few blocks, however many rows there are: each pass reads them anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from clf_enclave._data import BATCH_ROWS, AlignedData
from clf_enclave._operations._people import Numbers
from clf_enclave._operations._terms import Term, design, numbers

_NUMBERS_OF_A_BLOCK = 2 << 20
_LEAST_ROWS = 2048


@dataclass(frozen=True)
class Block:
    """Some rows.

    Attributes
    ----------
    design
        A column for each term.
    outcome
        What is explained.
    offset, frequency, variance
        What is added to the linear predictor, and the two kinds of weights; 0, 1 and 1 where the
        model has none.
    cluster
        Which rows depend on each other, where the model says so.
    """

    design: Numbers
    outcome: Numbers
    offset: Numbers
    frequency: Numbers
    variance: Numbers
    cluster: pa.Array | None

    @property
    def weights(self) -> Numbers:
        """Both kinds of weights together."""
        return self.frequency * self.variance


@dataclass(frozen=True)
class Blocks:
    """Rows of a model; each iteration reads them again.

    Attributes
    ----------
    data
        The rows, complete.
    terms
        Of the model.
    outcome
        Column that is explained.
    extra
        Columns of ``offset``, ``frequency`` and ``variance``, as far as there are.
    cluster
        Column of clusters.
    scale
        What the columns of the design are divided by: large ones (a year to the fifth power)
        would cost the small ones their digits.
    """

    data: AlignedData
    terms: Sequence[Term]
    outcome: str
    extra: Mapping[str, str]
    cluster: str | None = None
    scale: Numbers | None = None

    @property
    def rows_of_a_block(self) -> int:
        """How many rows are read at a time."""
        return max(_LEAST_ROWS, min(BATCH_ROWS, _NUMBERS_OF_A_BLOCK // max(1, len(self.terms))))

    @property
    def columns(self) -> list[str]:
        """Columns that are read."""
        factors = [factor.column for term in self.terms for factor in term.factors]
        clusters = [] if self.cluster is None else [self.cluster]
        return list(dict.fromkeys([self.outcome, *factors, *self.extra.values(), *clusters]))

    def __iter__(self) -> Iterator[Block]:
        for table in self.data.batches(self.columns, rows=self.rows_of_a_block):
            yield self._block(table)

    def with_persons(self) -> Iterator[tuple[Block, pa.Table]]:
        """Yield blocks, and whose rows they are."""
        for table, persons in self.data.batches_with_persons(
            self.columns, rows=self.rows_of_a_block
        ):
            yield self._block(table), persons

    def scaled(self, scale: Numbers) -> Blocks:
        """Return the same with columns of the design divided by something."""
        return replace(self, scale=scale)

    def where(self, condition: str) -> Blocks:
        """Return the rows that meet a condition of our own making."""
        return replace(self, data=self.data.where(condition))

    def only_constant(self) -> Blocks:
        """Return the same rows for a model of nothing but a constant."""
        return replace(self, terms=[Term(())], scale=None, cluster=None)

    def _block(self, table: pa.Table) -> Block:
        made = design(table, self.terms)
        if self.scale is not None:
            made /= self.scale
        return Block(
            design=made,
            outcome=numbers(table, self.outcome),
            offset=self._extra(table, "offset", 0.0),
            frequency=self._extra(table, "frequency", 1.0),
            variance=self._extra(table, "variance", 1.0),
            cluster=None if self.cluster is None else table[self.cluster].combine_chunks(),
        )

    def _extra(self, table: pa.Table, name: str, otherwise: float) -> Numbers:
        if name in self.extra:
            return numbers(table, self.extra[name])
        return np.full(table.num_rows, otherwise)
