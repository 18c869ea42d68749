"""The enclave believes a signed answer only as far as it is what the job asks."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave import _session
from clf_enclave._session import OpenSession, RunIdentity, open_session
from clf_sdk.attestation import SimulatedProvider
from clf_sdk.errors import (
    BindingMismatch,
    ClfError,
    CollateralMalformed,
    FormatTooNew,
    Malformed,
    SealBroken,
    ServerIdentityMismatch,
)
from clf_sdk.keys import PrivateKey, PublicKey, SigningKey
from clf_sdk.protocol import (
    SESSION_SIGNATURE,
    Endpoint,
    JobDocument,
    digest,
    error_from_problem,
    session_keys_info,
)
from clf_testing import LocalServer, Simulation, job_input, make_job

Change = Callable[[dict[str, Any]], None]


def _nothing(_document: dict[str, Any]) -> None:
    """Leave a document as it is."""


@dataclass
class Dishonest:
    """An owner's own server, which signs whatever it likes."""

    server: LocalServer
    challenge: Change = _nothing
    session: Change = _nothing
    keys: Change = _nothing
    answer: Change = _nothing
    evidence: list[dict[str, Any]] = field(default_factory=list)

    @contextlib.contextmanager
    def channel(self, _endpoint: Endpoint) -> Iterator[Dishonest]:
        yield self

    def post_json(self, path: str, body: bytes) -> Any:
        answer = self.server.control.post(
            path, content=body, headers={"content-type": "application/json"}
        )
        if answer.status_code != 200:
            raise error_from_problem(answer.status_code, answer.content)
        document: dict[str, Any] = answer.json()
        if path == "/v1/challenges":
            self.challenge(document)
            return document
        request = json.loads(body)
        self.evidence.append(request["evidence"])
        return self._signed(document, request)

    def _signed(self, answer: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
        binding = request["evidence"]["binding"]
        state = self.server.state
        session, access = answer["session"], answer["access"]
        if self.keys is not _nothing:
            keys: dict[str, Any] = {
                "inputs": {"plans": _released(self.server, session)},
                "secrets": {},
                "memory": base64.b64encode(bytes(32)).decode(),
            }
            self.keys(keys)
            info = session_keys_info(
                binding=session["binding"], server=session["server"], session=session["session"]
            )
            plaintext = json.dumps(keys).encode()
            access["keys"] = PublicKey.from_document(binding["hpke"]).seal(plaintext, info=info)
            session["access"] = digest(access)
        self.session(session)
        signature = state.identity.sign(SESSION_SIGNATURE, session)
        answer["signature"] = base64.b64encode(signature).decode()
        self.answer(answer)
        return answer


def _released(_server: LocalServer, session: dict[str, Any]) -> dict[str, Any]:
    key = base64.b64encode(bytes(32)).decode()
    (granted,) = session["inputs"]
    return {"manifest_key": key, "columns": dict.fromkeys(granted["columns"], key)}


@pytest.fixture
def server(local: LocalServer, numbers: pa.Table, policy: clf.Policy) -> LocalServer:
    local.upload("plans", numbers, policy)
    return local


@pytest.fixture
def dishonest(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Dishonest:
    made = Dishonest(server)
    monkeypatch.setattr(_session, "control_channel", made.channel)
    return made


@pytest.fixture
def ask(dishonest: Dishonest, simulation: Simulation) -> Callable[..., OpenSession]:
    def open_with(*, asks: dict[str, Any] | None = None, **changes: Any) -> OpenSession:
        server = dishonest.server.server_id
        job: JobDocument = make_job([job_input(server, "plans", **changes)], **(asks or {}))
        dishonest.server.agree(job)
        identity = RunIdentity(
            run=secrets.token_hex(16),
            job=job,
            hpke=PrivateKey.generate(),
            signing=SigningKey.generate(),
            provider=simulation.provider(),
        )
        return open_session(identity, Endpoint(server=server, url="https://localhost", ca=""))

    return open_with


def test_honest_answer_opens(ask: Callable[..., OpenSession]) -> None:
    session = ask(columns=["id", "y"])
    assert set(session.keys["plans"].columns) == {"id", "y"}
    for secret in (session.access.blobs.ticket, session.access.results.ticket):
        assert secret not in repr(session)
        assert secret.encode() not in session.session.canonical()
    assert len(repr(session)) < 100


def test_keys_are_not_those_of_the_repr(ask: Callable[..., OpenSession]) -> None:
    session = ask()
    for key in session.keys["plans"].columns.values():
        assert repr(key) not in repr(session)


def test_another_server_at_the_address_is_told_nothing(
    dishonest: Dishonest, ask: Callable[..., OpenSession]
) -> None:
    impostor = SigningKey.generate().public_bytes
    for change in (
        lambda c: c.update(server="00" * 32),
        lambda c: c.update(public_key=base64.b64encode(impostor).decode()),
        lambda c: c.update(public_key=""),
    ):
        dishonest.challenge = change
        with pytest.raises(ServerIdentityMismatch, match="not the one that the job pins"):
            ask()
    assert dishonest.evidence == []


@pytest.mark.parametrize("change", [{"nonce": "00"}, {"nonce": 7}, {"more": 1}, {"nonce": None}])
def test_challenge_that_is_none_is_malformed(
    dishonest: Dishonest, ask: Callable[..., OpenSession], change: dict[str, Any]
) -> None:
    dishonest.challenge = lambda document: document.update(change)
    with pytest.raises(Malformed):
        ask()


def test_nonce_of_somebody_else_is_refused_by_the_server(
    dishonest: Dishonest, ask: Callable[..., OpenSession]
) -> None:
    dishonest.challenge = lambda document: document.update(nonce="ab" * 32)
    with pytest.raises(ClfError) as caught:
        ask()
    assert caught.value.code == "nonce_refused"


def test_answer_signed_by_another_key_is_refused(
    dishonest: Dishonest, ask: Callable[..., OpenSession]
) -> None:
    def sign(answer: dict[str, Any]) -> None:
        signature = SigningKey.generate().sign(SESSION_SIGNATURE, answer["session"])
        answer["signature"] = base64.b64encode(signature).decode()

    dishonest.answer = sign
    with pytest.raises(ServerIdentityMismatch, match="not signed"):
        ask()


def test_signature_of_another_domain_is_refused(
    dishonest: Dishonest, ask: Callable[..., OpenSession]
) -> None:
    def sign(answer: dict[str, Any]) -> None:
        signature = dishonest.server.state.identity.sign("result", answer["session"])
        answer["signature"] = base64.b64encode(signature).decode()

    dishonest.answer = sign
    with pytest.raises(ServerIdentityMismatch):
        ask()


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "00" * 32},
        {"run": "00" * 16},
        {"job": "00" * 32},
        {"binding": "00" * 64},
        {"server": "00" * 32},
        {"mode": "dcap"},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_signed_answer_for_something_else_is_refused(
    dishonest: Dishonest, ask: Callable[..., OpenSession], change: dict[str, Any]
) -> None:
    dishonest.session = lambda session: session.update(change)
    with pytest.raises(BindingMismatch):
        ask()


@pytest.mark.parametrize("part", ["keys", "blobs", "results"])
def test_keys_and_tickets_are_those_that_the_session_commits_to(
    dishonest: Dishonest, ask: Callable[..., OpenSession], part: str
) -> None:
    other = {"suite": "?", "ticket": "?", "url": "http://127.0.0.1:1"}

    def swap(answer: dict[str, Any]) -> None:
        known = answer["access"][part]
        known.update({name: other[name] for name in other.keys() & known.keys()})

    dishonest.answer = swap
    with pytest.raises(ServerIdentityMismatch, match="other keys and tickets"):
        ask()


def test_collateral_comes_from_the_server_when_the_enclave_has_none(
    dishonest: Dishonest,
    ask: Callable[..., OpenSession],
    simulation: Simulation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = dishonest.server
    with (server.directory / "clf_server.conf").open("a") as conf:
        conf.write(f"collateral_file = {simulation.directory / 'collateral.json'}\n")
    server.close()
    server.restart()
    monkeypatch.setattr(SimulatedProvider, "collateral", lambda _self: None)
    assert ask().evidence.collateral == simulation.platform.collateral
    assert dishonest.evidence[-1]["collateral"] is None
    dishonest.answer = lambda answer: answer.update(collateral=None)
    with pytest.raises(Malformed, match="collateral"):
        ask()
    dishonest.answer = lambda answer: answer.update(collateral={})
    with pytest.raises(CollateralMalformed):
        ask()


def test_keys_of_another_session_do_not_open(
    dishonest: Dishonest, ask: Callable[..., OpenSession]
) -> None:
    dishonest.session = lambda session: session.update(session="00" * 16)
    with pytest.raises(SealBroken):
        ask()


def _input(**change: Any) -> Change:
    return lambda session: session["inputs"][0].update(change)


@pytest.mark.parametrize(
    "change",
    [
        _input(table="other"),
        _input(name="other"),
        _input(version="00" * 32),
        _input(columns=["id", "x"]),
        _input(columns=["y", "id"]),
        _input(columns=["id", "y", "x"]),
        lambda session: session["inputs"].clear(),
        lambda session: session["inputs"].append(dict(session["inputs"][0], name="more")),
    ],
    ids=["table", "name", "version", "columns", "order", "more-columns", "none", "more"],
)
def test_grant_of_other_tables_versions_or_columns_is_refused(
    dishonest: Dishonest, ask: Callable[..., OpenSession], change: Change
) -> None:
    version = dishonest.server.state.metadata.table("plans").current.version
    dishonest.session = change
    with pytest.raises(BindingMismatch, match="granted"):
        ask(version=version, columns=["id", "y"])


@pytest.mark.parametrize(
    "change",
    [
        lambda keys: keys["inputs"]["plans"]["columns"].pop("y"),
        lambda keys: keys["inputs"]["plans"]["columns"].update(x=base64.b64encode(b"k").decode()),
        lambda keys: keys["inputs"].update(other=keys["inputs"]["plans"]),
        lambda keys: keys["inputs"].clear(),
    ],
    ids=["missing", "extra", "other-input", "none"],
)
def test_column_keys_that_are_missing_or_were_not_asked_for_are_refused(
    dishonest: Dishonest, ask: Callable[..., OpenSession], change: Change
) -> None:
    dishonest.keys = change
    with pytest.raises(BindingMismatch, match="granted"):
        ask(columns=["id", "y"])


def test_keys_that_are_no_keys_document_are_malformed(
    dishonest: Dishonest, ask: Callable[..., OpenSession]
) -> None:
    dishonest.keys = lambda keys: keys.update(more=1)
    with pytest.raises(Malformed):
        ask()


def test_session_of_a_later_version_is_too_new(
    dishonest: Dishonest, ask: Callable[..., OpenSession]
) -> None:
    dishonest.session = lambda session: session.update(clf=2)
    with pytest.raises(FormatTooNew):
        ask()


@pytest.mark.parametrize("taken", [1, 499_999, 500_001])
def test_server_that_takes_another_part_of_the_budget_is_refused(
    dishonest: Dishonest, ask: Callable[..., OpenSession], simulation: Simulation, taken: int
) -> None:
    policy = simulation.policy_with(operations=["private_statistics"], privacy_budget=2.0)
    assert dishonest.server.set_policy("plans", policy, widen=True).status_code == 200
    asked = clf.PrivateStatistics(statistics=[clf.private.count(epsilon=0.5)])
    noised = {"operation": asked.operation, "parameters": asked.to_json()}
    ask(asks=noised)

    def lie(session: dict[str, Any]) -> None:
        session["inputs"][0]["epsilon_millionths"] = taken

    dishonest.session = lie
    with pytest.raises(BindingMismatch, match="privacy budget"):
        ask(asks=noised)
