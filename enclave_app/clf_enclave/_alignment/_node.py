"""A part of the alignment on its way: a relation, and what its columns are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clf_enclave._data import Column, Persons


@dataclass(frozen=True)
class Part:
    """What a node of the alignment became.

    Attributes
    ----------
    relation
        Table or view.
    columns
        By name, in order; with the keys that it was joined on.
    keys
        Names of those.
    persons
        How the persons of each input below are counted.
    order
        Columns of the database that put its rows in order; empty: as they are.
    """

    relation: str
    columns: Mapping[str, Column]
    persons: tuple[Persons, ...]
    keys: tuple[str, ...] = ()
    order: tuple[str, ...] = field(default=())

    @property
    def carried(self) -> list[str]:
        """Columns of the database that tell persons and rows apart."""
        return carried(self.persons)


def carried(persons: Iterable[Persons]) -> list[str]:
    """Return columns of the database that tell persons and rows apart."""
    every = [column for each in persons for column in (each.physical, each.row)]
    return [column for column in every if column is not None]
