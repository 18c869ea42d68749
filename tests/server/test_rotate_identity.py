"""Servers that change their identity, and what pins the one before (docs/protocol.md §2.2)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from click.testing import CliRunner

import clf_sdk as clf
import clf_testing
from clf_sdk._succession import with_identity
from clf_sdk.audit import Checkpoint, RemoteLog, verify_export
from clf_sdk.errors import (
    BindingMismatch,
    Conflict,
    InvalidInput,
    ServerIdentityMismatch,
    SignatureInvalid,
)
from clf_sdk.keys import SigningKey, server_id, verify_signature
from clf_sdk.protocol import (
    ACCEPTANCE_SIGNATURE,
    SESSION_SIGNATURE,
    SUCCESSION_SIGNATURE,
    Profile,
    ServerInfo,
    SignedSuccession,
    Succession,
)
from clf_server import _state
from clf_server._cli import server as server_commands
from clf_server._rotate_identity import retire_due, rotate_identity
from clf_server._state import load_state
from clf_testing import (
    Exchange,
    HandmadeEnclave,
    LocalServer,
    Owner,
    Simulation,
    execute,
    job_input,
    make_job,
)

pytestmark = pytest.mark.same_directory

DAY = 86400


def rotate(local: LocalServer, *, days: int = 30) -> Succession:
    return rotate_identity(local.directory, overlap_days=days, clock=local.clock)


def identity_files(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("identity*.key")}


# -- sessions, jobs, log -------------------------------------------------------------------------


def test_both_identities_are_offered_until_the_end_of_the_overlap(
    local: LocalServer, enclave: HandmadeEnclave, simulation: Simulation
) -> None:
    old = local.state.identity
    assert enclave.open().session.server == server_id(old.public_bytes)
    succession = rotate(local)  # the server runs on
    new = local.state.identity
    assert (succession.server, succession.successor) == (
        server_id(old.public_bytes),
        server_id(new.public_bytes),
    )

    # The approved job pins the old identity: its runs go on under the old key, and only that.
    asked = {"server": succession.server}
    challenge = local.control.post("/v1/challenges", json=asked).json()
    assert challenge["server"] == succession.server
    binding = enclave.binding(challenge["nonce"], server=succession.server)
    body = {"evidence": enclave.evidence(binding), "job": enclave.job.to_json()}
    answer = local.control.post("/v1/sessions", json=body)
    assert answer.status_code == 200, answer.text
    session, signature = answer.json()["session"], answer.json()["signature"]
    assert session["server"] == succession.server
    verify_signature(old.public_bytes, SESSION_SIGNATURE, session, _raw(signature))

    # New jobs pin the new one.
    job = make_job([job_input(succession.successor, "plans")])
    fresh = HandmadeEnclave(simulation, local, job).open()
    verify_signature(new.public_bytes, SESSION_SIGNATURE, fresh.session.to_json(), fresh.signature)

    # When the overlap ends, so does the old one, whatever is known to whom.
    local.clock.now += 30 * DAY
    binding = enclave.binding(enclave.challenge(), server=succession.server)
    body = {"evidence": enclave.evidence(binding), "job": enclave.job.to_json()}
    refused = local.control.post("/v1/sessions", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, BindingMismatch.code)
    assert "submitted anew" in refused.json()["hint"]
    assert local.control.post("/v1/challenges", json=asked).json()["server"] == succession.successor
    retire_due(local.state.identities, local.state.audit, now=local.state.now())
    assert len(identity_files(local.directory)) == 1
    assert "identity.key" not in identity_files(local.directory)
    assert local.audited()[-1].event == "identity.retired"


def _raw(text: str) -> bytes:
    import base64  # noqa: PLC0415

    return base64.b64decode(text)


def test_evidence_for_one_identity_opens_no_session_of_the_other(
    local: LocalServer, enclave: HandmadeEnclave
) -> None:
    succession = rotate(local)
    binding = enclave.binding(enclave.challenge(), server=succession.successor)
    body = {"evidence": enclave.evidence(binding), "job": enclave.job.to_json()}
    answer = local.control.post("/v1/sessions", json=body)  # the job pins the old one
    assert (answer.status_code, answer.json()["code"]) == (403, "binding_mismatch")


def test_job_may_not_name_a_server_by_two_of_its_identities_nor_by_a_former_one(
    local: LocalServer, shared: dict[str, Any]
) -> None:
    assert shared
    succession = rotate(local)
    old, new = (job_input(each, "plans") for each in (succession.server, succession.successor))
    both = make_job([old, new.model_copy(update={"name": "again"})])
    answer = local.submit(both)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_job")
    assert "two of its identities" in answer.json()["detail"]
    assert local.submit(make_job([old])).status_code == 200  # during the overlap
    rotate(local, days=0)  # ends the overlap
    answer = local.submit(make_job([old], operation="other"))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_job")
    assert "gave up" in answer.json()["detail"]


def test_log_goes_on_as_one_tree_signed_by_the_successor(local: LocalServer) -> None:
    old = local.state.identity
    before = local.state.audit.checkpoint()
    succession = rotate(local)
    entry = local.audited()[-1]
    assert (entry.event, entry.details) == (
        "identity.succeeded",
        {
            "server": succession.server,
            "successor": succession.successor,
            "ends_at": succession.ends_at,
        },
    )
    after = local.state.audit.checkpoint()
    assert (before.server, after.server) == (succession.server, succession.successor)
    assert after.size == before.size + 1
    Checkpoint.verify(before.note, public_key=old.public_bytes)
    local.state.audit.append("server.paused", {})  # the server that runs goes on under the new key
    local.close()
    local.restart()
    assert local.state.audit.checkpoint().size == after.size + 1


def test_one_rotation_at_a_time_and_its_end_by_hand(local: LocalServer) -> None:
    rotate(local)
    with pytest.raises(Conflict, match="has not ended"):
        rotate(local)
    for days in (-1, 366):
        with pytest.raises(InvalidInput):
            rotate(local, days=days)
    local.clock.now += 30 * DAY
    rotate(local)
    assert len(identity_files(local.directory)) == 2


def test_stolen_key_ends_at_once_and_names_no_successor(
    local: LocalServer, enclave: HandmadeEnclave
) -> None:
    succession = rotate(local, days=0)
    info = ServerInfo.parse(local.control.get("/v1/info").json())
    assert (info.server, info.succession) == (succession.successor, None)
    assert len(identity_files(local.directory)) == 1
    binding = enclave.binding(enclave.challenge(), server=succession.server)
    body = {"evidence": enclave.evidence(binding), "job": enclave.job.to_json()}
    assert local.control.post("/v1/sessions", json=body).json()["code"] == "binding_mismatch"


@pytest.mark.embedded("copies the files of one server at each step")
@pytest.mark.parametrize("action", ["rotate-identity", "end-identity"])
def test_rotation_killed_at_any_step_leaves_one_present_identity_and_a_whole_log(
    local: LocalServer, action: str
) -> None:
    local.close()
    first = local.profile("owner").server
    memory = Path("/dev/shm")  # noqa: S108 - a private folder of a random name is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        copies = Path(folder) / "copies"
        support = str(Path(clf_testing.__path__[0]).parent)
        killed = int(
            subprocess.run(
                [sys.executable, "-m", "clf_testing._dying_keys", action, local.directory, copies],
                env=os.environ | {"PYTHONPATH": support + ":" + os.environ.get("PYTHONPATH", "")},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout
        )
        assert killed >= 8
        seen = set()
        for number in range(1, killed + 2):
            copy = copies / str(number)
            with mock.patch.object(_state, "_lock"):
                state = load_state(copy)  # checks the log, and that the present key is there
            changed = state.server_id != first
            events = [json.loads(entry)["event"] for entry in state.audit.entries(0, 10)]
            assert ("identity.succeeded" in events) is changed, number
            state.metadata.close()
            done = rotate_identity(copy, overlap_days=0)
            assert done.server != done.successor
            assert len(identity_files(copy)) == 1, number
            seen.add(changed)
            shutil.rmtree(copy)
        assert seen == {False, True}


# -- what clients follow -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys() -> tuple[SigningKey, SigningKey]:
    return SigningKey.generate(), SigningKey.generate()


def succession_of(old: SigningKey, new: SigningKey, **changes: Any) -> Succession:
    fields: dict[str, Any] = {
        "clf": 1,
        "type": "succession",
        "server": server_id(old.public_bytes),
        "public_key": old.public_bytes,
        "successor": server_id(new.public_bytes),
        "successor_key": new.public_bytes,
        "issued_at": 0,
        "ends_at": 100,
    }
    return Succession(**(fields | changes))


def sign(succession: Succession, old: SigningKey, new: SigningKey) -> SignedSuccession:
    return SignedSuccession(
        succession=succession,
        signature=old.sign(SUCCESSION_SIGNATURE, succession.to_json()),
        acceptance=new.sign(ACCEPTANCE_SIGNATURE, succession.to_json()),
    )


def follow(
    clinic: Owner, old: SigningKey, shown: SigningKey, signed: SignedSuccession | None, now: float
) -> Profile:
    profile = clinic.owner.model_copy(update={"server": server_id(old.public_bytes)})
    info = mock.Mock(
        server=server_id(shown.public_bytes), public_key=shown.public_bytes, succession=signed
    )
    return with_identity(profile, info, now=now)


def test_profile_follows_what_both_keys_signed(
    clinic: Owner, keys: tuple[SigningKey, SigningKey]
) -> None:
    old, new = keys
    signed = sign(succession_of(old, new), old, new)
    followed = follow(clinic, old, new, signed, 99)
    assert (followed.server, followed.successions) == (server_id(new.public_bytes), [signed])
    assert Profile.parse(json.loads(json.dumps(followed.to_json()))) == followed


def test_profile_follows_nothing_else(clinic: Owner, keys: tuple[SigningKey, SigningKey]) -> None:
    old, new = keys
    mallory = SigningKey.generate()
    wrong = {
        "none": None,
        "signed by a stranger": sign(succession_of(old, new), mallory, new),
        "not accepted": sign(succession_of(old, new), old, mallory),
        "of another server": sign(succession_of(mallory, new), mallory, new),
        "to another server": sign(succession_of(old, mallory), old, mallory),
        "under another key": sign(
            succession_of(old, new, public_key=mallory.public_bytes), mallory, new
        ),
        "signatures swapped": sign(succession_of(old, new), new, old),
    }
    for signed in wrong.values():
        with pytest.raises(ServerIdentityMismatch):
            follow(clinic, old, new, signed, 50)
    with pytest.raises(ServerIdentityMismatch, match="is over"):
        follow(clinic, old, new, sign(succession_of(old, new), old, new), 100)
    stretched = sign(succession_of(old, new), old, new)
    longer = stretched.model_copy(update={"succession": succession_of(old, new, ends_at=10**9)})
    with pytest.raises(ServerIdentityMismatch):
        follow(clinic, old, new, longer, 100)


def test_impostor_with_the_tls_key_makes_himself_no_successor(
    clinic: Owner, tmp_path: Path
) -> None:
    file, mallory = tmp_path / "owner.json", SigningKey.generate()
    clinic.process.owner.save(file)
    kept = file.read_bytes()
    stranger = SigningKey.generate()
    forged = sign(
        succession_of(stranger, mallory, server=clinic.server, ends_at=2**40), stranger, mallory
    )

    def impersonate(exchange: Exchange) -> None:
        info = json.loads(exchange.answer)
        info["server"] = server_id(mallory.public_bytes)
        info["public_key"] = forged.succession.to_json()["successor_key"]
        info["succession"] = forged.to_json()
        exchange.answer = json.dumps(info).encode()

    with clinic.control.attacked(after=impersonate), pytest.raises(ServerIdentityMismatch):
        clf.connect(file)
    assert file.read_bytes() == kept


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_job_profile_log_and_receipt_live_through_a_rotation(
    make_owner: Callable[..., Owner],
    simulation: Simulation,
    numbers: pa.Table,
    policy: clf.Policy,
    state_home: Path,
) -> None:
    owner = make_owner("succeeding")
    stale, file = owner.owner, state_home / "owner.json"
    stale.save(file)
    connection = clf.connect(file)
    clf.share(numbers, name="t", policy=policy, to=connection, progress=False)
    connection.audit()  # the log is known from before
    log = RemoteLog(connection.http, connection.server)
    before = log.export(state_home / "before.jsonl")
    job = make_job([job_input(connection.server, "t")])
    first = execute(job, connection.endpoints, simulation.provider(), agreed=[owner])
    connection.close()

    done = CliRunner().invoke(
        server_commands, ["rotate-identity", str(owner.directory), "--overlap-days", "30"]
    )
    assert done.exit_code == 0, done.output

    # The profile follows, knows both identities, and demands that the log it saw goes on.
    connection = clf.connect(file)
    assert connection.server != stale.server
    assert connection.known_as == (connection.server, stale.server)
    assert Profile.load(file).server == connection.server
    assert "identity.succeeded" in list(connection.audit()["event"])
    with pytest.raises(SignatureInvalid):  # who did not follow can't tell
        RemoteLog(connection.http, connection.server).verify(against=state_home / "before.jsonl")
    log = RemoteLog(connection.http, connection.server, connection.profile.successions)
    assert log.verify(against=state_home / "before.jsonl").checkpoint.size > before.checkpoint.size
    log.export(state_home / "after.jsonl")
    for server in (None, stale.server, connection.server):
        verify_export(
            state_home / "after.jsonl", server=server, against=state_home / "before.jsonl"
        )
    with pytest.raises(ServerIdentityMismatch):
        verify_export(state_home / "after.jsonl", server="00" * 32)
    tampered = (state_home / "after.jsonl").read_bytes().replace(b'"issued_at":1', b'"issued_at":2')
    (state_home / "after.jsonl").write_bytes(tampered)
    with pytest.raises(ServerIdentityMismatch):
        verify_export(state_home / "after.jsonl")

    # The job that pins the old identity runs on, and its receipts prove what they proved.
    second = execute(job, connection.endpoints, simulation.provider())
    anchor = clf.TrustAnchor.insecure_simulation(simulation.anchor)
    for run in (first.run, second.run):
        receipt = clf.verify(connection.receipt(run), anchor=anchor, run=run)
        assert receipt.job.servers() == [stale.server]

    # A job that pins the new one is another job.
    fresh = make_job([job_input(connection.server, "t")])
    assert fresh.digest != job.digest
    execute(fresh, connection.endpoints, simulation.provider(), agreed=[owner])

    # When the overlap is ended, who did not follow needs a new profile.
    done = CliRunner().invoke(server_commands, ["rotate-identity", str(owner.directory), "--now"])
    assert done.exit_code == 0, done.output
    time.sleep(0.1)
    for profile in (stale, file):
        with pytest.raises(ServerIdentityMismatch):
            clf.connect(profile)
    connection.close()
