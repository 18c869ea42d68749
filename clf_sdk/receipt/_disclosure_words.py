"""The disclosure report of a run in words, for receipts and for who reviews a release."""

from __future__ import annotations

from clf_sdk.protocol import (
    DisclosureReport,
    NoisedInput,
    NoiseReport,
    OutputReport,
    Rules,
    Suppressed,
)

_NAMES = {
    "smallest_group": "groups that are too small",
    "complementary": "what would give hidden cells away",
    "dominance": "sums that few people make up",
    "round_counts": "rounding of counts",
    "output_rows": "number of rows",
    "output_bytes": "size",
    "privacy_budget": "privacy budget",
}


def rules_in_words(report: DisclosureReport) -> list[str]:
    """Return the rules that were enforced on all outputs, one a line."""
    rules = report.rules
    return [
        f"groups of at least {rules.smallest_group:,}",
        *(
            f"no sum of which {rule.largest:,} make up over {rule.percent} %"
            for rule in rules.dominance
        ),
        *([f"counts in multiples of {rules.round_counts:,}"] if rules.round_counts > 1 else []),
        *_limits(rules),
        "rows of single people in " + ", ".join(report.row_level)
        if report.row_level
        else "no rows of single people",
        f"released {'at once' if rules.release == 'at_once' else 'after review'}",
    ]


def _limits(rules: Rules) -> list[str]:
    limits = {"rows": rules.output_rows, "bytes": rules.output_bytes}
    return [f"at most {most:,} {what}" for what, most in limits.items() if most is not None]


def output_in_words(report: DisclosureReport, output: str, *, mine: str | None = None) -> list[str]:
    """Return what became of one output, one a line.

    Parameters
    ----------
    report
        The run's report.
    output
        Name of the output.
    mine
        Server id of who reads it, whose rules are called yours.
    """
    found = next((each for each in report.outputs if each.output == output), None)
    if found is None:
        return []
    hidden = [_suppressed(each, mine) for each in found.suppressed]
    return [_checked(found), *hidden, *([] if found.noise is None else _noise(found.noise))]


def _checked(found: OutputReport) -> str:
    return "checked for " + ", ".join(_NAMES.get(rule, rule) for rule in found.checked)


def _suppressed(found: Suppressed, mine: str | None) -> str:
    owners = ", ".join(
        "yours" if server == mine else f"owner {server[:12]}…" for server in found.servers
    )
    cells = "cell" if found.cells == 1 else "cells"
    rule = _NAMES.get(found.rule, found.rule)
    return f"{found.cells:,} {cells} hidden: {rule} (rule of {owners})"


def _noise(noise: NoiseReport) -> list[str]:
    said = [
        f"one person of {each.input} ({_person(each)}) changes at most {each.changed_rows:,} rows"
        for each in noise.inputs
    ]
    scales = [
        f"{each.name}: ε {each.epsilon:g}, one person changes it by {each.sensitivity:g} at most"
        + ("" if each.lower is None else f" (values from {each.lower:g} to {each.upper:g})")
        + f", scale of the noise {each.scale:g}"
        for each in noise.statistics
    ]
    return [f"noise: {noise.mechanism} of {noise.library}", *said, *scales]


def _person(each: NoisedInput) -> str:
    columns = ", ".join(each.columns)
    people = {"entity": f"a value of {columns}", "key": f"a key of {columns}", "row": "a row"}
    return people[each.person]
