"""The build script, with stand-ins for Gramine's tools on the PATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clf_enclave._cli import enclave
from clf_sdk.attestation import EnclavePolicy

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "enclave_app" / "build_enclave.sh"
STAND_IN = ROOT / "tests" / "support" / "gramine_stand_in.py"


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = rsa.generate_private_key(public_exponent=3, key_size=3072)
    path = tmp_path_factory.mktemp("signer") / "enclave-key.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return path


@pytest.fixture
def build(tmp_path: Path, key_file: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the script on a small installation."""
    tools = tmp_path / "tools"
    tools.mkdir()
    gramine = tmp_path / "gramine"
    (gramine / "runtime" / "glibc").mkdir(parents=True)
    (gramine / "libsysdb.so").write_bytes(b"libos")
    (gramine / "runtime" / "glibc" / "libc.so.6").write_bytes(b"libc")
    for name in ("gramine-manifest", "gramine-sgx-sign"):
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} {name} {gramine} "$@"\n')
        tool.chmod(0o755)
    packages = tmp_path / "install" / "packages"
    for name, text in {
        "clf_enclave/__init__.py": "",
        "clf_sdk/__init__.py": "",
        "pandas/__init__.py": "",
        "pandas-3.1.1.dist-info/METADATA": "Name: pandas\n",
    }.items():
        path = packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # The script asks the installation's interpreter where things are; most of them are faked, so
    # that no test hashes a whole Python.
    stdlib = tmp_path / "stdlib"
    (stdlib / "lib-dynload").mkdir(parents=True)
    extension = next(Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("_ssl.*.so"))
    (stdlib / "lib-dynload" / extension.name).symlink_to(extension)
    (stdlib / extension.name).write_bytes(extension.read_bytes())
    python = tmp_path / "install" / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f"""#!/bin/sh
case "$2" in
    *'"stdlib"'*) echo {stdlib} ;;
    *'"purelib"'*) echo {packages} ;;
    *MULTIARCH*) echo x86_64-linux-gnu ;;
    *) exec {sys.executable} "$@" ;;
esac
"""
    )
    python.chmod(0o755)
    nsswitch = tmp_path / "nsswitch.conf"
    nsswitch.write_text("hosts: files dns\n")
    script = tmp_path / "enclave_app" / "build_enclave.sh"
    script.parent.mkdir()
    script.write_text(SCRIPT.read_text())
    for program in ("enclave", "server"):
        name = f"clf_{program}.manifest.template"
        text = (SCRIPT.parent / name).read_text()
        script.with_name(name).write_text(text.replace("/opt/clf/etc", str(tmp_path)))

    def run(*options: str, key: Path | None = key_file) -> subprocess.CompletedProcess[str]:
        command = ["/bin/bash", str(script), "--install", str(tmp_path / "install"), *options]
        if key is not None:
            command += ["--key", str(key)]
        return subprocess.run(
            command,
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_build_prints_a_ready_policy(
    build: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = build("--output", str(tmp_path / "out"), "--isv-svn", "4")

    assert done.returncode == 0, done.stderr
    policy = EnclavePolicy.from_json(json.loads(done.stdout))
    assert (policy.isv_prod_id, policy.min_isv_svn) == (1, 4)
    signature = tmp_path / "out" / "clf_enclave.sig"
    measured = CliRunner().invoke(enclave, ["measure", str(signature)])
    assert EnclavePolicy.from_json(json.loads(measured.stdout)) == policy
    written = json.loads((tmp_path / "out" / "clf_enclave.policy.json").read_text())
    assert EnclavePolicy.from_json(written) == policy


def test_same_build_has_the_same_measurement_and_another_one_has_not(
    build: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    first, again = (build("--output", str(tmp_path / name)) for name in ("a", "b"))
    larger = build("--output", str(tmp_path / "c"), "--enclave-size", "8G")

    assert first.returncode == larger.returncode == 0
    assert first.stdout == again.stdout
    assert json.loads(first.stdout)["mrenclave"] != json.loads(larger.stdout)["mrenclave"]
    runner = CliRunner()
    assert runner.invoke(enclave, ["diff", str(tmp_path / "a"), str(tmp_path / "b")]).exit_code == 0
    found = runner.invoke(enclave, ["diff", str(tmp_path / "a"), str(tmp_path / "c")])
    assert found.exit_code == 1
    assert "~ sgx.enclave_size  '4G' → '8G'" in found.stdout


def test_libraries_are_those_that_are_needed(
    build: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = build("--output", str(tmp_path / "out"))

    assert done.returncode == 0, done.stderr
    manifest = tomllib.loads((tmp_path / "out" / "clf_enclave.manifest").read_text())
    system = [u for u in manifest["sgx"]["trusted_files"] if u.startswith("file:/usr/lib/x86_64")]
    assert any("/libssl.so" in uri for uri in system)  # the _ssl module needs it
    assert not any("/libc.so" in uri or "/ld-linux" in uri for uri in system)  # Gramine's are used
    assert not any(uri.endswith("/") for uri in system)


def test_server_can_be_made_and_run_in_an_enclave(
    build: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    options = ("--program", "server", "--output", str(tmp_path / "out"))
    made = build(*options, "--mode", "init", "--name", "clinic", "--public-host", "clinic.example")
    assert made.returncode == 0, made.stderr
    manifest = tomllib.loads((tmp_path / "out" / "clf_server.manifest").read_text())
    assert manifest["loader"]["argv"][3:5] == ["init", "/data/server"]

    ran = build(*options)
    assert ran.returncode == 0, ran.stderr
    signer = [json.loads(done.stdout)["mrsigner"] for done in (made, ran)]
    assert signer[0] == signer[1]  # what one of them sealed the other one opens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-threads", "31"], "at least 32"),
        (["--max-threads", "many"], "not a number"),
        (["--compute-threads", "9"], "a quarter"),
        (["--compute-threads", "0"], "a quarter"),
        (["--enclave-size", "4GB"], "512M or 4G"),
        (["--isv-svn", "65536"], "16 bits"),
        (["--program", "client"], "no program 'client'"),
        (["--mode", "init"], "with the mode 'init'"),
        (["--program", "server", "--mode", "init"], "needs --name"),
        (
            ["--program", "server", "--mode", "init", "--name", 'a"]\nsgx.debug = true\nx = ["'],
            "needs --name",
        ),
        (["--fast", "1"], "no option --fast"),
        (["now"], "what is now?"),
        (["--install", "/nowhere"], "no program in /nowhere"),
    ],
)
def test_options_that_make_no_sense(
    build: Callable[..., subprocess.CompletedProcess[str]], options: list[str], message: str
) -> None:
    done = build(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_key_is_needed(
    build: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert "gramine-sgx-gen-private-key" in build(key=None).stderr
    assert "can't be read" in build(key=tmp_path / "none.pem").stderr
    assert "--key needs a value" in build("--key", key=None).stderr


def test_without_gramine_the_script_says_what_is_missing(key_file: Path) -> None:
    done = subprocess.run(
        ["/bin/bash", str(SCRIPT), "--key", str(key_file)],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "gramine-manifest is not installed" in done.stderr) == (2, True)
