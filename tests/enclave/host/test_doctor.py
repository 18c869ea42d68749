from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from clf_enclave._cli import enclave
from clf_enclave._host._doctor import (
    Finding,
    Machine,
    as_lines,
    check_aesm,
    check_cpu,
    check_device,
    check_gramine,
    check_kernel,
    check_memory,
    check_pccs,
    configured_pccs,
    examine,
)

GIB = 1 << 30
CPU = "vendor_id\t: GenuineIntel\nflags\t\t: fpu vme sgx avx2 sgx_lc\nmodel\t: 106\n"


def _write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def aesm(tmp_path: Path) -> Iterator[socket.socket]:
    path = tmp_path / "var/run/aesmd/aesm.socket"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(path))
        service.listen()
        yield service


class _Pccs(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/sgx/certification/v4/rootcacrl"
        self.send_response(200 if found else 404)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def pccs() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pccs) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{service.server_address[1]}"
        service.shutdown()
        thread.join()


def test_machine_with_everything_lacks_nothing(
    tmp_path: Path, aesm: socket.socket, pccs: str
) -> None:
    assert aesm.fileno() > 0
    _write(tmp_path, "proc/cpuinfo", CPU)
    for device in ("sgx_enclave", "sgx_provision"):
        _write(tmp_path, f"dev/{device}", "")
    for node in (0, 1):
        _write(tmp_path, f"sys/devices/system/node/node{node}/x86/sgx_total_bytes", f"{4 * GIB}\n")
    _write(tmp_path, "etc/sgx_default_qcnl.conf", json.dumps({"pccs_url": pccs}))
    program = _write(tmp_path, "bin/gramine-sgx", "#!/bin/sh\necho 'Gramine 1.9 (abc)'\n")
    program.chmod(0o755)

    findings = examine(
        Machine(tmp_path, "6.8.0-31-generic", str(tmp_path / "bin")),
        enclave_bytes=8 * GIB,
        edmm=True,
    )

    assert [(finding.check, finding.outcome) for finding in findings] == [
        ("cpu", "ok"),
        ("kernel", "ok"),
        ("sgx_enclave", "ok"),
        ("sgx_provision", "ok"),
        ("aesm", "ok"),
        ("pccs", "ok"),
        ("memory", "ok"),
        ("gramine", "ok"),
    ]
    assert all(not finding.remedy for finding in findings)


def test_empty_machine_is_told_each_thing_it_lacks(tmp_path: Path) -> None:
    _write(tmp_path, "proc/cpuinfo", CPU.replace(" sgx avx2 sgx_lc", ""))

    findings = examine(Machine(tmp_path, "5.10.0-28-amd64", str(tmp_path)))

    missing = {finding.check for finding in findings if finding.outcome == "missing"}
    assert missing == {"cpu", "kernel", "sgx_enclave", "sgx_provision", "aesm", "pccs", "gramine"}
    assert all(finding.remedy for finding in findings)
    lines = as_lines(findings)
    assert any("BIOS" in line for line in lines)
    assert any("--device /dev/sgx_enclave" in line for line in lines)


def test_this_machine_is_judged_by_what_it_has() -> None:
    done = CliRunner().invoke(enclave, ["doctor", "--json"])

    document = json.loads(done.stdout)
    missing = document["missing"]
    for device in ("sgx_enclave", "sgx_provision"):
        assert (device in missing) == (not Path("/dev", device).exists())
    assert ("cpu" in missing) == (" sgx " not in Path("/proc/cpuinfo").read_text())
    assert done.exit_code == (1 if missing else 0)


def test_cpu_without_launch_control(tmp_path: Path) -> None:
    _write(tmp_path, "proc/cpuinfo", CPU.replace(" sgx_lc", ""))
    finding = check_cpu(Machine(tmp_path))
    assert (finding.outcome, "launch control" in finding.remedy) == ("missing", True)


def test_cpu_of_another_kind_is_unknown(tmp_path: Path) -> None:
    _write(tmp_path, "proc/cpuinfo", "processor: 0\nFeatures: fp asimd\n")
    assert check_cpu(Machine(tmp_path)).outcome == "unknown"


@pytest.mark.parametrize(
    ("release", "edmm", "outcome"),
    [
        ("5.10.200", False, "missing"),
        ("5.11.0", False, "ok"),
        ("5.15.0-1", True, "missing"),
        ("6.0.0", True, "ok"),
        ("10.1-x", True, "ok"),
    ],
)
def test_kernel(tmp_path: Path, release: str, *, edmm: bool, outcome: str) -> None:
    assert check_kernel(Machine(tmp_path, release), edmm=edmm).outcome == outcome


def test_device_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "dev/sgx_enclave", "")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may open everything
    finding = check_device(Machine(tmp_path), "sgx_enclave", "why")
    assert finding.outcome == "missing"
    assert "--group-add" in finding.remedy


def test_dead_aesm_socket_is_missing(tmp_path: Path, aesm: socket.socket) -> None:
    assert check_aesm(Machine(tmp_path)).outcome == "ok"
    aesm.close()
    finding = check_aesm(Machine(tmp_path))
    assert (finding.outcome, "does not answer" in finding.found) == ("missing", True)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ('{ // comment\n  // "pccs_url": "https://no"\n "pccs_url": "https://a:8081/x"}', None),
        ('// head\n{\n  "pccs_url": "https://a:8081/x"\n}', "https://a:8081/x"),
        ("PCCS_URL=https://b:8081/y\nUSE_SECURE_CERT=FALSE\n", "https://b:8081/y"),
        ('{"pccs_url": 7}', None),
        ("[]", None),
        ("", None),
    ],
)
def test_configured_pccs(tmp_path: Path, text: str, url: str | None) -> None:
    _write(tmp_path, "etc/sgx_default_qcnl.conf", text)
    assert configured_pccs(Machine(tmp_path)) == url


def test_pccs_that_does_not_answer(tmp_path: Path, pccs: str) -> None:
    machine = Machine(tmp_path)
    assert check_pccs(machine, pccs).outcome == "ok"
    assert check_pccs(machine, f"{pccs}/sgx/certification/v4/").outcome == "ok"
    wrong = check_pccs(machine, f"{pccs}/elsewhere")
    assert (wrong.outcome, "404" in wrong.found) == ("missing", True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dead = check_pccs(machine, f"https://127.0.0.1:{port}")
    assert (dead.outcome, "refused" in dead.found) == ("missing", True)
    assert check_pccs(machine, "file:///etc/passwd").outcome == "missing"


def test_enclave_larger_than_protected_memory(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert check_memory(machine, GIB).outcome == "unknown"
    _write(tmp_path, "sys/devices/system/node/node0/x86/sgx_total_bytes", str(2 * GIB))
    assert check_memory(machine, 2 * GIB).outcome == "ok"
    assert check_memory(machine, 2 * GIB + 1) == Finding(
        "memory",
        "missing",
        "SGX protects 2.0 GiB, less than the enclave's 2.0 GiB",
        "raise the PRMRR size in the BIOS, build with a smaller --enclave-size, or use --edmm",
    )


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("echo 'Gramine 1.9.0'", "ok"),
        ("echo 'Gramine 1.10'", "ok"),
        ("echo 'Gramine 1.8'", "missing"),
        ("echo nothing", "unknown"),
        ("exit 3", "unknown"),
    ],
)
def test_gramine(tmp_path: Path, script: str, outcome: str) -> None:
    _write(tmp_path, "gramine-sgx", f"#!/bin/sh\n{script}\n").chmod(0o755)
    assert check_gramine(Machine(tmp_path, path=str(tmp_path))).outcome == outcome


@pytest.mark.parametrize("size", ["4", "4GB", "0G", "-1G", "four"])
def test_sizes_that_are_none(size: str) -> None:
    done = CliRunner().invoke(enclave, ["doctor", "--enclave-size", size])
    assert (done.exit_code, "4G" in done.stderr) == (2, True)
