"""Base of the parameter objects: one schema for notebooks, jobs and the measured program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, ValidationError

from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import ColumnName, Document, JobDocument


def as_list(value: Any) -> Any:
    """Take any sequence of names for a list; a single text would fall apart into letters."""
    return value if isinstance(value, str | dict) or not hasattr(value, "__iter__") else list(value)


Columns = Annotated[
    Sequence[ColumnName], BeforeValidator(as_list), Field(min_length=1, max_length=16384)
]
"""Names of columns; takes any sequence of texts."""


class Parameters(Document):
    """Parameters of one operation; what is given is checked, what is left out has its default.

    Subclasses are frozen pydantic models. Their fields are the parameters, exactly as they stand
    in the job, with every default written out.

    Attributes
    ----------
    operation
        Name of the operation in jobs and policies.
    reveals
        What comes out, in a sentence for the owners who decide about the job.
    """

    operation: ClassVar[str]
    reveals: ClassVar[str]

    if not TYPE_CHECKING:  # type checkers see the signature that pydantic makes of the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise _invalid(type(self).operation, error) from None

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read the parameters of a job.

        Raises
        ------
        InvalidJob
            They are not this operation's; the message names the place.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise _invalid(cls.operation, error) from None

    def row_level_outputs(self) -> frozenset[str]:
        """Return the names of the outputs that hold rows of single people."""
        return frozenset()

    def inputs_beside(self) -> frozenset[str]:
        """Return the names of the inputs that are not aligned, but taken as they are."""
        return frozenset()

    def epsilon_millionths(self) -> int:
        """Return what a run takes from the privacy budget of each table; 0: it adds no noise."""
        return 0

    def check_job(self, job: JobDocument, entities: Mapping[str, str | None]) -> None:
        """Check that a job goes with this operation, beside what the job checks itself.

        Parameters
        ----------
        job
            The job.
        entities
            By input, the column by which its owner tells people apart, as far as it is known.

        Raises
        ------
        InvalidJob
            It does not.
        """

    def comes_out(self) -> list[str]:
        """Say what comes out, for owners who decide about the job."""
        return [type(self).reveals]

    def only_recipient(self, output: str) -> str | None:  # noqa: ARG002 - of no output, here
        """Return the identity id of the only recipient of an output; None: all of the job's."""
        return None


def _invalid(operation: str, error: ValidationError) -> InvalidJob:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part)[:64] for part in first["loc"])
    return InvalidJob(f"{operation}: {place + ': ' if place else ''}{first['msg']}")
