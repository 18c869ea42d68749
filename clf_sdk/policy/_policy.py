"""The owner's rules for one table, in one object."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clf_sdk.attestation import EnclavePolicy
from clf_sdk.errors import ConfigurationError, InvalidFilter, Malformed
from clf_sdk.policy._document import (
    DEFAULT_GROUP,
    LAST_SECOND,
    MOST_BUDGET,
    MOST_GROUP,
    MOST_OUTPUT,
    MOST_RUNS,
    Approval,
    PolicyDocument,
    Release,
    policy_schema,
)
from clf_sdk.protocol import (
    MOST_LARGEST,
    MOST_ROUNDING,
    PROTOCOL_VERSION,
    Differencing,
    Dominance,
    Rules,
    check_name,
    digest,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from clf_sdk._job import Job
    from clf_sdk._table import SharedTable
    from clf_sdk.filters import RowFilter
    from clf_sdk.policy._comparison import Comparison
    from clf_sdk.policy._explanation import Explanation
    from clf_sdk.protocol import JobDocument

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, repr=False)
class Policy:
    """Which program may use a table, for whom, for what, how often and until when.

    What is asked is allowed when every rule allows it. A rule that is None does not limit; no rule
    can be empty, and zero never means "any". The defaults are the strict ones: each job asks the
    owner, and an approved job runs once.

    Parameters
    ----------
    enclave
        What the enclave must prove.
    operations
        Names of the operations that may run, for example ``["glm"]``.
    jobs
        Digests of the only jobs that may run. Operations, jobs or both must be named.
    analysts
        Public identities, or identity ids (64 hex digits), of those who may ask; None is every
        analyst that the owner has made known to the server.
    columns
        Columns that may leave; None is all. The keys of others are never released.
    rows
        Condition that a row must meet to leave, such as ``"age >= 18 AND country = 'DE'"``
        (docs/protocol.md §11.4); None is all rows. Where a value that it needs is missing, the row
        stays. The enclave gets a table that was sealed without the other rows.
    runs
        How often each approved job may run.
    expires
        Aware date and time from which nothing is allowed any more; None is until it is changed.
    smallest_group
        Fewest people that any number in a result may speak of; 1 is no limit.
    entity
        Column whose values are people, where one person has several rows: people are counted by
        it, not by rows. Its key goes to the enclave for that, whatever `columns` says.
    dominance
        ``(n, k)``: no sum of which the n people with the largest contributions make up more than
        k percent, such as ``(1, 50)``; None is no such rule.
    round_counts
        Counts in results are rounded to multiples of this number; 1 leaves them exact.
    output_rows, output_bytes
        Most rows of an output, and most bytes of it as it is sealed; None is no limit.
    differencing
        What becomes of results about people of whom all but a few are those of an earlier result:
        ``"review"``: they wait for the owner's release; ``"refuse"``: the job ends; ``"off"``:
        nothing is compared.
    privacy_budget
        Epsilon that all results with noise (``private_statistics``) may cost together, over all
        runs and versions of the table; None refuses them. To bound what anybody can ever learn of a
        person from the table, allow no other operation (docs/disclosure.md).
    row_level
        Public identities, or identity ids, that may receive outputs with rows of single people.
        Empty: nobody.
    release
        ``"at_once"``, or ``"review"``: recipients can open a result only after the owner's release.
    approval
        ``"ask"``: each job waits for the owner. ``"automatic"``: a job that all rules allow is
        approved by this policy.

    Raises
    ------
    ConfigurationError
        A rule is missing or makes no sense.
    InvalidFilter
        The row filter is no condition, or uses what is not allowed.
    """

    enclave: EnclavePolicy
    operations: frozenset[str] | None
    jobs: frozenset[str] | None
    analysts: frozenset[str] | None
    columns: frozenset[str] | None
    rows: str | None
    runs: int
    expires: dt.datetime | None
    smallest_group: int
    entity: str | None
    dominance: Dominance | None
    round_counts: int
    output_rows: int | None
    output_bytes: int | None
    differencing: Differencing
    privacy_budget: float | None
    row_level: frozenset[str]
    release: Release
    approval: Approval

    def __init__(
        self,
        *,
        enclave: EnclavePolicy,
        operations: Iterable[str] | None = None,
        jobs: Iterable[str] | None = None,
        analysts: Iterable[Any] | None = None,
        columns: Iterable[str] | None = None,
        rows: str | None = None,
        runs: int = 1,
        expires: dt.datetime | None = None,
        smallest_group: int = DEFAULT_GROUP,
        entity: str | None = None,
        dominance: tuple[int, int] | Dominance | None = None,
        round_counts: int = 1,
        output_rows: int | None = None,
        output_bytes: int | None = None,
        differencing: Differencing = "review",
        privacy_budget: float | None = None,
        row_level: Iterable[Any] = (),
        release: Release = "at_once",
        approval: Approval = "ask",
    ) -> None:
        if not isinstance(enclave, EnclavePolicy):
            raise ConfigurationError(
                "the enclave rule of a policy must be an EnclavePolicy",
                hint='for example Policy(enclave=EnclavePolicy(mrenclave="…"), operations=["glm"])',
            )
        if operations is None and jobs is None:
            raise ConfigurationError(
                "a policy must name operations or jobs",
                hint='for example operations=["glm"], or jobs=[job.digest]',
            )
        values = {
            "enclave": enclave,
            "operations": _names(operations),
            "jobs": _digests("jobs", jobs),
            "analysts": None if analysts is None else _identities("analysts", analysts),
            "columns": _columns(columns),
            "rows": _condition(rows),
            "runs": _count("runs", runs, MOST_RUNS),
            "expires": _moment(expires),
            "smallest_group": _count("smallest_group", smallest_group, MOST_GROUP),
            "entity": _entity(entity),
            "dominance": _dominance(dominance),
            "round_counts": _count("round_counts", round_counts, MOST_ROUNDING),
            "output_rows": _limit("output_rows", output_rows),
            "output_bytes": _limit("output_bytes", output_bytes),
            "differencing": _choice("differencing", differencing, ("off", "review", "refuse")),
            "privacy_budget": _budget(privacy_budget),
            "row_level": _identities("row_level", row_level, or_empty=True),
            "release": _choice("release", release, ("at_once", "review")),
            "approval": _choice("approval", approval, ("ask", "automatic")),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        what = sorted(self.operations) if self.operations else [f"{len(self.jobs or ())} jobs"]
        columns = "all columns" if self.columns is None else f"{len(self.columns)} columns"
        rows = "all rows" if self.rows is None else "filtered rows"
        return (
            f"Policy({', '.join(what)} on {columns}, {rows}; runs={self.runs}, "
            f"approval={self.approval!r}, release={self.release!r}; digest {self.digest[:12]}…)"
        )

    def __str__(self) -> str:
        from clf_sdk.policy._words import in_words  # noqa: PLC0415 - for people only

        lines = in_words(self)
        width = max(map(len, lines))
        return "\n".join(f"{rule:<{width}}  {text}" for rule, text in lines.items())

    def _repr_html_(self) -> str:
        from clf_sdk._cards import Identifier, Shown, card  # noqa: PLC0415 - for people only
        from clf_sdk.policy._words import in_words  # noqa: PLC0415 - for people only

        rows: dict[str, Shown] = {**in_words(self), "digest": Identifier(self.digest)}
        return card("Policy", "what leaves this table", rows)

    @property
    def digest(self) -> str:
        """SHA-256 of the policy's canonical JSON, 64 hex digits."""
        return digest(self.to_json())

    @property
    def row_filter(self) -> RowFilter | None:
        """The row filter, parsed; None when all rows may leave."""
        if self.rows is None:
            return None
        from clf_sdk.filters import RowFilter  # noqa: PLC0415 - loads a parser

        return RowFilter.parse(self.rows)

    @property
    def rules(self) -> Rules:
        """The rules that the measured program enforces (docs/protocol.md §8.1)."""
        return Rules(
            smallest_group=self.smallest_group,
            dominance=[] if self.dominance is None else [self.dominance],
            round_counts=self.round_counts,
            output_rows=self.output_rows,
            output_bytes=self.output_bytes,
            differencing=self.differencing,
            row_level=sorted(self.row_level),
            release=self.release,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the policy as JSON values, every field written out (docs/protocol.md §11.2)."""
        document: dict[str, Any] = {"clf": PROTOCOL_VERSION, "type": "policy"}
        for name in PolicyDocument.model_fields:
            if name not in document:
                document[name] = _json(getattr(self, name))
        return document

    @classmethod
    def from_json(cls, value: Any) -> Policy:
        """Read a policy document; fields that are left out have their default.

        Raises
        ------
        FormatTooNew
            It was written for a later version.
        ConfigurationError
            It is not a policy.
        """
        try:
            document = PolicyDocument.parse(value)
        except Malformed as error:
            raise ConfigurationError(
                f"this is not a policy document: {error.message}",
                hint="docs/policy.schema.json describes it; `clf policy schema` prints that",
            ) from None
        fields = {
            name: getattr(document, name)
            for name in PolicyDocument.model_fields
            if name not in ("clf", "type")
        }
        for name in ("analysts", "operations", "jobs", "columns", "row_level"):
            if fields[name] is not None and len(set(fields[name])) != len(fields[name]):
                raise ConfigurationError(f"{name} of the policy document lists something twice")
        if document.expires is not None:
            fields["expires"] = dt.datetime.fromtimestamp(document.expires, dt.UTC)
        return cls(**fields | {"enclave": EnclavePolicy.from_json(document.enclave)})

    @staticmethod
    def schema() -> dict[str, Any]:
        """Return the JSON Schema of a policy document; docs/policy.schema.json is the same."""
        return policy_schema()

    def check_table(self, schema: pa.Schema) -> None:
        """Check that the policy fits a table.

        Raises
        ------
        ConfigurationError
            It names a column that the table does not have.
        InvalidFilter
            Its row filter does not fit the table's columns.
        """
        if self.columns is not None and (missing := sorted(self.columns - set(schema.names))):
            raise ConfigurationError(
                f"the policy allows column {missing[0][:80]!r}, which the table does not have",
                hint="names are case-sensitive; name the columns as the table has them",
            )
        if self.entity is not None:
            _check_entity(self.entity, schema)
        row_filter = self.row_filter
        if row_filter is not None:
            row_filter.check(schema)

    def compare(self, other: Policy) -> Comparison:
        """Compare this policy with one that would take its place.

        Parameters
        ----------
        other
            The new policy.

        Returns
        -------
        Comparison
            For each rule whether the new one is tighter, wider or equal. What allows anything that
            was not allowed before is wider.
        """
        from clf_sdk.policy._comparison import compare_policies  # noqa: PLC0415 - used on change

        return compare_policies(self, other)

    def explain(
        self,
        job: Job | JobDocument | dict[str, Any],
        *,
        table: str | SharedTable | None = None,
        analyst: Any = None,
        schema: pa.Schema | None = None,
        now: dt.datetime | int | None = None,
    ) -> Explanation:
        """Say, rule by rule, whether this policy would allow a job, and why or why not.

        The rules are the functions by which a server decides.

        Parameters
        ----------
        job
            The job, or its document.
        table
            The table under this policy, or its name; by default the one that the job names, when
            it names only one.
        analyst
            Who asks: a public identity or its id; by default the analyst that the job names.
        schema
            Schema of the table, to check names and types of columns.
        now
            Aware date and time, or Unix seconds; by default the present.

        Returns
        -------
        Explanation
            Printable, and shown as a table by notebooks.

        Raises
        ------
        InvalidInput
            The job does not name the table.
        """
        from clf_sdk.policy._explanation import explain_job  # noqa: PLC0415 - for people only

        return explain_job(self, job, table=table, analyst=analyst, schema=schema, now=now)


def identity_id(value: Any) -> str:
    """Return the id of a public identity, which may be given as its id.

    Raises
    ------
    ConfigurationError
        It is neither.
    """
    found = value if isinstance(value, str) else getattr(value, "id", None)
    if not isinstance(found, str) or not _DIGEST.fullmatch(found):
        raise ConfigurationError(
            f"a {type(value).__name__} is not the identity of a person",
            hint="give a public identity, or its id of 64 lower-case hex digits",
        )
    return found


def _json(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, dt.datetime):
        return int(value.timestamp())
    return value.to_json() if isinstance(value, EnclavePolicy | Dominance) else value


def _several(name: str, values: Any, *, or_empty: bool = False) -> list[Any]:
    if isinstance(values, str):
        return [values]
    try:
        found = list(values)
    except TypeError:
        raise ConfigurationError(f"{name} must be a list") from None
    if not found and not or_empty:
        raise ConfigurationError(
            f"{name} is empty, so nothing could be allowed", hint="leave it out, or name something"
        )
    return found


def _names(values: Iterable[str] | None) -> frozenset[str] | None:
    if values is None:
        return None
    return frozenset(
        check_name(name, what="an operation") for name in _several("operations", values)
    )


def _digests(name: str, values: Iterable[str] | None) -> frozenset[str] | None:
    if values is None:
        return None
    found = _several(name, values)
    for value in found:
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise ConfigurationError(f"{name} must be digests of 64 lower-case hex digits")
    return frozenset(found)


def _identities(name: str, values: Any, *, or_empty: bool = False) -> frozenset[str]:
    single = hasattr(values, "id")
    found = [values] if single else _several(name, values, or_empty=or_empty)
    return frozenset(map(identity_id, found))


def _columns(values: Iterable[str] | None) -> frozenset[str] | None:
    if values is None:
        return None
    found = _several("columns", values)
    if not all(isinstance(name, str) and name for name in found):
        raise ConfigurationError("columns must be names of columns")
    return frozenset(found)


def _condition(text: str | None) -> str | None:
    if text is None:
        return None
    from clf_sdk.filters import RowFilter  # noqa: PLC0415 - loads a parser

    if not isinstance(text, str):
        raise InvalidFilter("the row filter must be text", hint='for example rows="age >= 18"')
    RowFilter.parse(text)
    return text.strip()


def _count(name: str, value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ConfigurationError(f"{name} must be an integer from 1 to {most:,}")
    return value


def _limit(name: str, value: Any) -> int | None:
    return None if value is None else _count(name, value, MOST_OUTPUT)


def _budget(value: Any) -> float | None:
    if value is None:
        return None
    from clf_sdk.operations import millionths  # noqa: PLC0415 - for a policy that has one

    if type(value) not in (int, float) or not 0 < value <= MOST_BUDGET:
        raise ConfigurationError(
            f"privacy_budget must be a number above 0 and at most {MOST_BUDGET:,}",
            hint="leave it out, and nothing is given out with noise",
        )
    try:
        millionths(value)
    except ValueError:
        raise ConfigurationError("privacy_budget has six decimals at most") from None
    return float(value)


def _entity(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigurationError("entity must be the name of a column")
    return value


def _check_entity(entity: str, schema: pa.Schema) -> None:
    import pyarrow as pa  # noqa: PLC0415 - a policy without a table needs none

    if entity not in schema.names:
        raise ConfigurationError(
            f"the policy counts people by column {entity[:80]!r}, which the table does not have",
            hint="names are case-sensitive; name the column as the table has it",
        )
    kind = schema.field(entity).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ):
        raise ConfigurationError(
            f"people can't be counted by column {entity[:80]!r} of type {kind}",
            hint="name a column of whole numbers or texts, one value for each person",
        )


def _dominance(value: Any) -> Dominance | None:
    if value is None or isinstance(value, Dominance):
        return value
    try:
        largest, percent = value
    except (TypeError, ValueError):
        raise ConfigurationError(
            "dominance must be two numbers", hint="for example dominance=(1, 50)"
        ) from None
    return Dominance(
        largest=_count("the first number of dominance", largest, MOST_LARGEST),
        percent=_count("the second number of dominance", percent, 99),
    )


def _moment(value: Any) -> dt.datetime | None:
    if value is None:
        return None
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise ConfigurationError(
            "expires must be a date and time with its time zone",
            hint="for example datetime(2027, 1, 1, tzinfo=UTC)",
        )
    seconds = int(value.timestamp())
    if not 1 <= seconds <= LAST_SECOND:
        raise ConfigurationError("expires lies outside the years 1970 to 9999")
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices or not isinstance(value, str):
        raise ConfigurationError(f"{name} must be {' or '.join(map(repr, choices))}")
    return value
