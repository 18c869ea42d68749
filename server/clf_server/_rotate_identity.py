"""Rotation of the server's identity, with an overlap in which both are offered (§2.2)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from clf_sdk.errors import Conflict, InvalidInput
from clf_sdk.keys import SigningKey, server_id
from clf_sdk.protocol import (
    ACCEPTANCE_SIGNATURE,
    SUCCESSION_SIGNATURE,
    SignedSuccession,
    Succession,
    write_private,
)
from clf_server._audit import AuditLog
from clf_server._config import load_config
from clf_server._exclusive import alone
from clf_server._identities import Identities, State, StoredIdentity
from clf_server._kek_file import destroy_file, sync_folder
from clf_server._metadata import Metadata
from clf_server._tokens import Tokens

MOST_OVERLAP_DAYS = 365
_DAY_SECONDS = 86400


def rotate_identity(
    directory: Path, *, overlap_days: int, clock: Callable[[], float] = time.time
) -> Succession:
    """Give a server a new identity key, whether or not it runs.

    Parameters
    ----------
    directory
        The server's.
    overlap_days
        For how long the old identity is offered too; 0 ends it now, without a succession that
        clients could follow.
    clock
        Wall clock, in Unix seconds.

    Raises
    ------
    InvalidInput
        The overlap is no number of days that can be used.
    Conflict
        The overlap of the last rotation has not ended.
    ConfigurationError
        A file is missing.
    """
    if not 0 <= overlap_days <= MOST_OVERLAP_DAYS:
        raise InvalidInput(f"an overlap lasts for 0 to {MOST_OVERLAP_DAYS} days")
    config, now = load_config(directory), int(clock())
    with alone(directory), closing(Metadata(config.database)) as metadata:
        identities = Identities(metadata, directory)
        audit = AuditLog(metadata, identities.present, mode=config.mode, now=lambda: int(clock()))
        _destroy(identities, "made")  # of a rotation that died
        retire_due(identities, audit, now=now, end_all=overlap_days == 0)
        with metadata.reading() as connection:
            stored = identities.all(connection)
            old = identities.present(connection)
        if any(each.state == "retiring" for each in stored):
            raise Conflict(
                "the overlap of the last rotation has not ended, and the server has two identities",
                hint="wait, or end it with --now",
            )
        succession = _succeed(identities, audit, old, now=now, seconds=overlap_days * _DAY_SECONDS)
        retire_due(identities, audit, now=now)
    return succession


def _succeed(
    identities: Identities, audit: AuditLog, old: SigningKey, *, now: int, seconds: int
) -> Succession:
    # 1. The new key, noted before it lies there, so that none is ever forgotten.
    new = SigningKey.generate()
    file = f"identity-{secrets.token_hex(8)}.key"
    made = StoredIdentity(server_id(new.public_bytes), file, "made")
    with identities.metadata.transaction() as connection:
        identities.add(connection, made)
    path = identities.path(made)
    write_private(path, new.private_bytes())
    sync_folder(path.parent)

    # 2. Both keys sign. Without an overlap nobody is to follow: the old key may be another's, too.
    succession = Succession(
        clf=1,
        type="succession",
        server=server_id(old.public_bytes),
        public_key=old.public_bytes,
        successor=made.server,
        successor_key=new.public_bytes,
        issued_at=now,
        ends_at=now + seconds,
    )
    signed = SignedSuccession(
        succession=succession,
        signature=old.sign(SUCCESSION_SIGNATURE, succession.to_json()),
        acceptance=new.sign(ACCEPTANCE_SIGNATURE, succession.to_json()),
    )

    # 3. The new identity is the present one, tokens are its own, and the log goes on under it, at
    #    once or not at all.
    tokens = Tokens(identities.metadata)
    with identities.metadata.transaction() as connection:
        identities.succeed(connection, signed)
        details = {
            "server": succession.server,
            "successor": succession.successor,
            "ends_at": succession.ends_at,
        }
        tokens.sign_anew(connection, new, before=old.public_bytes)
        audit.append_as_successor("identity.succeeded", details, connection=connection, before=old)
    return succession


def retire_due(identities: Identities, audit: AuditLog, *, now: int, end_all: bool = False) -> None:
    """End the identities whose overlap is over, and destroy the keys that serve nothing any more.

    Parameters
    ----------
    identities, audit
        The server's.
    now
        Unix time.
    end_all
        Whether overlaps that are not over end too.
    """
    with identities.metadata.reading() as connection:
        stored = identities.all(connection)
    for each in stored:
        if each.state == "retiring" and (end_all or (each.ends_at or 0) <= now):
            with identities.metadata.transaction() as connection:
                if identities.retire(connection, each.server):
                    ended = {"server": each.server}
                    audit.append("identity.retired", ended, connection=connection)
    _destroy(identities, "retired")


def _destroy(identities: Identities, state: State) -> None:
    with identities.metadata.reading() as connection:
        stored = identities.all(connection)
    for each in stored:
        if each.state != state or not each.file:
            continue
        destroy_file(identities.path(each))
        with identities.metadata.transaction() as connection:
            identities.forget_key(connection, each)
