from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, TooLarge
from clf_sdk.protocol import SessionAnswer
from clf_server._config import load_config
from clf_server._secrets import Secrets
from clf_testing import MRENCLAVE, HandmadeEnclave, LocalServer, Simulation, job_input, make_job

SECRET = b"\x00value that only a pinned enclave may have\xff"
Refused = Callable[[Any], tuple[int, str]]


@pytest.fixture
def enclave(
    simulation: Simulation, local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> HandmadeEnclave:
    local.upload("plans", numbers, policy)
    return HandmadeEnclave(
        simulation, local, make_job([job_input(local.server_id, "plans")]), secrets=["secret"]
    )


def configure(local: LocalServer, **values: str) -> None:
    lines = [f"{key}={value}" for key, value in values.items()]
    for directory in local.directories:
        secret = directory / "the.secret"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        conf = directory / "clf_server.conf"
        conf.write_text(conf.read_text() + "\nsecret_file=the.secret\n" + "\n".join(lines) + "\n")
    local.close()
    local.restart()


def test_pinned_enclave_gets_the_secret_it_asks_for(enclave: HandmadeEnclave) -> None:
    configure(enclave.server, MREnclave=MRENCLAVE)
    answer = enclave.open()
    assert enclave.keys(answer).secrets == {"secret": SECRET}
    assert answer.session.secrets == ["secret"]


def test_secret_travels_only_sealed_and_only_its_name_is_logged(enclave: HandmadeEnclave) -> None:
    configure(enclave.server, MREnclave=MRENCLAVE)
    answer = enclave.ask()
    assert b"only a pinned" not in answer.content
    assert b"only a pinned" not in enclave.server.database_bytes()
    granted = [entry for entry in enclave.server.audited() if entry.event == "session.granted"]
    assert granted[-1].details["secrets"] == ["secret"]


def test_enclave_that_does_not_ask_gets_none(enclave: HandmadeEnclave) -> None:
    configure(enclave.server, MREnclave=MRENCLAVE)
    enclave.secrets = []
    assert enclave.keys(enclave.open()).secrets == {}


def test_unpinned_server_releases_no_secret_and_says_how_to_pin(
    enclave: HandmadeEnclave, refused: Refused
) -> None:
    configure(enclave.server)
    answer = enclave.ask()
    assert refused(answer) == (403, "not_pinned")
    assert "MREnclave, or MRSigner with isv_prod_id and isv_svn" in answer.json()["hint"]


@pytest.mark.parametrize(
    ("pin", "code"),
    [
        ({"MREnclave": "cd" * 32}, "measurement_mismatch"),
        ({"MRSigner": "cd" * 32, "isv_prod_id": "1", "isv_svn": "1"}, "signer_mismatch"),
        ({"MRSigner": "", "isv_prod_id": "2", "isv_svn": "1"}, "product_mismatch"),
        ({"MRSigner": "", "isv_prod_id": "1", "isv_svn": "2"}, "svn_too_low"),
    ],
)
@pytest.mark.parametrize("asks", [["secret"], []], ids=["secret", "table"])
def test_other_programs_than_the_pinned_one_get_neither_secrets_nor_tables(
    enclave: HandmadeEnclave, refused: Refused, pin: dict[str, str], code: str, asks: list[str]
) -> None:
    signer = enclave.simulation.platform.mrsigner
    configure(enclave.server, **{key: value or signer for key, value in pin.items()})
    enclave.secrets = asks
    assert refused(enclave.ask()) == (403, code)


def test_isv_svn_is_a_minimum(enclave: HandmadeEnclave) -> None:
    signer = enclave.simulation.platform.mrsigner
    configure(enclave.server, MRSigner=signer, isv_prod_id="1", isv_svn="0")
    assert enclave.keys(enclave.open()).secrets == {"secret": SECRET}


def test_job_without_approval_gets_no_secret(enclave: HandmadeEnclave, refused: Refused) -> None:
    configure(enclave.server, MREnclave=MRENCLAVE)
    enclave.agreed = False
    assert refused(enclave.ask()) == (403, "job_not_approved")


@pytest.mark.parametrize("name", ["other", "kek.key"])
def test_unknown_secret_is_named(enclave: HandmadeEnclave, refused: Refused, name: str) -> None:
    configure(enclave.server, MREnclave=MRENCLAVE)
    enclave.secrets = ["secret", name]
    answer = enclave.ask()
    assert refused(answer) == (404, "not_found")
    assert name in answer.json()["detail"]


@pytest.mark.parametrize("names", [["../kek.key"], ["secret"] * 17, [7], "secret"])
def test_names_that_are_none_are_malformed(
    enclave: HandmadeEnclave, refused: Refused, names: Any
) -> None:
    configure(enclave.server, MREnclave=MRENCLAVE)
    enclave.secrets = names
    assert refused(enclave.ask()) == (400, "malformed")


def test_folder_holds_secrets_by_name(enclave: HandmadeEnclave) -> None:
    for directory in enclave.server.directories:
        folder = directory / "more"
        folder.mkdir()
        for name in ("key.1", "key.2", ".hidden"):
            (folder / name).write_bytes(name.encode())
            (folder / name).chmod(0o400)
    configure(enclave.server, MREnclave=MRENCLAVE, secrets_dir="more")
    enclave.secrets = ["key.2", "secret"]
    answer: SessionAnswer = enclave.open()
    assert enclave.keys(answer).secrets == {"key.2": b"key.2", "secret": SECRET}


# -- files that can't be used --------------------------------------------------------------------


def load(directory: Path, text: str) -> Secrets:
    conf = directory / "clf_server.conf"
    conf.write_text(f"name=clinic\n{text}\n")
    conf.chmod(0o600)
    return Secrets(load_config(directory))


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def test_secret_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s", b"x", 0o644)
    with pytest.raises(ConfigurationError, match="open to others"):
        load(tmp_path, "secret_file=s")


def test_missing_empty_and_large_secrets_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        load(tmp_path, "secret_file=s")
    write(tmp_path / "s", b"")
    with pytest.raises(ConfigurationError, match="is empty"):
        load(tmp_path, "secret_file=s")
    write(tmp_path / "s", b"x" * 65537)
    with pytest.raises(TooLarge, match="64 KiB"):
        load(tmp_path, "secret_file=s")


def test_folder_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="secrets_dir"):
        load(tmp_path, "secrets_dir=more")
    write(tmp_path / "more" / "Bad Name", b"x")
    with pytest.raises(ConfigurationError, match="'Bad Name' can't be the name of a secret"):
        load(tmp_path, "secrets_dir=more")


def test_two_secrets_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "more" / "secret", b"x")
    with pytest.raises(ConfigurationError, match="two secrets 'secret'"):
        load(tmp_path, "secret=a\nsecrets_dir=more")


def test_secrets_have_no_values_in_their_repr(tmp_path: Path) -> None:
    assert repr(load(tmp_path, "secret=sesame")) == "Secrets(1)"
