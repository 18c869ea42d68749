"""How the inputs of a job become one table: ``clf.align.join``, ``union`` and ``link``.

Each returns a node of a small tree; a member of a node is the name of an input, or another node ::

    clf.align.join(clf.align.union("north", "south", source="hospital"), "insurer", on="person_id")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import (
    AggregateDuplicates,
    AlignNode,
    FirstDuplicate,
    InputNode,
    JoinKey,
    JoinMember,
    JoinNode,
    KeepDuplicates,
    LinkComparison,
    LinkMember,
    LinkNode,
    RefuseDuplicates,
    UnionNode,
)

__all__ = ["Duplicates", "Node", "aggregate", "first", "join", "key", "link", "member", "union"]

Node: TypeAlias = "str | AlignNode"
"""The name of an input, or what `join`, `union` and `link` return."""

Duplicates: TypeAlias = "Literal['refuse', 'keep'] | FirstDuplicate | AggregateDuplicates"


def _made(model: Any, /, **fields: Any) -> Any:
    try:
        return model(**fields)
    except ValidationError as error:
        first_error = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first_error["loc"])
        raise InvalidJob(f"{place or 'the alignment'}: {first_error['msg']}") from None


def _node(node: Node) -> AlignNode:
    return _made(InputNode, kind="input", input=node) if isinstance(node, str) else node


def key(
    name: str,
    *,
    read_as: Literal["text", "number", "date"] | None = None,
    trim: bool = False,
    fold_case: bool = False,
    date_formats: Sequence[str] = ("%Y-%m-%d",),
) -> JoinKey:
    """Declare a key of a join, and how its values are made comparable.

    Parameters
    ----------
    name
        Name of the key in the aligned table.
    read_as
        ``"text"`` writes whole numbers as digits, ``"number"`` reads ``"007"`` as 7, ``"date"``
        drops the time and reads texts. None: all inputs have the same type.
    trim
        Whether blanks around a text do not count; an empty text counts as missing.
    fold_case
        Whether upper and lower case are the same.
    date_formats
        How texts are read as dates; the first that fits counts.
    """
    return _key(name, read_as=read_as, trim=trim, fold_case=fold_case, formats=list(date_formats))


def _key(
    name: str, *, read_as: str | None, trim: bool, fold_case: bool, formats: list[str]
) -> JoinKey:
    made: JoinKey = _made(
        JoinKey, name=name, read_as=read_as, trim=trim, fold_case=fold_case, date_formats=formats
    )
    return made


def first(*order_by: str) -> FirstDuplicate:
    """Of rows with equal keys take the first, by rising order of columns, missing values last."""
    made: FirstDuplicate = _made(FirstDuplicate, rule="first", order_by=list(order_by))
    return made


def aggregate(
    columns: Mapping[str, Literal["count", "sum", "mean", "min", "max", "any", "all"]],
) -> AggregateDuplicates:
    """Make one row of rows with equal keys: a summary of each named column, and no others."""
    made: AggregateDuplicates = _made(AggregateDuplicates, rule="aggregate", columns=dict(columns))
    return made


def member(
    of: Node,
    *,
    columns: Sequence[str] | str | None = None,
    duplicates: Duplicates = "refuse",
    prefix: str = "",
) -> JoinMember:
    """Declare a member of a join that needs more than its name.

    Parameters
    ----------
    of
        Name of an input, or another node.
    columns
        Names of its key columns, in the order of the keys; by default those of the keys.
    duplicates
        What is done where a key names several rows: ``"refuse"``, ``"keep"`` all of them (one
        member at most), `first` or `aggregate`.
    prefix
        Put before the names of its columns that are no keys.
    """
    rules: Mapping[str, Any] = {
        "refuse": RefuseDuplicates(rule="refuse"),
        "keep": KeepDuplicates(rule="keep"),
    }
    if isinstance(duplicates, str) and duplicates not in rules:
        raise InvalidJob(
            f"duplicates can't be {duplicates!r}",
            hint='"refuse", "keep", clf.align.first(…) or clf.align.aggregate({…})',
        )
    named = [columns] if isinstance(columns, str) else columns
    made: JoinMember = _made(
        JoinMember,
        of=_node(of),
        columns=None if named is None else list(named),
        duplicates=rules[duplicates] if isinstance(duplicates, str) else duplicates,
        prefix=prefix,
    )
    return made


def join(
    *members: Node | JoinMember,
    on: str | JoinKey | Sequence[str | JoinKey],
    how: Literal["inner", "left"] = "inner",
    base: str | None = None,
    nulls: Literal["unmatched", "refuse"] = "unmatched",
) -> JoinNode:
    """Join members on keys.

    Parameters
    ----------
    members
        Names of inputs, other nodes, or what `member` declares.
    on
        The keys: names, or what `key` declares.
    how
        ``"inner"``: rows whose keys stand in every member. ``"left"``: all rows of the base.
    base
        For ``"left"``: the name of the input that is the base; by default the first member.
    nulls
        Whether a row without a key matches nothing, or ends the job.

    Raises
    ------
    InvalidJob
        The parts do not fit together.
    """
    parts = [each if isinstance(each, JoinMember) else member(each) for each in members]
    if base is not None:
        if how != "left":
            raise InvalidJob("only a left join has a base")
        bases = [each for each in parts if isinstance(each.of, InputNode) and each.of.input == base]
        if not bases:
            raise InvalidJob(f"the base {base[:64]!r} is no member of the join")
        parts = [*bases, *(each for each in parts if each is not bases[0])]
    keys = [on] if isinstance(on, str | JoinKey) else list(on)
    made: JoinNode = _made(
        JoinNode,
        kind="join",
        how=how,
        members=parts,
        keys=[key(each) if isinstance(each, str) else each for each in keys],
        nulls=nulls,
    )
    return made


def union(*members: Node, source: str | None = None) -> UnionNode:
    """Put members with the same columns one below the other.

    Parameters
    ----------
    members
        Names of inputs, or other nodes.
    source
        Name of a column that says from which input a row is.
    """
    made: UnionNode = _made(
        UnionNode, kind="union", of=[_node(each) for each in members], source=source
    )
    return made


def link(
    left: Node,
    right: Node,
    *,
    compare: Mapping[str, str] | Sequence[tuple[str, str, str]],
    block_on: Sequence[Sequence[str] | str],
    threshold: float,
    prior: float | None = None,
    prefixes: tuple[str, str] = ("", ""),
) -> LinkNode:
    """Link rows that share no key by the likeness of names, birth dates and addresses.

    Parameters
    ----------
    left, right
        Names of inputs, or other nodes.
    compare
        By column, how it is compared: ``"name"``, ``"date"``, ``"email"``, ``"postcode"``,
        ``"text"`` or ``"exact"``. Where the columns have different names: ``(left, right, how)``.
    block_on
        Pairs are looked at only if they agree in one of these columns, or groups of columns; by
        their names in the left member.
    threshold
        Least probability of a match, from 0.5.
    prior
        Probability that two random rows match; None: estimated from the groups of `block_on`.
    prefixes
        Put before the names of the columns of each side.

    Raises
    ------
    InvalidJob
        The parts do not fit together.
    """
    evidence = (
        [(name, name, how) for name, how in compare.items()]
        if isinstance(compare, Mapping)
        else list(compare)
    )
    made: LinkNode = _made(
        LinkNode,
        kind="link",
        left=_made(LinkMember, of=_node(left), prefix=prefixes[0]),
        right=_made(LinkMember, of=_node(right), prefix=prefixes[1]),
        comparisons=[
            _made(LinkComparison, left=ours, right=theirs, method=how)
            for ours, theirs, how in evidence
        ],
        blocking=[[each] if isinstance(each, str) else list(each) for each in block_on],
        threshold=threshold,
        prior=prior,
    )
    return made
