"""Running a cell twice is harmless."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import PolicyWidened
from clf_testing import Owner


@pytest.fixture
def connection(clinic: Owner, connect: Callable[[Owner], clf.Connection]) -> clf.Connection:
    return connect(clinic)


@pytest.fixture
def share(
    connection: clf.Connection, policy: clf.Policy, request: pytest.FixtureRequest
) -> Iterator[Callable[..., clf.SharedTable]]:
    """Share under a name of the test's own."""
    name = f"again-{abs(hash(request.node.name)) % 10**8}"

    def call(frame: Any, **options: Any) -> clf.SharedTable:
        options.setdefault("policy", policy)
        return clf.share(frame, name=name, to=connection, progress=False, **options)

    yield call
    connection.drop(name)


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = np.arange(5000)
    return pd.DataFrame(
        {
            "n": rows,
            "x": np.where(rows % 9 == 0, np.nan, np.sqrt(rows)),
            "s": [f"text {n % 40}" for n in rows],
            "c": pd.Categorical([("low", "mid", "high")[n % 3] for n in rows]),
        }
    )


def test_frame_shared_again_keeps_its_version_whatever_holds_it(
    share: Callable[..., clf.SharedTable], frame: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "frame.parquet"
    del frame["c"]  # comes back from Parquet under another type
    first = share(frame)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    frame.to_parquet(path, row_group_size=700)
    batches = table.to_batches(max_chunksize=333)
    reader = pa.RecordBatchReader.from_batches(table.schema, batches)
    for same in (frame, frame.copy(), table, reader, path):
        again = share(same)
        assert again.version == first.version
        assert again.description == first.description
    frame.loc[17, "x"] = np.nextafter(np.sqrt(17), 5.0)
    assert share(frame).version != first.version


def test_frame_with_categories_keeps_its_version(
    share: Callable[..., clf.SharedTable], frame: pd.DataFrame
) -> None:
    first = share(frame)
    assert share(frame.copy()).version == first.version
    frame["c"] = frame["c"].cat.reorder_categories(["mid", "high", "low"])
    assert share(frame).version == first.version  # no order is meant
    frame["c"] = frame["c"].cat.as_ordered()
    assert share(frame).version != first.version


def test_index_and_mock_are_content(
    share: Callable[..., clf.SharedTable], frame: pd.DataFrame
) -> None:
    versions = [share(frame, **o).version for o in ({}, {"index": True}, {"mock": True})]
    assert len(set(versions)) == 3
    with_mock = share(frame, mock=True)
    assert with_mock.version == versions[2]
    assert with_mock.mock().num_rows


def test_policy_alone_changes(
    share: Callable[..., clf.SharedTable], frame: pd.DataFrame, policy: clf.Policy
) -> None:
    first = share(frame)
    tighter = clf.Policy.from_json(policy.to_json() | {"columns": ["n", "x"]})
    again = share(frame, policy=tighter)
    assert again.version == first.version
    assert again.description.policy == tighter.to_json()
    with pytest.raises(PolicyWidened):
        share(frame)
    assert share(frame, widen=True).description == first.description


@pytest.mark.parametrize("size", [0, 10 << 20])
def test_file_shared_again_keeps_its_version(
    share: Callable[..., clf.SharedTable], tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    first = share(path, as_file=True)
    assert share(path, as_file=True).version == first.version
    assert share(content, as_file=True).version == first.version
    assert share(content + b"x", as_file=True).version != first.version
