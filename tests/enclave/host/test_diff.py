from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa

from clf_enclave._cli import enclave
from clf_enclave._host._build import Build, load_build, package_of
from clf_enclave._host._diff import compare_builds
from clf_sdk.errors import ConfigurationError, Malformed
from gramine_stand_in import make_sigstruct

PACKAGES = "/opt/clf/lib/python3.12/site-packages"
SITE = f"file:{PACKAGES}"
FILES = {
    f"{SITE}/pandas/core.py": "aa" * 32,
    f"{SITE}/pandas-3.1.1.dist-info/METADATA": "bb" * 32,
    f"{SITE}/six.py": "cc" * 32,
    f"{SITE}/six-1.17.0.dist-info/METADATA": "dd" * 32,
    f"{SITE}/clf_enclave/_run.py": "ee" * 32,
    "file:/usr/lib/x86_64-linux-gnu/libz.so.1": "ff" * 32,
}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=3, key_size=3072)


@pytest.fixture
def write(tmp_path: Path, key: rsa.RSAPrivateKey) -> Callable[..., Path]:
    """Write a signed build."""

    def write_build(
        name: str, files: dict[str, str], *, svn: int = 1, size: str = "4G", extra: str = ""
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        trusted = ", ".join(f'{{uri = "{u}", sha256 = "{h}"}}' for u, h in files.items())
        (folder / "clf_enclave.manifest.sgx").write_text(
            f'loader.argv = ["python3", "-m", "clf_enclave"]\n{extra}'
            f'fs.mounts = [{{path = "/tmp", type = "tmpfs"}}]\n'
            f'sgx.enclave_size = "{size}"\nsgx.trusted_files = [{trusted}]\n'
        )
        measurement = bytes([len(files), svn]) * 16
        (folder / "clf_enclave.sig").write_bytes(
            make_sigstruct(key, mrenclave=measurement, isv_svn=svn)
        )
        return folder

    return write_build


def test_build_without_changes(write: Callable[..., Path]) -> None:
    a, b = write("a", FILES), write("b", FILES)
    done = CliRunner().invoke(enclave, ["diff", str(a), str(b / "clf_enclave.manifest.sgx")])
    assert (done.exit_code, done.stdout) == (0, "no difference\n")


def test_each_kind_of_change_is_named(write: Callable[..., Path]) -> None:
    changed = {
        **{u: h for u, h in FILES.items() if "pandas-" not in u},
        f"{SITE}/pandas-3.2.0.dist-info/METADATA": "12" * 32,
        f"{SITE}/pandas/core.py": "34" * 32,
        f"{SITE}/clf_enclave/_run.py": "56" * 32,
        f"{SITE}/evil/__init__.py": "78" * 32,
    }
    a = write("a", FILES)
    b = write("b", changed, svn=2, size="8G", extra='loader.env.DEBUG = "1"\n')

    done = CliRunner().invoke(enclave, ["diff", str(a), str(b)])

    assert done.exit_code == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert any(line.startswith("~ mrenclave") for line in lines)
    assert "~ isv_svn  1 → 2" in lines
    assert "~ sgx.enclave_size  '4G' → '8G'" in lines
    assert "+ loader.env.DEBUG  '1'" in lines
    assert "~ pandas  3.1.1 → 3.2.0" in lines
    # What changed without a new version is what a reviewer has to read.
    silent = lines[lines.index("Changed without a new version (read these first)") + 1 :][:2]
    assert silent == ["! clf_enclave", "! evil"]
    assert f"~ {PACKAGES}/clf_enclave/_run.py" in lines
    assert f"+ {PACKAGES}/evil/__init__.py" in lines
    assert not any("six" in line for line in lines)


def test_json_has_every_file(write: Callable[..., Path]) -> None:
    many = {f"{SITE}/big/m{number}.py": f"{number:064x}" for number in range(50)}
    a, b = write("a", FILES), write("b", FILES | many)

    shown = CliRunner().invoke(enclave, ["diff", str(a), str(b)]).stdout
    document = json.loads(CliRunner().invoke(enclave, ["diff", "--json", str(a), str(b)]).stdout)

    assert "30 more" in shown
    assert {change["name"] for change in document["files"]} == set(many)
    assert document["silent"] == ["big"]


def test_signer_is_compared(write: Callable[..., Path]) -> None:
    a, b = write("a", FILES), write("b", FILES)
    other = rsa.generate_private_key(public_exponent=3, key_size=3072)
    (b / "clf_enclave.sig").write_bytes(make_sigstruct(other, mrenclave=bytes([6, 1]) * 16))

    diff = compare_builds(load_build(a), load_build(b))

    assert [change.name for change in diff.identity] == ["mrsigner"]


def test_builds_without_signature_are_compared_by_their_content(
    write: Callable[..., Path],
) -> None:
    a, b = write("a", FILES), write("b", FILES, size="8G")
    (b / "clf_enclave.sig").unlink()

    diff = compare_builds(load_build(a), load_build(b))

    assert diff.identity == ()
    assert [change.name for change in diff.settings] == ["sgx.enclave_size"]


@pytest.mark.parametrize(
    ("uri", "package"),
    [
        (f"{SITE}/pandas/core/frame.py", "pandas"),
        (f"{SITE}/six.py", "six"),
        (f"{SITE}/python_dateutil-2.9.0.dist-info/RECORD", "python_dateutil"),
        ("file:/usr/lib/python3.12/ssl.py", "/usr/lib/python3.12"),
        ("file:/usr/lib/python3/dist-packages/apt/x.py", "apt"),
    ],
)
def test_package_of(uri: str, package: str) -> None:
    assert package_of(uri) == package


def test_what_is_no_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="0 signed manifests"):
        load_build(tmp_path)
    manifest = tmp_path / "a.manifest.sgx"
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_build(manifest)
    for text in ("not = = toml", "\x00", "x = 1", "sgx = 3"):
        manifest.write_text(text)
        with pytest.raises(Malformed):
            load_build(manifest)
    # A manifest before signing has no hashes: comparing it would hide every changed file.
    manifest.write_text('sgx.trusted_files = ["file:/opt/clf/"]')
    with pytest.raises(Malformed, match="no hashes"):
        load_build(manifest)
    assert tomllib.loads(manifest.read_text())
    (tmp_path / "b.manifest.sgx").write_text("")
    with pytest.raises(ConfigurationError, match="2 signed manifests"):
        load_build(tmp_path)


def test_build_is_shown_by_what_it_holds(write: Callable[..., Path]) -> None:
    build = load_build(write("a", FILES))
    assert isinstance(build, Build)
    assert build.packages == {"pandas": "3.1.1", "six": "1.17.0"}
    assert build.settings["fs.mounts[/tmp].type"] == "'tmpfs'"
    assert build.settings["loader.argv[2]"] == "'clf_enclave'"
