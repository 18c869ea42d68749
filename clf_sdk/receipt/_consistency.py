"""What a receipt's own parts must agree on (docs/protocol.md §10.1, steps 4 to 7)."""

from __future__ import annotations

from clf_sdk.attestation import Binding, Evidence
from clf_sdk.errors import (
    BindingMismatch,
    InvalidJob,
    OwnersMismatch,
    ReceiptInconsistent,
    ServerIdentityMismatch,
    SignatureInvalid,
)
from clf_sdk.keys import server_id, verify_signature
from clf_sdk.protocol import (
    SESSION_SIGNATURE,
    OwnerProof,
    ReceiptPredicate,
    ReceiptStatement,
    Rules,
    Session,
)
from clf_sdk.receipt._signed import SignedReceipt


def check_receipt(receipt: SignedReceipt) -> list[Evidence]:
    """Check all that can be checked without an anchor, and return each owner's evidence.

    The quotes are not verified.

    Raises
    ------
    OwnersMismatch
        It does not carry exactly the job's owners.
    ServerIdentityMismatch
        A session was not signed by the owner that the job pins.
    BindingMismatch
        Evidence or session is of another run, job, server or key.
    ReceiptInconsistent
        Inputs or outputs are not what the owners granted and the job asks for.
    """
    predicate = receipt.predicate

    # 4. The owners are those that the job pins, and each signed its session.
    sessions = _check_owners(predicate)

    # 5. Evidence and sessions are of this run and job, and bind the key that signed the receipt.
    evidence = [Evidence.from_json(owner.evidence) for owner in predicate.owners]
    _check_bindings(receipt, [each.binding for each in evidence])

    # 6. The inputs are those of the job, as their owners granted them.
    _check_inputs(predicate, sessions)

    # 7. The outputs are the subjects, for the job's recipients, under the tightest rules.
    _check_outputs(receipt.statement)
    _check_disclosure(predicate)
    return evidence


def _check_owners(predicate: ReceiptPredicate) -> dict[str, Session]:
    pinned = predicate.job.servers()
    found = [owner.session.server for owner in predicate.owners]
    if missing := [server for server in pinned if server not in found]:
        raise OwnersMismatch(
            f"the session of owner {missing[0][:12]}… is missing",
            hint="without it nothing says that this owner let its data be used",
        )
    if found != pinned:
        raise OwnersMismatch("the sessions are not exactly those of the job's owners, in order")
    for owner in predicate.owners:
        _check_signature(owner)
    return {owner.session.server: owner.session for owner in predicate.owners}


def _check_signature(owner: OwnerProof) -> None:
    session = owner.session
    problem = ServerIdentityMismatch(
        f"the session of owner {session.server[:12]}… is not signed by the key that the job pins"
    )
    if server_id(owner.public_key) != session.server:
        raise problem
    try:
        verify_signature(owner.public_key, SESSION_SIGNATURE, session.to_json(), owner.signature)
    except SignatureInvalid as error:
        raise problem from error


def _check_bindings(receipt: SignedReceipt, bindings: list[Binding]) -> None:
    predicate = receipt.predicate
    run, job, mode = predicate.run, predicate.job.digest, predicate.mode
    for owner, binding in zip(predicate.owners, bindings, strict=True):
        session = owner.session
        whose = f"owner {session.server[:12]}…"
        if (session.run, session.job, session.mode) != (run, job, mode):
            raise BindingMismatch(f"the session of {whose} is of another run, job or mode")
        if session.binding != binding.report_data.hex():
            raise BindingMismatch(f"{whose} granted its session to other evidence")
        named = (binding.server, binding.nonce, binding.run, binding.job)
        if named != (session.server, session.nonce, run, job):
            raise BindingMismatch(f"the evidence for {whose} is of another server, run or job")
        if binding.signing_key != receipt.signing_key:
            raise BindingMismatch(
                f"the evidence for {whose} binds another key than the one that signed the receipt"
            )
        if binding.hpke != bindings[0].hpke:
            raise BindingMismatch("the owners gave their keys to different enclaves")


def _check_inputs(predicate: ReceiptPredicate, sessions: dict[str, Session]) -> None:
    job = predicate.job
    if [entry.name for entry in predicate.inputs] != [entry.name for entry in job.inputs]:
        raise ReceiptInconsistent("the inputs are not those of the job")
    for used, asked in zip(predicate.inputs, job.inputs, strict=True):
        if (
            (used.server, used.table) != (asked.server, asked.table)
            or asked.version not in ("latest", used.source or used.version)
            or (asked.columns is not None and used.columns != asked.columns)
        ):
            raise ReceiptInconsistent(
                f"input {used.name!r} is of another table, version or columns than the job asks for"
            )
    granted = [
        (server, entry.name, entry.table, entry.version, entry.source, entry.columns)
        for server, session in sessions.items()
        for entry in session.inputs
    ]
    named = [
        (entry.server, entry.name, entry.table, entry.version, entry.source, entry.columns)
        for entry in predicate.inputs
    ]
    # Names are distinct within a job, so the order is decided before anything else is compared.
    if sorted(granted, key=lambda entry: entry[:2]) != sorted(named, key=lambda entry: entry[:2]):
        raise ReceiptInconsistent("the inputs are not what the owners granted")


def _check_outputs(statement: ReceiptStatement) -> None:
    predicate = statement.predicate
    outputs = [(output.name, output.version) for output in predicate.outputs]
    if outputs != [(subject.name, subject.digests.sha256) for subject in statement.subject]:
        raise ReceiptInconsistent("the statement's subjects are not the outputs")
    if len({name for name, _ in outputs}) != len(outputs):
        raise ReceiptInconsistent("an output is named twice")
    from clf_sdk.operations import output_recipients, parameters_of  # noqa: PLC0415 - heavy

    try:
        parameters = parameters_of(predicate.job)
        expected = {
            output.name: [
                recipient.digest
                for recipient in output_recipients(predicate.job, parameters, output.name)
            ]
            for output in predicate.outputs
        }
    except InvalidJob as error:
        raise ReceiptInconsistent(
            f"the job says of no output who gets it: {error.message}"
        ) from None
    for output in predicate.outputs:
        if output.recipients != expected[output.name]:
            raise ReceiptInconsistent(
                f"output {output.name!r} went to others than the job's recipients"
            )


def _check_disclosure(predicate: ReceiptPredicate) -> None:
    """Check that the rules are no looser than those of any owner, and that they were kept."""
    report = predicate.disclosure
    demanded = [owner.session.rules for owner in predicate.owners]
    if Rules.tightest([report.rules, *demanded]) != report.rules:
        raise ReceiptInconsistent("the program's rules are looser than those of an owner")
    _check_noise(predicate)
    # A rounded count may stand for one that is larger by half of what it is rounded to.
    aligned = predicate.aligned_rows
    if (
        aligned is not None
        and aligned + report.rules.round_counts // 2 < report.rules.smallest_group
    ):
        raise ReceiptInconsistent("the outputs speak of fewer people than the owners allow")
    outputs = {output.name: output for output in predicate.outputs}
    if [each.output for each in report.outputs] != list(outputs):
        raise ReceiptInconsistent("the disclosure report is not about each of the outputs")
    servers = set(predicate.job.servers())
    for each in report.outputs:
        if any(not set(found.servers) <= servers for found in each.suppressed):
            raise ReceiptInconsistent("the disclosure report names an owner that the job does not")
    for name in report.row_level:
        if name not in outputs:
            raise ReceiptInconsistent("the disclosure report is about another output")
        if not set(outputs[name].recipients) <= set(report.rules.row_level):
            raise ReceiptInconsistent(f"output {name!r} went to others than the owners allow")


def _check_noise(predicate: ReceiptPredicate) -> None:
    """Check that what a job with noise costs was taken from every budget, and nothing otherwise."""
    from clf_sdk.operations import job_cost  # noqa: PLC0415 - heavy

    try:
        cost = job_cost(predicate.job)
    except InvalidJob as error:
        raise ReceiptInconsistent(f"the job says not what it costs: {error.message}") from None
    taken = [each.epsilon_millionths for owner in predicate.owners for each in owner.session.inputs]
    if any(each != cost for each in taken):
        raise ReceiptInconsistent("what was taken from privacy budgets is not what the job costs")
    noised = [each.output for each in predicate.disclosure.outputs if each.noise is not None]
    if not cost and (noised or predicate.aligned_rows is None):
        raise ReceiptInconsistent("the receipt is one of a job with noise, which this job is not")
