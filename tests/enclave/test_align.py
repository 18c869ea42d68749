from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest

from clf_enclave._alignment import align
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import AlignNode
from clf_testing import joined


def aligned(tables: Mapping[str, pa.Table], tree: AlignNode) -> pa.Table:
    with Workspace() as workspace:
        data = align(workspace, tree, tables, entities={}).data
        return data.table(list(data.all_columns))


def inner_join(tables: Mapping[str, pa.Table], keys: Sequence[str]) -> pa.Table:
    return aligned(tables, joined(list(tables), keys))


def test_join_keeps_rows_that_every_input_has_in_key_order() -> None:
    joined = inner_join(
        {
            "a": pa.table({"k": [3, 1, 2, 9], "x": ["c", "a", "b", "z"]}),
            "b": pa.table({"y": [20.0, 10.0, 70.0], "k": [2, 1, 7]}),
            "c": pa.table({"k": [1, 2, 3], "z": [[1], [2, 2], None]}),
        },
        ["k"],
    )
    assert joined.to_pydict() == {
        "k": [1, 2],
        "x": ["a", "b"],
        "y": [10.0, 20.0],
        "z": [[1], [2, 2]],
    }


def test_join_on_two_keys_and_no_match() -> None:
    left = pa.table({"k": [1, 1], "d": ["x", "y"], "a": [1, 2]})
    right = pa.table({"d": ["y", "z"], "k": [1, 1], "b": [5, 6]})
    assert inner_join({"l": left, "r": right}, ["k", "d"]).to_pydict() == {
        "k": [1],
        "d": ["y"],
        "a": [2],
        "b": [5],
    }
    assert inner_join({"l": left, "r": right.slice(1)}, ["k", "d"]).num_rows == 0


def test_null_keys_match_nothing() -> None:
    left = pa.table({"k": [1, None], "a": [1, 2]})
    right = pa.table({"k": [None, 1], "b": [3, 4]})
    assert inner_join({"l": left, "r": right}, ["k"]).to_pydict() == {"k": [1], "a": [1], "b": [4]}


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        ({"k": [1, 1], "a": [1, 2]}, {"k": [1], "b": [1]}, "not unique"),
        ({"a": [1]}, {"k": [1]}, "no key column"),
        ({"k": [1], "a": [1]}, {"k": ["1"], "b": [1]}, "has type"),
        ({"k": [1.5], "a": [1]}, {"k": [1.5], "b": [1]}, "has type"),
        ({"k": [1], "a": [1]}, {"k": [1], "a": [1]}, "both have a column"),
    ],
)
def test_inputs_that_can_not_be_joined_are_refused_without_a_value(
    left: dict[str, list[object]], right: dict[str, list[object]], said: str
) -> None:
    with pytest.raises(InvalidJob, match=said) as caught:
        inner_join({"l": pa.table(left), "r": pa.table(right)}, ["k"])
    assert "1.5" not in str(caught.value)
