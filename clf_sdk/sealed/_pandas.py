"""A pandas DataFrame as Arrow batches, column by column, so that an error names its column."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from clf_sdk.errors import UnsupportedColumn
from clf_sdk.sealed._schema import check_column_name, normalise_schema, shown_name

if TYPE_CHECKING:
    import pandas as pd

_OBJECT_BYTES = 64
"""Guess of what one Python object becomes in Arrow; batches are cut again by their real size."""


def is_data_frame(source: object) -> bool:
    """Whether it is a pandas DataFrame; does not import pandas to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def _unsupported(name: str, series: pd.Series[Any]) -> UnsupportedColumn:
    hint = "store one kind of value in each column, for instance text, numbers or dates"
    if series.dtype == object:
        return UnsupportedColumn(
            f"column {shown_name(name)} holds Python objects of mixed or unknown kinds", hint=hint
        )
    return UnsupportedColumn(
        f"column {shown_name(name)} has a pandas type that can't be stored: {series.dtype}",
        hint=hint,
    )


def _type_of(name: str, series: pd.Series[Any]) -> pa.DataType:
    try:
        if series.dtype == object:
            return pa.infer_type(series.array, from_pandas=True)
        return pa.array(series.iloc[:0], from_pandas=True).type
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # The cause quotes the value that it failed at.
        raise _unsupported(name, series) from None


def _convert(name: str, series: pd.Series[Any], type_: pa.DataType) -> pa.Array:
    try:
        array = pa.array(series, type=type_, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise _unsupported(name, series) from None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    try:
        return frame.reset_index()
    except ValueError:
        raise UnsupportedColumn(
            "a level of the index has the name of a column",
            hint="rename the index: df.index.name = …",
        ) from None


def from_pandas(
    frame: pd.DataFrame, *, index: bool, target_bytes: int
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return schema and batches of a frame, which is not changed; NaN becomes null.

    Raises
    ------
    UnsupportedColumn
        A column that Arrow can't hold, here or while iterating; the message shows no value.
    """
    if index:
        frame = _with_index(frame)
    names = [check_column_name(name, i) for i, name in enumerate(frame.columns)]
    types = [_type_of(name, frame.iloc[:, i]) for i, name in enumerate(names)]
    arrow_schema = pa.schema([pa.field(n, t) for n, t in zip(names, types, strict=True)])
    normalise_schema(arrow_schema)
    width = sum(
        _OBJECT_BYTES if dtype == "object" else getattr(dtype, "itemsize", _OBJECT_BYTES)
        for dtype in frame.dtypes
    )
    rows = max(1, target_bytes // max(1, width))

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(frame), rows):
            part = frame.iloc[start : start + rows]
            arrays = [
                _convert(name, part.iloc[:, i], type_)
                for i, (name, type_) in enumerate(zip(names, types, strict=True))
            ]
            if arrays:
                yield pa.RecordBatch.from_arrays(arrays, schema=arrow_schema)
            else:
                yield pa.RecordBatch.from_struct_array(
                    pa.Array.from_buffers(pa.struct([]), len(part), [None])
                )

    return arrow_schema, batches()
