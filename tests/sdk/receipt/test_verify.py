"""What a receipt says holds only as far as owners and hardware signed it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import clf_sdk as clf
from clf_sdk.attestation import TCB_STATUSES, Collateral, EnclavePolicy, Evidence, create_simulation
from clf_sdk.errors import (
    AnchorMismatch,
    BindingMismatch,
    ClfError,
    CollateralExpired,
    CollateralMalformed,
    CollateralUnavailable,
    ConfigurationError,
    DebugEnclave,
    Malformed,
    MeasurementMismatch,
    OwnersMismatch,
    PlatformRevoked,
    QuoteMalformed,
    QuoteUnverified,
    ReceiptInconsistent,
    ReceiptMismatch,
    ReportDataMismatch,
    ServerIdentityMismatch,
    TcbStatusRefused,
)
from clf_sdk.keys import PrivateKey, SigningKey
from clf_testing import (
    MRENCLAVE,
    RULES,
    HandmadeRun,
    Simulation,
    allowed_enclave,
    job_of,
    owner_keys,
)

Change = Callable[[dict[str, Any]], Any]
DAY = 86_400


def test_receipt_proves_run_job_owners_inputs_and_outputs(made: HandmadeRun) -> None:
    receipt = made.verify(made.seal(), run=made.run, job=made.job.digest)
    assert (receipt.run, receipt.job, receipt.mode) == (made.run, made.job, "simulation")
    assert receipt.pinned_by == "job"
    assert receipt.program.mrenclave == MRENCLAVE
    assert [owner.server for owner in receipt.owners] == made.job.servers()
    assert {owner.granted_at for owner in receipt.owners} == {made.granted_at}
    assert {owner.enclave.verified_at for owner in receipt.owners} == {made.granted_at}
    assert [(entry.table, entry.rows) for entry in receipt.inputs] == [("t0", 8), ("t1", 8)]
    assert receipt.aligned_rows == 7
    assert [output.name for output in receipt.outputs] == ["coefficients", "fit"]
    assert receipt.outputs[0].recipients == [made.job.recipients[0].digest]
    assert receipt.signing_key == made.signing.public_bytes


def test_receipt_may_be_a_file(made: HandmadeRun, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    made.verify(made.seal()).save(path)
    assert clf.verify(path, anchor=made.anchor).run == made.run
    assert clf.verify(str(path), anchor=made.anchor).run == made.run
    with pytest.raises(ConfigurationError, match=r"other\.json can't be read"):
        clf.verify(tmp_path / "other.json")


def test_receipt_of_another_run_or_job_is_not_the_one_asked_for(made: HandmadeRun) -> None:
    data = made.seal()
    with pytest.raises(ReceiptMismatch, match="of run"):
        made.verify(data, run="00" * 16)
    with pytest.raises(ReceiptMismatch, match="of job"):
        made.verify(data, job="00" * 32)


# -- simulation and hardware ----------------------------------------------------------------------


def test_receipt_of_a_simulated_run_never_verifies_by_default(made: HandmadeRun) -> None:
    with pytest.raises(AnchorMismatch, match="simulated run"):
        clf.verify(made.seal())
    with pytest.raises(AnchorMismatch, match="simulated run"):
        clf.verify(made.seal(), anchor=clf.TrustAnchor.intel())


def _as_dcap(made: HandmadeRun) -> bytes:
    """Say that it was hardware, in every place where the receipt's makers can say so."""
    statement = made.statement()
    predicate = statement["predicate"]
    predicate["mode"] = "dcap"
    predicate["owners"] = [made.proof(owner, mode="dcap") for owner in made.owners]
    return made.seal(statement)


def test_simulated_run_is_not_passed_off_as_dcap(made: HandmadeRun) -> None:
    with pytest.raises(AnchorMismatch, match="Intel SGX Root CA"):
        clf.verify(_as_dcap(made))
    with pytest.raises(AnchorMismatch, match="hardware, the anchor is that of a simulation"):
        made.verify(_as_dcap(made))


def test_mode_of_the_receipt_alone_is_not_believed(made: HandmadeRun) -> None:
    statement = made.statement()
    statement["predicate"]["mode"] = "dcap"
    with pytest.raises(BindingMismatch, match="mode"):
        clf.verify(made.seal(statement))


def test_another_simulation_is_another_root(made: HandmadeRun, tmp_path: Path) -> None:
    create_simulation(tmp_path / "tee")
    other = clf.TrustAnchor.insecure_simulation(tmp_path / "tee" / "anchor.pem")
    with pytest.raises(AnchorMismatch):
        made.verify(made.seal(), anchor=other)


def _real(vectors: Path) -> tuple[bytes, Collateral]:
    return (
        (vectors / "intel_sgx_quote.bin").read_bytes(),
        Collateral.from_file(vectors / "intel_sgx_collateral.json"),
    )


def test_quote_of_real_hardware_vouches_for_no_other_binding(
    made: HandmadeRun, vectors: Path
) -> None:
    quote, collateral = _real(vectors)
    made.granted_at = 1_751_000_000
    evidence = [Evidence(quote, made.binding(owner), collateral) for owner in made.owners]
    statement = made.statement()
    predicate = statement["predicate"]
    predicate["mode"] = "dcap"
    predicate["owners"] = [
        made.proof(owner, evidence=each, mode="dcap")
        for owner, each in zip(made.owners, evidence, strict=True)
    ]
    data = made.seal(statement)
    with pytest.raises(ReportDataMismatch):
        clf.verify(data)
    with pytest.raises(AnchorMismatch):
        made.verify(data)


def test_quote_of_real_hardware_is_refused_in_a_simulated_receipt(
    made: HandmadeRun, vectors: Path
) -> None:
    quote, collateral = _real(vectors)
    owner, *_ = made.owners
    statement = made.statement()
    real = Evidence(quote, made.binding(owner), collateral)
    statement["predicate"]["owners"][0] = made.proof(owner, evidence=real)
    with pytest.raises(AnchorMismatch):
        made.verify(made.seal(statement))


# -- owners ---------------------------------------------------------------------------------------


def test_missing_owner_is_named(made: HandmadeRun) -> None:
    statement = made.statement()
    missing = statement["predicate"]["owners"].pop()
    with pytest.raises(OwnersMismatch, match=missing["session"]["server"][:12]):
        made.verify(made.seal(statement))


def test_owners_are_exactly_those_of_the_job(made: HandmadeRun) -> None:
    first, second = (made.proof(owner) for owner in made.owners)
    stranger = made.proof(SigningKey.generate())
    for owners in ([first, second, stranger], [first, second, first], [second, first]):
        statement = made.statement()
        statement["predicate"]["owners"] = owners
        with pytest.raises(OwnersMismatch, match="in order"):
            made.verify(made.seal(statement))


def _with_first(made: HandmadeRun, proof: dict[str, Any]) -> bytes:
    statement = made.statement()
    statement["predicate"]["owners"][0] = proof
    return made.seal(statement)


def test_session_signed_by_somebody_else_is_refused(made: HandmadeRun) -> None:
    owner, other = made.owners
    for signer in (other, made.signing, SigningKey.generate()):
        with pytest.raises(ServerIdentityMismatch):
            made.verify(_with_first(made, made.proof(owner, signer=signer)))


def test_key_of_an_owner_is_the_one_that_the_job_pins(made: HandmadeRun) -> None:
    impostor = SigningKey.generate()
    proof = made.proof(made.owners[0], signer=impostor)
    proof["public_key"] = base64.b64encode(impostor.public_bytes).decode()
    with pytest.raises(ServerIdentityMismatch):
        made.verify(_with_first(made, proof))


@pytest.mark.parametrize(
    "change",
    [
        {"granted_at": 1},
        {"run": "00" * 16},
        {"job": "00" * 32},
        {"nonce": "00" * 32},
        {"binding": "00" * 64},
        {"access": "11" * 32},
        {"mode": "dcap"},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_session_changed_after_it_was_signed_is_refused(
    made: HandmadeRun, change: dict[str, Any]
) -> None:
    proof = made.proof(made.owners[0])
    proof["session"] |= change
    with pytest.raises(ServerIdentityMismatch):
        made.verify(_with_first(made, proof))


@pytest.mark.parametrize(
    "change",
    [
        {"run": "00" * 16},
        {"job": "00" * 32},
        {"mode": "dcap"},
        {"nonce": "00" * 32},
        {"binding": "00" * 64},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_session_that_the_owner_signed_for_something_else_is_refused(
    made: HandmadeRun, change: dict[str, Any]
) -> None:
    with pytest.raises(BindingMismatch):
        made.verify(_with_first(made, made.proof(made.owners[0], **change)))


# -- evidence -------------------------------------------------------------------------------------


def test_receipt_is_signed_by_the_key_that_every_quote_binds(made: HandmadeRun) -> None:
    with pytest.raises(BindingMismatch, match="another key"):
        made.verify(made.seal(key=SigningKey.generate()))
    for owner in range(2):
        statement = made.statement()
        other = made.binding(made.owners[owner], signing_key=SigningKey.generate().public_bytes)
        statement["predicate"]["owners"][owner] = made.proof(
            made.owners[owner], evidence=made.evidence(other)
        )
        with pytest.raises(BindingMismatch, match="another key"):
            made.verify(made.seal(statement))


def test_owners_gave_their_keys_to_the_same_enclave(made: HandmadeRun) -> None:
    owner = made.owners[0]
    other = made.binding(owner, hpke=PrivateKey.generate().public.to_document())
    with pytest.raises(BindingMismatch, match="different enclaves"):
        made.verify(_with_first(made, made.proof(owner, evidence=made.evidence(other))))


@pytest.mark.parametrize("field", ["run", "job", "server"])
def test_evidence_is_of_this_run_job_and_server(made: HandmadeRun, field: str) -> None:
    owner = made.owners[0]
    value = "00" * (16 if field == "run" else 32)
    evidence = made.evidence(made.binding(owner, **{field: value}))
    server = made.job.servers()[0]
    proof = made.proof(owner, evidence=evidence, server=server, inputs=[])
    with pytest.raises(BindingMismatch, match="another server, run or job"):
        made.verify(_with_first(made, proof))


def test_evidence_of_another_session_of_the_same_owner_is_refused(made: HandmadeRun) -> None:
    owner = made.owners[0]
    proof = made.proof(owner)
    proof["evidence"] = made.evidence(made.binding(owner)).to_json()
    with pytest.raises(BindingMismatch, match="other evidence"):
        made.verify(_with_first(made, proof))


def test_quote_of_another_binding_is_refused(made: HandmadeRun) -> None:
    owner = made.owners[0]
    first, second = (made.evidence(made.binding(owner)) for _ in range(2))
    swapped = replace(first, quote=second.quote)
    with pytest.raises(ReportDataMismatch):
        made.verify(_with_first(made, made.proof(owner, evidence=swapped)))


def test_trailing_bytes_of_a_quote_are_refused(made: HandmadeRun) -> None:
    owner = made.owners[0]
    evidence = made.evidence(made.binding(owner))
    longer = replace(evidence, quote=evidence.quote + b"\0")
    with pytest.raises(QuoteMalformed):
        made.verify(_with_first(made, made.proof(owner, evidence=longer)))


def test_forged_quote_is_refused(made: HandmadeRun) -> None:
    owner = made.owners[0]
    evidence = made.evidence(made.binding(owner))
    forged = bytearray(evidence.quote)
    forged[112] ^= 1  # MRENCLAVE
    with pytest.raises(QuoteUnverified):
        made.verify(
            _with_first(made, made.proof(owner, evidence=replace(evidence, quote=bytes(forged))))
        )


def test_debug_enclave_is_refused(made: HandmadeRun) -> None:
    owner = made.owners[0]
    evidence = made.evidence(made.binding(owner))
    quote = made.simulation.platform.quote(
        evidence.binding.report_data,
        mrenclave=MRENCLAVE,
        mrsigner=made.simulation.platform.mrsigner,
        isv_prod_id=1,
        isv_svn=1,
        debug=True,
    )
    with pytest.raises(DebugEnclave):
        made.verify(_with_first(made, made.proof(owner, evidence=replace(evidence, quote=quote))))


def test_collateral_must_be_inside(made: HandmadeRun) -> None:
    owner = made.owners[0]
    bare = replace(made.evidence(made.binding(owner)), collateral=None)
    with pytest.raises(CollateralUnavailable):
        made.verify(_with_first(made, made.proof(owner, evidence=bare)))
    proof = made.proof(owner)
    proof["evidence"]["collateral"] = {}
    with pytest.raises(CollateralMalformed):
        made.verify(_with_first(made, proof))


@pytest.mark.parametrize(
    ("granted_at", "error"),
    [(0, CollateralExpired), (253_402_300_799, CollateralExpired), (-1, Malformed)],
)
def test_quote_is_verified_for_the_time_that_the_owner_signed(
    made: HandmadeRun, granted_at: int, error: type[ClfError]
) -> None:
    proof = made.proof(made.owners[0], granted_at=granted_at)
    with pytest.raises(error):
        made.verify(_with_first(made, proof))


def test_receipt_holds_for_ever_though_its_collateral_expires(made: HandmadeRun) -> None:
    start, end = made.simulation.platform.collateral.window
    made.granted_at = end
    assert made.verify(made.seal()).owners[0].enclave.verified_at == end
    for outside in (start - DAY, end + DAY):
        made.granted_at = outside
        with pytest.raises(CollateralExpired):
            made.verify(made.seal())


# -- program --------------------------------------------------------------------------------------


def _by(made: HandmadeRun, mrenclave: str, *, whose: int = 2) -> dict[str, Any]:
    """Return a statement in which the first owners saw another program."""
    statement = made.statement()
    for number, owner in enumerate(made.owners[:whose]):
        evidence = made.evidence(made.binding(owner), mrenclave=mrenclave)
        statement["predicate"]["owners"][number] = made.proof(owner, evidence=evidence)
    return statement


def test_program_is_the_one_that_the_job_pins(made: HandmadeRun) -> None:
    statement = _by(made, "cd" * 32)
    statement["predicate"]["program"]["mrenclave"] = "cd" * 32
    data = made.seal(statement)
    with pytest.raises(MeasurementMismatch):
        made.verify(data)
    with pytest.raises(MeasurementMismatch, match="the job pins"):
        made.verify(data, policy=EnclavePolicy(mrenclave="cd" * 32))


def test_verifier_s_policy_narrows_what_the_job_pins(made: HandmadeRun) -> None:
    data = made.seal()
    assert made.verify(data, policy=EnclavePolicy(mrenclave=MRENCLAVE)).pinned_by == "verifier"
    assert "pinned by the verifier" in repr(
        made.verify(data, policy=EnclavePolicy(mrenclave=MRENCLAVE))
    )
    with pytest.raises(MeasurementMismatch, match="the policy pins"):
        made.verify(data, policy=EnclavePolicy(mrenclave="cd" * 32))


def test_all_quotes_show_the_program_that_the_receipt_names(made: HandmadeRun) -> None:
    signer = made.simulation.platform.mrsigner
    made.job = job_of(
        made.owners, enclave=allowed_enclave(mrsigner=signer, isv_prod_id=1, min_isv_svn=1)
    )
    assert made.verify(made.seal()).program.mrenclave == MRENCLAVE
    with pytest.raises(ReceiptInconsistent, match="another program"):
        made.verify(made.seal(_by(made, "cd" * 32, whose=1)))
    for name, value in (("mrenclave", "cd" * 32), ("mrsigner", "cd" * 32), ("isv_svn", 9)):
        statement = made.statement()
        statement["predicate"]["program"][name] = value
        with pytest.raises(ReceiptInconsistent, match="another program"):
            made.verify(made.seal(statement))


def _on_platform(made: HandmadeRun, **state: Any) -> bytes:
    """Return a receipt whose platform was in another state when the owners granted it."""
    collateral = made.simulation.platform.reissue(now=made.granted_at, **state)
    statement = made.statement()
    statement["predicate"]["owners"] = [
        made.proof(
            owner, evidence=replace(made.evidence(made.binding(owner)), collateral=collateral)
        )
        for owner in made.owners
    ]
    return made.seal(statement)


def test_platform_is_up_to_date_unless_the_verifier_says_otherwise(made: HandmadeRun) -> None:
    advisory = "INTEL-SA-00615"
    data = _on_platform(made, tcb_status="SWHardeningNeeded", advisories=(advisory,))
    with pytest.raises(TcbStatusRefused, match=advisory):
        made.verify(data)
    policy = EnclavePolicy(
        mrenclave=MRENCLAVE, tcb_statuses=frozenset({"UpToDate", "SWHardeningNeeded"})
    )
    receipt = made.verify(data, policy=policy)
    assert receipt.owners[0].enclave.tcb_status == "SWHardeningNeeded"
    assert f"SWHardeningNeeded, {advisory}" in receipt.summary()
    assert receipt.to_json()["owners"][0]["advisories"] == [advisory]


def test_revoked_platform_is_refused_whatever_the_verifier_says(made: HandmadeRun) -> None:
    for state in ({"tcb_status": "Revoked"}, {"revoke_pck": True}):
        with pytest.raises(PlatformRevoked):
            made.verify(
                _on_platform(made, **state),
                policy=EnclavePolicy(mrenclave=MRENCLAVE, tcb_statuses=frozenset(TCB_STATUSES)),
            )


# -- job, inputs and outputs ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job.update(purpose="another"),
        lambda job: job["operation"]["parameters"].update(confidence=0.9),
        lambda job: job["enclave"].update(mrenclave="cd" * 32),
    ],
)
def test_job_text_is_the_one_that_the_owners_signed_for(made: HandmadeRun, change: Change) -> None:
    statement = made.statement()
    change(statement["predicate"]["job"])
    with pytest.raises(BindingMismatch, match="another run, job or mode"):
        made.verify(made.seal(statement))


def test_owner_can_not_be_dropped_from_job_and_receipt_together(made: HandmadeRun) -> None:
    statement = made.statement()
    predicate = statement["predicate"]
    job = predicate["job"]
    for part in (job["inputs"], job["align"]["members"], predicate["owners"], predicate["inputs"]):
        part.pop()
    with pytest.raises(BindingMismatch):
        made.verify(made.seal(statement))


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: inputs[0].update(version="dd" * 32),
        lambda inputs: inputs[0].update(columns=["id"]),
        lambda inputs: inputs[0].update(columns=["x0", "id"]),
        lambda inputs: inputs[0].update(table="t9"),
        lambda inputs: inputs[0].update(server=inputs[1]["server"]),
        lambda inputs: inputs[0].update(name="t9"),
        lambda inputs: inputs.pop(),
        lambda inputs: inputs.append(inputs[0]),
        lambda inputs: inputs.reverse(),
    ],
)
def test_inputs_are_what_the_owners_granted(made: HandmadeRun, change: Change) -> None:
    statement = made.statement()
    change(statement["predicate"]["inputs"])
    with pytest.raises(ReceiptInconsistent):
        made.verify(made.seal(statement))


@pytest.mark.parametrize(
    "change",
    [
        {"version": "dd" * 32},
        {"columns": ["id"]},
        {"columns": ["id", "x0", "x1"]},
        {"table": "t9"},
        {"name": "t9"},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_owner_granted_what_the_job_asks_for(made: HandmadeRun, change: dict[str, Any]) -> None:
    owner = made.owners[0]
    granted = made.proof(owner)["session"]["inputs"][0] | change
    statement = made.statement()
    predicate = statement["predicate"]
    predicate["owners"][0] = made.proof(owner, inputs=[granted])
    with pytest.raises(ReceiptInconsistent, match="what the owners granted"):
        made.verify(made.seal(statement))
    predicate["inputs"][0] |= change
    with pytest.raises(ReceiptInconsistent):
        made.verify(made.seal(statement))


def test_owner_granted_nothing_beyond_the_job(made: HandmadeRun) -> None:
    owner = made.owners[0]
    granted = made.proof(owner)["session"]["inputs"]
    for more in (granted * 2, [*granted, granted[0] | {"name": "t9"}], []):
        statement = made.statement()
        statement["predicate"]["owners"][0] = made.proof(owner, inputs=more)
        with pytest.raises(ReceiptInconsistent, match="what the owners granted"):
            made.verify(made.seal(statement))


def _outputs(change: Callable[[list[dict[str, Any]]], Any]) -> Change:
    return lambda statement: change(statement["predicate"]["outputs"])


@pytest.mark.parametrize(
    "change",
    [
        _outputs(lambda outputs: outputs[0].update(version="dd" * 32)),
        _outputs(lambda outputs: outputs[0].update(name="other")),
        _outputs(lambda outputs: outputs.reverse()),
        _outputs(lambda outputs: outputs.pop()),
        _outputs(lambda outputs: outputs.append(outputs[0])),
        _outputs(lambda outputs: outputs[0]["recipients"].append("dd" * 32)),
        _outputs(lambda outputs: outputs[0].update(recipients=["dd" * 32])),
        lambda statement: statement["subject"].pop(),
        lambda statement: statement["subject"].reverse(),
        lambda statement: statement["subject"][0].update(name="other"),
        lambda statement: statement["subject"][0]["digest"].update(sha256="dd" * 32),
    ],
)
def test_outputs_are_the_statement_s_subjects_for_the_job_s_recipients(
    made: HandmadeRun, change: Change
) -> None:
    statement = made.statement()
    change(statement)
    with pytest.raises(ReceiptInconsistent):
        made.verify(made.seal(statement))


def test_output_named_twice_is_refused(made: HandmadeRun) -> None:
    made.versions.pop("fit")
    statement = made.statement()
    statement["predicate"]["outputs"] *= 2
    statement["subject"] *= 2
    with pytest.raises(ReceiptInconsistent, match="twice"):
        made.verify(made.seal(statement))


# -- rules ----------------------------------------------------------------------------------------


def _under(
    made: HandmadeRun, *, aligned_rows: int = 7, of_people: Sequence[str] = (), **rules: Any
) -> bytes:
    """Return a receipt whose program enforced other rules than owners demanded."""
    statement = made.statement()
    predicate = statement["predicate"]
    predicate["aligned_rows"] = aligned_rows
    predicate["disclosure"] = made.disclosure(*of_people, **rules)
    return made.seal(statement)


def test_rules_are_no_looser_than_those_of_any_owner(made: HandmadeRun) -> None:
    assert made.verify(_under(made, smallest_group=7)).disclosure.rules.smallest_group == 7
    assert made.verify(_under(made, release="review")).disclosure.rules.release == "review"
    recipient = made.job.recipients[0].digest
    for looser in ({"smallest_group": 4}, {"row_level": [recipient]}):
        with pytest.raises(ReceiptInconsistent, match="looser"):
            made.verify(_under(made, **looser))
    statement = made.statement()
    demanding = RULES | {"release": "review"}
    statement["predicate"]["owners"][1] = made.proof(made.owners[1], rules=demanding)
    with pytest.raises(ReceiptInconsistent, match="looser"):
        made.verify(made.seal(statement))


def test_outputs_speak_of_as_many_people_as_the_rules_demand(made: HandmadeRun) -> None:
    assert made.verify(_under(made, aligned_rows=5)).aligned_rows == 5
    with pytest.raises(ReceiptInconsistent, match="fewer people"):
        made.verify(_under(made, aligned_rows=4))


def test_rows_of_people_went_to_those_whom_every_owner_allows(made: HandmadeRun) -> None:
    with pytest.raises(ReceiptInconsistent, match="'fit' went to others"):
        made.verify(_under(made, of_people=["fit"]))
    with pytest.raises(ReceiptInconsistent, match="another output"):
        made.verify(_under(made, of_people=["other"]))
    allowed = RULES | {"row_level": [made.job.recipients[0].digest]}
    statement = made.statement()
    predicate = statement["predicate"]
    predicate["owners"] = [made.proof(owner, rules=allowed) for owner in made.owners]
    predicate["disclosure"] = made.disclosure("fit", **allowed)
    receipt = made.verify(made.seal(statement))
    assert receipt.disclosure.row_level == ["fit"]
    assert "rows of single people in fit" in receipt.summary()


# -- row filters ----------------------------------------------------------------------------------


def test_filtered_input_names_the_version_that_it_was_made_from(made: HandmadeRun) -> None:
    owner = made.owners[0]
    statement = made.statement()
    predicate = statement["predicate"]
    granted = made.session(made.evidence(made.binding(owner)))["inputs"][0]
    filtered = {"version": "dd" * 32, "source": granted["version"]}
    predicate["owners"][0] = made.proof(owner, inputs=[granted | filtered])
    with pytest.raises(ReceiptInconsistent, match="what the owners granted"):
        made.verify(made.seal(statement))
    predicate["inputs"][0] |= filtered
    receipt = made.verify(made.seal(statement))
    assert (receipt.inputs[0].version, receipt.inputs[0].source) == tuple(filtered.values())
    assert f"filtered from {granted['version']}" in receipt.summary()
    predicate["inputs"][0]["source"] = "ee" * 32
    with pytest.raises(ReceiptInconsistent):
        made.verify(made.seal(statement))


# -- forgeries ------------------------------------------------------------------------------------


def test_true_sessions_do_not_lend_themselves_to_another_receipt(made: HandmadeRun) -> None:
    """Whoever holds a receipt has all its proofs, and can not make another one of them."""
    statement = made.statement()
    statement["predicate"]["aligned_rows"] = 8
    with pytest.raises(BindingMismatch, match="another key"):
        made.verify(made.seal(statement, key=SigningKey.generate()))


def test_proofs_of_one_run_are_none_of_another_run_of_the_same_job(simulation: Simulation) -> None:
    owners = owner_keys(2)
    first = HandmadeRun(simulation, owners=owners)
    second = HandmadeRun(simulation, owners=owners)
    second.job = first.job
    statement = second.statement()
    statement["predicate"]["owners"] = first.statement()["predicate"]["owners"]
    with pytest.raises(BindingMismatch):
        second.verify(second.seal(statement))


def test_evidence_that_can_not_be_read_is_malformed(made: HandmadeRun) -> None:
    proof = made.proof(made.owners[0])
    proof["evidence"]["quote"] = "?"
    with pytest.raises(Malformed):
        made.verify(_with_first(made, proof))
