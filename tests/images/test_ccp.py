"""The commands that the CCP scripts print, option by option, and what they run."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest

from gramine_stand_in import render

ROOT = Path(__file__).parents[2]
CCP = ROOT / "ccp"
SCRIPTS = {kind: CCP / f"convert_clf_{kind}_to_ccp_image.sh" for kind in ("server", "enclave")}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
KEY = "not-a-real-secret-4711"


def _run(kind: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(SCRIPTS[kind]), *options],
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _pack_options(text: str) -> dict[str, str]:
    """Parse a pack command as ccp-cli would; an option that is not documented is an error."""
    parser = argparse.ArgumentParser(prog="ccp-cli", allow_abbrev=False, exit_on_error=False)
    parser.add_argument("verb", choices=["pack"])
    for name in (
        *("--app-entry", "--memsize", "--thread", "--tmpl", "--secret-id", "--secret-key"),
        *("--capp-id", "--app-image", "--app-type", "--start"),
    ):
        parser.add_argument(name, required=True)
    words = shlex.split(text.replace("\\\n", " "))
    assert words[0] == "ccp-cli"
    parsed = vars(parser.parse_args(words[1:]))
    del parsed["verb"]
    return parsed


def _run_options(text: str) -> dict[str, object]:
    """Parse a run command as Docker would."""
    parser = argparse.ArgumentParser(prog="docker", allow_abbrev=False, exit_on_error=False)
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("-it", action="store_true", dest="terminal")
    parser.add_argument("-p", action="append", dest="ports")
    parser.add_argument("-v", action="append", dest="volumes", default=[])
    parser.add_argument("--device", action="append", dest="devices")
    parser.add_argument("--add-host", action="append", dest="hosts", default=[])
    parser.add_argument("image")
    words = shlex.split(text.replace("\\\n", " "))
    assert words[0] == "docker"
    parsed = vars(parser.parse_args(words[1:]))
    del parsed["verb"]
    return parsed


def _commands(kind: str, *options: str, **environment: str) -> tuple[str, str]:
    done = _run(kind, *options, **environment)
    assert done.returncode == 0, done.stderr
    pack, run = done.stdout.split("\n\n")
    return pack, run


def _expand(text: str, **environment: str) -> list[str]:
    """Let a shell expand a printed command, as it does when the command is pasted."""
    script = f"ccp-cli() {{ printf '%s\\0' ccp-cli \"$@\"; }}\n{text}\n"
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        env={"PATH": "/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\0")[:-1]


def test_server_commands_are_the_documented_ones(tmp_path: Path) -> None:
    certs, conf = tmp_path / "my certs", tmp_path / "clf_server.conf"
    pack, run = _commands(
        "server",
        *("--certs", str(certs), "--conf", str(conf)),
        *("--add-host", "VM-0-3-ubuntu:10.206.0.3", "--add-host", "pccs:10.0.0.9"),
    )

    words = shlex.join(
        _expand(pack, CCP_SECRET_ID="the id", CCP_SECRET_KEY=KEY, CCP_CAPP_ID="capp-1")
    )
    assert _pack_options(words) == {
        "app_entry": "/usr/bin/python3",
        "memsize": "8192M",
        "thread": "64",
        "tmpl": "clf_server",
        "secret_id": "the id",
        "secret_key": KEY,
        "capp_id": "capp-1",
        "app_image": f"clf-server:{VERSION}",
        "app_type": "image",
        "start": "/",
    }
    assert _run_options(run) == {
        "terminal": True,
        "ports": ["4433:4433"],
        "devices": ["/dev/sgx_enclave", "/dev/sgx_provision"],
        # Each mount names the host's path and the container's.
        "volumes": [f"{certs}:/data/server/tls", f"{conf}:/data/server/clf_server.conf"],
        "hosts": ["VM-0-3-ubuntu:10.206.0.3", "pccs:10.0.0.9"],
        "image": f"sec_clf-server:{VERSION}",
    }


def test_enclave_commands_are_the_documented_ones() -> None:
    pack, run = _commands("enclave", "--capp-id", "capp-2", "--add-host", "clinic:10.0.0.1")

    found = _pack_options(shlex.join(_expand(pack, CCP_SECRET_ID="i", CCP_SECRET_KEY="k")))
    assert (found["tmpl"], found["app_image"]) == ("clf_enclave", f"clf-enclave:{VERSION}")
    assert (found["capp_id"], found["app_type"], found["start"]) == ("capp-2", "image", "/")
    assert _run_options(run) == {
        "terminal": True,
        "ports": ["4490:4490"],
        "devices": ["/dev/sgx_enclave", "/dev/sgx_provision"],
        "volumes": [],
        "hosts": ["clinic:10.0.0.1"],
        "image": f"sec_clf-enclave:{VERSION}",
    }


@pytest.mark.parametrize("kind", SCRIPTS)
@pytest.mark.parametrize("guide", ["README.md", "README.zh-CN.md"])
def test_guides_show_what_the_scripts_print(kind: str, guide: str) -> None:
    """Both guides hold the commands, option by option, and explain each option."""
    text = (CCP / guide).read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    pack, run = _commands(kind, "--add-host", "VM-0-3-ubuntu:10.206.0.3")
    documented_pack = next(b for b in blocks if "ccp-cli pack" in b and f"clf_{kind}" in b)
    documented_run = next(b for b in blocks if "docker run" in b and f"sec_clf-{kind}" in b)
    values = {"CCP_SECRET_ID": "i", "CCP_SECRET_KEY": "k", "CCP_CAPP_ID": "c"}
    assert _pack_options(shlex.join(_expand(documented_pack, **values))) == _pack_options(
        shlex.join(_expand(pack, **values))
    )
    found, wanted = _run_options(documented_run), _run_options(run)
    # The host's own paths differ from one machine to the next.
    for options in (found, wanted):
        assert isinstance(options["volumes"], list)
        options["volumes"] = [v.rpartition(":")[2] for v in options["volumes"]]
    assert found == wanted
    for option in _pack_options(shlex.join(_expand(pack, **values))):
        assert f"`--{option.replace('_', '-')}" in text, option
    for key in ("MRSigner", "MREnclave", "isv_prod_id", "isv_svn", "secret", "server_cert_path"):
        assert f"`{key}`" in text, key


@pytest.mark.parametrize("kind", SCRIPTS)
def test_every_value_can_come_from_the_environment_and_options_go_over_it(kind: str) -> None:
    environment = {
        "CCP_APP_IMAGE": "mine:1",
        "CCP_PACKED_IMAGE": "packed:1",
        "CCP_APP_ENTRY": "/usr/bin/other",
        "CCP_START": "/srv",
        "CCP_MEMSIZE": "4096M",
        "CCP_THREAD": "32",
        "CCP_TMPL": "default",
        "CCP_CAPP_ID": "capp-3",
        "CCP_PORT": "5000",
        "CCP_ADD_HOST": "a:10.0.0.1 b:10.0.0.2",
    }
    pack, run = _commands(kind, "--memsize", "2048M", **environment)
    found = _pack_options(shlex.join(_expand(pack, CCP_SECRET_ID="i", CCP_SECRET_KEY="k")))
    assert found == {
        "app_entry": "/usr/bin/other",
        "memsize": "2048M",
        "thread": "32",
        "tmpl": "default",
        "secret_id": "i",
        "secret_key": "k",
        "capp_id": "capp-3",
        "app_image": "mine:1",
        "app_type": "image",
        "start": "/srv",
    }
    options = _run_options(run)
    assert options["image"] == "packed:1"
    assert options["hosts"] == ["a:10.0.0.1", "b:10.0.0.2"]
    assert isinstance(options["ports"], list)
    assert options["ports"][0].startswith("5000:")


@pytest.mark.parametrize("kind", SCRIPTS)
def test_no_secret_is_printed_unless_asked(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    done = _run(kind, "--secret-key-file", str(file), CCP_SECRET_ID="the-id", CCP_SECRET_KEY=KEY)
    assert done.returncode == 0
    assert KEY not in done.stdout + done.stderr
    assert "the-id" not in done.stdout

    asked = _run(kind, "--secret-key-file", str(file), "--show-secrets", CCP_SECRET_ID="the-id")
    assert f"--secret-key={KEY}" in asked.stdout
    assert "--secret-id=the-id" in asked.stdout


@pytest.mark.parametrize("kind", SCRIPTS)
def test_pasted_command_stops_where_a_secret_is_missing(kind: str) -> None:
    """What stands for a secret can't be taken for one: the shell refuses to go on."""
    pack, _ = _commands(kind)
    done = subprocess.run(
        ["/bin/bash", "-c", f"ccp-cli() {{ echo called; }}\n{pack}"],
        env={"PATH": "/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "called" not in done.stdout
    assert "secret" in done.stderr or "API key" in done.stderr


@pytest.mark.parametrize("kind", SCRIPTS)
def test_run_executes_both_commands(kind: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in ("ccp-cli", "docker"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\n(IFS=$'\\t'; echo \"{name}\t$*\") >> {log}\n")
        program.chmod(0o755)
    templates = tmp_path / "templates"
    templates.mkdir()
    (tmp_path / "certs").mkdir()
    (tmp_path / "conf").write_text("")
    mounts = ("--certs", f"{tmp_path}/certs", "--conf", f"{tmp_path}/conf")
    done = _run(
        kind,
        *("--run", "--template-dir", str(templates), "--capp-id", "capp-4"),
        *(mounts if kind == "server" else ()),
        PATH=f"{tmp_path}/bin:{os.environ['PATH']}",
        CCP_SECRET_ID="i",
        CCP_SECRET_KEY=KEY,
    )
    assert done.returncode == 0, done.stderr
    pack, run = (line.split("\t") for line in log.read_text().splitlines())
    assert _pack_options(shlex.join(pack))["secret_key"] == KEY
    assert _run_options(shlex.join(run))["image"] == f"sec_clf-{kind}:{VERSION}"
    assert (templates / f"clf_{kind}.toml").read_text() == (CCP / f"clf_{kind}.toml").read_text()
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--secret-key", "abc"], "--secret-key-file"),
        (["--secret-key-file", "/nowhere"], "can't be read"),
        (["--memsize", "8G"], "8192M"),
        (["--thread", "31"], "at least 32"),
        (["--port", "0"], "not a port"),
        (["--port", "99999"], "not a port"),
        (["--add-host", "clinic"], "NAME:ADDRESS"),
        (["--app-entry", "python3"], "absolute"),
        (["--show-secrets"], "no secrets to show"),
        (["--run"], "--secret-id"),
        (["--memsise", "1M"], "no option --memsise"),
        (["--memsize"], "needs a value"),
        (["help"], "what is help?"),
    ],
)
@pytest.mark.parametrize("kind", SCRIPTS)
def test_options_that_make_no_sense(kind: str, options: list[str], message: str) -> None:
    done = _run(kind, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_run_without_ccp_cli_says_so() -> None:
    done = _run("enclave", "--run", "--capp-id", "c", CCP_SECRET_ID="i", CCP_SECRET_KEY="k")
    assert (done.returncode, "ccp-cli is not installed" in done.stderr) == (2, True)


@pytest.mark.parametrize("kind", SCRIPTS)
def test_template_lets_the_host_change_little(kind: str) -> None:
    text = render((CCP / f"clf_{kind}.toml").read_text(), {}, Path("/usr/lib/gramine"))
    manifest = tomllib.loads(text)
    assert set(manifest.pop("app")) == {"capi_target", "kms_target"}  # CCP's own keys
    manifest["libos"] = {"entrypoint": "/usr/bin/python3"}  # from --app-entry
    schema = ROOT / "tests" / "enclave" / "gramine_manifest.schema.json"
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(manifest)
    allowed = set(manifest["sgx"]["allowed_files"])
    mounted = {"file:/data/server/clf_server.conf", "file:/data/server/tls/"}
    assert allowed == {"file:/etc/hosts"} | (mounted if kind == "server" else set())
    assert "root" not in manifest["fs"]
    assert not [key for part in manifest.values() for key in part if key.startswith("insecure__")]
    own = (ROOT / "enclave_app" / f"clf_{kind}.manifest.template").read_text()
    for line in text.splitlines():  # the same limits as in our own manifest
        if line.startswith(("loader.argv", "sys.")):
            assert line in own, line
