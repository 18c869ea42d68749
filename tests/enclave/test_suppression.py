from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from clf_enclave._suppression import hidden_cells
from clf_sdk.errors import PolicyRefused

SMALLEST = 5


def _bounds(keys: list[tuple[int, int]], people: list[int], cell: int, hidden: set[int]) -> float:
    """How far an attacker who knows all margins of at least a group can narrow a cell down."""
    order = sorted(hidden)
    rows, sums = [], []
    for dimension in (0, 1, None):
        for value in {0} if dimension is None else {key[dimension] for key in keys}:
            line = [
                number
                for number, key in enumerate(keys)
                if dimension is None or key[dimension] == value
            ]
            if sum(people[number] for number in line) >= SMALLEST:
                rows.append([float(number in line) for number in order])
                sums.append(sum(people[number] for number in line if number in hidden))
    goal = [float(number == cell) for number in order]
    ends = [
        linprog([sign * each for each in goal], A_eq=rows, b_eq=sums, bounds=(0, None))
        for sign in (1, -1)
    ]
    return float("inf") if ends[1].status == 3 else float(-ends[1].fun - ends[0].fun)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=12, max_size=12))
def test_no_hidden_cell_follows_from_the_margins(cells: list[int]) -> None:
    all_keys = list(product(range(3), range(4)))
    kept = [(key, count) for key, count in zip(all_keys, cells, strict=True) if count]
    if not kept:
        return
    keys, people = [key for key, _ in kept], [count for _, count in kept]
    try:
        found = hidden_cells(keys, np.array(people), smallest_group=SMALLEST)
    except PolicyRefused:
        return
    hidden = set(np.flatnonzero(found).tolist())
    assert {number for number, count in enumerate(people) if count < SMALLEST} <= hidden
    if sum(people) >= SMALLEST:
        for cell in hidden:
            assert _bounds(keys, people, cell, hidden) >= 1 - 1e-6


def test_one_small_group_takes_the_next_smallest_with_it() -> None:
    found = hidden_cells([("a",), ("b",), ("c",)], np.array([2, 50, 40]), smallest_group=5)
    assert found.tolist() == [True, False, True]


def test_small_groups_that_are_a_whole_group_together_stay_hidden_alone() -> None:
    people = np.array([3, 4, 50, 40])
    keys = [(name,) for name in "abcd"]
    assert hidden_cells(keys, people, smallest_group=5).tolist() == [True, True, False, False]
    # The same person may be in both, so that together they are no more than four.
    overlapping = hidden_cells(keys, people, smallest_group=5, overlap=True)
    assert overlapping.tolist() == [True, True, False, True]


def test_nothing_is_hidden_without_small_groups() -> None:
    found = hidden_cells([("a",), ("b",)], np.array([5, 6]), smallest_group=5)
    assert not found.any()


def test_rectangle_protects_a_cell_of_a_cross_tabulation() -> None:
    keys = list(product("ab", "xy"))
    found = hidden_cells(keys, np.array([2, 30, 40, 50]), smallest_group=5)
    assert found.all()


def test_tables_too_sparse_to_judge_are_refused() -> None:
    keys = [(number, number % 7) for number in range(900)]
    with pytest.raises(PolicyRefused, match="too small"):
        hidden_cells(keys, np.ones(900, dtype=np.int64), smallest_group=5)
