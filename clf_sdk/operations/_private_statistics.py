"""Parameters of ``private_statistics`` (docs/operations.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from clf_sdk.operations._contributions import check_private
from clf_sdk.operations._epsilon import in_words, millionths
from clf_sdk.operations._parameters import Parameters, as_list
from clf_sdk.protocol import ColumnName, Document, JobDocument, Name

MOST_STATISTICS = 100
MOST_CELLS = 1000
MOST_ROWS_PER_PERSON = 1000
_LARGEST = 1e18
_NARROWEST = 1e-9


def _in_millionths(epsilon: float) -> float:
    millionths(epsilon)
    return epsilon


def _finite(value: float) -> float:
    # Also of numbers that JSON has no form for; a comparison with NaN is never true.
    if not abs(value) <= _LARGEST:
        raise ValueError(f"it must be a number of at most {_LARGEST:.0e}")
    return value


Epsilon = Annotated[float, Field(gt=0, le=100), AfterValidator(_in_millionths)]
Bound = Annotated[float, AfterValidator(_finite)]
_Category = Annotated[str, StringConstraints(max_length=200)]


class PrivateCount(Document):
    """How many rows there are, or how many have a value in a column."""

    kind: Literal["count"]
    name: Name
    column: ColumnName | None = None
    epsilon: Epsilon


class _OfNumbers(Document):
    name: Name
    column: ColumnName
    lower: Bound
    upper: Bound
    missing: Bound | None = None
    epsilon: Epsilon

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if not self.upper - self.lower >= _NARROWEST:
            raise ValueError("the lower bound must lie below the upper one")
        return self


class PrivateSum(_OfNumbers):
    """The sum of a column, of values that are moved into bounds."""

    kind: Literal["sum"]


class PrivateMean(_OfNumbers):
    """The mean of a column, of values that are moved into bounds."""

    kind: Literal["mean"]


class PrivateHistogram(Document):
    """How often each of some categories stands, or how many numbers lie between edges."""

    kind: Literal["histogram"]
    name: Name
    column: ColumnName
    categories: Annotated[list[_Category], Field(min_length=1, max_length=MOST_CELLS)] | None = None
    edges: Annotated[list[Bound], Field(min_length=1, max_length=MOST_CELLS)] | None = None
    epsilon: Epsilon

    @model_validator(mode="after")
    def _check_cells(self) -> Self:
        if (self.categories is None) == (self.edges is None):
            raise ValueError("a histogram has categories or edges")
        if self.edges is not None and sorted(set(self.edges)) != self.edges:
            raise ValueError("the edges of a histogram must rise")
        if self.categories is not None and len(set(self.categories)) != len(self.categories):
            raise ValueError("a category is named twice")
        return self


PrivateStatistic: TypeAlias = Annotated[
    PrivateCount | PrivateSum | PrivateMean | PrivateHistogram, Field(discriminator="kind")
]


class PrivateStatistics(Parameters):
    """Counts, sums, means and histograms with noise: differentially private.

    Parameters
    ----------
    statistics
        What is asked, each from `clf.private`, with its own epsilon. The sum of them is taken from
        the privacy budget of each table of the job.
    max_rows_per_person
        Most rows of a person of any owner that are used. More rows need more noise.

    Raises
    ------
    InvalidJob
        A parameter is missing, unknown or makes no sense.
    """

    operation: ClassVar[str] = "private_statistics"
    reveals: ClassVar[str] = (
        "numbers with noise, from which nobody can tell whether one person was there; each run "
        "spends a part of every table's privacy budget"
    )

    statistics: Annotated[
        Sequence[PrivateStatistic],
        BeforeValidator(as_list),
        Field(min_length=1, max_length=MOST_STATISTICS),
    ]
    max_rows_per_person: Annotated[int, Field(ge=1, le=MOST_ROWS_PER_PERSON)] = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [each.name for each in self.statistics]
        if len(set(names)) != len(names):
            raise ValueError("two statistics have the same name")
        return self

    def epsilon_millionths(self) -> int:
        """Return what the statistics cost together: epsilons add up."""
        return sum(millionths(each.epsilon) for each in self.statistics)

    def check_job(self, job: JobDocument, entities: Mapping[str, str | None]) -> None:
        """Check that it can be read off the job how many rows one person can change.

        Raises
        ------
        InvalidJob
            It can not.
        """
        check_private(job, entities, rows=self.max_rows_per_person)

    def comes_out(self) -> list[str]:
        """Say for each statistic what it tells, and for how much of the budgets."""
        cost = in_words(self.epsilon_millionths())
        total = f"numbers with noise; each run spends {cost} of every table's privacy budget"
        said = [
            f"{each.name}: {_words(each)}, with noise of {in_words(millionths(each.epsilon))}"
            for each in self.statistics
        ]
        return [total, *said]


def _words(statistic: PrivateStatistic) -> str:
    if isinstance(statistic, PrivateCount):
        return "how many rows" + (f" have {statistic.column}" if statistic.column else "")
    if isinstance(statistic, PrivateHistogram):
        cells = statistic.edges or statistic.categories or []
        kind = "categories" if statistic.edges is None else "edges"
        return f"how {statistic.column} spreads over {len(cells):,} {kind}"
    return f"{statistic.kind} of {statistic.column} between {statistic.lower} and {statistic.upper}"
