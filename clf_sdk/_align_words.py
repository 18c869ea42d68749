"""How a job aligns and prepares its inputs, in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clf_sdk.protocol import (
    AggregateDuplicates,
    AlignNode,
    BinStep,
    FirstDuplicate,
    ImputeStep,
    InputNode,
    JoinKey,
    JoinMember,
    KeepDuplicates,
    LinkNode,
    OneHotStep,
    PrepareStep,
    UnionNode,
    inputs_of,
)


def _whose(node: AlignNode) -> str:
    return " + ".join(inputs_of(node))


def _key(key: JoinKey) -> str:
    said = [key.name]
    if key.read_as is not None:
        formats = f" ({' or '.join(key.date_formats)})" if key.read_as == "date" else ""
        said.append(f"read as {key.read_as}{formats}")
    if key.trim:
        said.append("without blanks around it")
    if key.fold_case:
        said.append("in upper or lower case alike")
    return ", ".join(said)


def _member(member: JoinMember) -> list[str]:
    whose, rule = _whose(member.of), member.duplicates
    said = []
    if member.columns is not None:
        said.append(f"{whose}: its keys are {', '.join(member.columns)}")
    if isinstance(rule, FirstDuplicate):
        said.append(f"{whose}: of rows with one key, the first by {', '.join(rule.order_by)}")
    elif isinstance(rule, AggregateDuplicates):
        summed = ", ".join(f"{how} of {name}" for name, how in rule.columns.items())
        said.append(f"{whose}: rows with one key become one: {summed}")
    elif isinstance(rule, KeepDuplicates):
        said.append(f"{whose}: every row stays, also where keys repeat")
    if member.prefix:
        said.append(f"{whose}: {json.dumps(member.prefix)} is put before its columns")
    return said


def align_in_words(node: AlignNode) -> list[str]:
    """Return a sentence for each thing that the alignment does, the innermost first."""
    if isinstance(node, InputNode):
        return [f"{node.input} as it is"]
    if isinstance(node, UnionNode):
        inner = [line for child in node.of for line in _inner(child)]
        source = f"; column {node.source} says whose" if node.source else ""
        return [*inner, f"rows of {', '.join(map(_whose, node.of))} one below the other{source}"]
    if isinstance(node, LinkNode):
        inner = [*_inner(node.left.of), *_inner(node.right.of)]
        evidence = ", ".join(
            f"{each.left} with {each.right} ({each.method})" for each in node.comparisons
        )
        both = f"{_whose(node.left.of)} and {_whose(node.right.of)}"
        least = f"pairs of probability {node.threshold:g} or more"
        return [*inner, f"{both} linked by likeness of {evidence}; {least}"]
    inner = [line for member in node.members for line in _inner(member.of)]
    which = "rows that every table has"
    if node.how == "left":
        which = f"every row of {_whose(node.members[0].of)}"
    keys = " and ".join(map(_key, node.keys))
    said = [f"{', '.join(_whose(member.of) for member in node.members)} on {keys}; {which}"]
    said += [line for member in node.members for line in _member(member)]
    return [*inner, *said]


def _inner(node: AlignNode) -> list[str]:
    return [] if isinstance(node, InputNode) else align_in_words(node)


def _bins(step: BinStep) -> str:
    return f"put {step.column} into bins at {', '.join(f'{edge:g}' for edge in step.edges)}"


def _one_hot(step: OneHotStep) -> str:
    which = "each category that enough people have"
    if step.categories is not None:
        which = ", ".join(step.categories)
    return f"a column of 0 and 1 for {which} of {step.column}"


def _impute(step: ImputeStep) -> str:
    filling = json.dumps(step.value) if step.fill_with == "value" else f"their {step.fill_with}"
    return f"fill missing values of {', '.join(step.columns)} with {filling}"


_STEPS: Mapping[str, Callable[[Any], str]] = {
    "filter": lambda step: f"keep rows where {step.where}",
    "derive": lambda step: f"{step.column} = {step.expression}",
    "select": lambda step: f"keep {', '.join(step.columns)}",
    "bin": _bins,
    "standardise": lambda step: f"standardise {', '.join(step.columns)}",
    "one_hot": _one_hot,
    "impute": _impute,
    "split": lambda step: f"{step.test_fraction:.0%} are test rows, by seed {step.seed}",
}


def prepare_in_words(steps: Sequence[PrepareStep]) -> list[str]:
    """Return a sentence for each step of a preparation."""
    return [f"{number}. {_STEPS[step.kind](step)}" for number, step in enumerate(steps, start=1)]
