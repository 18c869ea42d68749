"""How well scores tell cases from others: curves in steps of whole groups.

Each point of an exact ROC curve is one person's score and outcome. Here a step holds, of cases and
of others, nobody or a whole group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn import metrics

from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._people import Mask, Numbers, People

MOST_STEPS = 200
CALIBRATION_STEPS = 10
_THRESHOLD_DIGITS = 3


@dataclass(frozen=True)
class Scored:
    """Rows with their scores.

    Attributes
    ----------
    scores
        Predicted probability of being a case.
    outcome
        1 for cases, 0 for others.
    people
        Whose rows they are.
    """

    scores: Numbers
    outcome: Numbers
    people: People


def steps(scored: Scored, disclosure: Disclosure, most: int) -> list[Mask]:
    """Divide the rows by falling score in steps that may each be shown.

    Parameters
    ----------
    scored
        The rows.
    disclosure
        The owners' rules.
    most
        At most this many steps.
    """
    falling = np.sort(scored.scores)[::-1]
    count = len(falling)
    ends = falling[[(number + 1) * count // most - 1 for number in range(min(most, count))]]
    if most > count:
        ends = falling
    made: list[Mask] = []
    above = np.inf
    for end in np.unique(ends)[::-1]:
        step: Mask = (scored.scores < above) & (scored.scores >= end)
        if _may_show(scored, step, disclosure):
            made.append(step)
            above = end
    rest: Mask = scored.scores < above
    if rest.any():
        # What is left at the end joins the steps before it.
        while made and not _may_show(scored, rest, disclosure):
            rest |= made.pop()
        made += _from_below(scored, rest, np.unique(ends), disclosure)
    return made


def _from_below(scored: Scored, rest: Mask, ends: Numbers, disclosure: Disclosure) -> list[Mask]:
    """Divide what is left once more, by rising score: at its end there may be others alone."""
    made: list[Mask] = []
    for end in ends:
        step, above = rest & (scored.scores < end), rest & (scored.scores >= end)
        if not (step.any() and above.any()):
            continue
        if _may_show(scored, step, disclosure) and _may_show(scored, above, disclosure):
            made.append(step)
            rest = above
    return [rest, *reversed(made)]


def _may_show(scored: Scored, step: Mask, disclosure: Disclosure) -> bool:
    cases = scored.outcome > 0
    return disclosure.may_show(
        [scored.people.fewest(step & cases), scored.people.fewest(step & ~cases)]
    )


def curve(scored: Scored, disclosure: Disclosure) -> pa.Table:
    """Return the ROC and the precision-recall curve.

    Returns
    -------
    pyarrow.Table
        For each step ``threshold`` (rounded), and of those who score as high or higher
        ``true_positive_rate`` (recall), ``false_positive_rate`` and ``precision``.
    """
    cases = scored.outcome > 0
    every, others = int(cases.sum()), int((~cases).sum())
    rows: list[dict[str, float]] = []
    found = false = 0
    for step in steps(scored, disclosure, MOST_STEPS):
        found += int((step & cases).sum())
        false += int((step & ~cases).sum())
        rows.append(
            {
                "threshold": round(float(scored.scores[step].min()), _THRESHOLD_DIGITS),
                "true_positive_rate": found / every,
                "false_positive_rate": false / others,
                "precision": found / (found + false),
            }
        )
    return pa.Table.from_pylist(rows)


def calibration(scored: Scored, disclosure: Disclosure) -> pa.Table:
    """Return how often cases are where the model says so: by step of falling score.

    Returns
    -------
    pyarrow.Table
        For each step ``rows``, the mean ``predicted`` probability, and the ``observed`` share of
        cases.
    """
    rows = [
        {
            "rows": int(step.sum()),
            "predicted": float(scored.scores[step].mean()),
            "observed": float(scored.outcome[step].mean()),
        }
        for step in steps(scored, disclosure, CALIBRATION_STEPS)
    ]
    return pa.Table.from_pylist(rows)


def performance(scored: Scored, disclosure: Disclosure) -> dict[str, Any]:
    """Return single numbers about the scores.

    Returns
    -------
    dict
        ``rows``, ``roc_auc``, ``average_precision``, ``log_loss``, ``brier``, and ``accuracy`` of
        taking a probability of one half and above for a case; null where too few are mistaken.
    """
    scores, outcome = scored.scores, scored.outcome
    mistaken = (scores >= 0.5) != (outcome > 0)  # noqa: PLR2004 - one half
    shown = disclosure.may_show([scored.people.fewest(mistaken), scored.people.fewest(~mistaken)])
    return {
        "rows": len(scores),
        "roc_auc": float(metrics.roc_auc_score(outcome, scores)),
        "average_precision": float(metrics.average_precision_score(outcome, scores)),
        "log_loss": float(metrics.log_loss(outcome, scores)),
        "brier": float(metrics.brier_score_loss(outcome, scores)),
        "accuracy": float(1 - mistaken.mean()) if shown else None,
    }
