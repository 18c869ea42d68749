"""Whose business the runs of a job are: its analyst's, its recipients', and the owner's."""

from __future__ import annotations

from functools import lru_cache

from clf_sdk.protocol import JobDocument, parse_json
from clf_server._access import Principal
from clf_server._job_store import check_unaltered
from clf_server._state import ServerState


def may_see(state: ServerState, principal: Principal, job: str) -> bool:
    """Tell whether somebody may see sealed results, shares and receipts of a job's runs.

    They are sealed, but who asked what of whom, and over how many rows, is for its parties alone.

    Raises
    ------
    JobAltered
        The job was changed where it is stored, so nobody can tell whom it names.
    """
    if principal.role == "owner":
        return True
    with state.metadata.reading() as connection:
        stored = state.jobs.find(connection, job)
    if stored is None:
        return False
    check_unaltered(stored)
    return principal.analyst in _named(stored.document)


@lru_cache(maxsize=256)
def _named(document: bytes) -> frozenset[str]:
    """Identity ids of the analyst and the recipients whom a job names."""
    job = JobDocument.parse(parse_json(document, what="stored job"))
    return frozenset({job.analyst.digest, *(who.digest for who in job.recipients)})
