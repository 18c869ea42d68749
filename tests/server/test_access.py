"""Attacks on access tokens (docs/protocol.md §11.5)."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import Depends, FastAPI, Request
from starlette.testclient import TestClient

import clf_sdk as clf
from clf_sdk.errors import TokenRefused
from clf_sdk.protocol import Profile
from clf_server._access import Principal, admit, person
from clf_server._administration import Administration
from clf_server._attempts import BURST, SECONDS_EACH
from clf_server._rotate_identity import rotate_identity
from clf_server._tokens import StoredToken
from clf_testing import LocalServer, the_analyst

Refused = Callable[[Any], tuple[int, str]]
DAY = 86400


@pytest.fixture
def administration(local: LocalServer) -> Iterator[Administration]:
    with Administration(local.directory, clock=local.clock) as administration:
        yield administration


def ask(local: LocalServer, token: str, *, client: str = "192.0.2.1") -> httpx.Response:
    """Ask for the tables with a token, from an address."""
    control = TestClient(local.app, base_url="https://localhost", client=(client, 50000))
    answer: httpx.Response = control.get("/v1/tables", headers={"Authorization": f"Bearer {token}"})
    return answer


def guess(local: LocalServer, *, client: str = "192.0.2.1") -> httpx.Response:
    return ask(local, secrets.token_urlsafe(32), client=client)


def detail(answer: httpx.Response) -> str:
    text: str = answer.json()["detail"]
    return text


def refusals(local: LocalServer) -> list[dict[str, Any]]:
    """Details of the entries on refused tokens in the audit log."""
    return [entry.details for entry in local.audited() if entry.event == "token.refused"]


# -- who is admitted ------------------------------------------------------------------------


@pytest.mark.parametrize("rotated", [False, True])
def test_token_written_into_the_database_admits_nobody(
    local: LocalServer,
    administration: Administration,
    rotated: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    analyst, owner = (local.profile(label).token for label in ("analyst", "owner"))
    path = administration.create_token("owner", days=1, label="left")
    left = Profile.load(path).token
    found = local.state.tokens.find(left)
    assert found is not None
    administration.revoke_token(found.id)
    planted = secrets.token_urlsafe(32)
    digest = hashlib.sha256(planted.encode()).hexdigest()
    local.sql(
        "INSERT INTO tokens SELECT 'feedfeedfeed', ?, role, 'me', analyst, created_at, expires_at, "
        "NULL, signature FROM tokens WHERE label = 'owner'",
        digest,
    )
    local.sql("UPDATE tokens SET role = 'owner', analyst = NULL WHERE label = 'analyst'")
    local.sql("UPDATE tokens SET revoked_at = NULL WHERE label = 'left'")
    if rotated:  # which signs the tokens that were good, and no others
        rotate_identity(local.directory, overlap_days=1, clock=local.clock)
    for token in (planted, analyst, left):
        answer = ask(local, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_refused")
        assert "not one that this server has issued" in detail(answer)
    assert ask(local, owner).status_code == 200
    assert [entry["token"] for entry in refusals(local)][:1] == ["feedfeedfeed"]


def test_route_gets_the_principal(local: LocalServer) -> None:
    app, seen = FastAPI(), []
    known = Depends(person(local.state, "analyst"))

    @app.get("/who")
    def who(request: Request, principal: Principal = known) -> None:
        assert request.state.principal is principal
        seen.append(principal)

    TestClient(app).get("/who", headers=local.bearer("analyst"))
    (principal,) = seen
    assert (principal.role, principal.label) == ("analyst", "analyst")
    assert principal.analyst == the_analyst().id == local.profile("analyst").analyst
    known_analyst = local.state.analysts.find(the_analyst().id)
    assert known_analyst is not None
    assert known_analyst.identity == the_analyst().public


def test_every_route_of_people_asks_for_a_token(local: LocalServer, refused: Refused) -> None:
    asked = 0
    for path, methods in local.control.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            if set(operation["tags"]) <= {"owner", "analyst"}:
                answer = local.control.request(method.upper(), re.sub("{.*?}", "x", path))
                assert refused(answer) == (401, "token_refused"), (method, path)
                asked += 1
    assert asked >= 7


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Basic YTpi", "CLF-Ticket x", "bearer", "Token x"]
)
def test_request_without_a_token_is_refused_and_is_no_guess(
    local: LocalServer, refused: Refused, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    if header in ("Bearer", "bearer"):
        headers["Authorization"] += " "
    for _ in range(BURST - 1):
        assert refused(local.control.get("/v1/tables", headers=headers)) == (401, "token_refused")
    assert local.control.get("/v1/tables", headers=local.bearer()).status_code == 200


# -- expired, revoked, of another role -------------------------------------------------------


def test_token_expires_by_the_server_s_clock(local: LocalServer, refused: Refused) -> None:
    profile = local.profile("owner")
    local.clock.now = profile.expires_at - 1
    assert ask(local, profile.token).status_code == 200
    local.clock.now = profile.expires_at
    answer = ask(local, profile.token)
    assert refused(answer) == (401, "token_refused")
    assert "expired" in detail(answer)


def test_revoked_token_ends_with_the_next_request_and_no_other_does(
    local: LocalServer, administration: Administration, refused: Refused
) -> None:
    path = administration.create_token("owner", label="laptop", days=1)
    laptop = Profile.load(path)
    assert ask(local, laptop.token).status_code == 200
    (token,) = [entry for entry in administration.tokens.list() if entry.label == "laptop"]
    assert administration.revoke_token(token.id) is not None
    answer = ask(local, laptop.token)
    assert refused(answer) == (401, "token_refused")
    assert "revoked" in detail(answer)
    assert ask(local, local.profile("owner").token).status_code == 200
    assert administration.revoke_token(token.id) is None


def test_removed_analyst_s_tokens_end_and_stay_ended(
    local: LocalServer, administration: Administration, refused: Refused
) -> None:
    path = administration.create_token("analyst", analyst="analyst", label="b", days=1)
    second = Profile.load(path)
    other = local.admit(clf.Identity.create(), label="eve")
    administration.remove_analyst("analyst")
    for token in (local.profile("analyst").token, second.token):
        assert refused(ask(local, token)) == (401, "token_refused")
    assert ask(local, other.token).status_code == 200
    administration.add_analyst(the_analyst().public, label="analyst")
    assert refused(ask(local, second.token)) == (401, "token_refused")


def test_analyst_s_token_does_not_do_what_an_owner_s_does(
    local: LocalServer, refused: Refused
) -> None:
    answer = local.control.delete("/v1/tables/t", headers=local.bearer("analyst"))
    assert refused(answer) == (401, "token_refused")
    assert "an analyst token may not do this" in detail(answer)


def test_order_of_the_steps() -> None:
    def token(**changes: Any) -> StoredToken:
        fields: dict[str, Any] = {
            "id": "ab" * 6,
            "token_hash": "",
            "role": "analyst",
            "label": "ada",
            "analyst": "cd" * 32,
            "created_at": 0,
            "expires_at": 10,
            "revoked_at": None,
        }
        return StoredToken(**(fields | changes))

    assert admit(token(), ["analyst"], now=9).analyst == "cd" * 32
    with pytest.raises(TokenRefused, match="revoked"):
        admit(token(revoked_at=1), ["owner"], now=11)
    with pytest.raises(TokenRefused, match="expired"):
        admit(token(), ["owner"], now=10)
    with pytest.raises(TokenRefused, match="an analyst token"):
        admit(token(), ["owner"], now=9)


def test_restart_forgets_no_revocation(
    local: LocalServer, administration: Administration, refused: Refused
) -> None:
    administration.remove_analyst("analyst")
    local.restart()
    assert refused(ask(local, local.profile("analyst").token)) == (401, "token_refused")


# -- guessed ---------------------------------------------------------------------------------


def test_guesses_are_limited_for_each_address(local: LocalServer, refused: Refused) -> None:
    for _ in range(BURST):
        assert refused(guess(local)) == (401, "token_refused")
    answer = guess(local)
    assert refused(answer) == (429, "too_many_attempts")
    assert answer.headers["retry-after"] == str(SECONDS_EACH)
    assert guess(local, client="192.0.2.2").status_code == 401


def test_guess_that_is_right_tells_nothing_while_the_address_is_limited(
    local: LocalServer, refused: Refused
) -> None:
    token = local.profile("owner").token
    for _ in range(BURST):
        guess(local)
    assert refused(ask(local, token)) == (429, "too_many_attempts")
    local.monotonic.now += SECONDS_EACH
    assert ask(local, token).status_code == 200
    assert refused(guess(local)) == (401, "token_refused")
    assert refused(guess(local)) == (429, "too_many_attempts")


def test_waiting_gives_all_attempts_back_and_no_more(local: LocalServer) -> None:
    for _ in range(BURST):
        guess(local)
    local.monotonic.now += 1000 * SECONDS_EACH
    assert [guess(local).status_code for _ in range(BURST + 1)] == [401] * BURST + [429]


def test_guesses_at_the_same_time_are_paid_for_afterwards(local: LocalServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: guess(local).status_code, range(3 * BURST)))
    let_through = statuses.count(401)
    assert BURST <= let_through < BURST + 8
    local.monotonic.now += (let_through - BURST) * SECONDS_EACH
    assert guess(local).status_code == 429
    local.monotonic.now += SECONDS_EACH
    assert guess(local).status_code == 401


def test_who_knows_a_token_is_not_limited(local: LocalServer) -> None:
    tokens = [local.profile(label).token for label in ("owner", "analyst")]
    assert {ask(local, tokens[n % 2]).status_code for n in range(5 * BURST)} == {200}
    local.clock.now += 2 * 365 * DAY  # expired: no guess either
    assert {ask(local, tokens[0]).status_code for _ in range(2 * BURST)} == {401}


def test_address_of_ipv6_counts_by_its_network(local: LocalServer) -> None:
    for host in range(BURST):
        assert guess(local, client=f"2001:db8::{host + 1}").status_code == 401
    assert guess(local, client="2001:db8::ffff:1").status_code == 429
    assert guess(local, client="2001:db8:0:1::1").status_code == 401


def test_mapped_address_is_the_same_as_the_plain_one(local: LocalServer) -> None:
    for _ in range(BURST):
        guess(local, client="::ffff:192.0.2.9")
    assert guess(local, client="192.0.2.9").status_code == 429


def test_token_is_looked_up_by_its_hash_and_stored_as_nothing_else(local: LocalServer) -> None:
    token = local.profile("owner").token
    for path in local.directory.rglob("*"):
        if path.is_file() and not path.name.endswith(".profile.json"):
            assert token.encode() not in path.read_bytes(), path
    found = local.state.tokens.find(token)
    assert found is not None
    assert token not in repr(found)
    assert local.state.tokens.find(found.token_hash) is None
    assert ask(local, found.token_hash).status_code == 401
    assert ask(local, found.id).status_code == 401


# -- what the owner sees ---------------------------------------------------------------------


def test_refusals_stand_in_the_audit_log_without_the_token(
    local: LocalServer, administration: Administration
) -> None:
    revoked = local.profile("analyst").token
    (stored,) = [entry for entry in administration.tokens.list() if entry.role == "analyst"]
    administration.revoke_token(stored.id)
    ask(local, revoked)
    guess(local, client="192.0.2.7")
    known, unknown = refusals(local)
    assert known == {
        "client": "192.0.2.1",
        "code": "token_refused",
        "reason": "the access token was revoked",
        "path": "/v1/tables",
        "token": stored.id,
    }
    assert (unknown["client"], unknown["token"]) == ("192.0.2.7", None)
    assert revoked not in str(refusals(local))


def test_flood_of_guesses_does_not_flood_the_audit_log(local: LocalServer) -> None:
    for number in range(150):
        guess(local, client=f"198.51.100.{number % 250}")
    assert len(refusals(local)) <= 101
