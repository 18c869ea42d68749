"""The owners' shares of the keys of a run's outputs, and the wait for those that are missing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm.auto import tqdm

from clf_sdk._connection import Connection
from clf_sdk.errors import DeadlineExceeded, ReleasePending
from clf_sdk.protocol import ReleaseShare, SignedResult

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Shares:
    """What owners have released so far.

    Attributes
    ----------
    released
        Shares by output and server.
    pending
        Outputs that wait, by the name of the owner who has yet to release them.
    """

    released: dict[tuple[str, str], ReleaseShare]
    pending: dict[str, list[str]]

    @property
    def waiting_for(self) -> str:
        """Who has yet to release what, in words."""
        return "; ".join(f"{owner} ({', '.join(names)})" for owner, names in self.pending.items())


def collect_shares(outputs: Sequence[SignedResult], connections: Sequence[Connection]) -> Shares:
    """Ask every owner for its shares of the outputs' keys.

    Raises
    ------
    ReleaseRefused
        An owner refused; nothing will change that.
    """
    by_server = {server: each for each in connections for server in each.known_as}
    released: dict[tuple[str, str], ReleaseShare] = {}
    pending: dict[str, list[str]] = {}
    for signed in outputs:
        envelope = signed.envelope
        for server in envelope.reviewers:
            connection = by_server[server]
            path = f"/v1/results/{envelope.run}/{envelope.output}/share"
            try:
                share = connection.http.ask(ReleaseShare, "GET", path)
            except ReleasePending:
                pending.setdefault(connection.name, []).append(envelope.output)
            else:
                released[envelope.output, server] = share
    return Shares(released, pending)


def all_shares(
    outputs: Sequence[SignedResult],
    connections: Sequence[Connection],
    *,
    wait: bool,
    timeout_seconds: float | None,
    progress: bool | None,
) -> dict[tuple[str, str], ReleaseShare]:
    """Collect every owner's share of the outputs' keys, by output and server.

    Raises
    ------
    ReleaseRefused
        An owner refused; nothing will change that.
    ReleasePending
        Owners have yet to release outputs, and nobody waits; the message names them all.
    DeadlineExceeded
        They have not done so in time.
    """
    found = collect_shares(outputs, connections)
    if not found.pending:
        return found.released
    if not wait:
        raise ReleasePending(
            f"waiting for the release by: {found.waiting_for}",
            hint="ask these owners to look at clf.release_review() or `clf release list`, "
            "then fetch again; wait=True waits for them",
        )
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    total = sum(len(signed.envelope.reviewers) for signed in outputs)
    disable = None if progress is None else not progress
    with tqdm(total=total, desc="release", unit="share", disable=disable) as bar:
        while found.pending:
            bar.set_postfix_str(f"waiting for {found.waiting_for}", refresh=False)
            bar.update(len(found.released) - bar.n)
            bar.refresh()
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceeded(
                    f"still waiting for the release by: {found.waiting_for}",
                    hint="call fetch() again; nothing is lost",
                )
            time.sleep(_POLL_SECONDS)
            found = collect_shares(outputs, connections)
        bar.update(len(found.released) - bar.n)
        bar.set_postfix_str("released")
    return found.released
