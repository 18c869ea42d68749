"""Robust and clustered covariances by blocks of rows.

Source: White (1980); MacKinnon and White (1985), HC1 to HC3; Cameron and Miller, *A practitioner's
guide to cluster-robust inference* (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from clf_enclave._operations._blocks import Block, Blocks
from clf_enclave._operations._people import Numbers

Scores: TypeAlias = Callable[[Block], Numbers]
"""The score of each row of a block, one column a parameter."""
Leverages: TypeAlias = Callable[[Block], Numbers]
"""The leverage of each row of a block."""

_NUMBERS_OF_A_PASS = 4 << 20
_NUMBERS_OF_A_NAME = 16  # what a cluster's name takes beside its sums


def white(
    blocks: Blocks, errors: str, scores: Scores, leverages: Leverages | None, *, observations: float
) -> Numbers:
    """Return the middle part of a covariance that is robust to heteroscedasticity.

    Parameters
    ----------
    blocks
        The rows.
    errors
        ``hc0`` to ``hc3``.
    scores
        Of the model.
    leverages
        Of the model, for ``hc2`` and ``hc3``.
    observations
        How many observations the rows stand for.
    """
    middle: Any = 0.0
    width = 0
    for block in blocks:
        # A row that stands for several observations counts so many times, not its square.
        each = scores(block) / np.sqrt(block.frequency)[:, None]
        if errors in ("hc2", "hc3"):
            assert leverages is not None  # noqa: S101 - the parameters allow no such model
            rest = 1 - leverages(block) / block.frequency
            each = each / (np.sqrt(rest) if errors == "hc2" else rest)[:, None]
        middle = middle + each.T @ each
        width = each.shape[1]
    correction = observations / (observations - width) if errors == "hc1" else 1.0
    found: Numbers = middle * correction
    return found


def clustered(blocks: Blocks, scores: Scores, *, observations: float) -> tuple[Numbers, int]:
    """Return the middle part of a covariance for clusters of rows, and how many clusters there are.

    Sums are kept of a limited number of clusters at a time; of more, the rows are read several
    times.
    """
    middle: Any = 0.0
    clusters, width = 0, 0
    for part in _parts(blocks):
        sums = _Sums()
        for block in part:
            sums.add(block, scores(block))
        if sums.names:
            middle = middle + sums.values.T @ sums.values
            clusters += len(sums.names)
            width = sums.values.shape[1]
    if clusters > 1:
        middle = middle * (clusters / (clusters - 1) * (observations - 1) / (observations - width))
    return middle, clusters


def _parts(blocks: Blocks) -> Iterator[Blocks]:
    """Divide rows so that those of a cluster stay together, and no part has too many clusters."""
    assert blocks.cluster is not None  # noqa: S101 - the caller's promise
    physical = blocks.data.sql(blocks.cluster)
    about = blocks.data.workspace.one(
        f"SELECT approx_count_distinct({physical}) FROM {blocks.data.relation}"  # noqa: S608 - names of ours
    )[0]
    size = about * (len(blocks.terms) + _NUMBERS_OF_A_NAME)
    count = max(1, -(-size // _NUMBERS_OF_A_PASS))
    if count == 1:
        yield blocks
        return
    for number in range(count):
        yield blocks.where(f"hash({physical}) % {count} = {number}")


class _Sums:
    """Sums of scores by cluster."""

    def __init__(self) -> None:
        self.names: dict[Any, int] = {}
        self._room: Numbers = np.zeros((0, 0))

    @property
    def values(self) -> Numbers:
        """A row for each cluster."""
        return self._room[: len(self.names)]

    def add(self, block: Block, scores: Numbers) -> None:
        """Take in rows."""
        assert block.cluster is not None  # noqa: S101 - the caller's promise
        coded = block.cluster.dictionary_encode()
        names = coded.dictionary.to_pylist()
        codes = coded.indices.cast(pa.int64()).to_numpy(zero_copy_only=False)
        places = np.array([self.names.setdefault(name, len(self.names)) for name in names])
        if len(self.names) > len(self._room):
            room = np.zeros((2 * len(self.names), scores.shape[1]))
            if self._room.size:
                room[: len(self._room)] = self._room
            self._room = room
        for number in range(scores.shape[1]):
            summed = np.bincount(codes, weights=scores[:, number], minlength=len(names))
            self._room[places, number] += summed
