"""A record batch as it is stored."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import types

from clf_sdk.errors import UnsupportedColumn
from clf_sdk.sealed._clean import clean_array
from clf_sdk.sealed._schema import shown_name


def _cast(array: pa.Array, type_: pa.DataType) -> pa.Array:
    if array.type == type_:
        return array
    if types.is_dictionary(type_) and types.is_dictionary(array.type):
        values = array.dictionary.cast(type_.value_type)
        indices = array.indices.cast(type_.index_type)
        return pa.DictionaryArray.from_arrays(indices, values, ordered=type_.ordered)
    return array.cast(type_)


def batch_of(columns: list[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    """Record batch that keeps its number of rows when it has no columns."""
    if columns:
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    empty = pa.Array.from_buffers(pa.struct([]), rows, [None])
    return pa.RecordBatch.from_struct_array(empty)


def normalise_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Bring a batch under a normalised schema and strip what its rows don't show.

    Columns stay zero-copy where nothing has to change. Normalising twice gives the same bytes.

    Parameters
    ----------
    batch
        With the columns of `schema`, in order; must be valid Arrow data (`validate(full=True)`).
    schema
        From `normalise_schema`.

    Raises
    ------
    UnsupportedColumn
        The batch has other columns, or a column does not convert to its type.
    """
    if batch.schema.names != schema.names:
        raise UnsupportedColumn("a batch does not have the columns of its table")
    columns = []
    for array, field in zip(batch.columns, schema, strict=True):
        try:
            columns.append(clean_array(_cast(array, field.type)))
        except pa.ArrowException:
            raise UnsupportedColumn(
                f"column {shown_name(field.name)} does not convert to {field.type}"
            ) from None
    return batch_of(columns, schema, batch.num_rows)
