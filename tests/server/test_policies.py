"""A policy is what its owner set, holds at once, and is never wider unless the owner says so."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import PolicyTampered
from clf_sdk.policy import RULES
from clf_testing import HandmadeEnclave, LocalServer, Simulation, demand, job_input, make_job


def problem(answer: Any, code: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["code"] == code, found
    return found


def changed(policy: clf.Policy, **changes: Any) -> clf.Policy:
    fields = {rule.name: getattr(policy, rule.name) for rule in RULES}
    return clf.Policy(**(fields | changes))


@pytest.fixture
def server(local: LocalServer, numbers: pa.Table, policy: clf.Policy) -> LocalServer:
    local.upload("t", numbers, policy)
    return local


@pytest.fixture
def enclave(simulation: Simulation, server: LocalServer) -> HandmadeEnclave:
    return HandmadeEnclave(simulation, server, make_job([job_input(server.server_id, "t")]))


def stored(server: LocalServer) -> clf.Policy:
    answer = server.control.get("/v1/tables", headers=server.bearer())
    return clf.Policy.from_json(answer.json()["tables"][0]["policy"])


def log(server: LocalServer, event: str) -> list[dict[str, Any]]:
    rows = server.sql('SELECT entry FROM audit_entries ORDER BY "index"')
    return [entry["details"] for (row,) in rows if (entry := json.loads(row))["event"] == event]


# -- changing -----------------------------------------------------------------------------------


def test_tighter_policy_holds_for_the_next_session(
    enclave: HandmadeEnclave, policy: clf.Policy
) -> None:
    server = enclave.server
    assert enclave.ask().status_code == 200
    answer = server.set_policy("t", changed(policy, columns=["id", "x"]))
    assert answer.status_code == 200
    said = {entry["rule"]: entry["change"] for entry in answer.json()["changes"]}
    assert said == {rule.name: "equal" for rule in RULES} | {"columns": "tighter"}
    assert stored(server).columns == frozenset({"id", "x"})
    refused = problem(enclave.ask(), "policy_refused")
    assert refused["rule"] == "columns"
    assert "'y'" not in json.dumps(refused)
    modest = make_job([job_input(server.server_id, "t", columns=["id", "x"])])
    assert enclave.another(modest).ask().status_code == 200


def test_tighter_policy_ends_the_tickets_of_sessions_before(
    enclave: HandmadeEnclave, policy: clf.Policy
) -> None:
    server = enclave.server
    opened = enclave.open()
    (granted,) = opened.session.inputs
    path = f"/v1/blobs/{granted.version_id}/0"
    headers = {"Authorization": f"CLF-Ticket {opened.access.blobs.ticket}"}
    assert server.data.get(path, headers=headers).status_code == 200
    assert server.set_policy("t", policy).status_code == 200  # the same one ends nothing
    assert server.data.get(path, headers=headers).status_code == 200
    server.set_policy("t", changed(policy, runs=1))
    problem(server.data.get(path, headers=headers), "ticket_refused")


def test_wider_policy_is_refused_until_it_is_meant(server: LocalServer, policy: clf.Policy) -> None:
    tight = changed(policy, columns=["id"], smallest_group=50)
    assert server.set_policy("t", tight).status_code == 200
    wide = changed(policy, runs=1)
    refused = server.set_policy("t", wide)
    assert refused.status_code == 409
    assert "columns, smallest_group" in problem(refused, "policy_widened")["detail"]
    assert stored(server) == tight
    answer = server.set_policy("t", wide, widen=True)
    said = {entry["rule"]: entry["change"] for entry in answer.json()["changes"]}
    assert (said["columns"], said["smallest_group"], said["runs"]) == ("wider", "wider", "tighter")
    assert stored(server) == wide
    assert [(entry["wider"], entry["tighter"]) for entry in log(server, "policy.changed")] == [
        ([], ["columns", "smallest_group"]),
        (["columns", "smallest_group"], ["runs"]),
    ]


def test_sharing_again_never_widens_silently(
    server: LocalServer, policy: clf.Policy, numbers: pa.Table
) -> None:
    tight = changed(policy, columns=["id"])
    server.set_policy("t", tight)
    body = {"table": "t", "policy": policy.to_json(), "widen": False}
    answer = server.control.post("/v1/uploads", json=body, headers=server.bearer())
    assert "columns" in problem(answer, "policy_widened")["detail"]
    server.upload("t", numbers.slice(1), tight)
    assert stored(server) == tight
    server.upload("t", numbers, policy, widen=True)
    assert stored(server) == policy


def test_upload_that_was_announced_before_a_tightening_does_not_undo_it(
    server: LocalServer, policy: clf.Policy, numbers: pa.Table
) -> None:
    announced = server.seal("t", numbers.slice(2), policy)
    server.put_all(announced)
    tight = changed(policy, columns=["id"])
    assert server.set_policy("t", tight).status_code == 200
    answer = server.commit(announced)
    assert answer.status_code == 409
    problem(answer, "conflict")
    assert stored(server) == tight


def test_policy_that_does_not_fit_the_table_changes_nothing(
    server: LocalServer, policy: clf.Policy, numbers: pa.Table
) -> None:
    for change, code, named in (
        ({"columns": ["id", "zip"]}, "configuration", "'zip'"),
        ({"rows": "zip = 'x'"}, "invalid_filter", "'zip'"),
        ({"rows": "x = 'x'"}, "invalid_filter", "number with text"),
    ):
        answer = server.set_policy("t", changed(policy, **change))
        assert answer.status_code == 400
        assert named in problem(answer, code)["detail"]
        sealed = server.seal("u", numbers, changed(policy, **change))
        server.put_all(sealed)
        assert named in problem(server.commit(sealed), code)["detail"]
    assert stored(server) == policy
    assert server.tables() == ["t"]


@pytest.mark.parametrize(
    "rows",
    ["x = (SELECT 1)", "x > 1; DROP TABLE tables", "read_text('/etc/passwd') = 'x'", "1 = 1"],
)
def test_filter_that_is_more_than_a_condition_never_reaches_the_server_s_database(
    server: LocalServer, policy: clf.Policy, rows: str
) -> None:
    document = policy.to_json() | {"rows": rows}
    answer = server.control.put(
        "/v1/tables/t/policy", json={"policy": document, "widen": True}, headers=server.bearer()
    )
    assert answer.status_code == 400
    problem(answer, "invalid_filter")
    assert stored(server) == policy


def test_only_the_owner_sets_policies_of_tables_that_are_there(
    server: LocalServer, policy: clf.Policy
) -> None:
    body = {"policy": policy.to_json()}
    answer = server.control.put("/v1/tables/t/policy", json=body, headers=server.bearer("analyst"))
    assert answer.status_code == 401
    problem(server.set_policy("u", policy), "not_found")
    later = {"policy": policy.to_json() | {"clf": 2}}
    answer = server.control.put("/v1/tables/t/policy", json=later, headers=server.bearer())
    problem(answer, "format_too_new")


def test_analyst_sees_the_columns_that_may_leave_and_no_policy(
    server: LocalServer, policy: clf.Policy
) -> None:
    server.set_policy("t", changed(policy, columns=["y", "id"]))
    (seen,) = server.control.get("/v1/tables", headers=server.bearer("analyst")).json()["tables"]
    assert [column["name"] for column in seen["columns"]] == ["id", "y"]
    assert seen["policy"] is None
    (owned,) = server.control.get("/v1/tables", headers=server.bearer()).json()["tables"]
    assert [column["name"] for column in owned["columns"]] == ["id", "x", "y"]


def test_analyst_sees_no_table_that_is_for_others_alone(
    server: LocalServer, policy: clf.Policy
) -> None:
    def seen(label: str) -> list[str]:
        answer = server.control.get("/v1/tables", headers=server.bearer(label)).json()
        return [table["name"] for table in answer["tables"]]

    assert seen("analyst") == ["t"]
    server.set_policy("t", changed(policy, analysts=[clf.Identity.create().public]))
    assert seen("analyst") == []
    assert seen("owner") == ["t"]


# -- deciding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"jobs": ["0d" * 32]}, "jobs"),
        ({"operations": ["kmeans"]}, "operations"),
        ({"analysts": ["1a" * 32]}, "analysts"),
        ({"columns": ["id"]}, "columns"),
    ],
)
def test_session_is_refused_by_the_rule_that_the_job_breaks(
    enclave: HandmadeEnclave, policy: clf.Policy, changes: dict[str, Any], rule: str
) -> None:
    enclave.server.set_policy("t", changed(policy, **changes), widen=True)
    refused = problem(enclave.ask(), "policy_refused")
    assert refused["rule"] == rule
    (entry,) = log(enclave.server, "session.refused")
    assert entry["rule"] == rule
    assert entry["reason"].startswith(f"{rule}: ")


def test_policy_that_asks_the_owner_takes_no_approval_of_another_policy(
    enclave: HandmadeEnclave, policy: clf.Policy
) -> None:
    server = enclave.server
    assert server.submit(enclave.job).json()["automatic"] is True
    enclave.agreed = False
    server.set_policy("t", changed(policy, approval="ask"))
    assert problem(enclave.ask(), "policy_refused")["rule"] == "approval"
    assert server.approve(enclave.job).status_code == 200
    assert enclave.ask().status_code == 200


def test_permission_ends_at_its_second(enclave: HandmadeEnclave, policy: clf.Policy) -> None:
    server = enclave.server
    end = dt.datetime.fromtimestamp(int(server.clock.now) + 30, dt.UTC)
    server.set_policy("t", changed(policy, expires=end))
    server.clock.now = end.timestamp() - 1
    assert enclave.ask().status_code == 200
    server.clock.now = end.timestamp()
    assert problem(enclave.ask(), "policy_refused")["rule"] == "expires"


def test_rules_for_the_enclave_are_the_tightest_of_the_tables_and_signed(
    enclave: HandmadeEnclave, policy: clf.Policy, numbers: pa.Table
) -> None:
    server = enclave.server
    both, one = "1a" * 32, "2a" * 32
    server.set_policy("t", changed(policy, smallest_group=7, row_level=[both, one]), widen=True)
    other = changed(policy, smallest_group=5, row_level=[both], release="review")
    server.upload("u", numbers, other)
    first = job_input(server.server_id, "t")
    opened = enclave.another(make_job([first])).open().session.rules
    assert opened == demand(smallest_group=7, row_level=[both, one], differencing="review")
    both_tables = make_job([first, job_input(server.server_id, "u")])
    opened = enclave.another(both_tables).open().session.rules
    assert opened == demand(
        smallest_group=7, row_level=[both], release="review", differencing="review"
    )


# -- on disk ------------------------------------------------------------------------------------


def edit(server: LocalServer, statement: str, *values: Any) -> None:
    assert len(server.sql(f"{statement} RETURNING 1", *values)) == 1


def text_of(policy: clf.Policy) -> str:
    return json.dumps(policy.to_json(), sort_keys=True, separators=(",", ":"))


def test_policy_edited_on_disk_is_refused_by_name(
    enclave: HandmadeEnclave, policy: clf.Policy
) -> None:
    server = enclave.server
    tight = changed(policy, columns=["id"])
    server.set_policy("t", tight)
    assert problem(enclave.ask(), "policy_refused")["rule"] == "columns"
    edit(server, "UPDATE tables SET policy = ?", text_of(policy))
    for restart in (False, True):
        if restart:
            server.restart()
        problem(enclave.ask(), "policy_tampered")
        (entry,) = [e for e in log(server, "session.refused") if e["rule"] is None][-1:]
        assert "not the one that its owner set" in entry["reason"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"runs":1000', '"runs":9999'),
        lambda text: text.replace('"clf":1', '"clf":9'),
        lambda text: text + " ",
        lambda _: "{}",
        lambda _: "",
        lambda _: "not JSON",
    ],
)
def test_any_changed_character_of_a_policy_is_noticed(
    enclave: HandmadeEnclave, policy: clf.Policy, damage: Any
) -> None:
    edit(enclave.server, "UPDATE tables SET policy = ?", damage(text_of(policy)))
    problem(enclave.ask(), "policy_tampered")


@pytest.mark.parametrize("tag", ["", "00" * 32, "zz" * 32, "é"])
def test_any_other_tag_is_noticed(enclave: HandmadeEnclave, tag: str) -> None:
    edit(enclave.server, "UPDATE tables SET policy_tag = ?", tag)
    problem(enclave.ask(), "policy_tampered")


def test_policy_and_tag_of_another_table_or_version_do_not_pass(
    enclave: HandmadeEnclave, policy: clf.Policy, numbers: pa.Table
) -> None:
    server = enclave.server
    wide = changed(policy, operations=["glm", "dump"])
    server.upload("open", numbers, wide)
    copied = "(SELECT {0} FROM tables WHERE name = 'open')"
    edit(
        server,
        f"UPDATE tables SET policy = {copied.format('policy')}, "  # noqa: S608 - the attack
        f"policy_tag = {copied.format('policy_tag')} WHERE name = 't'",
    )
    problem(enclave.ask(), "policy_tampered")
    server.upload("t", numbers, policy, widen=True)
    before = server.state.metadata.table("t").policy
    server.upload("t", numbers.slice(1), changed(policy, columns=["id"]))
    edit(
        server,
        "UPDATE tables SET policy = ?, policy_tag = ? WHERE name = 't'",
        before.text,
        before.tag,
    )
    problem(enclave.ask(), "policy_tampered")


def test_owner_sees_that_a_policy_was_tampered_with_and_replaces_it(
    enclave: HandmadeEnclave, policy: clf.Policy, numbers: pa.Table
) -> None:
    server = enclave.server
    server.upload("other", numbers, policy)
    edit(server, "UPDATE tables SET policy = '{}' WHERE name = 't'")
    listed = server.control.get("/v1/tables", headers=server.bearer()).json()["tables"]
    assert {entry["name"]: entry["policy"] is None for entry in listed} == {
        "other": False,
        "t": True,
    }
    seen = server.control.get("/v1/tables", headers=server.bearer("analyst")).json()["tables"]
    assert [entry["name"] for entry in seen] == ["other"]
    problem(server.set_policy("t", changed(policy, columns=["id"])), "policy_tampered")
    body = {"table": "t", "policy": policy.to_json(), "widen": False}
    answer = server.control.post("/v1/uploads", json=body, headers=server.bearer())
    problem(answer, "policy_tampered")
    assert server.set_policy("t", policy, widen=True).json()["changes"] == []
    assert log(server, "policy.changed")[-1]["before"] is None
    assert enclave.ask().status_code == 200


def test_policies_are_read_once_and_checked_again_when_anything_changed(
    server: LocalServer, policy: clf.Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clf_server._policies import Policies  # noqa: PLC0415 - only this test needs it
    from clf_server._vault import Vault  # noqa: PLC0415 - only this test needs it

    policies = Policies(server.state, Vault(server.state.keks, server.state.objects))
    table = server.state.metadata.table("t")
    assert policies.of(table) == policy
    monkeypatch.setattr(Vault, "policy_key", lambda *_: bytes(32))
    assert policies.of(table) == policy
    edit(server, "UPDATE tables SET policy = policy || ' '")
    with pytest.raises(PolicyTampered):
        policies.of(server.state.metadata.table("t"))
