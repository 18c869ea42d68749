from __future__ import annotations

import datetime as dt
import ssl
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from clf_sdk.errors import ConfigurationError
from clf_server._certificate_files import make_certificates
from clf_server._cli import server
from clf_server._tls import check_tls

NOW = dt.datetime.now(dt.UTC)
FILES = ("ca.pem", "ca.key", "server.pem", "server.key")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "deep" / "tls"
    make_certificates(made, name="clinic", hosts=["clinic.example", "10.0.0.7", "::1"])
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_certificate_serves_its_names_under_its_authority(folder: Path) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "server.pem", folder / "server.key")
    for host in ("clinic.example", "10.0.0.7", "::1"):
        _handshake(server_side, ssl.create_default_context(cafile=str(folder / "ca.pem")), host)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.example"):
        _handshake(
            server_side,
            ssl.create_default_context(cafile=str(folder / "ca.pem")),
            "other.example",
        )


def _handshake(server_side: ssl.SSLContext, client_side: ssl.SSLContext, host: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=host)
    answering = server_side.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for side in (client, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"


def test_private_files_are_private(folder: Path) -> None:
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in FILES}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "server.pem": 0o644, "server.key": 0o600}


def test_renewal_keeps_authority_and_names_and_changes_the_key(folder: Path) -> None:
    before = contents(folder)
    made = make_certificates(folder, name="clinic", days=30)
    after = contents(folder)
    assert made.hosts == ["clinic.example", "10.0.0.7", "::1"]
    assert not made.new_authority
    assert [name for name in FILES if before[name] == after[name]] == ["ca.pem", "ca.key"]
    lifetime = made.valid_until - dt.datetime.now(dt.UTC)
    assert abs(lifetime - dt.timedelta(days=30)) < dt.timedelta(minutes=5)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)  # no parts are left


def test_named_hosts_replace_the_old_ones(folder: Path) -> None:
    assert make_certificates(folder, name="clinic", hosts=["new.example"]).hosts == ["new.example"]


def test_new_authority_is_made_only_when_asked(folder: Path) -> None:
    before = contents(folder)
    assert make_certificates(folder, name="clinic", new_authority=True).new_authority
    after = contents(folder)
    assert not [name for name in FILES if before[name] == after[name]]


def test_authority_whose_key_is_elsewhere_is_not_replaced_silently(folder: Path) -> None:
    (folder / "ca.key").unlink()
    before = (folder / "server.pem").read_bytes()
    with pytest.raises(ConfigurationError, match="is not here") as caught:
        make_certificates(folder, name="clinic")
    assert "--new-authority" in str(caught.value)
    assert (folder / "server.pem").read_bytes() == before


def test_key_of_another_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    make_certificates(tmp_path / "other", name="other", hosts=["localhost"])
    (folder / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(ConfigurationError, match="is not the key of"):
        make_certificates(folder, name="clinic")


def test_first_certificate_needs_a_host(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no host is named") as caught:
        make_certificates(tmp_path / "tls", name="clinic")
    assert "--host" in str(caught.value)
    assert not (tmp_path / "tls").exists()


@pytest.mark.parametrize("host", ["müller.example", "клиника"])
def test_host_that_is_no_name_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match="neither a host name nor an address"):
        make_certificates(tmp_path / "tls", name="clinic", hosts=[host])


@pytest.mark.parametrize("days", [0, 826])
def test_certificate_that_clients_would_refuse_is_not_made(tmp_path: Path, days: int) -> None:
    with pytest.raises(ConfigurationError, match="1 to 825 days"):
        make_certificates(tmp_path / "tls", name="clinic", hosts=["localhost"], days=days)


def test_command_says_what_it_made(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    first = CliRunner().invoke(
        server, ["certs", str(folder), "--host", "localhost", "--host", "127.0.0.1"]
    )
    assert first.exit_code == 0, first.output
    assert "localhost, 127.0.0.1" in first.output
    assert "a new authority" in first.output
    again = CliRunner().invoke(server, ["certs", str(folder)])
    assert again.exit_code == 0, again.output
    assert "a new authority" not in again.output


# -- what a server says about files that it can not use ----------------------------------------


def check(folder: Path, *, after_days: float = 0) -> None:
    moment = NOW + dt.timedelta(days=after_days)
    check_tls(folder / "server.pem", folder / "server.key", now=moment.timestamp())


def test_good_files_are_accepted(folder: Path) -> None:
    check(folder)
    check(folder, after_days=396)


@pytest.mark.parametrize(
    ("after_days", "message"), [(398, "expired on"), (-3, "is valid from")], ids=["old", "early"]
)
def test_certificate_outside_its_time_is_named(
    folder: Path, after_days: float, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check(folder, after_days=after_days)


def test_key_of_another_certificate_is_named(folder: Path, tmp_path: Path) -> None:
    make_certificates(tmp_path / "other", name="other", hosts=["localhost"])
    (folder / "server.key").write_bytes((tmp_path / "other" / "server.key").read_bytes())
    with pytest.raises(ConfigurationError, match="is not that of the certificate"):
        check(folder)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_key_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    (folder / "server.key").chmod(mode)
    with pytest.raises(ConfigurationError, match="open to others") as caught:
        check(folder)
    assert "chmod 600" in str(caught.value)


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\n"])
def test_missing_and_unreadable_files_are_named(
    folder: Path, name: str, content: bytes | None
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=name.replace(".", r"\.")):
        check(folder)


def test_authority_signs_servers_only(folder: Path) -> None:
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (
        True,
        True,
        0,
    )
