"""The rules that an owner leaves to the measured program (docs/protocol.md §8.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from clf_sdk.protocol._document import Document, Sha256


class Rules(Document):
    """What may come out of the enclave, as one server demands it for the tables it grants.

    Attributes
    ----------
    smallest_group
        Fewest people that any number in a result may speak of.
    row_level
        Identity ids that may receive rows of single people; empty: nobody.
    release
        Whether results can be opened at once, or after this owner's review.
    """

    smallest_group: Annotated[int, Field(ge=1)]
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
        return Rules(
            smallest_group=max(each.smallest_group for each in every),
            row_level=sorted(recipients),
            release="review" if any(each.release == "review" for each in every) else "at_once",
        )
