"""How a job joins its inputs: a small tree (docs/protocol.md §3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, StringConstraints, model_validator

from clf_sdk.protocol._document import Document, Name

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
MOST_DEPTH = 8
MOST_KEYS = 16

_Columns = Annotated[list[ColumnName], Field(min_length=1, max_length=MOST_KEYS)]
_Format = Annotated[str, StringConstraints(pattern=r"^(%[a-zA-Z]|[-./ :,])+$", max_length=40)]


class JoinKey(Document):
    """One key of a join, and how its values are made comparable before they are compared.

    Attributes
    ----------
    name
        Name of the key in the aligned table.
    read_as
        Type in which values are compared; null: as they are, so all members must have one type.
        ``"text"`` writes whole numbers as digits; ``"number"`` reads texts as whole numbers, so
        that ``"007"`` is 7; ``"date"`` drops the time of timestamps and reads texts.
    trim
        Whether blanks around a text do not count.
    fold_case
        Whether upper and lower case are the same.
    date_formats
        How texts are read as dates, such as ``"%d.%m.%Y"``; the first that fits counts.
    """

    name: ColumnName
    read_as: Literal["text", "number", "date"] | None
    trim: bool
    fold_case: bool
    date_formats: Annotated[list[_Format], Field(min_length=1, max_length=8)]


class RefuseDuplicates(Document):
    """A key that names several rows of the member ends the job."""

    rule: Literal["refuse"]


class FirstDuplicate(Document):
    """Of the rows with one key the first counts, by rising order of columns, nulls last.

    Rows that are equal there are put in order by all other columns, so that the order in which an
    owner stores its rows does not matter.
    """

    rule: Literal["first"]
    order_by: Annotated[list[ColumnName], Field(min_length=1, max_length=MOST_KEYS)]


Summary = Literal["count", "sum", "mean", "min", "max", "any", "all"]


class AggregateDuplicates(Document):
    """Rows with one key become one row, of the columns that are named and no others.

    ``count`` counts values that are not null; ``any`` and ``all`` are for truth values.
    """

    rule: Literal["aggregate"]
    columns: Annotated[dict[ColumnName, Summary], Field(min_length=1, max_length=1024)]


class KeepDuplicates(Document):
    """Every row of this member stays, and the rows of the others repeat. One member at most."""

    rule: Literal["keep"]


Duplicates: TypeAlias = Annotated[
    RefuseDuplicates | FirstDuplicate | AggregateDuplicates | KeepDuplicates,
    Field(discriminator="rule"),
]


class InputNode(Document):
    """One input of the job, by name."""

    kind: Literal["input"]
    input: Name


class JoinMember(Document):
    """What is joined, and how its rows are found by the keys.

    Attributes
    ----------
    of
        An input, a union or another join.
    columns
        Names of its key columns, in the order of the join's keys; null: named like the keys.
    duplicates
        What is done when a key names several rows.
    prefix
        Put before the names of its columns that are no keys.
    """

    of: AlignNode
    columns: _Columns | None
    duplicates: Duplicates
    prefix: Annotated[str, StringConstraints(max_length=64)]


class JoinNode(Document):
    """Join two or more members on keys.

    Attributes
    ----------
    how
        ``"inner"`` keeps the rows whose keys stand in every member; ``"left"`` all rows of the
        first member, the base.
    members
        What is joined.
    keys
        On what.
    nulls
        Whether a row whose key is null, or can not be read as declared, matches nothing or ends
        the job.
    """

    kind: Literal["join"]
    how: Literal["inner", "left"]
    members: Annotated[list[JoinMember], Field(min_length=1, max_length=64)]
    keys: Annotated[list[JoinKey], Field(min_length=1, max_length=MOST_KEYS)]
    nulls: Literal["unmatched", "refuse"]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [key.name for key in self.keys]
        if len(set(names)) != len(names):
            raise ValueError("a key column is named twice")
        for member in self.members:
            if member.columns is not None and len(set(member.columns)) != len(names):
                raise ValueError("a member needs one column for each key")
        if sum(member.duplicates.rule == "keep" for member in self.members) > 1:
            raise ValueError("only one member may keep rows with equal keys")
        return self


class UnionNode(Document):
    """Put members of equal schemas one below the other.

    Attributes
    ----------
    of
        The members.
    source
        Name of a column that says from which member a row is: the member's input, or its inputs
        joined by ``+``; null: no such column.
    """

    kind: Literal["union"]
    of: Annotated[list[AlignNode], Field(min_length=1, max_length=64)]
    source: ColumnName | None


Comparison = Literal["exact", "name", "date", "email", "postcode", "text"]


class LinkComparison(Document):
    """One pair of columns whose likeness counts as evidence that two rows are one person.

    Attributes
    ----------
    left, right
        The columns.
    method
        ``"name"`` compares by Jaro-Winkler, ``"text"`` by Levenshtein distance, ``"date"`` by
        days, ``"email"`` and ``"postcode"`` by their parts, ``"exact"`` by equality.
    """

    left: ColumnName
    right: ColumnName
    method: Comparison


class LinkMember(Document):
    """What is linked; ``prefix`` is put before the names of its columns."""

    of: AlignNode
    prefix: Annotated[str, StringConstraints(max_length=64)]


class LinkNode(Document):
    """Link two members whose rows share no key, by the model of Fellegi and Sunter (Splink).

    Attributes
    ----------
    left, right
        The members. Every row is linked to one row of the other at most: the likeliest.
    comparisons
        The evidence.
    blocking
        Pairs are looked at only if they agree in all columns of one of these groups of
        comparisons, each named by its ``left`` column.
    threshold
        Least probability of a match.
    prior
        Probability that two random rows match; null: estimated from the blocking groups.
    """

    kind: Literal["link"]
    left: LinkMember
    right: LinkMember
    comparisons: Annotated[list[LinkComparison], Field(min_length=1, max_length=16)]
    blocking: Annotated[list[_Columns], Field(min_length=1, max_length=8)]
    threshold: Annotated[float, Field(ge=0.5, lt=1)]
    prior: Annotated[float, Field(gt=0, lt=1)] | None


AlignNode: TypeAlias = Annotated[
    InputNode | JoinNode | UnionNode | LinkNode, Field(discriminator="kind")
]

for _model in (JoinMember, JoinNode, UnionNode, LinkMember, LinkNode):
    _model.model_rebuild()


def children(node: AlignNode) -> list[AlignNode]:
    """Return the nodes right below a node."""
    if isinstance(node, JoinNode):
        return [member.of for member in node.members]
    if isinstance(node, UnionNode):
        return list(node.of)
    if isinstance(node, LinkNode):
        return [node.left.of, node.right.of]
    return []


def walk(node: AlignNode, depth: int = 1) -> Iterator[tuple[AlignNode, int]]:
    """Yield a node and all below it, each with its depth from 1."""
    yield node, depth
    if depth <= MOST_DEPTH:
        for child in children(node):
            yield from walk(child, depth + 1)


def inputs_of(node: AlignNode) -> list[str]:
    """Return the names of the inputs below a node, from left to right."""
    return [each.input for each, _ in walk(node) if isinstance(each, InputNode)]
