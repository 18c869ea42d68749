"""Parameters of ``python`` (docs/operations.md)."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, JsonValue, StringConstraints, model_validator

from clf_sdk.errors import InvalidJob
from clf_sdk.operations._parameters import Columns, Parameters, as_list
from clf_sdk.operations._python_source import MOST_CHARACTERS, check_source
from clf_sdk.protocol import Name

_Outputs = Annotated[Sequence[Name], BeforeValidator(as_list), Field(min_length=1, max_length=16)]


class Python(Parameters):
    """A function of the analyst's own, whose source stands in the job.

    ``Python.of(function, outputs=["table"])`` takes the source of a function. It is called with
    the aligned table as a ``pyarrow.Table``, and with the arguments as a dictionary; it returns a
    dictionary with a table, or a dictionary of JSON values, for each output.

    Parameters
    ----------
    source
        Source of the function, and of what it calls.
    function
        Its name.
    outputs
        Names of what it returns.
    arguments
        JSON values that it is given.
    columns
        Columns that it is given; by default all but the keys.
    time_limit_seconds
        After which it is stopped.
    memory_limit_bytes
        Memory that it may take beside the table.
    most_rows, most_bytes
        Of all outputs together; with more of them the run fails.

    Raises
    ------
    InvalidJob
        A parameter makes no sense, or the source uses what is not allowed.
    """

    operation: ClassVar[str] = "python"
    reveals: ClassVar[str] = (
        "whatever this function returns, as far as rows and bytes allow: read its source. No rule "
        "about groups is applied to it, so it goes only to those who may have rows of single people"
    )

    source: Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARACTERS)]
    function: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$")]
    outputs: _Outputs
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    columns: Columns | None = None
    time_limit_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    memory_limit_bytes: Annotated[int, Field(ge=2**20, le=2**40)] = 2**30
    most_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    most_bytes: Annotated[int, Field(ge=1, le=2**30)] = 2**20

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.outputs)) < len(self.outputs):
            raise ValueError("an output stands twice")
        try:
            check_source(self.source, self.function)
        except InvalidJob as error:
            raise ValueError(error.message.removeprefix("python: ")) from None
        return self

    @classmethod
    def of(
        cls,
        function: Callable[..., Mapping[str, Any]],
        *,
        outputs: Sequence[str],
        **parameters: Any,
    ) -> Self:
        """Take a function's source; imports that it needs stand inside of it.

        Parameters
        ----------
        function
            A function with a name, written in a file or a notebook.
        outputs
            Names of what it returns.
        parameters
            All others.

        Raises
        ------
        InvalidJob
            Its source can't be found, or uses what is not allowed.
        """
        try:
            source = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError):
            raise InvalidJob(
                "python: the function's source can't be found",
                hint="write it in a file or a notebook cell, or give it as source",
            ) from None
        return cls(source=source, function=function.__name__, outputs=list(outputs), **parameters)

    def row_level_outputs(self) -> frozenset[str]:
        """Return all outputs: nothing shows that they do not hold rows of single people."""
        return frozenset(self.outputs)
