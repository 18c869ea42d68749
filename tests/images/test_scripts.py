"""Every script: shellcheck is content, --help names each option, commands are as expected."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for folder in ("docker", "ccp", "enclave_app") for path in (ROOT / folder).rglob("*.sh")
)
SCRIPTS = [path for path in FILES if not path.name.startswith("_")]
DOCKER = ROOT / "docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
HARDENED = {
    *("--read-only", "--tmpfs /tmp", "--cap-drop ALL", "--security-opt no-new-privileges"),
}


def _run(script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(script), *options], capture_output=True, text=True, check=False
    )


def _command(name: str, *options: str) -> str:
    done = _run(DOCKER / name, "--dry-run", *options)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.replace("\\\n", " ").split())


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 9
    assert all(os.access(path, os.X_OK) for path in SCRIPTS)


def test_shellcheck_is_content() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "--external-sources", *FILES, ".ci/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_names_every_option(script: Path) -> None:
    done = _run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {script.name}")
    helpers = (path for path in script.parent.glob("_*.sh") if path.name in script.read_text())
    known = {
        option
        for path in (script, *helpers)
        for label in re.findall(
            r"^ +((?:--[a-z-]+(?: \| \\?\s*)?)+)\)", path.read_text(), re.MULTILINE
        )
        for option in re.findall(r"--[a-z-]+", label)
    }
    refused = {"--secret-key"} | (
        {"--sgx", "--key", "--manifest"} if "notebook" in script.name else set()
    )
    for option in known - refused:
        assert option in done.stdout, option


@pytest.mark.parametrize("kind", ["server", "enclave", "notebook"])
def test_build_command(kind: str) -> None:
    command = _command(
        f"build_clf_{kind}_docker_image.sh", "--tag", "mine:2", "--base", "b@sha256:0"
    )
    assert f"--target clf-{kind} --tag mine:2 --build-arg BASE=b@sha256:0" in command
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607 - as the script finds it
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert f"REVISION={revision}" in command
    assert re.search(r"SOURCE_DATE_EPOCH=\d{10}", command)
    assert f"--tag clf-{kind}:{VERSION}" in _command(f"build_clf_{kind}_docker_image.sh")


def test_sgx_build_takes_the_key_as_a_secret(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("")
    command = _command(
        "build_clf_enclave_docker_image.sh",
        *("--sgx", "--key", str(key), "--manifest", "--edmm --isv-svn 2"),
    )
    assert f"--secret id=signing_key,src={key}" in command
    assert "--build-arg 'MANIFEST=--edmm --isv-svn 2'" in command
    assert "BASE=gramineproject/gramine:1.9-noble" in command
    assert f"--target clf-enclave-sgx --tag clf-enclave-sgx:{VERSION}" in command


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("enclave", ["--sgx"], "needs --key"),
        ("enclave", ["--sgx", "--key", "/nowhere"], "no /nowhere"),
        ("server", ["--key", "/dev/null"], "belong to --sgx"),
        ("notebook", ["--sgx"], "in no enclave"),
        ("server", ["--tagg", "x"], "no option --tagg"),
        ("server", ["--tag"], "needs a value"),
    ],
)
def test_build_options_that_make_no_sense(kind: str, options: list[str], message: str) -> None:
    done = _run(DOCKER / f"build_clf_{kind}_docker_image.sh", "--dry-run", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_server_container(tmp_path: Path) -> None:
    conf, certs, data = tmp_path / "a.conf", tmp_path / "certs", tmp_path / "data"
    conf.write_text("")
    certs.mkdir()
    data.mkdir()
    command = _command(
        "start_clf_server_container.sh",
        *("--tag", "mine:1", "--name", "clinic", "--data", str(data), "--conf", str(conf)),
        *("--certs", str(certs), "--port", "10.0.0.5:5000", "--blob-port", "off"),
        *("--add-host", "a:10.0.0.1", "--pccs", "10.0.0.2", "--network", "n", "--memory", "4g"),
    )
    for option in (
        *HARDENED,
        "--name clinic",
        f"--volume {data}:/data",
        f"--volume {conf}:/data/server/clf_server.conf:ro",
        f"--volume {certs}:/data/server/tls:ro",
        "--publish 10.0.0.5:5000:4433",
        "--add-host a:10.0.0.1",
        "--add-host pccs.service.com:10.0.0.2",
        "--network n",
        "--memory 4g",
    ):
        assert option in command, option
    assert "4480" not in command
    assert "--device" not in command  # none is needed but for SGX
    assert command.endswith("mine:1")


def test_sgx_containers_get_devices_and_aesm() -> None:
    for name in ("start_clf_server_container.sh", "start_clf_enclave_container.sh"):
        command = _command(name, "--sgx")
        assert "--device /dev/sgx_enclave" in command
        assert "--device /dev/sgx_provision" in command
        assert "--volume /var/run/aesmd:/var/run/aesmd" in command
        assert f"-sgx:{VERSION}" in command
        assert {o for o in HARDENED if o in command} >= HARDENED


def test_enclave_container_in_simulation(tmp_path: Path) -> None:
    command = _command(
        "start_clf_enclave_container.sh",
        *("--insecure-simulation", str(tmp_path), "--port", "4500", "--add-host", "c:10.0.0.1"),
    )
    assert f"--volume {tmp_path}:/simulation:ro" in command
    assert "--publish 4500:4490" in command
    assert "--add-host c:10.0.0.1" in command
    assert "--device" not in command
    assert command.endswith(
        f"clf-enclave:{VERSION} enclave serve --host 0.0.0.0 --insecure-simulation /simulation"
    )


def test_rows_that_do_not_fit_get_a_folder(tmp_path: Path) -> None:
    start = ("start_clf_enclave_container.sh", "--sgx", "--spill")
    assert f"--volume {tmp_path}:/spill" in _command(*start, str(tmp_path))
    assert "--volume spilled:/spill" in _command(*start, "spilled")


def test_command_of_ones_own_publishes_no_port() -> None:
    command = _command("start_clf_server_container.sh", "--", "server", "init", "/data/server")
    assert command.endswith(f"clf-server:{VERSION} server init /data/server")
    assert "--publish" not in command


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("start_clf_enclave_container.sh", [], "choose --sgx, or --insecure-simulation"),
        ("start_clf_enclave_container.sh", ["--sgx", "--insecure-simulation", "x"], "exclude"),
        ("start_clf_enclave_container.sh", ["--insecure-simulation", "/no/where"], "no /no/where"),
        ("start_clf_enclave_container.sh", ["--port", "x"], "not a port"),
        ("start_clf_enclave_container.sh", ["--sgx", "--spill", "/no/where"], "no /no/where"),
        ("start_clf_server_container.sh", ["--port", "70000"], "not a port"),
        ("start_clf_server_container.sh", ["--add-host", "x"], "NAME:ADDRESS"),
        ("start_clf_server_container.sh", ["--conf", "/no/conf"], "no /no/conf"),
        ("start_clf_server_container.sh", ["--data", "/no/data"], "no /no/data"),
        ("start_clf_server_container.sh", ["--dat", "x"], "no option --dat"),
        ("start_clf_server_container.sh", ["--pccs"], "needs a value"),
    ],
)
def test_start_options_that_make_no_sense(name: str, options: list[str], message: str) -> None:
    done = _run(DOCKER / name, "--dry-run", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_printed_commands_can_be_pasted(tmp_path: Path) -> None:
    data = tmp_path / "it's a folder; $(false)"
    data.mkdir()
    done = _run(DOCKER / "start_clf_server_container.sh", "--dry-run", "--data", str(data))
    assert f"{data}:/data" in shlex.split(done.stdout.replace("\\\n", " "))


# What images are made of


@pytest.mark.parametrize("kind", ["server", "enclave", "notebook", "build"])
def test_requirements_are_pinned_and_hashed_like_the_tested_ones(kind: str) -> None:
    def pins(path: Path) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        pin = ""
        for line in path.read_text().splitlines():
            if match := re.match(r"([a-z0-9._-]+==[^\s;]+)", line):
                pin = match[1]
                found.setdefault(pin, set())
            found.setdefault(pin, set()).update(re.findall(r"sha256:[0-9a-f]{64}", line))
        return found

    tested = pins(ROOT / "requirements.txt")
    image = pins(DOCKER / f"requirements-{kind}.txt")
    assert image.keys() <= tested.keys()
    assert all(hashes and hashes == tested[pin] for pin, hashes in image.items())
    text = (DOCKER / f"requirements-{kind}.txt").read_text()
    assert "://" not in text
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"].get(kind, [])]
    if kind != "build":
        names = {pin.split("==")[0] for pin in image}
        assert {re.split(r"[\[<>=,]", want)[0] for want in wanted} <= names


def test_images_need_no_syntax_from_elsewhere_and_run_without_rights() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert "# syntax" not in text
    users = re.findall(r"^USER (.*)$", text, re.MULTILINE)
    assert users[-1] == "10001:10001"
    assert set(users) == {"10001:10001", "0"}  # root signs a build, and runs nothing
    assert not re.search(r"\b(curl|wget|ADD https?)\b", text)


def test_enclave_image_has_the_thread_limits_of_the_manifest() -> None:
    manifest = (ROOT / "enclave_app" / "clf_enclave.manifest.template").read_text()
    dockerfile = (DOCKER / "Dockerfile").read_text()
    limits = re.findall(r'^loader\.env\.(\w+(?:THREADS|COUNT)) = "(.*)"$', manifest, re.MULTILINE)
    assert len(limits) >= 5
    for name, value in limits:
        assert f"{name}={value.replace('{{ compute_threads }}', '4')}" in dockerfile


def test_compose_starts_hardened_containers_on_separate_networks() -> None:
    document = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = document["services"]
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
    assert services["clinic"]["networks"] == ["clinic"]
    assert services["hospital"]["networks"] == ["hospital"]
    internal = {name for name, net in document["networks"].items() if net and net["internal"]}
    assert internal == {"clinic", "hospital", "analysis"}
    assert services["enclave-sgx"]["devices"] == ["/dev/sgx_enclave", "/dev/sgx_provision"]
    assert services["enclave-sgx"]["volumes"] == ["/var/run/aesmd:/var/run/aesmd"]
    for name in ("enclave", "clinic", "notebook"):
        assert "devices" not in services[name]
        assert services[name]["image"].endswith(f":{VERSION}}}")
    # An owner's keys are mounted into that owner's containers alone.
    holders = {
        name: {volume.split(":")[0] for volume in service.get("volumes", [])}
        for name, service in services.items()
    }
    assert {name for name, held in holders.items() if "clinic" in held} == {"clinic", "clinic-init"}
    assert {n for n, held in holders.items() if "clinic-owner" in held} == {
        "clinic-init",
        "clinic-owner",
    }
