from __future__ import annotations

import gzip
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clf_sdk.errors import InvalidInput, TooLarge, UnsupportedColumn
from clf_sdk.sealed import as_record_batches, normalise_batch, normalise_schema

SECRET = "patient-4711"


class OnlyStream:
    """What polars, DuckDB and others offer."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def test_a_pandas_frame_of_many_types(seal: Any) -> None:
    frame = pd.DataFrame(
        {
            "int": [1, 2],
            "nullable": pd.array([1, None], dtype="Int64"),
            "float": [1.5, float("nan")],
            "flag": [True, False],
            "text": ["a", None],
            "string": pd.array(["a", None], dtype="string"),
            "objects": pd.Series(["a", None], dtype=object),
            "level": pd.Categorical(["x", "y"]),
            "when": pd.to_datetime(["2026-01-01", "2026-01-02"]).tz_localize("Europe/Vienna"),
            "arrow": pd.Series([1, None], dtype=pd.ArrowDtype(pa.int16())),
        }
    )
    before = frame.copy(deep=True)
    opened = seal(frame).open()
    pd.testing.assert_frame_equal(frame, before)
    assert opened.column_names == list(frame.columns)
    assert opened["nullable"].to_pylist() == [1, None]
    assert opened["float"].to_pylist() == [1.5, None]
    assert opened["objects"].to_pylist() == ["a", None]
    assert opened["level"].to_pylist() == ["x", "y"]
    assert opened["when"].type.tz == "Europe/Vienna"
    assert opened["arrow"].type == pa.int16()


def test_a_pandas_frame_is_cut_into_row_groups(seal: Any) -> None:
    frame = pd.DataFrame({"a": range(1000), "b": [f"row {i}" for i in range(1000)]})
    sealed = seal(frame, target_bytes=4000)
    assert len(sealed.manifest.row_groups) > 3
    pd.testing.assert_frame_equal(sealed.open().to_pandas(), frame, check_dtype=False)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, SECRET], dtype=object),
        pd.Series([SECRET, 1], dtype=object),
        pd.Series([object(), SECRET], dtype=object),
        pd.Series([2**70, SECRET], dtype=object),
        pd.Series([1 + 2j]),
        pd.Series(pd.period_range("2026", periods=2, freq="D")),
        pd.Series(pd.interval_range(0, 2)),
    ],
)
def test_a_column_that_cannot_be_stored_is_named_and_no_value_is_shown(column: Any) -> None:
    frame = pd.DataFrame({"fine": range(len(column)), "diagnosis": column})
    with pytest.raises(UnsupportedColumn, match="'diagnosis'") as caught:
        list(as_record_batches(frame))
    assert caught.value.hint
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_error_in_a_later_chunk_shows_no_value() -> None:
    values: list[Any] = [b"x"] * 5000
    values[4000] = "\ud800" + SECRET
    frame = pd.DataFrame({"diagnosis": pd.Series(values, dtype=object)})
    with pytest.raises(UnsupportedColumn, match="'diagnosis'") as caught:
        list(as_record_batches(frame, target_bytes=64_000))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_index_that_clashes_with_a_column_is_refused() -> None:
    frame = pd.DataFrame({"a": [1]}, index=pd.Index([2], name="a"))
    with pytest.raises(UnsupportedColumn, match="index"):
        as_record_batches(frame, index=True)


def test_a_frame_without_columns_keeps_its_rows(seal: Any) -> None:
    assert seal(pd.DataFrame(index=range(5))).open().num_rows == 5


@pytest.mark.parametrize("wrap", [lambda t: t, OnlyStream, lambda t: t.to_reader(), pa.table])
def test_everything_that_speaks_arrow(wrap: Any, seal: Any) -> None:
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", None]})
    assert seal(wrap(table)).open().equals(table)
    assert seal(table.to_batches()[0]).open().equals(table)


def test_what_polars_exports(seal: Any) -> None:
    """String views, and categories over string views."""
    table = pa.table(
        {
            "text": pa.array(["long enough to need a buffer", None], pa.string_view()),
            "level": pa.DictionaryArray.from_arrays(
                pa.array([1, 0], pa.uint32()), pa.array(["x", "y"], pa.string_view())
            ),
        }
    )
    opened = seal(OnlyStream(table)).open()
    assert opened["text"].type == pa.large_string()
    assert opened["level"].type == pa.dictionary(pa.uint32(), pa.large_string())
    assert opened.to_pylist() == table.to_pylist()


def test_parquet_and_csv_files(tmp_path: Path, seal: Any) -> None:
    table = pa.table({"a": list(range(5000)), "b": [f"row {i}" for i in range(5000)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=700)
    text = "a,b\n" + "".join(f"{i},row {i}\n" for i in range(5000))
    (tmp_path / "t.csv").write_text(text)
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        file.write(text)
    for name in ("t.parquet", "t.csv", "t.csv.gz"):
        sealed = seal(str(tmp_path / name), target_bytes=20_000)
        assert len(sealed.manifest.row_groups) > 2
        assert sealed.open().to_pydict() == table.to_pydict()


def test_a_csv_value_of_the_wrong_type_names_the_column_only(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,age\n" + "1,2\n" * (3 << 20) + f"1,{SECRET}\n")
    with pytest.raises(UnsupportedColumn, match="'age'") as caught:
        list(as_record_batches(path))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_csv_line_of_the_wrong_length_shows_no_value(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"a,b\n1,2\n1,2,{SECRET}\n")
    with pytest.raises(InvalidInput) as caught:
        list(as_record_batches(path))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"nothing")
    (tmp_path / "empty.csv").write_bytes(b"")
    for name in ("missing.parquet", "missing.csv", "t.parquet", "t.xlsx", "empty.csv"):
        with pytest.raises(InvalidInput):
            as_record_batches(tmp_path / name)
    with pytest.raises(InvalidInput, match="a list is not a table"):
        as_record_batches([1, 2])


def test_a_source_that_breaks_off_is_reported_without_a_value() -> None:
    schema = pa.schema([("a", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([pa.array([1])], schema=schema)
        raise pa.ArrowInvalid(SECRET)

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    with pytest.raises(InvalidInput) as caught:
        list(as_record_batches(reader))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_invalid_arrow_data_is_refused_at_the_door() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([5], pa.int8()), ["x"], safe=False)
    with pytest.raises(InvalidInput):
        list(as_record_batches(pa.table({"a": column})))


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 1025, "ä" * 513, "x" * 10_000])
def test_a_name_that_cannot_be_stored_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedColumn) as caught:
        as_record_batches(pd.DataFrame([[1, 2]], columns=pd.Index(["a", name], dtype=object)))
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable() or "\n" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["..", "../../etc/passwd", "x" * 1024, "with space", "a\nb", "\U0001d4b3"]
)
def test_a_strange_name_is_only_a_name(name: str, seal: Any) -> None:
    table = pa.table({name: [1], "other": [2]})
    assert seal(table).open([name]).to_pydict() == {name: [1]}


def test_names_that_are_not_text_and_names_that_repeat_are_refused() -> None:
    with pytest.raises(UnsupportedColumn, match="not text"):
        as_record_batches(pd.DataFrame([[1, 2]]))
    for source in (
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pa.table([[1], [2]], names=["a", "a"]),
    ):
        with pytest.raises(UnsupportedColumn, match="two columns are named 'a'"):
            as_record_batches(source)


@pytest.mark.parametrize(
    "type_",
    [
        pa.dense_union([pa.field("a", pa.int8())]),
        pa.run_end_encoded(pa.int32(), pa.int64()),
        pa.list_view(pa.int64()),
        pa.uuid(),
        pa.list_(pa.uuid()),
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
        pa.dictionary(pa.int8(), pa.list_(pa.string())),
        pa.struct([("u", pa.sparse_union([pa.field("a", pa.int8())]))]),
    ],
)
def test_a_type_that_cannot_be_stored_is_refused(type_: pa.DataType) -> None:
    with pytest.raises(UnsupportedColumn, match="'odd'") as caught:
        normalise_schema(pa.schema([("fine", pa.int8()), ("odd", type_)]))
    assert caught.value.hint


def test_too_deep_and_too_wide_tables_are_refused() -> None:
    deep = pa.int8()
    for _ in range(20):
        deep = pa.list_(deep)
    with pytest.raises(UnsupportedColumn):
        normalise_schema(pa.schema([("deep", deep)]))
    with pytest.raises(TooLarge):
        normalise_schema(pa.schema([(f"c{i}", pa.int8()) for i in range(16_385)]))


def test_a_batch_of_another_table_is_refused() -> None:
    schema = pa.schema([("a", pa.int8())])
    with pytest.raises(UnsupportedColumn):
        normalise_batch(pa.record_batch({"b": [1]}), schema)
    with pytest.raises(UnsupportedColumn, match="'a'") as caught:
        normalise_batch(pa.record_batch({"a": [SECRET]}), schema)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_importing_does_not_import_pandas() -> None:
    code = "import sys, clf_sdk.sealed; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
