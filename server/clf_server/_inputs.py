"""What a job asks of a table: its version is current, its columns are there."""

from __future__ import annotations

from collections.abc import Sequence

from clf_sdk.errors import NotFound
from clf_sdk.protocol import JobInput
from clf_server._metadata import Version


def asked_columns(entry: JobInput, current: Version, present: Sequence[str]) -> list[str]:
    """Return the columns that an input asks for, in its order.

    Parameters
    ----------
    entry
        The job's input.
    current
        The table's current version.
    present
        The columns of that version.

    Raises
    ------
    NotFound
        The job names another version, or a column that is not there.
    """
    if entry.version not in ("latest", current.version):
        raise NotFound(
            f"table {entry.table!r} is not at the version that the job names",
            hint="the owner shared it anew; build the job again from the current version",
        )
    if entry.columns is None:
        return list(present)
    known = set(present)
    if unknown := [column for column in entry.columns if column not in known]:
        raise NotFound(
            f"table {entry.table!r} has no column {unknown[0][:80]!r}",
            hint="look at the table's columns in the catalogue",
        )
    return list(entry.columns)
