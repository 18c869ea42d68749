"""The rules that an owner leaves to the measured program (docs/protocol.md §8.1)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from clf_sdk.protocol._document import Document, Sha256

MOST_LARGEST = 100
MOST_ROUNDING = 1_000_000


Differencing = Literal["off", "review", "refuse"]
_STRICTER: tuple[Differencing, ...] = ("off", "review", "refuse")


class Dominance(Document):
    """An (n, k) rule: no sum of which so few people make up more than so much.

    Attributes
    ----------
    largest
        n: how many of those with the largest contributions are looked at.
    percent
        k: most that they may make up together of all contributions, without their signs.
    """

    largest: Annotated[int, Field(ge=1, le=MOST_LARGEST)]
    percent: Annotated[int, Field(ge=1, le=99)]


class Rules(Document):
    """What may come out of the enclave, as one server demands it for the tables it grants.

    Attributes
    ----------
    smallest_group
        Fewest people that any number in a result may speak of.
    dominance
        Rules for sums; all of them must hold.
    round_counts
        Counts are multiples of this number; 1: they are exact.
    output_rows, output_bytes
        Most rows, and most bytes of ciphertext, that an output may have; null: no limit.
    differencing
        What becomes of results whose people differ from those of an earlier one by a few.
    row_level
        Identity ids that may receive rows of single people; empty: nobody.
    release
        Whether results can be opened at once, or after this owner's review.
    """

    smallest_group: Annotated[int, Field(ge=1)]
    dominance: Annotated[list[Dominance], Field(max_length=64)]
    round_counts: Annotated[int, Field(ge=1)]
    output_rows: Annotated[int, Field(ge=1)] | None
    output_bytes: Annotated[int, Field(ge=1)] | None
    differencing: Differencing
    row_level: list[Sha256]
    release: Literal["at_once", "review"]

    @staticmethod
    def tightest(rules: Iterable[Rules]) -> Rules:
        """Return rules that demand all that any of some rules demands.

        Parameters
        ----------
        rules
            At least one.
        """
        every = list(rules)
        recipients = set.intersection(*(set(each.row_level) for each in every))
        pairs = {(rule.largest, rule.percent) for each in every for rule in each.dominance}
        return Rules(
            smallest_group=max(each.smallest_group for each in every),
            dominance=[Dominance(largest=n, percent=k) for n, k in sorted(pairs)],
            # A multiple of all: each owner sees its own rule kept to the letter.
            round_counts=math.lcm(*(each.round_counts for each in every)),
            output_rows=_fewest(each.output_rows for each in every),
            output_bytes=_fewest(each.output_bytes for each in every),
            differencing=max((each.differencing for each in every), key=_STRICTER.index),
            row_level=sorted(recipients),
            release="review" if any(each.release == "review" for each in every) else "at_once",
        )


def _fewest(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
