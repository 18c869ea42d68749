"""Which cells of a table of groups stay hidden: small ones, and those that give them away.

Primary suppression hides the cells of fewer people than the smallest group. Whoever knows the
total of a row, a column, or the whole table (the receipt says how many rows there are) could
subtract all others from it; complementary suppression hides further cells, the smallest that do,
until no total gives a hidden one away. Source: Hundepool et al., *Statistical Disclosure Control*
(2012), chapter 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from scipy.optimize import linprog

from clf_sdk.errors import PolicyRefused

Counts: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

MOST_AUDITED = 400
"""Most hidden cells whose bounds are computed; tables with more are refused."""

_MOST_KEYS = 5
_SLACK = 1e-6


def hidden_cells(
    keys: Sequence[tuple[Hashable, ...]],
    people: Counts,
    *,
    smallest_group: int,
    overlap: bool = False,
) -> Mask:
    """Return which cells must stay hidden.

    Parameters
    ----------
    keys
        Key of each cell that is not empty: one value a dimension, alike for all.
    people
        People in each cell.
    smallest_group
        Fewest people that a number may speak of.
    overlap
        Whether one person may stand in several cells; then the people of hidden cells can't be
        added up.

    Raises
    ------
    PolicyRefused
        The table is too large, or too sparse, to tell that nothing can be computed back.
    """
    hidden: Mask = people < smallest_group
    if not hidden.any():
        return hidden
    if len(keys[0]) > _MOST_KEYS:
        raise _too_sparse()
    lines = [line for line in _lines(keys) if people[line].sum() >= smallest_group]
    while True:
        _protect(lines, people, hidden, smallest_group, overlap=overlap)
        exposed = _exposed(lines, people, hidden)
        if exposed is None:
            return hidden
        # A cell that bounds from several totals give away needs one more beside it.
        beside = [cell for line in lines if exposed in line for cell in line if not hidden[cell]]
        if not beside:
            raise _too_sparse()
        hidden[min(beside, key=lambda cell: (people[cell], cell))] = True


def _too_sparse() -> PolicyRefused:
    return PolicyRefused(
        "the groups are too many and too small to tell that no hidden one can be computed back",
        rule="smallest_group",
        hint="group by fewer columns, or merge rare values in the job's preparation",
    )


def _lines(keys: Sequence[tuple[Hashable, ...]]) -> list[Counts]:
    """Return the cells that add up to each total somebody could know."""
    dimensions = len(keys[0])
    lines = []
    for count in range(dimensions):
        for kept in combinations(range(dimensions), count):
            groups: dict[tuple[Hashable, ...], list[int]] = defaultdict(list)
            for cell, key in enumerate(keys):
                groups[tuple(key[each] for each in kept)].append(cell)
            lines += [np.array(cells) for cells in groups.values()]
    return lines


def _protect(
    lines: Sequence[Counts], people: Counts, hidden: Mask, smallest_group: int, *, overlap: bool
) -> None:
    """Hide more, until the hidden cells of each line are several, and together a whole group."""
    changed = True
    while changed:
        changed = False
        for line in lines:
            kept = line[hidden[line]]
            if not len(kept):
                continue
            together = people[kept].max() if overlap else people[kept].sum()
            if len(kept) > 1 and together >= smallest_group:
                continue
            shown = line[~hidden[line]]
            if len(shown):
                hidden[shown[np.argmin(people[shown])]] = True
                changed = True


def _exposed(lines: Sequence[Counts], people: Counts, hidden: Mask) -> int | None:
    """Return a hidden cell that follows from the totals, if there is one.

    It does where all counts of whole people that fit the totals agree in it.
    """
    cells = np.flatnonzero(hidden)
    if len(cells) > MOST_AUDITED:
        raise _too_sparse()
    column = {cell: number for number, cell in enumerate(cells)}
    rows, totals = [], []
    for line in lines:
        members = line[hidden[line]]
        if len(members):
            row = np.zeros(len(cells))
            row[[column[cell] for cell in members]] = 1
            rows.append(row)
            totals.append(people[members].sum())
    if not rows:
        return None
    matrix, sums = np.array(rows), np.array(totals, dtype=np.float64)
    for number, cell in enumerate(cells):
        goal = np.zeros(len(cells))
        goal[number] = 1
        least = linprog(goal, A_eq=matrix, b_eq=sums, bounds=(0, None), method="highs")
        # What is next to the true count suffices: then it is one of two at least.
        if least.status == 0 and people[cell] - least.fun >= 1 - _SLACK:
            continue
        most = linprog(-goal, A_eq=matrix, b_eq=sums, bounds=(0, None), method="highs")
        unbounded = most.status == 3  # noqa: PLR2004 - scipy's code for it
        if not unbounded and (most.status != 0 or -most.fun - people[cell] < 1 - _SLACK):
            return int(cell)
    return None
