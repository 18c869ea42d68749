"""Parameters of ``score`` (docs/operations.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias

from pydantic import BeforeValidator, Field

from clf_sdk.operations._parameters import Columns, Parameters
from clf_sdk.protocol import Name, Sha256

OUTPUT = "predictions_"


def _ids(value: Any) -> Any:
    """Take people, by either kind of identity, for their ids."""
    if not isinstance(value, Mapping):
        return value
    public = {name: getattr(who, "public", who) for name, who in value.items()}
    return {name: getattr(who, "id", who) for name, who in public.items()}


if TYPE_CHECKING:  # type checkers see what it takes, and people are taken, too
    _People: TypeAlias = Mapping[str, Any]
else:
    _People = Annotated[
        dict[Name, Sha256], BeforeValidator(_ids), Field(min_length=1, max_length=32)
    ]


class Score(Parameters):
    """Predictions of a model from an earlier run, each owner's for that owner alone.

    Parameters
    ----------
    model
        Name of the input that is the model: what `Result.model` gives, shared as a table. It is
        not aligned with the others.
    predictions
        For each input whose rows are predicted for, the only person who gets the predictions: an
        identity of its owner's, which is among the job's recipients.
    identify
        Columns by which that person knows the rows: keys, or columns of its own; by default all
        keys.

    Raises
    ------
    InvalidJob
        A parameter is missing, unknown or makes no sense.
    """

    operation: ClassVar[str] = "score"
    reveals: ClassVar[str] = (
        "for each row that an owner has, the model's prediction, to that owner's person alone; how "
        "many rows were predicted, to all recipients"
    )

    model: Name
    predictions: _People
    identify: Columns | None = None

    def row_level_outputs(self) -> frozenset[str]:
        """Return the outputs with predictions."""
        return frozenset(OUTPUT + name for name in self.predictions)

    def inputs_beside(self) -> frozenset[str]:
        """Return the input that is the model."""
        return frozenset([self.model])

    def only_recipient(self, output: str) -> str | None:
        """Return who alone gets an output with predictions."""
        if output not in self.row_level_outputs():
            return None
        only: str = self.predictions[output.removeprefix(OUTPUT)]
        return only
