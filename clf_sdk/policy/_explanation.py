"""An explanation for people: what each rule of a policy says about a job."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clf_sdk._cards import card, grid
from clf_sdk.errors import InvalidInput
from clf_sdk.policy._policy import identity_id
from clf_sdk.policy._rules import AccessRequest, Verdict, decide
from clf_sdk.protocol import JobDocument, JobInput

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from clf_sdk._table import SharedTable
    from clf_sdk.policy._policy import Policy

_IN_WORDS = {
    "allowed": "allowed",
    "refused": "REFUSED",
    "unknown": "open",
    "enclave": "in the enclave",
}


@dataclass(frozen=True, repr=False)
class Explanation:
    """What each rule of a policy says about one input of a job, from `Policy.explain`.

    Attributes
    ----------
    job
        Digest of the job.
    job_name, table
        What job and table are called.
    verdicts
        One for each rule, in the policy's order.
    """

    job: str
    job_name: str
    table: str
    verdicts: tuple[Verdict, ...]

    @property
    def allowed(self) -> bool:
        """Whether no rule refuses; rules that are open may still do so."""
        return not self.refused

    @property
    def refused(self) -> tuple[str, ...]:
        """Names of the rules that refuse."""
        return tuple(entry.rule for entry in self.verdicts if entry.outcome == "refused")

    @property
    def open(self) -> tuple[str, ...]:
        """Names of the rules that need to know more."""
        return tuple(entry.rule for entry in self.verdicts if entry.outcome == "unknown")

    def _title(self) -> str:
        if self.refused:
            said = f"refused by {', '.join(self.refused)}"
        else:
            said = "allowed" + (f", as soon as known: {', '.join(self.open)}" if self.open else "")
        return f"Job {self.job_name!r} ({self.job[:12]}…) on table {self.table!r}: {said}"

    def __repr__(self) -> str:
        return f"Explanation({self._title()})"

    def __str__(self) -> str:
        width = max(len(entry.rule) for entry in self.verdicts)
        said = max(len(text) for text in _IN_WORDS.values())
        lines = [
            f"  {_IN_WORDS[entry.outcome]:<{said}}  {entry.rule:<{width}}  {entry.reason}"
            for entry in self.verdicts
        ]
        return "\n".join([self._title(), *lines])

    def _repr_html_(self) -> str:
        rows = [(entry.rule, _IN_WORDS[entry.outcome], entry.reason) for entry in self.verdicts]
        return card("Policy", self._title(), body=grid(["rule", "says", "why"], rows))

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a rule, with ``rule``, ``outcome`` and ``reason``."""
        import pandas as pd  # noqa: PLC0415 - only this method needs pandas

        columns = ["rule", "outcome", "reason"]
        return pd.DataFrame(
            [(entry.rule, entry.outcome, entry.reason) for entry in self.verdicts], columns=columns
        )

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as JSON values."""
        return {
            "job": self.job,
            "table": self.table,
            "allowed": self.allowed,
            "rules": [vars(entry) for entry in self.verdicts],
        }


def _document(job: Any) -> JobDocument:
    found = getattr(job, "document", job)
    return found if isinstance(found, JobDocument) else JobDocument.parse(found)


def _entry(job: JobDocument, table: str | SharedTable | None) -> JobInput:
    name, server = table, None
    if table is not None and not isinstance(table, str):
        name, server = table.name, table.connection.server
    found = [
        entry
        for entry in job.inputs
        if name in (None, entry.table) and server in (None, entry.server)
    ]
    if len(found) != 1:
        tables = ", ".join(sorted({entry.table for entry in job.inputs}))
        raise InvalidInput(
            "the job does not name this table"
            if not found
            else "the job names several tables that this policy could be for",
            hint=f"say which one with table=…; the job names: {tables}",
        )
    return found[0]


def _seconds(now: dt.datetime | int | None) -> int:
    if now is None:
        return int(time.time())
    if isinstance(now, dt.datetime):
        if now.tzinfo is None:
            raise InvalidInput("now must be a date and time with its time zone")
        return int(now.timestamp())
    return now


def explain_job(
    policy: Policy,
    job: Any,
    *,
    table: str | SharedTable | None,
    analyst: Any,
    schema: pa.Schema | None,
    now: dt.datetime | int | None,
) -> Explanation:
    """Explain a policy's verdicts on a job that has not run yet."""
    document = _document(job)
    entry = _entry(document, table)
    columns = None if schema is None else schema.names
    spent = None
    if table is not None and not isinstance(table, str):
        columns = columns or [column.name for column in table.description.columns]
        privacy = table.description.privacy
        spent = None if privacy is None else privacy.spent_millionths
    request = AccessRequest(
        job=document,
        entry=entry,
        now=_seconds(now),
        analyst=document.analyst.digest if analyst is None else identity_id(analyst),
        columns=columns,
        schema=schema,
        runs_used=0,
        privacy_spent=spent,
    )
    return Explanation(document.digest, document.name, entry.table, decide(policy, request))
