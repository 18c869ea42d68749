"""What the audit log keeps of tickets that were refused (docs/protocol.md §14.1)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from clf_sdk.errors import ClfError, StorageFull
from clf_server._state import ServerState

_MOST_REASON_CHARACTERS = 500


@contextlib.contextmanager
def logging_refusals(state: ServerState, event: str, *, run: str, output: str) -> Iterator[None]:
    """Log why what an enclave puts is refused.

    Parameters
    ----------
    state
        The server.
    event
        ``result.refused`` or ``receipt.refused``.
    run, output
        What was to be put, as the request says it.
    """
    try:
        yield
    except StorageFull:
        raise  # there is no space for an entry either, and nothing was decided
    except ClfError as error:
        details = {"output": output, "reason": error.message[:_MOST_REASON_CHARACTERS]}
        state.refusals.record(event, details, cause={"code": error.code, "run": run})
        raise


def log_refused_blob(state: ServerState, error: ClfError, *, version_id: str) -> None:
    """Log why ciphertext was refused to the holder of a ticket, or of none."""
    details = {"version_id": version_id[:32], "reason": error.message[:_MOST_REASON_CHARACTERS]}
    state.refusals.record("blob.refused", details, cause={"code": error.code})
