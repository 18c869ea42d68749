from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from clf_sdk.attestation import (
    Collateral,
    EnclavePolicy,
    FileCollateral,
    SimulatedPlatform,
    TrustAnchor,
    create_simulation,
    parse_quote,
    simulated_measurement,
    verify_quote,
)
from clf_sdk.errors import CollateralUnavailable, ConfigurationError, EvidenceUnavailable

if TYPE_CHECKING:
    from pathlib import Path


def test_simulation_on_disk_makes_quotes_that_verify_under_its_public_files(
    tmp_path: Path,
) -> None:
    create_simulation(tmp_path / "tee")
    platform = SimulatedPlatform.load(tmp_path / "tee")
    quote = platform.quote(
        bytes(64), mrenclave="ab" * 32, mrsigner=platform.mrsigner, isv_prod_id=1, isv_svn=1
    )
    now = int(time.time())
    enclave = verify_quote(
        quote,
        FileCollateral(tmp_path / "tee" / "collateral.json").collateral_for(quote, now=now),
        policy=EnclavePolicy(mrsigner=platform.mrsigner, isv_prod_id=1, min_isv_svn=1),
        report_data=bytes(64),
        anchor=TrustAnchor.insecure_simulation(tmp_path / "tee" / "anchor.pem"),
        now=now,
    )
    assert enclave.mrsigner == platform.mrsigner
    assert enclave.mode == "simulation"


def test_private_keys_of_a_simulation_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    create_simulation(tmp_path / "tee")
    private = tmp_path / "tee" / "platform"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()} == {0o600}
    for public in ("anchor.pem", "collateral.json"):
        assert b"PRIVATE KEY" not in (tmp_path / "tee" / public).read_bytes()


def test_simulation_never_overwrites_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigurationError, match="not an empty directory"):
        create_simulation(tmp_path)
    with pytest.raises(ConfigurationError, match="not an empty directory"):
        create_simulation(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_directory_without_a_simulation_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(EvidenceUnavailable, match="clf simulation init"):
        SimulatedPlatform.load(tmp_path)


def test_two_simulations_share_nothing(bench: Any, other_bench: Any) -> None:
    ours, theirs = bench.platform, other_bench.platform
    assert ours.anchor_pem != theirs.anchor_pem
    assert ours.mrsigner != theirs.mrsigner
    assert parse_quote(bench.quote()).ppid != parse_quote(other_bench.quote()).ppid


def test_repr_of_a_platform_shows_no_key_and_says_simulation(bench: Any) -> None:
    assert "INSECURE SIMULATION" in repr(bench.platform)
    assert "key" not in repr(bench.platform).lower()


def test_measurement_names_the_code(tmp_path: Path) -> None:
    package = tmp_path / "app"
    (package / "sub").mkdir(parents=True)
    (package / "a.py").write_text("a = 1\n")
    (package / "sub" / "b.py").write_text("b = 1\n")
    first = simulated_measurement([package])
    assert len(bytes.fromhex(first)) == 32
    (package / "notes.txt").write_text("not code")
    assert simulated_measurement([package]) == first
    (package / "a.py").write_text("a = 2\n")
    changed = simulated_measurement([package])
    (package / "a.py").write_text("a = 1\n")
    (package / "sub" / "b.py").rename(package / "b.py")
    assert len({first, changed, simulated_measurement([package])}) == 3
    EnclavePolicy(mrenclave=first)


def test_measurement_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        simulated_measurement([tmp_path])


def test_collateral_file_is_read_again_when_it_changes(tmp_path: Path, bench: Any) -> None:
    path = tmp_path / "collateral.json"
    source = FileCollateral(path)
    with pytest.raises(CollateralUnavailable):
        source.collateral_for(bench.quote(), now=bench.now)
    path.write_bytes(bench.platform.collateral.to_text())
    first = source.collateral_for(bench.quote(), now=bench.now)
    assert source.collateral_for(bench.quote(), now=bench.now) is first
    newer = bench.platform.reissue(now=bench.now + 86400)
    path.with_suffix(".new").write_bytes(newer.to_text())
    path.with_suffix(".new").replace(path)
    assert source.collateral_for(bench.quote(), now=bench.now) == newer
    with pytest.raises(CollateralUnavailable):
        Collateral.from_file(tmp_path / "missing.json")
