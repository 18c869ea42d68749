from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jinja2
import jsonschema
import pytest

from clf_enclave._workspace import SPILL_FOLDER
from gramine_stand_in import render

FOLDER = Path(__file__).parents[2] / "enclave_app"
SCHEMA = json.loads(Path(__file__).with_name("gramine_manifest.schema.json").read_text())
VARIABLES = {
    "arch_libdir": "/lib/x86_64-linux-gnu",
    "python": "/usr/bin/python3.12",
    "stdlib": "/usr/lib/python3.12",
    "packages": "/opt/clf/lib/python3.12/site-packages",
    "libraries": "/usr/lib/x86_64-linux-gnu/libz.so.1 /usr/lib/x86_64-linux-gnu/libssl.so.3",
    "name": "clinic",
    "public_host": "clinic.example",
    "isv_prod_id": "1",
    "isv_svn": "3",
    "enclave_size": "4G",
    "max_threads": "32",
    "compute_threads": "4",
    "edmm": "false",
    "spill": "false",
}
BUILDS = [("enclave", "serve"), ("enclave", "run"), ("server", "run"), ("server", "init")]


def _manifest(program: str, mode: str, **changes: str) -> dict[str, Any]:
    template = (FOLDER / f"clf_{program}.manifest.template").read_text()
    variables = {**VARIABLES, "mode": mode, **changes}
    return tomllib.loads(render(template, variables, Path("/usr/lib/gramine")))


def _known(manifest: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(manifest)


@pytest.mark.parametrize(("program", "mode"), BUILDS)
@pytest.mark.parametrize("edmm", ["false", "true"])
def test_manifest_has_only_documented_keys(program: str, mode: str, edmm: str) -> None:
    manifest = _manifest(program, mode, edmm=edmm)
    _known(manifest)
    assert manifest["sgx"]["edmm_enable"] is (edmm == "true")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("sgx", "thread_num", 32),  # renamed in Gramine 1.5
        ("sgx", "remote_attestation", True),  # the form of Gramine 1.3
        ("sgx", "nonpie_binary", True),
        ("sgx", "allowed_ioctls", []),
        ("sys", "stak", {"size": "2M"}),
        ("loader", "entrypoint", "file:libsysdb.so"),  # the form before Gramine 1.9
        ("fs", "mounts", [{"path": "/x", "uri": "file:/x", "type": "sealed"}]),
        ("fs", "mounts", [{"path": "/x"}]),
        ("app", "name", "clf"),
    ],
)
def test_schema_refuses_what_gramine_does_not_know(section: str, key: str, value: object) -> None:
    manifest = _manifest("enclave", "serve")
    manifest.setdefault(section, {})[key] = value
    with pytest.raises(jsonschema.ValidationError):
        _known(manifest)


@pytest.mark.parametrize("missing", sorted(set(VARIABLES) - {"name", "public_host"}))
def test_variable_that_is_missing_stops_the_build(missing: str) -> None:
    template = (FOLDER / "clf_enclave.manifest.template").read_text()
    variables = {k: v for k, v in {**VARIABLES, "mode": "serve"}.items() if k != missing}
    with pytest.raises(jinja2.UndefinedError, match=missing):
        render(template, variables, Path("/usr/lib/gramine"))


@pytest.mark.parametrize(("program", "mode"), BUILDS)
def test_host_chooses_nothing(program: str, mode: str) -> None:
    manifest = _manifest(program, mode)
    loader, sgx = manifest["loader"], manifest["sgx"]
    assert loader["argv"][:3] == ["python3", "-m", f"clf_{program}"]
    assert all(isinstance(value, str) for value in loader["env"].values())  # none from the host
    assert not [key for part in manifest.values() for key in part if key.startswith("insecure__")]
    assert (loader["log_level"], sgx["debug"], sgx["remote_attestation"]) == (
        "error",
        False,
        "dcap",
    )
    assert manifest["sys"]["disallow_subprocesses"] is True
    assert not any("insecure" in argument for argument in loader["argv"])


@pytest.mark.parametrize(("program", "mode"), BUILDS)
def test_only_addresses_and_the_job_are_allowed_files(program: str, mode: str) -> None:
    allowed = set(_manifest(program, mode)["sgx"]["allowed_files"])
    job = {"file:/job/request.json"} if (program, mode) == ("enclave", "run") else set()
    assert allowed == {"file:/etc/hosts"} | job


def test_rows_go_to_a_folder_of_the_host_only_in_builds_for_it() -> None:
    def of_host(spill: str) -> set[str]:
        manifest = _manifest("enclave", "serve", spill=spill)
        _known(manifest)
        paths = {mount["path"] for mount in manifest["fs"]["mounts"]}
        return {uri for uri in manifest["sgx"]["allowed_files"] if "spill" in uri} | {
            path for path in paths if "spill" in path
        }

    assert of_host("false") == set()
    assert of_host("true") == {str(SPILL_FOLDER), f"file:{SPILL_FOLDER}/"}


def test_server_in_an_enclave_proves_itself_from_the_start() -> None:
    argv = _manifest("server", "init")["loader"]["argv"]
    assert argv[-2:] == ["--set", "evidence=gramine"]


@pytest.mark.parametrize(("program", "mode"), BUILDS)
def test_trusted_files_are_narrow(program: str, mode: str) -> None:
    manifest = _manifest(program, mode)
    trusted = manifest["sgx"]["trusted_files"]
    folders = {uri for uri in trusted if uri.endswith("/")}
    assert folders == {
        "file:/usr/lib/gramine/runtime/glibc/",
        f"file:{VARIABLES['stdlib']}/",
        f"file:{VARIABLES['packages']}/",
    }
    assert {f"file:{library}" for library in VARIABLES["libraries"].split()} <= set(trusted)


@pytest.mark.parametrize(("program", "mode"), BUILDS)
def test_whatever_may_be_written_is_in_memory_or_encrypted(program: str, mode: str) -> None:
    manifest = _manifest(program, mode)
    trusted = manifest["sgx"]["trusted_files"]
    allowed = manifest["sgx"]["allowed_files"]
    for mount in manifest["fs"]["mounts"]:
        if mount.get("type") == "tmpfs":
            assert mount["path"] == "/tmp"  # noqa: S108 - it is the enclave's own memory
        elif mount.get("type") == "encrypted":
            assert (program, mount["key_name"]) == ("server", "_sgx_mrsigner")
        else:
            uri = mount["uri"]
            assert any(t.removesuffix("/").startswith(uri) for t in [*trusted, *allowed]), uri


def test_threads_are_bounded() -> None:
    environment = _manifest("enclave", "serve", compute_threads="6")["loader"]["env"]
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "6"
