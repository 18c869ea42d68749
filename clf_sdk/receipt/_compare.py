"""Whether two parties hold the receipt of the same run, and what differs if not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from clf_sdk.receipt._signed import SignedReceipt

_MOST_CHARACTERS = 80
_NOTHING = object()


@dataclass(frozen=True)
class Difference:
    """One place where two receipts differ.

    Attributes
    ----------
    place
        Path in the statement, such as ``predicate.inputs[0].rows``; ``file`` when the
        statements are equal.
    first, second
        Both values as JSON, shortened; None where there is none.
    """

    place: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class Comparison:
    """What `compare_receipts` found. Neither receipt was verified.

    Attributes
    ----------
    same
        Whether both are the same file, byte for byte: the same run, told in the same way.
    same_run, same_job
        Whether both claim the same run id, and the same job.
    differences
        Where they differ.
    """

    same: bool
    same_run: bool
    same_job: bool
    differences: tuple[Difference, ...]

    def __repr__(self) -> str:
        if self.same:
            return "Comparison(the same receipt)"
        what = "two receipts of one run" if self.same_run else "different runs"
        return f"Comparison({what}, {len(self.differences)} differences)"


def compare_receipts(first: bytes, second: bytes) -> Comparison:
    """Compare two receipts.

    There is one receipt for each run, so two parties saw the same run exactly if their files are
    equal. Signatures are checked under the keys that the files name; verify one of equal files
    to know that it holds.

    Raises
    ------
    Malformed, FormatTooNew, TooLarge, SignatureInvalid
        One of them is not a receipt.
    """
    one, other = SignedReceipt.parse(first), SignedReceipt.parse(second)
    differences = tuple(_differences("", one.statement.to_json(), other.statement.to_json()))
    same = one.data == other.data
    if not same and not differences:
        differences = (Difference("file", one.signing_key.hex(), other.signing_key.hex()),)
    return Comparison(
        same=same,
        same_run=one.predicate.run == other.predicate.run,
        same_job=one.predicate.job.digest == other.predicate.job.digest,
        differences=differences,
    )


def _differences(place: str, first: Any, second: Any) -> Iterator[Difference]:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys((*first, *second)):
            values = first.get(key, _NOTHING), second.get(key, _NOTHING)
            yield from _differences(f"{place}.{key}" if place else key, *values)
    elif isinstance(first, list) and isinstance(second, list):
        for number, values in enumerate(zip_longest(first, second, fillvalue=_NOTHING)):
            yield from _differences(f"{place}[{number}]", *values)
    elif (one := _text(first)) != (other := _text(second)):
        yield Difference(place, _shorten(one), _shorten(other))


def _text(value: Any) -> str | None:
    return None if value is _NOTHING else json.dumps(value, ensure_ascii=False)


def _shorten(text: str | None) -> str | None:
    return (
        text
        if text is None or len(text) <= _MOST_CHARACTERS
        else text[: _MOST_CHARACTERS - 1] + "…"
    )
