"""The analysts whom a server knows, by their public identities: SQL, no decisions."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from clf_sdk import PublicIdentity
from clf_sdk.errors import Conflict, NotFound
from clf_sdk.protocol import IdentityDocument
from clf_server._database import SCHEMA
from clf_server._metadata import Metadata

_analysts = sa.Table(
    "analysts",
    SCHEMA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("label", sa.String(64), nullable=False, unique=True),
    sa.Column("identity", sa.JSON, nullable=False),
    sa.Column("added_at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True)
class Analyst:
    """An analyst, as the owner added it.

    Attributes
    ----------
    identity
        Its public keys.
    label
        What the owner calls it.
    added_at
        Unix seconds.
    """

    identity: PublicIdentity
    label: str
    added_at: int

    @property
    def id(self) -> str:
        """Identity id: 64 hex digits."""
        return self.identity.id


class Analysts:
    """The analysts of one server."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def add(self, connection: sa.Connection, analyst: Analyst) -> None:
        """Make an analyst known.

        Raises
        ------
        Conflict
            The identity is known already, or another one has the label.
        """
        same = sa.or_(_analysts.c.id == analyst.id, _analysts.c.label == analyst.label)
        for known in _select(connection, same):
            if known.id == analyst.id:
                raise Conflict(f"this identity is known already, as {known.label!r}")
            raise Conflict(
                f"another analyst is called {analyst.label!r}", hint="choose another label"
            )
        connection.execute(
            sa.insert(_analysts).values(
                id=analyst.id,
                label=analyst.label,
                identity=analyst.identity.to_json(),
                added_at=analyst.added_at,
            )
        )

    def remove(self, connection: sa.Connection, who: str) -> Analyst:
        """Forget an analyst, and return it.

        Raises
        ------
        NotFound
            Nobody has this label or identity id.
        """
        analyst = self.resolve(connection, who)
        connection.execute(sa.delete(_analysts).where(_analysts.c.id == analyst.id))
        return analyst

    def resolve(self, connection: sa.Connection, who: str) -> Analyst:
        """Return the analyst of a label or an identity id.

        Raises
        ------
        NotFound
            There is none.
        """
        for column in (_analysts.c.label, _analysts.c.id):
            if found := _select(connection, column == who):
                return found[0]
        raise NotFound(
            f"this server knows no analyst {who[:64]!r}",
            hint="`clf server analyst list` shows those that it knows",
        )

    def find(self, identity_id: str) -> Analyst | None:
        """Return the analyst of an identity id, or None."""
        with self._metadata.reading() as connection:
            found = _select(connection, _analysts.c.id == identity_id)
        return found[0] if found else None

    def labels(self, connection: sa.Connection) -> dict[str, str]:
        """Return what the owner calls each analyst, by identity id."""
        query = sa.select(_analysts.c.id, _analysts.c.label)
        return {row.id: row.label for row in connection.execute(query)}

    def list(self) -> list[Analyst]:
        """Return all analysts, by label."""
        with self._metadata.reading() as connection:
            return _select(connection, sa.true())


def _select(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Analyst]:
    query = sa.select(_analysts).where(condition).order_by(_analysts.c.label)
    return [
        Analyst(PublicIdentity(IdentityDocument.parse(row.identity)), row.label, row.added_at)
        for row in connection.execute(query)
    ]
