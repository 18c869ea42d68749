"""The rules: for each one function that decides, without any I/O (docs/protocol.md §11.2).

The server decides by them before anything leaves, and `Policy.explain` explains by them. There is
no second implementation.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from clf_sdk.errors import ClfError, InvalidJob, PolicyRefused
from clf_sdk.operations import NOISED, cost_of, in_words, millionths, parameters_of
from clf_sdk.policy._words import enclave_in_words, listed, people, short

if TYPE_CHECKING:
    import pyarrow as pa

    from clf_sdk.attestation import VerifiedEnclave
    from clf_sdk.policy._policy import Policy
    from clf_sdk.protocol import JobDocument, JobInput

Outcome: TypeAlias = Literal["allowed", "refused", "unknown", "enclave"]
"""``unknown``: the request does not say enough; ``enclave``: the measured program enforces it."""


@dataclass(frozen=True, kw_only=True)
class AccessRequest:
    """What one input of a job asks of a table, and what is known beside it.

    What is None is not known; a server lets nothing through on what it does not know.

    Attributes
    ----------
    job, entry
        The job, and its input that names the table.
    now
        Unix seconds.
    analyst
        Identity id of who asks, proved by a signature or a token.
    columns
        Names of the table's columns.
    schema
        Schema of the table, where it is at hand.
    enclave
        What the enclave proved.
    runs_used
        How often the job has run before this run.
    approved
        Whether the owner approved this job.
    privacy_spent
        What results with noise have cost of the table's privacy budget, in millionths of epsilon.
    privacy_paid
        Whether this run has paid already, by this enclave.
    """

    job: JobDocument
    entry: JobInput
    now: int
    analyst: str | None = None
    columns: Sequence[str] | None = None
    schema: pa.Schema | None = None
    enclave: VerifiedEnclave | None = None
    runs_used: int | None = None
    approved: bool | None = None
    privacy_spent: int | None = None
    privacy_paid: bool = False


@dataclass(frozen=True)
class Verdict:
    """What one rule says.

    Attributes
    ----------
    rule
        Name of the rule: a field of the policy.
    outcome
        ``"allowed"``, ``"refused"``, ``"unknown"`` or ``"enclave"``.
    reason
        Why, in full: for the owner's eyes.
    """

    rule: str
    outcome: Outcome
    reason: str


Decision: TypeAlias = "tuple[Outcome, str]"

_ANYTHING = "python"
"""The operation that computes whatever its source says: somebody must have looked at it."""


def _enclave(policy: Policy, request: AccessRequest) -> Decision:
    pinned = enclave_in_words(policy.enclave)
    if request.enclave is not None:
        return "allowed", f"MRENCLAVE {request.enclave.mrenclave[:12]}… proved {pinned}"
    for name in ("mrenclave", "mrsigner", "isv_prod_id"):
        ours, theirs = getattr(policy.enclave, name), getattr(request.job.enclave, name)
        if None not in (ours, theirs) and ours != theirs:
            return "refused", f"the job is for a program with another {name} than {pinned}"
    return "unknown", f"each session must prove {pinned}"


def _analysts(policy: Policy, request: AccessRequest) -> Decision:
    if policy.analysts is None:
        return "allowed", "every analyst that the server knows may ask"
    if request.analyst is None:
        return "unknown", f"only {people(policy.analysts)} may ask, and nobody is named"
    if request.analyst in policy.analysts:
        return "allowed", f"{people([request.analyst])} may ask"
    return "refused", f"{people([request.analyst])} asks, only {people(policy.analysts)} may"


def _operations(policy: Policy, request: AccessRequest) -> Decision:
    name = request.job.operation.name
    if policy.operations is None:
        return "allowed", "the named jobs may run any operation"
    if name in policy.operations:
        return "allowed", f"{name} may run"
    return "refused", f"the job runs {name}, only {listed(policy.operations)} may run"


def _jobs(policy: Policy, request: AccessRequest) -> Decision:
    if policy.jobs is None:
        return "allowed", "any job that the other rules allow may run"
    if request.job.digest in policy.jobs:
        return "allowed", f"job {short([request.job.digest])} is named"
    return "refused", f"job {short([request.job.digest])} is not among {short(policy.jobs)}"


def _columns(policy: Policy, request: AccessRequest) -> Decision:
    if policy.columns is None:
        return "allowed", "all columns may leave"
    asked = request.columns if request.entry.columns is None else request.entry.columns
    if asked is None:
        return "unknown", "the job asks for all columns of the table, whichever they are"
    if beyond := [name for name in asked if name not in policy.columns]:
        return "refused", f"{listed(beyond)} may not leave, only {listed(policy.columns)} may"
    return "allowed", f"{listed(asked)} may leave"


def _rows(policy: Policy, request: AccessRequest) -> Decision:
    row_filter = policy.row_filter
    if row_filter is None:
        return "allowed", "all rows may leave"
    if request.schema is not None:
        try:
            row_filter.check(request.schema)
        except ClfError as error:
            return "refused", error.message
    return "allowed", f"only rows where {policy.rows} leave"


def _runs(policy: Policy, request: AccessRequest) -> Decision:
    if request.runs_used is None:
        return "unknown", f"the job may run {policy.runs:,} times"
    if request.runs_used >= policy.runs:
        return "refused", f"the job ran {request.runs_used:,} times, {policy.runs:,} are allowed"
    return "allowed", f"the job ran {request.runs_used:,} of {policy.runs:,} times"


def _expires(policy: Policy, request: AccessRequest) -> Decision:
    if policy.expires is None:
        return "allowed", "there is no date on which this ends"
    ends = f"{policy.expires:%Y-%m-%d %H:%M:%S} UTC"
    if request.now >= int(policy.expires.timestamp()):
        now = dt.datetime.fromtimestamp(request.now, dt.UTC)
        return "refused", f"it ended on {ends}, and now is {now:%Y-%m-%d %H:%M:%S} UTC"
    return "allowed", f"it ends on {ends}"


def _noised(request: AccessRequest) -> bool:
    return request.job.operation.name in NOISED


_WITH_NOISE: Decision = (
    "allowed",
    "results with noise tell of nobody: privacy_budget limits them",
)


def _smallest_group(policy: Policy, request: AccessRequest) -> Decision:
    if _noised(request):
        return _WITH_NOISE
    if policy.smallest_group == 1:
        return "allowed", "there is no smallest group"
    return "enclave", f"results about fewer than {policy.smallest_group:,} people are refused"


def _entity(policy: Policy, _request: AccessRequest) -> Decision:
    if policy.entity is None:
        return "allowed", "each row counts as one of the people"
    return "enclave", f"people are counted by {policy.entity}"


def _dominance(policy: Policy, request: AccessRequest) -> Decision:
    rule = policy.dominance
    if _noised(request):
        return _WITH_NOISE
    if rule is None:
        return "allowed", "sums may be dominated by few people"
    return "enclave", f"sums are hidden of which {rule.largest:,} make up over {rule.percent} %"


def _round_counts(policy: Policy, request: AccessRequest) -> Decision:
    if _noised(request):
        return _WITH_NOISE
    if policy.round_counts == 1:
        return "allowed", "counts are exact"
    return "enclave", f"counts are rounded to multiples of {policy.round_counts:,}"


def _output_rows(policy: Policy, _request: AccessRequest) -> Decision:
    if policy.output_rows is None:
        return "allowed", "outputs may have any number of rows"
    return "enclave", f"outputs of more than {policy.output_rows:,} rows are refused"


def _output_bytes(policy: Policy, _request: AccessRequest) -> Decision:
    if policy.output_bytes is None:
        return "allowed", "outputs may have any size"
    return "enclave", f"outputs of more than {policy.output_bytes:,} bytes are refused"


def _differencing(policy: Policy, request: AccessRequest) -> Decision:
    if _noised(request):
        return _WITH_NOISE
    if policy.differencing == "off":
        return "allowed", "results are not compared with earlier ones"
    ends = "are refused" if policy.differencing == "refuse" else "wait for the owner's review"
    return "enclave", f"results whose people differ by a few from an earlier one's {ends}"


def _privacy_budget(policy: Policy, request: AccessRequest) -> Decision:
    if not _noised(request):
        return "allowed", "the job's operation adds no noise, and spends nothing"
    entry, total = request.entry, policy.privacy_budget
    try:
        parameters = parameters_of(request.job)
        if parameters is not None:
            parameters.check_job(request.job, {entry.name: policy.entity})
        cost = cost_of(parameters)
    except InvalidJob as error:
        return "refused", error.message
    if total is None:
        return "refused", f"the job spends {in_words(cost)}, and the table has no privacy budget"
    if request.privacy_paid:
        return "allowed", f"this run has spent {in_words(cost)} already"
    return _as_left(cost, request.privacy_spent, millionths(total))


def _as_left(cost: int, spent: int | None, limit: int) -> Decision:
    left = max(0, limit - (spent or 0))
    said = f"the job spends {in_words(cost)} each time that it runs, and "
    if cost > left:
        return "refused", f"{said}{in_words(left)} of {in_words(limit)} is left"
    if spent is None:
        return "unknown", f"{said}there was {in_words(limit)} in the beginning"
    return "allowed", f"{said}{in_words(left)} of {in_words(limit)} is left"


def _row_level(policy: Policy, request: AccessRequest) -> Decision:
    recipients = {recipient.digest for recipient in request.job.recipients}
    if beyond := recipients - policy.row_level:
        return "enclave", f"outputs with rows of single people are refused to {people(beyond)}"
    return "allowed", "all recipients may receive rows of single people"


def _release(policy: Policy, _request: AccessRequest) -> Decision:
    if policy.release == "at_once":
        return "allowed", "results go out at once"
    return "enclave", "results can be opened only after the owner's review"


def _approval(policy: Policy, request: AccessRequest) -> Decision:
    anything = request.job.operation.name == _ANYTHING and policy.jobs is None
    if policy.approval == "automatic" and not anything:
        return "allowed", "a job that all rules allow is approved by the policy"
    if request.approved is None:
        if anything:
            return "unknown", f"a job that runs {_ANYTHING} asks the owner, or is named by jobs"
        return "unknown", "each job asks the owner"
    if request.approved:
        return "allowed", "the owner approved this job"
    return "refused", "the owner has not approved this job"


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes
    ----------
    name
        The policy's field.
    decide
        The function that decides.
    told
        What an enclave or an analyst is told of a refusal: nothing of the owner's values.
    """

    name: str
    decide: Callable[[Policy, AccessRequest], Decision]
    told: str


RULES: tuple[Rule, ...] = (
    Rule("enclave", _enclave, "the enclave has not proved what the owner demands"),
    Rule("analysts", _analysts, "the owner does not let this analyst use the table"),
    Rule("operations", _operations, "the owner does not allow this operation on the table"),
    Rule("jobs", _jobs, "the owner does not allow this job on the table"),
    Rule("columns", _columns, "the job asks for columns that the owner does not let out"),
    Rule("rows", _rows, "the owner's row filter does not fit the table"),
    Rule("runs", _runs, "the job has run as often as the owner allows"),
    Rule("expires", _expires, "the owner's permission has ended"),
    Rule("smallest_group", _smallest_group, "the result would speak of too few people"),
    Rule("entity", _entity, "the result would speak of too few people"),
    Rule("dominance", _dominance, "the result would show sums that few people make up"),
    Rule("round_counts", _round_counts, "the owner gives out rounded counts only"),
    Rule("output_rows", _output_rows, "the output has more rows than the owner allows"),
    Rule("output_bytes", _output_bytes, "the output is larger than the owner allows"),
    Rule("differencing", _differencing, "the result is too close to an earlier one"),
    Rule("privacy_budget", _privacy_budget, "the table's privacy budget does not suffice"),
    Rule("row_level", _row_level, "the owner does not give out rows of single people"),
    Rule("release", _release, "the owner reviews results first"),
    Rule("approval", _approval, "the owner has not approved this job"),
)
"""Every rule, in the order of the policy's fields."""


def decide(policy: Policy, request: AccessRequest) -> tuple[Verdict, ...]:
    """Return what each rule says about a request."""
    return tuple(Verdict(rule.name, *rule.decide(policy, request)) for rule in RULES)


def enforce(policy: Policy, request: AccessRequest) -> tuple[Verdict, ...]:
    """Return what each rule says, if none refuses and none lacks what it must know.

    Raises
    ------
    PolicyRefused
        The first rule that stands against the request; its ``reason`` names all of them.
    """
    verdicts = decide(policy, request)
    against = [verdict for verdict in verdicts if verdict.outcome in ("refused", "unknown")]
    if against:
        told = {rule.name: rule.told for rule in RULES}
        raise PolicyRefused(
            f"table {request.entry.table!r}: {told[against[0].rule]}",
            rule=against[0].rule,
            reason="; ".join(f"{verdict.rule}: {verdict.reason}" for verdict in against),
            hint="ask the owner, who sees the reason in full",
        )
    return verdicts
