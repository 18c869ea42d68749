from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import requests

import clf_sdk as clf
from clf_sdk import _connection, _http
from clf_sdk._connection import only_connection
from clf_sdk._server_process import free_port
from clf_sdk.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InvalidName,
    NotFound,
    ServerError,
    ServerIdentityMismatch,
    TokenRefused,
    TransportError,
)
from clf_sdk.protocol import Profile
from clf_testing import Exchange, Owner

Connect = Callable[..., clf.Connection]


def test_connection_shows_who_and_that_it_is_a_simulation(clinic: Owner, connect: Connect) -> None:
    connection = connect(clinic)
    assert (connection.name, connection.server, connection.mode) == (
        "clinic",
        clinic.server,
        "simulation",
    )
    assert "INSECURE SIMULATION" in repr(connection)
    for text in (repr(connection), repr(connection.profile), str(connection.profile)):
        assert clinic.owner.token not in text
        assert "CERTIFICATE" not in text


def test_profile_may_be_a_path(clinic: Owner, tmp_path: Path) -> None:
    clinic.owner.save(tmp_path / "owner.json")
    connection = clf.connect(tmp_path / "owner.json")
    assert connection.server == clinic.server
    connection.close()


def test_close_closes_what_a_traceback_still_holds(clinic: Owner) -> None:
    port = int(clinic.owner.url.rpartition(":")[2])

    def established() -> set[int]:
        """Return the ports of this process's connections to the server."""
        mine = psutil.Process().net_connections()
        here = [each for each in mine if each.raddr and each.raddr[1] == port]
        return {each.laddr[1] for each in here if each.status == "ESTABLISHED"}

    of_other_tests = established()
    connection = clf.connect(clinic.owner)
    adapter = connection.http._session.get_adapter("https://")
    assert isinstance(adapter, requests.adapters.HTTPAdapter)
    pools = adapter.poolmanager.pools
    held = [pools[key] for key in pools.keys()]  # noqa: SIM118 - it refuses to be iterated
    assert established() - of_other_tests
    connection.close()
    assert established() <= of_other_tests
    assert len(held) == 1


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"clf": 1}'])
def test_file_that_is_no_profile_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "owner.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"owner\.json"):
        clf.connect(path)


def test_server_that_is_down_is_a_transport_error(clinic: Owner) -> None:
    down = clinic.owner.model_copy(update={"url": f"https://127.0.0.1:{free_port()}"})
    with pytest.raises(TransportError, match="clinic") as caught:
        clf.connect(down)
    assert caught.value.hint is not None
    assert isinstance(caught.value, OSError)
    assert not isinstance(caught.value, requests.exceptions.RequestException)


@pytest.mark.parametrize(
    "url",
    ["https://no-such-host.invalid", "ftp://127.0.0.1", "nonsense", "https://", "https://h:x"],
)
def test_address_that_leads_nowhere_is_a_transport_error(clinic: Owner, url: str) -> None:
    with pytest.raises(TransportError):
        clf.connect(clinic.owner.model_copy(update={"url": url}))


def test_certificate_of_another_authority_is_a_transport_error(
    clinic: Owner, insurer: Owner
) -> None:
    wrong = clinic.owner.model_copy(update={"ca": insurer.owner.ca})
    with pytest.raises(TransportError, match="certificate of the profile's authority"):
        clf.connect(wrong)


@pytest.mark.parametrize("ca", ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_authority_that_is_no_certificate_is_clf_s_own_error(clinic: Owner, ca: str) -> None:
    with pytest.raises(clf.ClfError):
        clf.connect(clinic.owner.model_copy(update={"ca": ca}))


def test_server_of_another_identity_is_refused(clinic: Owner) -> None:
    with pytest.raises(ServerIdentityMismatch, match="not the one of the profile"):
        clf.connect(clinic.owner.model_copy(update={"server": "ab" * 32}))


@pytest.mark.parametrize("token", ["", "guess", "a\nb", "é", "\0"])
def test_token_of_any_form_is_refused_as_a_token(clinic: Owner, token: str) -> None:
    profile = clinic.owner.model_copy(update={"token": token})
    with pytest.raises(clf.ClfError), contextlib.closing(clf.connect(profile)) as connection:
        connection.table("plans")


def test_request_id_comes_with_the_error(clinic: Owner) -> None:
    connection = clf.connect(clinic.owner.model_copy(update={"token": secrets.token_urlsafe(32)}))
    with pytest.raises(TokenRefused) as caught:
        connection.tables()
    connection.close()
    assert caught.value.request_id is not None
    assert caught.value.request_id in str(caught.value)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"{}"),
        (200, b'{"a": 1, "a": 2}'),
        (200, b"\xff"),
        (302, b""),
        (404, b"<html>"),
        (500, b""),
        (503, b'{"type": "about:blank"}'),
    ],
)
def test_answer_of_something_else_is_clf_s_own_error(
    clinic: Owner, status: int, answer: bytes
) -> None:
    def reply(exchange: Exchange) -> None:
        exchange.status, exchange.answer = status, answer
        exchange.answer_headers = {"location": "https://127.0.0.1:1/"} if status == 302 else {}

    with clinic.control.attacked(before=reply), pytest.raises(clf.ClfError):
        clf.connect(clinic.process.owner)


def test_token_never_follows_a_redirect(clinic: Owner, insurer: Owner) -> None:
    def redirect(exchange: Exchange) -> None:
        exchange.status = 307
        exchange.answer_headers = {"location": insurer.relayed.url + exchange.path}

    with (
        insurer.control.attacked() as elsewhere,
        clinic.control.attacked(before=redirect),
        pytest.raises(clf.ClfError),
    ):
        clf.connect(clinic.process.owner)
    assert elsewhere.seen == []


def test_answer_that_breaks_off_is_a_transport_error(clinic: Owner) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.cut_after = len(exchange.answer) // 2

    with clinic.control.attacked(after=cut), pytest.raises(TransportError):
        clf.connect(clinic.process.owner)


def test_answer_without_an_end_is_cut_off(
    clinic: Owner, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(clinic)
    monkeypatch.setattr(_http, "_MOST_ANSWER_BYTES", 10)
    with pytest.raises(ServerError, match="larger than any honest one"):
        connection.tables()


def test_server_that_does_not_answer_meets_a_deadline(
    clinic: Owner, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(clinic)

    def dawdle(*_arguments: object, **_options: object) -> None:
        raise requests.exceptions.ReadTimeout

    monkeypatch.setattr(requests.Session, "request", dawdle)
    with pytest.raises(DeadlineExceeded) as caught:
        connection.tables()
    assert isinstance(caught.value, TimeoutError)


def test_proxy_and_netrc_of_the_user_are_left_alone(
    clinic: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    clf.connect(clinic.owner).close()


def test_tables_and_what_they_are(
    clinic: Owner, connect: Connect, numbers: pa.Table, policy: clf.Policy
) -> None:
    connection = connect(clinic)
    shared = clf.share(numbers, name="listed", policy=policy, to=connection)
    listed = connection.tables().set_index("name").loc["listed"]
    assert (listed["rows"], listed["columns"], listed["version"]) == (8, 3, shared.version)
    assert str(listed["shared_at"].tz) == "UTC"
    with pytest.raises(NotFound, match="no table 'listd'") as caught:
        connection.table("listd")
    assert "listed" in str(caught.value)
    with pytest.raises(InvalidName):
        connection.table("../kek")
    connection.drop("listed")
    with pytest.raises(NotFound):
        connection.drop("listed")


def test_analyst_sees_the_catalogue_and_changes_nothing(
    clinic: Owner, connect: Connect, numbers: pa.Table, policy: clf.Policy
) -> None:
    clf.share(numbers, name="seen", policy=policy, to=connect(clinic))
    analyst = connect(clinic, "analyst")
    table = analyst.table("seen")
    assert table.description.policy is None
    with pytest.raises(TokenRefused):
        analyst.drop("seen")
    with pytest.raises(TokenRefused):
        clf.share(numbers, name="seen", policy=policy, to=analyst)


def test_columns_are_chosen_as_in_pandas(
    clinic: Owner, connect: Connect, numbers: pa.Table, policy: clf.Policy
) -> None:
    table = clf.share(numbers, name="chosen", policy=policy, to=connect(clinic))
    assert table[["x", "y"]].columns == ("x", "y")
    assert table["x"].columns == ("x",)
    assert "2 columns" in repr(table[["x", "y"]])
    assert "INSECURE SIMULATION" in repr(table)
    with pytest.raises(NotFound, match="no column 'idd'") as caught:
        _ = table[["idd"]]
    assert caught.value.hint == "did you mean id?"


def test_only_connection_is_the_one_that_there_is(
    clinic: Owner, insurer: Owner, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "_made", set())  # other tests' connections live on
    with pytest.raises(ConfigurationError, match="no server is connected"):
        only_connection()
    first = connect(clinic)
    assert only_connection() is first
    connect(insurer)
    with pytest.raises(ConfigurationError, match="2 servers are connected"):
        only_connection()


def test_profile_file_is_private(clinic: Owner, tmp_path: Path) -> None:
    clinic.owner.save(tmp_path / "p.json")
    assert (tmp_path / "p.json").stat().st_mode & 0o777 == 0o600
    assert Profile.load(tmp_path / "p.json") == clinic.owner
