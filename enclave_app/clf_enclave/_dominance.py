"""Which sums few people make up: the (n, k) rule of dominance (docs/disclosure.md).

Who knows the largest contribution to a sum, or has it, learns the others' to within what is left.
So a sum is not shown where the n people with the largest contributions, without their signs, make
up more than k percent of all. Source: Hundepool et al., *Statistical Disclosure Control* (2012),
section 4.2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from clf_enclave._data import AlignedData
from clf_sdk.protocol import Dominance

Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
_SLACK = 1e-9  # sums of floats: what is at the limit is not over it


@dataclass(frozen=True)
class Dominated:
    """Where few people make up most of a sum.

    Attributes
    ----------
    masks
        By rule, for each group in the order of the keys, whether it is broken.
    """

    masks: Mapping[Dominance, Mask]

    @property
    def any(self) -> Mask:
        """For each group whether some rule is broken."""
        found: Mask = np.logical_or.reduce(list(self.masks.values()))
        return found

    def broken(self, among: Mask) -> list[Dominance]:
        """Return the rules that are broken in some of the chosen groups."""
        return [rule for rule, mask in self.masks.items() if (mask & among).any()]


def dominated(
    data: AlignedData, value: str, *, keys: Sequence[str] = (), rules: Sequence[Dominance]
) -> Dominated | None:
    """Hold the sums of a column in groups against the rules; None when there is no rule.

    Parameters
    ----------
    data
        The rows; contributions are added up by person of each input.
    value
        SQL of the column, null where a row contributes nothing.
    keys
        Columns in the database that make the groups.
    rules
        Of all owners.
    """
    if not rules:
        return None
    workspace = data.workspace
    physical = sorted({each.physical for each in data.persons if each.physical is not None})
    middle = workspace.name("m")
    others = {key: workspace.name("o") for key in keys}
    columns = [*keys, *physical, f"CAST({value} AS DOUBLE) AS {middle}v"]
    rows = workspace.view(f"SELECT {', '.join(columns)} FROM {data.relation}")  # noqa: S608 - names of ours
    ends = f" GROUP BY {', '.join(keys)}" if keys else ""
    named = [f"{key} AS {other}" for key, other in others.items()]
    half = ", ".join([*named, f"approx_quantile({middle}v, 0.5) AS {middle}"])
    found = workspace.table(f"SELECT {half} FROM {rows}{ends}")  # noqa: S608 - the same
    same = " AND ".join(f"{key} IS NOT DISTINCT FROM {other}" for key, other in others.items())
    centred = workspace.view(f"SELECT * FROM {rows} JOIN {found} ON {same or 'true'}")  # noqa: S608 - the same
    masks: dict[Dominance, Mask] = {}
    by_rows = not data.persons or any(each.physical is None for each in data.persons)
    for unit in [*([None] if by_rows else []), *physical]:
        # As they are, and around their middle: what is added to all would hide who makes up most.
        for size in (f"abs({middle}v)", f"abs({middle}v - {middle})"):
            for rule, mask in _held(data, centred, size, keys, rules, unit).items():
                masks[rule] = masks[rule] | mask if rule in masks else mask
    return Dominated(masks)


def _held(
    data: AlignedData,
    relation: str,
    size: str,
    keys: Sequence[str],
    rules: Sequence[Dominance],
    unit: str | None,
) -> dict[Dominance, Mask]:
    """Return for each rule in which groups the largest contributions of a kind break it."""
    by = ", ".join(keys)
    contribution, source = size, relation
    if unit is not None:
        # Rows that have nothing of this input are a group of their own, which contributes nothing.
        made = f"CASE WHEN {unit} IS NOT NULL THEN sum({size}) END AS contribution"
        ours = ", ".join([*keys, unit])
        select = ", ".join([*keys, made])
        source = f"(SELECT {select} FROM {relation} GROUP BY {ours})"  # noqa: S608 - names of ours
        contribution = "contribution"
    largest = [f"list_sum(max({contribution}, {rule.largest}))" for rule in rules]
    grouped = f" GROUP BY {by} ORDER BY {by}" if keys else ""
    found = data.workspace.arrow(
        f"SELECT {', '.join([*largest, f'sum({contribution})'])} FROM {source}{grouped}"  # noqa: S608 - the same
    )
    *tops, total = [
        np.nan_to_num(column.to_numpy().astype(np.float64), nan=0.0) for column in found.columns
    ]
    return {
        rule: top > rule.percent / 100 * total * (1 + _SLACK)
        for rule, top in zip(rules, tops, strict=True)
    }
