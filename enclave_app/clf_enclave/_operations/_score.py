"""``score``: predictions of a model from an earlier run.

Reveals: to the one person whom the job names for an owner's rows, a prediction for each of them;
to all recipients, how many rows were predicted. What another owner's columns add to a prediction
is in it, so every owner must allow that person rows of single people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from clf_enclave._data import AlignedData
from clf_enclave._operations._context import Context
from clf_enclave._operations._models import Model, read_model
from clf_enclave._operations._outputs import Output
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import Score
from clf_sdk.operations._score import OUTPUT

_PREDICTION = "prediction"
_MOST_MODEL_CHARACTERS = 64 * 2**20


def _document(context: Context[Score]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's document, and what is known of the run that made it."""
    table = context.beside[context.parameters.model]
    wanted = ["document", "run", "output", "version"]
    problem = InvalidJob(
        "score: the model's input is no model",
        hint="share what Result.model() of an earlier run gives, and ask for all its columns",
    )
    if table.num_rows != 1 or not set(wanted) <= set(table.column_names):
        raise problem
    (row,) = table.select(wanted).to_pylist()
    text = row.pop("document")
    if not isinstance(text, str) or len(text) > _MOST_MODEL_CHARACTERS:
        raise problem
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise problem from None
    if not isinstance(document, dict):
        raise problem
    return document, row


def _identifying(context: Context[Score], data: AlignedData, owner: str) -> list[str]:
    """Return the columns by which an owner's person knows the rows."""
    columns = list(context.parameters.identify or data.keys)
    if not columns or _PREDICTION in columns or len(set(columns)) < len(columns):
        raise InvalidJob(
            "score: name the columns by which the rows are known, each once",
            hint="identify=[…]; there are keys only where inputs are joined",
        )
    for name in columns:
        data.sql(name)
        if name not in data.keys and not _is_own(data, name, owner):
            raise InvalidJob(
                f"score: column {name!r} is neither a key nor of input {owner!r}",
                hint="an owner's person gets no columns of others",
            )
    return columns


def _is_own(data: AlignedData, column: str, owner: str) -> bool:
    """Return whether what an owner's rows hold in a column can be of nobody else."""
    sources = data.all_columns[column].sources
    others = [each for each in data.persons if each.input in sources - {owner}]
    if owner not in sources or any(each.physical is None for each in others):
        return False
    # Inputs that are united have a column in common, but never a row.
    anything = " OR ".join(f"{each.physical} IS NOT NULL" for each in others) or "false"
    return data.where(anything).rows == 0


def _rows_of(data: AlignedData, owner: str) -> AlignedData:
    for each in data.persons:
        if each.input == owner:
            physical = each.physical
            return data if physical is None else data.where(f"{physical} IS NOT NULL")
    raise InvalidJob(f"score: there is no input {owner!r} whose rows could be predicted")


def _predictions(data: AlignedData, known_by: list[str], model: Model) -> Iterator[pa.Table]:
    wanted = list(dict.fromkeys([*known_by, *model.columns]))
    for batch in data.batches(wanted):
        values = model.predict(batch)
        column = pa.array(values, pa.float64(), from_pandas=True)
        yield batch.select(known_by).append_column(_PREDICTION, column)


def run(context: Context[Score]) -> dict[str, Output]:
    """Predict for the rows of each owner that the job names.

    Returns
    -------
    dict
        ``score``: a document with the kind of ``model``, its ``run``, ``output`` and ``version``,
        and for each input ``rows`` and ``rows_without_prediction``, null where too few; and for
        each input ``predictions_…``, a table with what identifies a row and its ``prediction``.

    Raises
    ------
    InvalidJob
        The model does not fit the table.
    PolicyRefused
        Fewer people have rows than the smallest group.
    """
    data, disclosure = context.data, context.disclosure
    disclosure.check_group(data)
    document, made_by = _document(context)
    model = read_model(document)
    for name in model.columns:
        data.sql(name)
    made: dict[str, Output] = {}
    told: dict[str, Any] = {"model": model.kind, **made_by, "inputs": {}}
    for owner in context.parameters.predictions:
        rows = _rows_of(data, owner)
        known_by = _identifying(context, rows, owner)
        parts = list(_predictions(rows, known_by, model))
        if not parts:
            raise InvalidJob(f"score: input {owner!r} has no row in the aligned table")
        table = pa.concat_tables(parts)
        made[OUTPUT + owner] = table
        lacking = table[_PREDICTION].null_count
        counts = [table.num_rows - lacking, lacking]
        shown = disclosure.may_show(counts)
        told["inputs"][owner] = {
            "rows": table.num_rows if shown else None,
            "rows_without_prediction": lacking if shown else None,
        }
    return {"score": told, **made}
