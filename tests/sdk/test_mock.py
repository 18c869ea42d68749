"""Mock data show no more than the policy allows."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk._mock import ROWS, MockMaker
from clf_sdk._mock_document import mock_from_document, mock_to_document
from clf_sdk.errors import InvalidInput
from clf_sdk.protocol import TableMock

N = 1000
RANDOM = np.random.default_rng(1)
INCOME = RANDOM.lognormal(10, 1, N)
TABLE = pa.table(
    {
        "id": pa.array(range(7000, 7000 + N), pa.int64()),
        "income": INCOME,
        "arm": ["treated", "control"] * (N // 2),
        "illness": ["common"] * (N - 3) + ["rare-4711"] * 3,
        "ill": pa.array([True, False] * (N // 2)),
        "born": pa.array([dt.date(1950, 1, 1) + dt.timedelta(n) for n in range(N)]),
        "seen": pa.array([dt.datetime(2020, 1, 1) + dt.timedelta(n) for n in range(N)]),  # noqa: DTZ001 - no zone
        "cost": pa.array([decimal.Decimal(n) / 4 for n in range(N)], pa.decimal128(12, 2)),
        "grade": pa.array([None, "a", "b", "c"] * (N // 4)).dictionary_encode(),
        "note": [f"person {n}" for n in range(N)],
        "raw": pa.array([b"x"] * N, pa.binary()),
        "score": pa.array([float(n % 3) for n in range(N)]),
    }
)


def _policy(**changes: Any) -> clf.Policy:
    enclave = clf.EnclavePolicy(mrenclave="ab" * 32)
    return clf.Policy(enclave=enclave, operations=["glm"], **changes)


def _mock(table: pa.Table = TABLE, **changes: Any) -> pa.Table:
    maker = MockMaker(table.schema, _policy(**changes))
    assert sum(batch.num_rows for batch in maker.watch(table.to_batches(128))) == table.num_rows
    return maker.table()


def test_schema_is_kept_and_rows_are_nobodys() -> None:
    mock = _mock()
    assert mock.num_rows == ROWS
    for field in TABLE.schema:
        assert mock.schema.field(field.name).type == field.type
    assert set(mock["arm"].to_pylist()) == {"treated", "control"}
    assert set(mock["score"].to_pylist()) == {0.0, 1.0, 2.0}
    real = {tuple(row.values()) for row in TABLE.select(["id", "income"]).to_pylist()}
    assert not real & {tuple(row.values()) for row in mock.select(["id", "income"]).to_pylist()}
    assert not set(mock["income"].to_pylist()) & set(INCOME.tolist())
    assert mock["grade"].null_count
    assert not mock["arm"].null_count


def test_what_few_have_shows_nowhere() -> None:
    mock = _mock()
    assert set(mock["illness"].to_pylist()) == {"common"}
    assert not set(mock["note"].to_pylist()) & set(TABLE["note"].to_pylist())
    shown = mock["income"].to_numpy()
    assert shown.max() <= 1.2 * np.sort(INCOME)[-10]
    assert set(_mock(smallest_group=501)["arm"].to_pylist()) <= {f"text {n}" for n in range(5)}


def test_bounds_are_round_and_no_persons_values() -> None:
    maker = MockMaker(TABLE.schema, _policy())
    list(maker.watch(TABLE.to_batches()))
    low, high = maker._columns["income"]._bounds
    assert not {low, high} & set(INCOME.tolist())
    step = 10.0 ** np.floor(np.log10(np.sort(INCOME)[-10]))
    assert low % step == high % step == 0


@pytest.mark.parametrize("changes", [{"entity": "id"}, {"rows": "income > 1"}])
def test_where_rows_can_not_be_counted_only_types_show(changes: dict[str, Any]) -> None:
    mock = _mock(**changes)
    assert not set(mock["arm"].to_pylist()) & {"treated", "control"}
    assert mock["income"].to_numpy().max() <= 100
    assert mock["id"].to_numpy().max() <= 100


def test_columns_that_may_not_leave_are_not_there() -> None:
    assert _mock(columns=["id", "arm"]).column_names == ["id", "arm"]


def test_small_table_shows_only_types() -> None:
    mock = _mock(TABLE.slice(0, 9))
    assert mock["income"].to_numpy().max() <= 100
    assert not set(mock["arm"].to_pylist()) & {"treated", "control"}


def test_type_without_a_mock_is_refused_where_nulls_are_not_allowed() -> None:
    field = pa.field("raw", pa.binary(), nullable=False)
    with pytest.raises(InvalidInput, match="'raw'"):
        MockMaker(pa.schema([field]), _policy()).table()


def test_mock_that_is_none_is_refused() -> None:
    whole = _mock()
    assert mock_from_document(TableMock.parse(mock_to_document(whole))).equals(whole)
    with pytest.raises(InvalidInput):
        mock_from_document(TableMock(arrow=b"no stream"))
