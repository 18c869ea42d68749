"""The owner's switch: a paused server opens no session and honours no ticket."""

from __future__ import annotations

import sqlalchemy as sa

from clf_server._database import SCHEMA

_pause = sa.Table("pause", SCHEMA, sa.Column("paused_at", sa.BigInteger, nullable=False))


class Pause:
    """Whether the server is paused. It lies in the database, so any process can switch it."""

    def since(self, connection: sa.Connection) -> int | None:
        """Return when the server was paused, in Unix seconds; None while it is not."""
        return connection.execute(sa.select(_pause.c.paused_at)).scalar_one_or_none()

    def set(self, connection: sa.Connection, *, now: int) -> bool:
        """Pause the server; tell whether that changed anything."""
        if self.since(connection) is not None:
            return False
        connection.execute(sa.insert(_pause).values(paused_at=now))
        return True

    def clear(self, connection: sa.Connection) -> bool:
        """Let the server go on; tell whether that changed anything."""
        return connection.execute(sa.delete(_pause)).rowcount > 0
