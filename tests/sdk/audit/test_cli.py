from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

import clf_sdk as clf
from clf_sdk._cli import main
from clf_sdk.audit import Checkpoint
from clf_sdk.errors import InvalidInput
from clf_sdk.keys import SigningKey
from clf_testing import Owner

Connect = Callable[..., clf.Connection]


def audit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


@pytest.fixture
def profile(clinic: Owner, tmp_path: Path) -> Path:
    path = tmp_path / "owner.json"
    clinic.owner.save(path)
    return path


@pytest.fixture
def connection(
    clinic: Owner, connect: Connect, numbers: pa.Table, policy: clf.Policy
) -> clf.Connection:
    """Return a connection to a server that shared and dropped a table."""
    made = connect(clinic)
    clf.share(numbers, name="audited", policy=policy, to=made)
    made.drop("audited")
    return made


def test_decisions_come_as_a_frame(connection: clf.Connection) -> None:
    frame = connection.audit()
    assert list(frame.columns) == ["time", "event", "mode", "request", "details"]
    assert list(frame.index) == list(range(len(frame)))
    assert frame.event[0] == "server.started"
    assert list(frame.event[-2:]) == ["table.shared", "table.dropped"]
    assert frame.details.iloc[-1]["table"] == "audited"
    assert frame.time.max() <= pd.Timestamp.now(tz="UTC")
    assert set(frame["mode"]) == {"simulation"}
    last = connection.audit(last=2)
    assert list(last.index) == list(frame.index[-2:])
    with pytest.raises(InvalidInput):
        connection.audit(last=0)


@pytest.mark.usefixtures("connection")
def test_show_prints_verified_entries(profile: Path) -> None:
    shown = audit("show", "--profile", profile, "--last", "2")
    assert shown.exit_code == 0
    dropped = shown.stdout.splitlines()[1]
    assert "table.dropped" in dropped
    assert "table=audited" in dropped
    assert "INSECURE SIMULATION" in shown.stderr
    lines = audit("show", "--profile", profile, "--last", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["table.shared", "table.dropped"]


def test_log_is_exported_and_verified_offline(
    connection: clf.Connection, profile: Path, tmp_path: Path
) -> None:
    file, note = tmp_path / "log.jsonl", tmp_path / "old.checkpoint"
    live = audit("verify", "--profile", profile, "--save", note, "--json")
    claims = json.loads(live.stdout)
    assert claims["verified"] is True
    assert claims["server"] == connection.server
    assert claims["simulation"] is True
    assert claims["events"]["table.dropped"] >= 1
    exported = audit("export", file, "--profile", profile)
    assert exported.exit_code == 0
    for arguments in ((file,), (file, "--profile", profile), (file, "--against", note)):
        verified = audit("verify", *arguments)
        assert verified.exit_code == 0
        assert connection.server in verified.stdout
        assert ("compare the server's id" in verified.stderr) is ("--profile" not in arguments)
    assert audit("verify", "--profile", profile, "--against", file).exit_code == 0


def test_one_entry_is_proved_and_verified_offline(
    connection: clf.Connection, profile: Path, tmp_path: Path
) -> None:
    file = tmp_path / "entry.json"
    index = str(connection.audit(last=1).index[0])
    assert audit("prove", index, file, "--profile", profile).exit_code == 0
    verified = audit("verify", file, "--profile", profile)
    assert connection.server in verified.stdout
    assert "table.dropped" in verified.stdout
    claims = json.loads(audit("verify", file, "--json").stdout)
    assert claims["entry"]["event"] == "table.dropped"
    assert audit("verify", file, "--against", file).exit_code == 2
    missing = audit("prove", "999999", file, "--profile", profile)
    assert missing.exit_code == 1
    assert "none of number 999999" in missing.stderr


def test_verification_that_fails_exits_1_with_the_reason(
    connection: clf.Connection, profile: Path, insurer: Owner, tmp_path: Path
) -> None:
    file, other = tmp_path / "log.jsonl", tmp_path / "insurer.json"
    assert audit("export", file, "--profile", profile).exit_code == 0
    insurer.owner.save(other)
    foreign = audit("verify", file, "--profile", other, "--json")
    assert foreign.exit_code == 1
    assert json.loads(foreign.stdout)["code"] == "server_identity_mismatch"

    cut = file.read_bytes().rstrip(b"\n").rpartition(b"\n")[0] + b"\n"
    file.write_bytes(cut)
    refused = audit("verify", file)
    assert refused.exit_code == 1
    assert "Refused (log_altered)" in refused.stderr

    forged = tmp_path / "forged.checkpoint"
    forged.write_text(Checkpoint.sign(SigningKey.generate(), size=1, root=bytes(32)).note)
    assert audit("verify", "--profile", profile, "--against", forged).exit_code == 1
    assert connection.audit(last=1).shape[0] == 1


def test_verify_needs_something_to_verify() -> None:
    nothing = audit("verify")
    assert nothing.exit_code == 2
    assert "--profile" in nothing.stderr


def test_text_that_others_chose_can_not_steer_the_terminal(
    clinic: Owner, connection: clf.Connection, profile: Path
) -> None:
    stranger = clf.connect(clinic.owner.model_copy(update={"token": "guessed"}))
    with pytest.raises(clf.ClfError):
        stranger.http.send("GET", "/v1/results/%1b%5b2J%0a/x/0")
    stranger.close()
    shown = audit("show", "--profile", profile, "--last", "1").stdout
    assert "token.refused" in shown
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 1
    assert connection.audit(last=1).event.iloc[0] == "token.refused"
