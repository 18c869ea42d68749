"""A connection to one owner's server."""

from __future__ import annotations

import logging
import math
import os
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from clf_sdk._authorities import with_authorities
from clf_sdk._cards import Identifier, Shown, card
from clf_sdk._http import HttpClient
from clf_sdk._job_words import moment
from clf_sdk._not_picklable import NotPicklable
from clf_sdk._succession import with_identity
from clf_sdk._table import SharedTable
from clf_sdk.errors import ConfigurationError, InvalidInput, NotFound
from clf_sdk.protocol import (
    Endpoint,
    PolicyChange,
    PolicyUpdate,
    PrivacyBudget,
    Profile,
    ReleasedShapes,
    Role,
    ServerInfo,
    TableList,
    check_name,
    check_run,
)

if TYPE_CHECKING:
    import pandas as pd

    from clf_sdk._expected_server import ExpectedServer
    from clf_sdk.attestation import (
        CollateralSource,
        EnclavePolicy,
        TrustAnchor,
        VerifiedEnclave,
    )
    from clf_sdk.policy import Comparison, Policy

_log = logging.getLogger("clf_sdk")

_made: weakref.WeakSet[Connection] = weakref.WeakSet()


class Connection(NotPicklable):
    """A connection to one owner's server, from `connect`.

    Attributes
    ----------
    profile
        What it was made from.
    mode
        ``"dcap"``, or ``"simulation"`` when the server trusts a simulated TEE.
    attested
        The program that the server proved to be, when it had to; else None.
    """

    _not_pickled: ClassVar[str] = (
        "it holds a token and open sockets; pickle the path of the profile, and connect again"
    )

    def __init__(
        self,
        profile: Profile,
        *,
        expect: ExpectedServer | None = None,
        file: Path | None = None,
    ) -> None:
        self.profile = profile
        self._file = file
        self.http = HttpClient(profile)
        self.attested: VerifiedEnclave | None = None
        self._expect = expect
        try:
            self.attest()  # before the token is shown
            info = self.http.ask(ServerInfo, "GET", "/v1/info")
            self._follow(info)
        except BaseException:
            self.http.close()
            raise
        self.mode = info.mode

    def _follow(self, info: ServerInfo) -> None:
        """Take up what the server's identity says about its future, here and in the file."""
        before = self.profile
        known = with_identity(before, info, now=time.time())
        self.profile = followed = with_authorities(known, info.tls, info.public_key)
        if followed is before:
            return
        self.http.trust(followed.ca)
        if followed.server != before.server:
            self.attest()  # as the identity that it is now
        if self._file is not None:
            try:
                followed.replace(self._file)
            except ConfigurationError as error:
                _log.warning(
                    "%s: the server renews its keys, and this profile will not know them",
                    error.message,
                )

    def __repr__(self) -> str:
        warning = ", INSECURE SIMULATION" if self.mode == "simulation" else ""
        profile = self.profile
        return (
            f"Connection({profile.name!r}, {profile.role}, {profile.url}, "
            f"server={profile.server[:12]}…{self._attested_words()}{warning})"
        )

    def _repr_html_(self) -> str:
        profile = self.profile
        rows: list[tuple[str, Shown]] = [
            ("role", f"{profile.role} ({profile.label})"),
            ("address", profile.url),
            ("server id", Identifier(profile.server)),
            ("token ends", moment(profile.expires_at)),
        ]
        if self.attested is not None:
            rows.append(("attested as", Identifier(self.attested.mrenclave)))
        return card("Connection", self.name, rows, simulation=self.mode == "simulation")

    def _attested_words(self) -> str:
        if self.attested is None:
            return ""
        simulated = " by a SIMULATION" if self.attested.mode == "simulation" else ""
        return f", attested as {self.attested.mrenclave[:12]}…{simulated}"

    def attest(self) -> VerifiedEnclave | None:
        """Have the server prove itself anew, if this connection expects that of it.

        From then on the token, and all data, go only where the server shows the certificate that
        the proof names. `share` does this before each upload.

        Returns
        -------
        VerifiedEnclave or None
            The program that it proved to be; None when nothing is expected.

        Raises
        ------
        ServerIdentityMismatch
            Another server answers.
        AttestationError
            It did not prove that it is what is expected.
        """
        if self._expect is not None:
            self.attested = self._expect.verify(self.http, server=self.profile.server)
        return self.attested

    @property
    def name(self) -> str:
        """Name of the server."""
        return self.profile.name

    @property
    def server(self) -> str:
        """Identity of the server: 64 hex digits."""
        return self.profile.server

    @property
    def known_as(self) -> tuple[str, ...]:
        """Identities by which jobs may pin the server: the present one, and those before it."""
        before = [each.succession.server for each in reversed(self.profile.successions)]
        return (self.server, *before)

    @property
    def endpoint(self) -> Endpoint:
        """Where an enclave reaches the server."""
        return self.endpoints[0]

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where an enclave reaches the server, by each of the identities that jobs may pin."""
        url, ca = self.profile.url, self.profile.ca
        return [Endpoint(server=server, url=url, ca=ca) for server in self.known_as]

    def table(self, name: str) -> SharedTable:
        """Return a table of this server.

        Raises
        ------
        NotFound
            There is none of that name; the message lists those that there are.
        """
        check_name(name, what="a table")
        listed = self.http.ask(TableList, "GET", "/v1/tables").tables
        for description in listed:
            if description.name == name:
                return SharedTable(self, description)
        names = ", ".join(description.name for description in listed) or "none"
        raise NotFound(f"{self.name!r} has no table {name!r}", hint=f"it has: {names}")

    def shared_tables(self) -> list[SharedTable]:
        """Return all tables of this server that its user may see."""
        listed = self.http.ask(TableList, "GET", "/v1/tables").tables
        return [SharedTable(self, description) for description in listed]

    def tables(self) -> pd.DataFrame:
        """List the tables of this server.

        Returns
        -------
        pandas.DataFrame
            One row a table, with ``name``, ``rows``, ``columns``, ``sealed_bytes``, ``version``,
            ``shared_at`` (UTC), and, where its owner asks, ``privacy_budget`` and
            ``privacy_spent`` (epsilon; NaN where there is no budget).
        """
        import pandas as pd  # noqa: PLC0415 - only this method needs pandas

        listed = self.http.ask(TableList, "GET", "/v1/tables").tables
        rows: list[dict[str, Any]] = [
            {
                "name": entry.name,
                "rows": entry.rows,
                "columns": len(entry.columns),
                "sealed_bytes": entry.sealed_bytes,
                "version": entry.version,
                "shared_at": pd.Timestamp(entry.created_at, unit="s", tz="UTC"),
            }
            | _privacy(entry.privacy)
            for entry in listed
        ]
        columns = ["name", "rows", "columns", "sealed_bytes", "version", "shared_at"]
        columns += _privacy(None)
        return pd.DataFrame(rows, columns=columns)

    def set_policy(self, table: str, policy: Policy, *, widen: bool = False) -> Comparison:
        """Give a table another policy, which holds for every session from now on.

        Grants that are open come under it with their next session. What was permitted under the old
        policy, and not pulled yet, is not served any more.

        Parameters
        ----------
        table
            Name of the table.
        policy
            The new policy.
        widen
            Whether it may allow more than the present one.

        Returns
        -------
        Comparison
            What changed, rule by rule.

        Raises
        ------
        NotFound
            There is no such table.
        PolicyWidened
            A rule would become wider, and ``widen`` was not given; the message names the rules.
        PolicyTampered
            What the server has stored is not the policy that was set; ``widen`` replaces it.
        ConfigurationError, InvalidFilter
            The policy does not fit the table.
        """
        from clf_sdk.policy import Comparison, RuleChange  # noqa: PLC0415 - only owners need it

        check_name(table, what="a table")
        update = PolicyUpdate(policy=policy.to_json(), widen=widen)
        changed = self.http.ask(
            PolicyChange,
            "PUT",
            f"/v1/tables/{table}/policy",
            data=update.canonical(),
            headers={"Content-Type": "application/json"},
        )
        return Comparison(tuple(RuleChange(**entry.to_json()) for entry in changed.changes))

    def drop(self, name: str) -> None:
        """Destroy a table: its keys first, then its bytes.

        Raises
        ------
        NotFound
            There is none of that name.
        """
        check_name(name, what="a table")
        self.http.send("DELETE", f"/v1/tables/{name}")

    def releases(self, table: str) -> pd.DataFrame:
        """List what results told about a table, as the server remembers it. Owners only.

        Only runs under a policy whose ``differencing`` is not ``"off"`` are remembered. What waits
        for your release is in `clf.releases`.

        Parameters
        ----------
        table
            Name of the table; it may have been replaced or dropped since.

        Returns
        -------
        pandas.DataFrame
            One row a result, the latest first, with ``job``, ``released_at`` (UTC), ``operation``,
            ``columns`` (None means all), ``filters``, ``group_by``, ``people`` (sizes of the
            populations) and ``close`` (digests of the earlier jobs that it came too close to).

        Raises
        ------
        TokenRefused
            The profile is not an owner's.
        """
        import pandas as pd  # noqa: PLC0415 - only this method needs pandas

        check_name(table, what="a table")
        listed = self.http.ask(ReleasedShapes, "GET", f"/v1/tables/{table}/releases").releases
        rows: list[dict[str, Any]] = [
            entry.to_json() | {"released_at": pd.Timestamp(entry.created_at, unit="s", tz="UTC")}
            for entry in listed
        ]
        columns = ["job", "released_at", "operation", "columns", "filters", "group_by", "people"]
        return pd.DataFrame(rows, columns=[*columns, "close"])

    def receipt(self, run: str) -> bytes:
        """Return the receipt of a run as this server holds it, unverified; see `clf.verify`.

        Raises
        ------
        NotFound
            The server has none: no such run, or it was not delivered in full.
        """
        return self.http.send("GET", f"/v1/results/{check_run(run)}/receipt")

    def audit(self, *, last: int = 1000) -> pd.DataFrame:
        """List the newest decisions of the server, as its audit log proves them.

        The entries lead to a root that the server signed, and the log continues the one that this
        user saw last. Owners only.

        Parameters
        ----------
        last
            How many entries, at most.

        Returns
        -------
        pandas.DataFrame
            One row an entry, the oldest first, indexed by its number, with ``time`` (UTC),
            ``event``, ``mode``, ``request`` and ``details`` (a dictionary).

        Raises
        ------
        LogAltered
            Entries are not what the server signed.
        LogInconsistent
            The log was rolled back or rewritten since this user saw it.
        """
        import pandas as pd  # noqa: PLC0415 - only this method needs pandas

        from clf_sdk.audit import RemoteLog  # noqa: PLC0415 - only owners need it

        if last < 1:
            raise InvalidInput("the number of audit entries must be at least 1")
        entries = RemoteLog(self.http, self.server, self.profile.successions).tail(last)
        rows: list[dict[str, Any]] = [
            {
                "time": pd.Timestamp(entry.time, unit="s", tz="UTC"),
                "event": entry.event,
                "mode": entry.mode,
                "request": entry.request,
                "details": entry.details,
            }
            for entry in entries
        ]
        columns = ["time", "event", "mode", "request", "details"]
        index = pd.Index([entry.index for entry in entries], name="index", dtype="int64")
        return pd.DataFrame(rows, columns=columns, index=index)

    def close(self) -> None:
        """Close all connections to the server."""
        _made.discard(self)
        self.http.close()


def connect(
    profile: str | os.PathLike[str] | Profile,
    *,
    expect: EnclavePolicy | None = None,
    anchor: TrustAnchor | None = None,
    collateral: CollateralSource | None = None,
) -> Connection:
    """Connect to an owner's server.

    Parameters
    ----------
    profile
        Profile file that the server's operator gave you, or its path. The file is brought up to
        date when the server announces that it will renew its certificate.
    expect
        The program that the server must prove to be, in an SGX enclave, before it sees the token,
        and again before each upload. By default nothing is asked of it: who runs the server on a
        machine of its own trusts that machine.
    anchor
        The root that is trusted for that; by default Intel's.
    collateral
        Where collateral comes from when the server attaches none.

    Raises
    ------
    ConfigurationError
        The file is not a profile.
    AttestationError
        The server did not prove that it is what is expected; nothing was told to it.
    TransportError
        The server can't be reached.
    ServerIdentityMismatch
        Another server answers there.
    """
    if expect is None and (anchor is not None or collateral is not None):
        raise InvalidInput(
            "anchor and collateral say how a server proves itself, but nothing is expected of it",
            hint="give expect=EnclavePolicy(...) too",
        )
    file = None if isinstance(profile, Profile) else Path(profile)
    loaded = profile if isinstance(profile, Profile) else Profile.load(profile)
    expected = None
    if expect is not None:
        from clf_sdk._expected_server import ExpectedServer  # noqa: PLC0415 - few servers prove it

        expected = ExpectedServer(expect, anchor, collateral)
    connection = Connection(loaded, expect=expected, file=file)
    _made.add(connection)
    return connection


def connections_to(servers: Iterable[str], *, role: Role | None = None) -> list[Connection]:
    """Return this process's connections to some servers, one for each, in that order.

    Parameters
    ----------
    servers
        Server ids.
    role
        Only connections of this role; by default of any.
    """
    by_server = {
        server: connection
        for connection in _made
        for server in connection.known_as
        if role in (None, connection.profile.role)
    }
    return [by_server[server] for server in servers if server in by_server]


def analyst_connections(given: Sequence[Connection]) -> list[Connection]:
    """Return what was given, or else what this process has made as an analyst, by name.

    Raises
    ------
    ConfigurationError
        There is neither.
    """
    servers = {connection.server for connection in _made}
    made = sorted(connections_to(servers, role="analyst"), key=lambda connection: connection.name)
    if not given and not made:
        raise ConfigurationError(
            "no server is connected as an analyst",
            hint="connect, and keep the connection: clinic = clf.connect(profile)",
        )
    return list(given) or made


def any_simulated(servers: Iterable[str]) -> bool:
    """Tell whether a server, to which this process is connected, trusts a simulated TEE."""
    return any(connection.mode == "simulation" for connection in connections_to(servers))


def known_names() -> dict[str, str]:
    """Return the names of the servers to which this process is connected, by server id."""
    return {server: made.name for made in _made for server in made.known_as}


def only_connection() -> Connection:
    """Return the one connection that this process has made.

    Raises
    ------
    ConfigurationError
        There is none, or there are several.
    """
    made = list(_made)
    if len(made) != 1:
        raise ConfigurationError(
            "no server is connected" if not made else f"{len(made)} servers are connected",
            hint="connect, and keep the connection: clinic = clf.connect(profile)"
            if not made
            else "say which one, with to=connection",
        )
    return made[0]


def _privacy(budget: PrivacyBudget | None) -> dict[str, float]:
    """Return what a table's owner may know of its privacy budget, in epsilon."""
    if budget is None:
        return {"privacy_budget": math.nan, "privacy_spent": math.nan}
    return {
        "privacy_budget": budget.total_millionths / 10**6,
        "privacy_spent": budget.spent_millionths / 10**6,
    }
