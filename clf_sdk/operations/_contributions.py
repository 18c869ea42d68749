"""How many aligned rows one person of an owner can change: read off the job, never off the data.

The rules are those of docs/disclosure.md, "Noise and budgets". A change is counted as rows that go
plus rows that come: one that is exchanged for another counts twice. Where a rule is not known to
hold, the job is refused.

Each table is cut to a number of rows for each of its persons before it is aligned
(`clf_enclave._privacy`). The bounds here begin at that number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import (
    AlignNode,
    ImputeStep,
    InputNode,
    JobDocument,
    JoinKey,
    JoinMember,
    JoinNode,
    KeepDuplicates,
    LinkNode,
    OneHotStep,
    PrepareStep,
    RefuseDuplicates,
    SplitStep,
    StandardiseStep,
    UnionNode,
    inputs_of,
    walk,
)

_REFUSED_STEPS: Mapping[type[PrepareStep], str] = {
    StandardiseStep: "standardise",
    OneHotStep: "one_hot",
    SplitStep: "split",
}


@dataclass(frozen=True)
class PersonOf:
    """Who is a person of an input.

    Attributes
    ----------
    kind
        ``"entity"``: rows with one value of the owner's column; ``"key"``: rows with one value of
        the keys that it is joined by, as they are compared; ``"row"``: each row.
    columns
        The column, or the columns that are keys.
    keys
        How they are compared, where they are keys.
    whole
        Whether they are all keys of the join: one key for each person.
    exact
        Whether each key belongs to one person; else different values of the owner's column can be
        compared as one key.
    """

    kind: Literal["entity", "key", "row"]
    columns: tuple[str, ...] = ()
    keys: tuple[JoinKey, ...] = ()
    whole: bool = False
    exact: bool = True

    @property
    def is_keyed(self) -> bool:
        """Whether rows with one key are one person's."""
        return bool(self.keys)


@dataclass(frozen=True)
class Contribution:
    """What one person of an input can change.

    Attributes
    ----------
    person
        Who is one.
    rows
        Most aligned rows that go or come when one person goes or comes.
    """

    person: PersonOf
    rows: int


def contributions(
    tree: AlignNode, entities: Mapping[str, str | None], *, rows: int
) -> dict[str, Contribution]:
    """Return, by input, how many aligned rows one person can change.

    Parameters
    ----------
    tree
        The alignment.
    entities
        By input, the column by which its owner tells people apart; None or missing: none.
    rows
        Most rows of a person that each table is cut to.

    Raises
    ------
    InvalidJob
        The alignment has a part for which no bound is known.
    """
    people = dict(_people(tree, entities, joined=None))
    changed = _Bounds(people, rows).of(tree)
    return {name: Contribution(people[name], changed[name]) for name in inputs_of(tree)}


def check_private(job: JobDocument, entities: Mapping[str, str | None], *, rows: int) -> None:
    """Check that a job's noise can be calibrated, and that nothing ends it because of a row.

    Raises
    ------
    InvalidJob
        It is not so; the message says why.
    """
    tables = [(entry.server, entry.table) for entry in job.inputs]
    if len(set(tables)) != len(tables):
        raise InvalidJob(
            "results with noise take each table once",
            hint="a person would stand in both inputs; name the table once",
        )
    if job.match_report:
        raise InvalidJob("results with noise come without a match report, which counts exactly")
    if job.memory_limit_bytes is not None:
        raise InvalidJob(
            "results with noise are computed in memory", hint="leave memory_limit_bytes out"
        )
    for step in job.prepare:
        _check_step(step)
    contributions(job.align, entities, rows=rows)


def _check_step(step: PrepareStep) -> None:
    kind = _REFUSED_STEPS.get(type(step))
    if isinstance(step, ImputeStep) and step.fill_with != "value":
        kind = f"impute by the {step.fill_with}"
    if kind is not None:
        raise InvalidJob(
            f"results with noise can't be prepared by {kind}: one row can change all others",
            hint="filter, derive, select, bin and impute by a value look at single rows",
        )


def _people(
    node: AlignNode, entities: Mapping[str, str | None], joined: tuple[JoinNode, JoinMember] | None
) -> Iterator[tuple[str, PersonOf]]:
    """Yield for each input who is a person of it; ``joined`` is the join right above it."""
    if isinstance(node, InputNode):
        yield node.input, _person(entities.get(node.input), joined)
    elif isinstance(node, UnionNode):
        for each in node.of:
            yield from _people(each, entities, joined)
    elif isinstance(node, JoinNode):
        for member in node.members:
            yield from _people(member.of, entities, (node, member))
    else:
        raise InvalidJob(
            "results with noise can't be linked by likeness: one person can change all pairs",
            hint="join on a key",
        )


def _person(entity: str | None, joined: tuple[JoinNode, JoinMember] | None) -> PersonOf:
    if joined is None:
        return PersonOf("row") if entity is None else PersonOf("entity", (entity,))
    node, member = joined
    columns = tuple(member.columns or [key.name for key in node.keys])
    if entity is None:
        return PersonOf("key", columns, tuple(node.keys), whole=True)
    if entity not in columns:
        return PersonOf("entity", (entity,))
    key = node.keys[columns.index(entity)]
    exact = key.read_as is None and not key.trim and not key.fold_case
    return PersonOf("entity", (entity,), (key,), whole=len(columns) == 1, exact=exact)


class _Bounds:
    """Follows the number of changed rows from the inputs up."""

    def __init__(self, people: Mapping[str, PersonOf], rows: int) -> None:
        self._people = people
        self._rows = rows

    def of(self, node: AlignNode) -> dict[str, int]:
        """Return by input how many rows of a node one person can change."""
        if isinstance(node, InputNode):
            person = self._people[node.input]
            if person.kind == "row":
                return {node.input: 1}
            # Others of the same key move up where a person's rows are gone.
            return {node.input: self._rows if person.exact else 2 * self._rows}
        if isinstance(node, UnionNode):
            return {name: rows for each in node.of for name, rows in self.of(each).items()}
        assert not isinstance(node, LinkNode)  # noqa: S101 - refused before
        return self._join(node)

    def _join(self, node: JoinNode) -> dict[str, int]:
        if node.nulls == "refuse":
            raise InvalidJob(
                'results with noise need nulls="unmatched": a missing key would end the run'
            )
        kept = [member for member in node.members if isinstance(member.duplicates, KeepDuplicates)]
        most = max((self._rows_of_a_key(member) for member in kept), default=1)
        found: dict[str, int] = {}
        for number, member in enumerate(node.members):
            self._check_duplicates(member)
            # A row of the base that lost its partner stays, without that one's values.
            stays = 2 if node.how == "left" and number else 1
            for name, rows in self.of(member.of).items():
                if member in kept:
                    found[name] = rows * stays
                    continue
                person, alone = self._people[name], isinstance(member.of, InputNode)
                direct = alone or _of_inputs(member.of)
                keys = 1 if direct and person.whole else rows
                # The row of a key goes with its person, or else gives way to another one.
                gives_way = not (alone and person.is_keyed and person.exact)
                found[name] = keys * most * (2 if gives_way else stays)
                if node.how == "left" and not number and person.kind == "entity" and keys == 1:
                    # Rows of the base without a key all stay, and can be one person's.
                    found[name] += rows - 1
        return found

    def _rows_of_a_key(self, member: JoinMember) -> int:
        """Return how many rows at most a member that keeps duplicates has for one key."""
        names = inputs_of(member.of)
        if not (isinstance(member.of, InputNode) or _of_inputs(member.of)) or not all(
            self._people[name].is_keyed for name in names
        ):
            raise InvalidJob(
                f"results with noise can't keep the duplicates of {'+'.join(names)!r}: rows with "
                "one key may be those of many people",
                hint="take the first row of each key, or aggregate them",
            )
        return self._rows * len(names)

    def _check_duplicates(self, member: JoinMember) -> None:
        if not isinstance(member.duplicates, RefuseDuplicates):
            return
        # Of a table that is cut to one row for each key, none can repeat.
        if (
            isinstance(member.of, InputNode)
            and self._rows == 1
            and self._people[member.of.input].whole
        ):
            return
        raise InvalidJob(
            f"results with noise can't refuse duplicates of {'+'.join(inputs_of(member.of))!r}, "
            "which would end the run",
            hint='say duplicates=clf.align.first(…), aggregate(…) or "keep"; or '
            "max_rows_per_person=1, where people are the keys",
        )


def _of_inputs(node: AlignNode) -> bool:
    """Return whether a node is a union of nothing but inputs, however nested."""
    return isinstance(node, UnionNode) and all(
        isinstance(each, InputNode | UnionNode) for each, _ in walk(node)
    )
