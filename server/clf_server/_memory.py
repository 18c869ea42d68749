"""Of whom results spoke: kept sealed, and told to the programs that must compare (§8.4).

What lies here tells its owner nothing but sizes: who the people are opens only with the secrets of
all owners of the job, inside an attested program.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from clf_sdk._released_shape import released_shape
from clf_sdk.errors import (
    Conflict,
    Malformed,
    NotFound,
    PolicyRefused,
    SignatureInvalid,
    TicketRefused,
)
from clf_sdk.keys import verify_signature
from clf_sdk.protocol import (
    MEMORY_LIST_SIGNATURE,
    MEMORY_SIGNATURE,
    MOST_SEALED_BYTES,
    JobDocument,
    MemoryAnswer,
    MemoryList,
    MemoryRecord,
    MemorySubmission,
    ReleasedShape,
    ReleasedShapes,
    SignedMemoryList,
    parse_json,
)
from clf_server._database import SCHEMA
from clf_server._job_store import _jobs
from clf_server._state import ServerState
from clf_server._ticket_audit import logging_refusals
from clf_server._tickets import Remembered, Ticket, check_for_run

_memory = sa.Table(
    "memory",
    SCHEMA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.String(64), nullable=False, index=True),
    sa.Column("run", sa.String(32), nullable=False),
    sa.Column("job", sa.String(64), nullable=False),
    sa.Column("servers", sa.JSON, nullable=False),  # whose secrets open it
    sa.Column("basis", sa.String(64), nullable=False),
    sa.Column("entity", sa.Text),
    sa.Column("people", sa.JSON, nullable=False),  # sizes
    sa.Column("salt", sa.String(32), nullable=False),
    sa.Column("digest", sa.String(64)),  # of what is sealed
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("close", sa.JSON, nullable=False),  # digests of earlier jobs
    sa.Column("shape", sa.JSON, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)
_remembered = sa.Table(
    "remembered_runs",
    SCHEMA,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("input", sa.String(64), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("review", sa.Boolean, nullable=False),
)
_LISTED = [column for column in _memory.c if column.name != "sealed"]
_MOST_TOLD = 5
MOST_MEMORY_BYTES = MOST_SEALED_BYTES // 3 * 4 + (8 << 20)
"""Most bytes of a statement with its sets in Base64."""


class Memory:
    """What a server remembers of its tables' results."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def _ticket(self, secret: str, run: str, name: str) -> tuple[Ticket, Remembered]:
        ticket = check_for_run(self._state.tickets, secret, run)
        self._state.grants.check(ticket)
        found = next((each for each in ticket.remembered if each.input == name), None)
        if found is None:
            raise TicketRefused("the ticket is for no input of this name")
        return ticket, found

    def remembered(self, secret: str, *, run: str, name: str) -> SignedMemoryList:
        """Return all that is remembered of the table of an input, signed for one session.

        Raises
        ------
        TicketRefused
            The ticket is not for this run and input.
        """
        ticket, asked = self._ticket(secret, run, name)
        with self._state.metadata.reading() as connection:
            head = _head(connection, asked.table)
            query = sa.select(*_LISTED).where(
                _memory.c.table_name == asked.table, _memory.c.run != run
            )
            records = [_record(row) for row in connection.execute(query.order_by("number"))]
        memory = MemoryList(
            clf=1,
            type="memory-list",
            session=ticket.session,
            input=name,
            head=head,
            basis=asked.basis,
            records=records,
        )
        identity = self._state.identities.offered(now=self._state.now())[ticket.server]
        signature = identity.sign(MEMORY_LIST_SIGNATURE, memory.to_json())
        return SignedMemoryList(memory=memory, signature=signature)

    def read(self, secret: str, *, run: str, name: str, number: int) -> bytes:
        """Return the sealed sets of a record of the table of an input.

        Raises
        ------
        TicketRefused
            The ticket is not for this run and input.
        NotFound
            There is no such record of this table, or it has no sets.
        """
        _, asked = self._ticket(secret, run, name)
        with self._state.metadata.reading() as connection:
            query = sa.select(_memory.c.sealed).where(
                _memory.c.number == number, _memory.c.table_name == asked.table
            )
            sealed = connection.execute(query).scalar()
        if sealed is None:
            raise NotFound("there is no such record of this table")
        return bytes(sealed)

    def keep(self, secret: str, *, run: str, submission: MemorySubmission) -> MemoryAnswer:
        """Decide on what a run is about to release about an input, and remember it.

        Raises
        ------
        TicketRefused
            The ticket is not for this run and input, or its program did not sign.
        AccessDenied
            The owner has stopped the run, or another enclave carries it now.
        Conflict
            Another run has released something meanwhile; compare again.
        PolicyRefused
            It is too close to what was released before.
        """
        statement = submission.statement
        with logging_refusals(self._state, "result.refused", run=run, output=statement.input):
            ticket, asked = self._ticket(secret, run, statement.input)
            _check(ticket, submission)
            with self._state.metadata.transaction() as connection:
                self._state.grants.check_now(connection, ticket)
                known = _find(connection, run, statement.input)
                if known is not None:
                    return MemoryAnswer(review=known)
                refused = self._decide(connection, ticket, asked, submission)
            if refused is not None:
                raise refused
        return MemoryAnswer(review=bool(statement.close))

    def _decide(
        self,
        connection: sa.Connection,
        ticket: Ticket,
        asked: Remembered,
        submission: MemorySubmission,
    ) -> PolicyRefused | None:
        statement, state = submission.statement, self._state
        if statement.head != _head(connection, asked.table):
            raise Conflict(
                "another run has released something about this table meanwhile",
                hint="the program compares with it, too, and tries again",
            )
        close = self._jobs_of(connection, asked.table, statement.close)
        review = bool(close)
        refused = review and ticket.differencing == "refuse"
        number = statement.same
        if number is not None:
            self._jobs_of(connection, asked.table, [number])
        elif not refused:
            query = sa.select(sa.func.coalesce(sa.func.max(_memory.c.number), 0))
            number = int(connection.execute(query).scalar_one()) + 1
            values = self._values(connection, asked, submission, close)
            connection.execute(sa.insert(_memory).values(number=number, **values))
        details = {
            "run": statement.run,
            "job": statement.job,
            "input": statement.input,
            "table": asked.table,
            "people": statement.people,
            "record": number,
            "close": close,
            "review": review,
        }
        if refused:
            state.audit.append("memory.refused", details, connection=connection)
            return _too_close(asked.table, close)
        connection.execute(
            sa.insert(_remembered).values(
                run=statement.run, input=statement.input, number=number, review=review
            )
        )
        state.audit.append("memory.kept", details, connection=connection)
        return None

    def _values(
        self,
        connection: sa.Connection,
        asked: Remembered,
        submission: MemorySubmission,
        close: list[str],
    ) -> dict[str, Any]:
        statement = submission.statement
        query = sa.select(_jobs.c.document).where(_jobs.c.digest == statement.job)
        text = connection.execute(query).scalar_one()
        job = JobDocument.parse(parse_json(bytes(text), what="stored job"))
        entry = next(each for each in job.inputs if each.name == statement.input)
        return {
            "table_name": asked.table,
            "run": statement.run,
            "job": statement.job,
            "servers": sorted(job.servers()),
            "basis": asked.basis,
            "entity": asked.entity,
            "people": statement.people,
            "salt": statement.salt,
            "digest": statement.sealed,
            "sealed": submission.sealed,
            "close": close,
            "shape": asdict(released_shape(job, entry, rows=asked.rows)),
            "created_at": self._state.now(),
        }

    @staticmethod
    def _jobs_of(connection: sa.Connection, table: str, numbers: list[int]) -> list[str]:
        """Return the jobs of records, each once."""
        query = sa.select(_memory.c.number, _memory.c.job).where(
            _memory.c.table_name == table, _memory.c.number.in_(numbers)
        )
        found: dict[int, str] = {row.number: row.job for row in connection.execute(query)}
        missing = set(numbers).difference(found)
        if missing:
            raise Malformed(f"the statement names {len(missing)} records that are not here")
        return list(dict.fromkeys(found[number] for number in sorted(found)))

    def check_told(self, connection: sa.Connection, ticket: Ticket, *, shared: bool) -> None:
        """Check that a run has told of whom its outputs speak, before one of them is stored.

        Parameters
        ----------
        connection
            Open transaction.
        ticket
            The run's.
        shared
            Whether the output has a share that this owner keeps until its review.

        Raises
        ------
        PolicyRefused
            It has not, or an output that the owner must review can be opened without that.
        """
        for asked in ticket.remembered:
            review = _find(connection, ticket.run, asked.input)
            if review is None and ticket.must_remember:
                raise PolicyRefused(
                    f"the program has not told of whom its results about table {asked.table!r} "
                    "speak",
                    rule="differencing",
                    hint="run the job with a program that compares results with earlier ones",
                )
            if review and not shared:
                raise PolicyRefused(
                    "the result is close to an earlier one, and was sealed without a review",
                    rule="differencing",
                    hint="run the job with a program that follows the protocol",
                )

    def shapes(self, table: str) -> ReleasedShapes:
        """Return what was released about a table, the latest first."""
        with self._state.metadata.reading() as connection:
            query = sa.select(*_LISTED).where(_memory.c.table_name == table)
            rows = connection.execute(query.order_by(_memory.c.number.desc())).mappings().all()
        return ReleasedShapes(
            releases=[
                ReleasedShape.parse(
                    {name: row[name] for name in ("number", "job", "created_at", "people", "close")}
                    | row["shape"]
                )
                for row in rows
            ]
        )


def _head(connection: sa.Connection, table: str) -> int:
    query = sa.select(sa.func.coalesce(sa.func.max(_memory.c.number), 0))
    return int(connection.execute(query.where(_memory.c.table_name == table)).scalar_one())


def _find(connection: sa.Connection, run: str, name: str) -> bool | None:
    query = sa.select(_remembered.c.review).where(
        _remembered.c.run == run, _remembered.c.input == name
    )
    found = connection.execute(query).scalar()
    return None if found is None else bool(found)


def _record(row: Any) -> MemoryRecord:
    return MemoryRecord(
        number=row.number,
        job=row.job,
        servers=row.servers,
        basis=row.basis,
        entity=row.entity,
        people=row.people,
        groups=bool(row.shape["group_by"]),
        salt=row.salt,
        sealed=row.digest,
    )


def _check(ticket: Ticket, submission: MemorySubmission) -> None:
    """Check that the program of the ticket's session says it, about what came with it."""
    statement, sealed = submission.statement, submission.sealed
    if (statement.run, statement.job) != (ticket.run, ticket.job):
        raise TicketRefused("the statement is of another run or job")
    try:
        verify_signature(
            ticket.enclave, MEMORY_SIGNATURE, statement.to_json(), submission.signature
        )
    except SignatureInvalid as error:
        raise TicketRefused("the statement is not signed by the enclave of this run") from error
    digest = None if sealed is None else hashlib.sha256(sealed).hexdigest()
    if (digest is None) != (statement.sealed is None) or not hmac.compare_digest(
        digest or "", statement.sealed or ""
    ):
        raise Malformed("the sealed sets are not those that the statement names")
    if sealed is not None and len(sealed) > MOST_SEALED_BYTES:
        raise Malformed("the sealed sets are too large")


def _too_close(table: str, jobs: list[str]) -> PolicyRefused:
    named = ", ".join(f"{job[:12]}…" for job in jobs[:_MOST_TOLD])
    return PolicyRefused(
        f"the results about table {table!r} would tell of few people beside those of job {named}",
        rule="differencing",
        reason=f"too close to what was released by: {', '.join(jobs)}",
        hint="ask about the same people as before, or about ones that differ by many",
    )
