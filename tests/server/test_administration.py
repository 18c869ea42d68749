from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import clf_sdk as clf
from clf_sdk._cli import main
from clf_sdk._server_process import ServerProcess
from clf_sdk.errors import (
    ConfigurationError,
    Conflict,
    InvalidInput,
    InvalidName,
    NotFound,
    TokenRefused,
)
from clf_sdk.protocol import Profile
from clf_server._administration import MOST_DAYS, Administration
from clf_testing import LocalServer, the_analyst

ADA = clf.Identity.create()


@pytest.fixture
def administration(local: LocalServer) -> Iterator[Administration]:
    with Administration(local.directory, clock=local.clock) as administration:
        yield administration


def events(local: LocalServer) -> list[tuple[str, dict[str, Any]]]:
    return [(entry.event, entry.details) for entry in local.audited()]


# -- analysts --------------------------------------------------------------------------------


def test_analyst_is_known_by_identity_and_label(
    local: LocalServer, administration: Administration
) -> None:
    added = administration.add_analyst(ADA.public, label="ada")
    assert (added.id, added.label, added.added_at) == (ADA.id, "ada", int(local.clock.now))
    assert local.state.analysts.find(ADA.id) == added
    assert [entry.label for entry in local.state.analysts.list()] == ["ada", "analyst"]
    assert events(local) == [("analyst.added", {"analyst": ADA.id, "label": "ada"})]


def test_identity_and_label_are_known_once(
    local: LocalServer, administration: Administration
) -> None:
    with pytest.raises(Conflict, match="known already, as 'analyst'"):
        administration.add_analyst(the_analyst().public, label="other")
    with pytest.raises(Conflict, match="another analyst is called"):
        administration.add_analyst(ADA.public, label="analyst")
    assert len(administration.analysts.list()) == 1
    assert events(local) == []


@pytest.mark.parametrize("who", ["label", "id"])
def test_removing_an_analyst_revokes_its_tokens_in_one_decision(
    local: LocalServer, administration: Administration, who: str
) -> None:
    named = "analyst" if who == "label" else the_analyst().id
    removed, revoked = administration.remove_analyst(named)
    assert removed.id == the_analyst().id
    assert [token.label for token in revoked] == ["analyst"]
    assert local.state.analysts.find(removed.id) is None
    assert [event for event, _ in events(local)] == ["analyst.removed", "token.revoked"]
    with pytest.raises(NotFound, match="knows no analyst"):
        administration.remove_analyst(named)


# -- tokens ----------------------------------------------------------------------------------


def test_profile_of_an_analyst_names_its_identity(
    local: LocalServer, administration: Administration
) -> None:
    administration.add_analyst(ADA.public, label="ada")
    path = administration.create_token("analyst", analyst="ada", days=2)
    profile = Profile.load(path)
    assert path == local.directory / "ada.profile.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (profile.role, profile.label, profile.analyst) == ("analyst", "ada", ADA.id)
    assert profile.expires_at == int(local.clock.now) + 2 * 86400
    assert profile.server == local.server_id
    owner = local.profile("owner")
    assert (profile.url, profile.ca, profile.name) == (owner.url, owner.ca, owner.name)
    event, details = events(local)[-1]
    assert event == "token.created"
    assert details == {
        "token": administration.tokens.list()[-1].id,
        "role": "analyst",
        "label": "ada",
        "analyst": ADA.id,
        "expires_at": profile.expires_at,
    }
    assert profile.token not in json.dumps(events(local))


def test_profile_is_never_overwritten_and_no_token_is_left(
    local: LocalServer, administration: Administration
) -> None:
    before = (local.directory / "owner.profile.json").read_bytes()
    known = administration.tokens.list()
    with pytest.raises(ConfigurationError, match="exists already"):
        administration.create_token("owner", label="owner", days=1)
    assert (local.directory / "owner.profile.json").read_bytes() == before
    assert administration.tokens.list() == known
    assert events(local) == []


def test_label_can_not_lead_out_of_the_directory(
    local: LocalServer, administration: Administration
) -> None:
    before = sorted(local.directory.parent.rglob("*"))
    labels = ["", "..", "../../etc/cron.d/x", "a/b", "/etc/passwd", "a\\b", "a\0b", "A", "é"]
    for label in [*labels, ".hidden", "-x", "a\n", "x" * 65]:
        with pytest.raises(InvalidName):
            administration.create_token("owner", label=label, days=1)
        with pytest.raises(InvalidName):
            administration.add_analyst(ADA.public, label=label)
    assert sorted(local.directory.parent.rglob("*")) == before
    assert len(administration.tokens.list()) == 2
    assert events(local) == []


@pytest.mark.parametrize(
    "options",
    [
        {"role": "owner", "label": "x", "analyst": "analyst", "days": 1},
        {"role": "analyst", "label": "x", "days": 1},
        {"role": "owner", "days": 1},
        {"role": "owner", "label": "x", "days": 0},
        {"role": "owner", "label": "x", "days": -1},
        {"role": "owner", "label": "x", "days": MOST_DAYS + 1},
    ],
    ids=repr,
)
def test_token_that_makes_no_sense_is_refused(
    administration: Administration, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        administration.create_token(**options)
    assert len(administration.tokens.list()) == 2


def test_token_for_nobody_is_refused(administration: Administration) -> None:
    with pytest.raises(NotFound, match="knows no analyst 'ada'"):
        administration.create_token("analyst", analyst="ada", days=1)


def test_unknown_token_can_not_be_revoked(administration: Administration) -> None:
    with pytest.raises(NotFound, match="token list"):
        administration.revoke_token("ab" * 6)


# -- the commands, while the server runs -----------------------------------------------------


def operate(*arguments: str | Path, fails: bool = False) -> Result:
    done = CliRunner().invoke(main, ["server", *map(str, arguments)])
    assert (done.exit_code != 0) is fails, done.output
    return done


def test_commands_take_effect_at_once_while_the_server_runs(
    make_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    directory = make_server("clinic").directory
    file = tmp_path / "ada.identity.json"
    ADA.public.save(file)

    added = operate("analyst", "add", directory, file, "--label", "ada")
    assert ADA.fingerprint in added.output
    assert ADA.id in added.output
    operate("token", "create", directory, "--role", "analyst", "--analyst", "ada")
    profile = directory / "ada.profile.json"
    token = Profile.load(profile).token
    with closing(clf.connect(profile)) as ada:
        assert ada.tables().empty

        listed = operate("token", "list", directory).output
        (line,) = [line for line in listed.splitlines() if " ada " in line]
        assert "valid" in line
        assert token not in listed
        operate("token", "revoke", directory, line.split()[0])
        with pytest.raises(TokenRefused, match="revoked"):
            ada.tables()

    second = tmp_path / "second.json"
    options = ["--role", "analyst", "--analyst", ADA.id, "--output", str(second)]
    operate("token", "create", directory, *options)
    with closing(clf.connect(second)) as ada:
        assert ada.tables().empty
        assert "1 valid token" in operate("analyst", "list", directory).output
        operate("analyst", "remove", directory, "ada")
        with pytest.raises(TokenRefused, match="revoked"):
            ada.tables()
    assert operate("analyst", "list", directory).output == ""
    assert operate("token", "list", directory).output.count("revoked") == 2


def test_file_that_is_no_public_identity_is_not_added(local: LocalServer, tmp_path: Path) -> None:
    private = tmp_path / "private"
    ADA.save(private, passphrase=None)
    done = operate("analyst", "add", local.directory, private, "--label", "ada", fails=True)
    assert "is not a public identity" in done.output
    assert len(local.state.analysts.list()) == 1


def test_directory_of_no_server_is_named(tmp_path: Path) -> None:
    for command in (["token", "list"], ["analyst", "list"]):
        assert "clf server init" in operate(*command, tmp_path, fails=True).output
    assert list(tmp_path.iterdir()) == []


def test_analysts_become_known_with_the_server(tmp_path: Path) -> None:
    ada, eve = tmp_path / "ada.json", tmp_path / "eve.json"
    people = {ada: clf.Identity.create(), eve: clf.Identity.create()}
    for file, identity in people.items():
        identity.public.save(file)
    given = ["--analyst", f"ada={ada}", "--analyst", f"eve={eve}"]
    printed = operate("init", tmp_path / "clinic", "--name", "clinic", *given).output
    for file, identity in people.items():
        assert identity.public.fingerprint in printed
        profile = Profile.load(tmp_path / "clinic" / f"{file.stem}.profile.json")
        assert (profile.role, profile.analyst) == ("analyst", identity.id)
    listed = operate("analyst", "list", tmp_path / "clinic").output
    assert listed.count("1 valid token") == 2


@pytest.mark.parametrize(
    "given", ["ada", "=FILE", "../ada=FILE", "ada=FILE ada=FILE", "a=FILE b=FILE"]
)
def test_analysts_that_can_not_be_known_leave_no_server(tmp_path: Path, given: str) -> None:
    file = tmp_path / "ada.json"
    clf.Identity.create().public.save(file)
    people = [f"--analyst={each}" for each in given.replace("FILE", str(file)).split()]
    assert operate("init", tmp_path / "clinic", "--name", "clinic", *people, fails=True).output
    assert not (tmp_path / "clinic").exists()
