"""How many persons of each input found a partner, under the disclosure rules."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure

MATCH_REPORT = "match_report"


def count_matched(data: AlignedData) -> dict[str, int]:
    """Count the persons of each input that stand in a row together with another input."""
    physical = {each.input: each.physical for each in data.persons}
    if len(physical) == 1:
        return dict.fromkeys(physical, 0)
    parts = []
    for name, own in physical.items():
        others = " OR ".join(
            f"{other} IS NOT NULL" for each, other in physical.items() if each != name
        )
        parts.append(f"count(DISTINCT {own}) FILTER (WHERE {others})")
    found = data.workspace.one(f"SELECT {', '.join(parts)} FROM {data.relation}")  # noqa: S608 - names of ours
    return dict(zip(physical, found, strict=True))


def match_report(data: AlignedData, persons: Mapping[str, int], disclosure: Disclosure) -> pa.Table:
    """Say how many persons of each input stand in a row together with another input.

    Where those who found a partner, or those who found none, are fewer than the smallest group
    (but not nobody), neither number is given.

    Parameters
    ----------
    data
        The aligned table, in which the persons of every input are told apart.
    persons
        Persons of each input before the alignment.
    disclosure
        The owners' rules.

    Returns
    -------
    pyarrow.Table
        One row an input: ``input``, ``persons``, ``matched``, ``rate``.
    """
    matched = count_matched(data)
    disclosure.note_checked(MATCH_REPORT, "smallest_group", "round_counts")
    shown: dict[str, list[object]] = {"input": [], "persons": [], "matched": [], "rate": []}
    for name, total in persons.items():
        shown["input"].append(name)
        parts = [total, matched[name], total - matched[name]]
        may = disclosure.may_show(parts)
        if not may:
            disclosure.note_small(MATCH_REPORT, [min(part for part in parts if part)])
        of, with_partner = disclosure.shown_count(total), disclosure.shown_count(matched[name])
        shown["persons"].append(of if may else None)
        shown["matched"].append(with_partner if may else None)
        shown["rate"].append(with_partner / of if may and of else None)
    kinds = {"input": pa.large_string(), "rate": pa.float64()}
    return pa.table(
        {name: pa.array(each, kinds.get(name, pa.int64())) for name, each in shown.items()}
    )
