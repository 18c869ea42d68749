"""One dictionary for a column whose row groups each have their own."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from clf_sdk.errors import Malformed
from clf_sdk.sealed._schema import shown_name


def _merged_order(name: str, dictionaries: list[pa.Array]) -> pa.Array:
    """Put the levels of several ordered dictionaries in an order that agrees with each of them."""
    levels = pa.concat_arrays(dictionaries).unique()
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for dictionary in dictionaries:
        ranks = pc.index_in(dictionary, value_set=levels).to_pylist()
        sorter.add(ranks[0])
        for lower, higher in pairwise(ranks):
            sorter.add(higher, lower)
    try:
        return levels.take(pa.array(list(sorter.static_order()), pa.int64()))
    except CycleError:
        raise Malformed(
            f"the row groups of column {shown_name(name)} order its categories differently"
        ) from None


def _unify_ordered(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    dictionaries = [chunk.dictionary for chunk in column.chunks if len(chunk.dictionary)]
    if not dictionaries or all(each.equals(dictionaries[0]) for each in dictionaries[1:]):
        return column
    levels = _merged_order(name, dictionaries)
    chunks = []
    for chunk in column.chunks:
        ranks = pc.index_in(chunk.dictionary, value_set=levels).cast(column.type.index_type)
        indices = ranks.take(chunk.indices)
        chunks.append(pa.DictionaryArray.from_arrays(indices, levels, ordered=True))
    return pa.chunked_array(chunks, type=column.type)


def unify_dictionaries(table: pa.Table) -> pa.Table:
    """Give every dictionary column one dictionary; an ordered one keeps the order of its levels.

    A column with more values than its index type counts keeps one dictionary for each chunk.

    Raises
    ------
    Malformed
        Chunks of an ordered dictionary contradict each other.
    """
    for i, field in enumerate(table.schema):
        if not types.is_dictionary(field.type):
            continue
        column = table.column(i)
        try:
            unified = (
                _unify_ordered(field.name, column)
                if field.type.ordered
                else column.unify_dictionaries()
            )
        except pa.ArrowInvalid:
            continue
        table = table.set_column(i, field, unified)
    return table
