"""Dropping a table: its keys first, then what they open."""

from __future__ import annotations

from clf_sdk.protocol import Name
from clf_server._metadata import Version
from clf_server._state import ServerState


def drop_table(state: ServerState, name: Name) -> Version:
    """Destroy a table: from the first step on nobody can open it any more.

    A process that dies between the steps leaves ciphertext without a key, which the next start of
    the server sweeps away.

    Raises
    ------
    NotFound
        There is no table of that name.
    """
    # 1. The wrapped keys of the version, and of all that was derived from it, durably.
    with state.metadata.transaction() as connection:
        version, gone = state.metadata.drop(connection, name)
        dropped = {"table": name, "version": version.version}
        state.audit.append("table.dropped", dropped, connection=connection)

    # 2. The tickets of enclaves that pull it now.
    state.tickets.revoke(gone)

    # 3. The ciphertext.
    for version_id in gone:
        state.objects.delete(version_id)
    return version
