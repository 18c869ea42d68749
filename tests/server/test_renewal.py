"""Certificates that are renewed while the server is in use (docs/protocol.md §2.1)."""

from __future__ import annotations

import json
import shutil
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import clf_sdk as clf
from clf_sdk._authorities import with_authorities
from clf_sdk.attestation import EnclavePolicy, TrustAnchor
from clf_sdk.errors import (
    ConfigurationError,
    InvalidInput,
    Malformed,
    ServerIdentityMismatch,
    TransportError,
)
from clf_sdk.keys import SigningKey, server_id
from clf_sdk.protocol import AUTHORITIES_SIGNATURE, Profile, SignedAuthorities, TlsAuthorities
from clf_server import _renewal
from clf_server._administration import Administration
from clf_server._certificate_files import make_certificates
from clf_server._certificates import certificate_digest, hosts_of
from clf_server._cli import server as server_commands
from clf_server._config import load_config
from clf_server._evidence import program_measurement
from clf_server._renewal import ShownCertificate, announced_authorities, switch_if_due
from clf_server._tls import load_chain
from clf_testing import Exchange, LocalServer, Owner, Simulation

pytestmark = pytest.mark.same_directory


def rotate(directory: Path, *options: str) -> None:
    done = CliRunner().invoke(server_commands, ["rotate-tls", str(directory), *options])
    assert done.exit_code == 0, done.output


def shown(profile: Profile) -> str:
    """Return what certificate a server shows, whoever signed it."""
    host, _, port = profile.url.removeprefix("https://").rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), timeout=20)
    return certificate_digest_of(pem)


def certificate_digest_of(pem: str) -> str:
    import hashlib  # noqa: PLC0415

    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def test_profiles_follow_a_renewal_during_its_overlap(
    make_owner: Callable[..., Owner],
    simulation: Simulation,
    numbers: pa.Table,
    policy: clf.Policy,
    tmp_path: Path,
) -> None:
    owner = make_owner("renewing", settings={"insecure_simulated_evidence": simulation.directory})
    before, file = shown(owner.owner), tmp_path / "owner.json"
    stale = owner.owner
    stale.save(file)
    attested = clf.connect(
        file,
        expect=EnclavePolicy(mrenclave=program_measurement()),
        anchor=TrustAnchor.insecure_simulation(simulation.anchor),
    )
    rotate(owner.directory, "--overlap-days", "30")

    # During the overlap the old certificate is shown, and who connects learns of the next one.
    assert shown(owner.owner) == before
    clf.connect(stale).close()
    connection = clf.connect(file)
    both = Profile.load(file)
    assert both.ca == announced_authorities(load_config(owner.directory))
    assert both.ca.count("BEGIN CERTIFICATE") == 2
    assert both.token == stale.token
    assert file.stat().st_mode & 0o777 == 0o600
    assert connection.endpoint.ca == both.ca

    # Then the running server shows the new one, and nothing that is open breaks.
    rotate(owner.directory, "--now")
    deadline = time.monotonic() + 60
    while shown(owner.owner) == before:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert shown(owner.owner) == certificate_digest(owner.directory / "tls" / "server.pem")
    connection.tables()
    clf.connect(file).close()
    assert Profile.load(file).ca == (owner.directory / "tls" / "ca.pem").read_text()
    with pytest.raises(TransportError, match="authority"):
        clf.connect(stale)
    events = [entry for entry in connection.audit()["event"] if entry.startswith("certificate.")]
    assert events == ["certificate.made", "certificate.made", "certificate.shown"]
    connection.close()

    # A connection that expects a proof follows too: each upload asks for one, with the certificate.
    attested.close()
    again = clf.connect(
        file,
        expect=EnclavePolicy(mrenclave=program_measurement()),
        anchor=TrustAnchor.insecure_simulation(simulation.anchor),
    )
    clf.share(numbers, name="t", policy=policy, to=again, progress=False)
    again.close()


def certificates(folder: Path) -> str:
    """Make an authority and a certificate, and return the authority's PEM."""
    make_certificates(folder, name="c", hosts=["127.0.0.2"])
    return (folder / "ca.pem").read_text()


def certificate_hosts(chain: Path) -> list[str]:
    return hosts_of(load_chain(chain)[0])


def test_who_holds_the_tls_key_can_not_add_an_authority(clinic: Owner, tmp_path: Path) -> None:
    """The relay has the server's own certificate and key, and all that people trust TLS for."""
    file = tmp_path / "owner.json"
    clinic.process.owner.save(file)
    kept = file.read_bytes()
    mallory = SigningKey.generate()
    own = certificates(tmp_path / "mallory")

    def add(exchange: Exchange) -> None:
        document = json.loads(exchange.answer)
        announced = document["tls"]["authorities"]
        announced["authorities"] += own
        announced["issued_at"] += 10
        document["tls"]["signature"] = resign(announced)
        exchange.answer = json.dumps(document).encode()

    def resign(announced: dict[str, object]) -> str:
        authorities = TlsAuthorities.parse(announced)
        signature = mallory.sign(AUTHORITIES_SIGNATURE, authorities.to_json())
        signed = SignedAuthorities(authorities=authorities, signature=signature)
        return str(signed.to_json()["signature"])

    with clinic.control.attacked(after=add), pytest.raises(ServerIdentityMismatch, match="signed"):
        clf.connect(file)
    assert file.read_bytes() == kept


# -- what a client takes up ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity() -> SigningKey:
    return SigningKey.generate()


def announce(identity: SigningKey, authorities: str, at: int, **changes: str) -> SignedAuthorities:
    document = TlsAuthorities(
        clf=1,
        type="tls-authorities",
        server=changes.get("server", server_id(identity.public_bytes)),
        issued_at=at,
        authorities=authorities,
    )
    signature = identity.sign(AUTHORITIES_SIGNATURE, document.to_json())
    return SignedAuthorities(authorities=document, signature=signature)


def profile_of(identity: SigningKey, ca: str, *, at: int = 0) -> Profile:
    return Profile(
        clf=1,
        type="profile",
        role="owner",
        label="owner",
        analyst=None,
        name="clinic",
        url="https://localhost",
        ca=ca,
        server=server_id(identity.public_bytes),
        token="t",
        expires_at=0,
        authorities_at=at,
        successions=[],
    )


def test_recorded_announcement_brings_no_old_authority_back(
    identity: SigningKey, tmp_path: Path
) -> None:
    old, new = (certificates(tmp_path / name) for name in ("old", "new"))
    profile = profile_of(identity, old)
    both = with_authorities(profile, announce(identity, old + new, 10), identity.public_bytes)
    only = with_authorities(both, announce(identity, new, 20), identity.public_bytes)
    assert (both.ca, only.ca, only.authorities_at) == (old + new, new, 20)
    for recorded in (announce(identity, old + new, 10), announce(identity, old, 20)):
        assert with_authorities(only, recorded, identity.public_bytes) is only


def test_new_profile_takes_up_no_announcement_from_before_it(local: LocalServer) -> None:
    """It was made in an overlap, and whoever holds the old TLS key replays what was before that."""
    identity = local.state.identity
    old = (local.directory / "tls" / "ca.pem").read_text()
    recorded = announce(identity, old, int(local.clock()))
    local.clock.now += 100
    with Administration(local.directory, clock=local.clock) as operator:
        operator.renew_certificate(overlap_days=30)
        profile = Profile.load(operator.create_token("owner", days=1, label="second"))
    assert profile.ca != old
    assert with_authorities(profile, recorded, identity.public_bytes) is profile
    later = announce(identity, old, int(local.clock()) + 1)
    assert with_authorities(profile, later, identity.public_bytes).ca == old


def test_announcement_of_another_server_is_refused(identity: SigningKey, tmp_path: Path) -> None:
    ca = certificates(tmp_path / "tls")
    stranger = SigningKey.generate()
    profile = profile_of(identity, "")
    of_stranger = announce(stranger, ca, 10)
    about_us = announce(stranger, ca, 10, server=profile.server)
    about_others = announce(identity, ca, 10, server="00" * 32)
    for wrong, key in (
        (of_stranger, stranger),
        (about_us, stranger),
        (about_us, identity),
        (about_others, identity),
    ):
        with pytest.raises(ServerIdentityMismatch):
            with_authorities(profile, wrong, key.public_bytes)


@pytest.mark.parametrize("copies", [0, 5])
def test_announcement_of_no_or_too_many_certificates_is_malformed(
    identity: SigningKey, copies: int, tmp_path: Path
) -> None:
    ca = certificates(tmp_path / "tls") * copies or "none"
    with pytest.raises(Malformed):
        with_authorities(profile_of(identity, ""), announce(identity, ca, 1), identity.public_bytes)


def test_profile_that_can_not_be_written_still_works(
    clinic: Owner, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "owner.json"
    clinic.owner.model_copy(update={"ca": clinic.owner.ca + "\n"}).save(file)

    def fail(*_: object) -> None:
        raise ConfigurationError("the profile can't be written")

    monkeypatch.setattr(Profile, "replace", fail)
    connection = clf.connect(file)
    assert connection.profile.ca == clinic.owner.ca
    connection.close()
    assert "will not know them" in caplog.text


# -- the server's files --------------------------------------------------------------------------


def renew(local: LocalServer, *, days: int = 0, hosts: tuple[str, ...] = ()) -> str:
    with Administration(local.directory, clock=local.clock) as administration:
        return administration.renew_certificate(overlap_days=days, hosts=hosts).digest


def test_switch_killed_anywhere_is_finished_at_the_next_start(
    local: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    digest = renew(local)
    replace, rmtree = _renewal._replace, shutil.rmtree
    local.close()
    for step in range(6):
        copy = tmp_path / str(step)
        shutil.copytree(local.directory, copy)
        left = [step]

        def dying(*arguments: object, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            replace(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(_renewal, "_replace", dying)
        monkeypatch.setattr(shutil, "rmtree", dying if step == 5 else rmtree)
        if step in (0, 1, 2, 3):
            with pytest.raises(KeyboardInterrupt):
                switch_if_due(copy, now=local.state.now())
        monkeypatch.setattr(_renewal, "_replace", replace)
        monkeypatch.setattr(shutil, "rmtree", rmtree)
        assert switch_if_due(copy, now=local.state.now())
        chain, key = copy / "tls" / "server.pem", copy / "tls" / "server.key"
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)
        assert certificate_digest(chain) == digest
        assert not switch_if_due(copy, now=local.state.now())


def test_certificate_waits_for_its_date_and_is_then_shown_at_a_start(local: LocalServer) -> None:
    digest = renew(local, days=30)
    present = local.state.certificate.digest
    local.clock.now += 30 * 86400 - 1
    local.close()
    local.restart()
    assert local.state.certificate.digest == present
    local.clock.now += 1
    local.close()
    local.restart()
    assert local.state.certificate.digest == digest
    assert [entry.event for entry in local.audited()][-1] == "certificate.shown"


def test_renewal_keeps_or_changes_the_names(local: LocalServer) -> None:
    tls = local.directory / "tls"
    assert certificate_hosts(tls / "server.pem") == ["localhost", "127.0.0.1"]
    first = renew(local, days=30, hosts=("clinic.example", "10.0.0.9"))
    assert certificate_hosts(tls / "next" / "server.pem") == ["clinic.example", "10.0.0.9"]
    assert renew(local, days=1) == first  # asked again, only the date moves
    assert (tls / "next" / "server.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("days", [-1, 366])
def test_overlap_has_limits(local: LocalServer, days: int) -> None:
    with pytest.raises(InvalidInput):
        renew(local, days=days)


def test_certificate_of_the_operator_s_own_is_taken_up_when_both_files_fit(
    local: LocalServer,
) -> None:
    tls = local.directory / "tls"
    shown = ShownCertificate(tls / "server.pem", tls / "server.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "server.pem", tls / "server.key")
    before = shown.digest
    assert not shown.reload(context)
    own = local.directory / "own"
    certificates(own)
    (tls / "server.pem").write_bytes((own / "server.pem").read_bytes())
    with pytest.raises(ConfigurationError, match="do not belong together"):
        shown.reload(context)
    assert shown.digest == before
    (tls / "server.key").write_bytes((own / "server.key").read_bytes())
    assert shown.reload(context)
    assert shown.digest != before


def test_operator_s_own_certificate_is_not_ours_to_renew(local: LocalServer) -> None:
    path = local.directory / "clf_server.conf"
    path.write_text(path.read_text() + "\nserver_cert_path = tls/own.pem\n")
    with pytest.raises(ConfigurationError, match="of your own"):
        renew(local)
