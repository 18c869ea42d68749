"""A hint on how sensitive a column may be: from its name, its type and how its values repeat.

It looks at the owner's own frame, in the owner's process, and says no value. It is a hint: what it
does not notice is not safe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Level: TypeAlias = Literal["identifies", "may identify", "sensitive", "no hint"]

_IDENTIFIES = re.compile(
    r"(^|_)(name|surname|firstname|lastname|mail|email|phone|tel|mobile|ssn|iban|passport|address|"
    r"street|insurance_?(no|number)|patient_?(id|no)|person_?id|mrn|url|ip)(_|$)"
)
_MAY_IDENTIFY = re.compile(
    r"(^|_)(birth|dob|birthday|zip|zipcode|postcode|postal|city|town|village|age|sex|gender|"
    r"occupation|job|employer|nationality|lat|lon|latitude|longitude|admitted|date)(_|$)"
)
_SENSITIVE = re.compile(
    r"(^|_)(diagnos\w*|icd\w*|drug|medication|disease|hiv|income|salary|wage|debt|religion|"
    r"ethnic\w*|race|party|union|disab\w*|health|genom\w*|gene|default|balance|claims?)(_|$)"
)
_DISTINCT_SHARE = 0.9
_FEWEST_ROWS = 20


@dataclass(frozen=True)
class Hint:
    """How sensitive a column may be.

    Attributes
    ----------
    level
        ``"identifies"``, ``"may identify"``, ``"sensitive"`` or ``"no hint"``.
    why
        In words.
    """

    level: Level
    why: str

    def __str__(self) -> str:
        return self.level if not self.why else f"{self.level}: {self.why}"


def sensitivity_hint(name: str, values: pa.ChunkedArray) -> Hint:
    """Return a hint on a column."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|[^0-9A-Za-z]+", "_", name).lower()
    for pattern, level in (
        (_IDENTIFIES, "identifies"),
        (_MAY_IDENTIFY, "may identify"),
        (_SENSITIVE, "sensitive"),
    ):
        if pattern.search(plain):
            return Hint(level, "by its name")  # type: ignore[arg-type]  # one of the levels
    if _mostly_distinct(values):
        return Hint("identifies", "nearly every row has another value")
    return Hint("no hint", "")


def _mostly_distinct(values: pa.ChunkedArray) -> bool:
    kind = values.type
    if pa.types.is_floating(kind) or len(values) < _FEWEST_ROWS or pa.types.is_nested(kind):
        return False
    return bool(pc.count_distinct(values).as_py() > _DISTINCT_SHARE * len(values))
