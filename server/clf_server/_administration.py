"""What the operator decides: who is known, who holds a token, and whether the server is paused.

It works on a server's directory, whether or not the server runs, and takes effect with the next
request. Each decision and its entry in the audit log are one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from clf_sdk import PublicIdentity
from clf_sdk.errors import InvalidInput
from clf_sdk.protocol import Role, check_name
from clf_server._analysts import Analyst, Analysts
from clf_server._audit import AuditLog
from clf_server._config import load_config
from clf_server._identities import Identities
from clf_server._metadata import Metadata
from clf_server._pause import Pause
from clf_server._profiles import PROFILE_SUFFIX, make_profile
from clf_server._renewal import MOST_OVERLAP_DAYS, NextCertificate, prepare_certificate
from clf_server._tokens import StoredToken, Tokens

MOST_DAYS = 3650
_DAY_SECONDS = 86400


class Administration:
    """The people of one server, and its switch.

    Parameters
    ----------
    directory
        The server's.
    clock
        Wall clock, in Unix seconds.

    Raises
    ------
    ConfigurationError
        It is not a server's directory, or a file of it is missing.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._config = load_config(directory)
        self._metadata = Metadata(self._config.database)
        self._identities = Identities(self._metadata, directory)
        self._audit = AuditLog(
            self._metadata, self._identities.present, mode=self._config.mode, now=self.now
        )
        self._pause = Pause()
        self.analysts = Analysts(self._metadata)
        self.tokens = Tokens(self._metadata)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._metadata.close()

    def now(self) -> int:
        """Return the wall-clock time in Unix seconds."""
        return int(self._clock())

    def pause(self) -> bool:
        """Stop the server from opening sessions and honouring tickets; tell whether it did not yet.

        Tickets that were given out end within seconds.
        """
        with self._metadata.transaction() as connection:
            changed = self._pause.set(connection, now=self.now())
            if changed:
                self._audit.append("server.paused", {}, connection=connection)
        return changed

    def resume(self) -> bool:
        """Let the server go on; tell whether it was paused."""
        with self._metadata.transaction() as connection:
            changed = self._pause.clear(connection)
            if changed:
                self._audit.append("server.resumed", {}, connection=connection)
        return changed

    def renew_certificate(self, *, overlap_days: int, hosts: Sequence[str] = ()) -> NextCertificate:
        """Make a new authority and certificate, to be shown after an overlap.

        When they were made before, only their date changes.

        Parameters
        ----------
        overlap_days
            For how long the present certificate is shown on; 0 ends that now.
        hosts
            Names and addresses for the new one; by default those of the present one.

        Raises
        ------
        InvalidInput
            The overlap is no number of days that can be used.
        ConfigurationError
            The present certificate is the operator's own.
        """
        if not 0 <= overlap_days <= MOST_OVERLAP_DAYS:
            raise InvalidInput(f"an overlap lasts for 0 to {MOST_OVERLAP_DAYS} days")
        switch_at = self.now() + overlap_days * _DAY_SECONDS
        found = prepare_certificate(self._config, switch_at=switch_at, hosts=hosts)
        made = {"certificate": found.digest, "switch_at": found.switch_at}
        self._audit.append("certificate.made", made)
        return found

    def add_analyst(self, identity: PublicIdentity, *, label: str) -> Analyst:
        """Make an analyst known; it can do nothing here before it has a token.

        Raises
        ------
        InvalidName
            The label can't be used.
        Conflict
            The identity or the label is known already.
        """
        check_name(label, what="an analyst")
        analyst = Analyst(identity, label, self.now())
        with self._metadata.transaction() as connection:
            self.analysts.add(connection, analyst)
            added = {"analyst": analyst.id, "label": label}
            self._audit.append("analyst.added", added, connection=connection)
        return analyst

    def remove_analyst(self, who: str) -> tuple[Analyst, list[StoredToken]]:
        """Forget an analyst, and revoke its tokens; return both.

        Parameters
        ----------
        who
            Label or identity id.

        Raises
        ------
        NotFound
            There is none.
        """
        now = self.now()
        with self._metadata.transaction() as connection:
            analyst = self.analysts.remove(connection, who)
            removed = {"analyst": analyst.id, "label": analyst.label}
            self._audit.append("analyst.removed", removed, connection=connection)
            revoked = self.tokens.revoke_those_of(connection, analyst.id, at=now)
            for token in revoked:
                self._audit.append("token.revoked", _describe(token), connection=connection)
        return analyst, revoked

    def create_token(
        self,
        role: Role,
        *,
        days: int,
        analyst: str | None = None,
        label: str | None = None,
        profile: Path | None = None,
    ) -> Path:
        """Make a token, and write the profile of its holder.

        Parameters
        ----------
        role
            What its holder may do.
        days
            How long it lives.
        analyst
            Label or identity id of the analyst to whom a token of that role belongs.
        label
            What the token is called; an analyst's by default as the analyst.
        profile
            The file, which must not exist; by default ``LABEL.profile.json`` in the server's
            directory.

        Returns
        -------
        Path
            The profile's file.

        Raises
        ------
        NotFound
            There is no such analyst.
        InvalidInput
            Role, analyst, label and days do not fit together, or can't be used.
        ConfigurationError
            The file exists already. Nothing was changed.
        """
        if (role == "analyst") is (analyst is None):
            raise InvalidInput(
                "a token of role analyst belongs to an analyst, and no other does",
                hint="name an analyst whom `clf server analyst list` shows",
            )
        if not 1 <= days <= MOST_DAYS:
            raise InvalidInput(f"a token lives for 1 to {MOST_DAYS} days")
        now = self.now()
        with self._metadata.transaction() as connection:
            holder = None if analyst is None else self.analysts.resolve(connection, analyst)
            if label is None and holder is not None:
                label = holder.label
            name = check_name(label, what="a token")
            identity = self._identities.present(connection)
            secret, token = self.tokens.issue(
                connection,
                identity,
                role=role,
                label=name,
                analyst=None if holder is None else holder.id,
                created_at=now,
                expires_at=now + days * _DAY_SECONDS,
            )
            self._audit.append("token.created", _describe(token), connection=connection)
            path = profile or self._config.directory / f"{name}{PROFILE_SUFFIX}"
            # Last, so that a file that can't be written takes everything back.
            make_profile(self._config, identity, token, secret=secret).save(path)
        return path

    def revoke_token(self, token_id: str) -> StoredToken | None:
        """Revoke a token and return it; None when it was revoked before.

        Raises
        ------
        NotFound
            There is none of that id.
        """
        now = self.now()
        with self._metadata.transaction() as connection:
            token = self.tokens.revoke(connection, token_id, at=now)
            if token is not None:
                self._audit.append("token.revoked", _describe(token), connection=connection)
        return token


def _describe(token: StoredToken) -> dict[str, str | int | None]:
    return {
        "token": token.id,
        "role": token.role,
        "label": token.label,
        "analyst": token.analyst,
        "expires_at": token.expires_at,
    }
