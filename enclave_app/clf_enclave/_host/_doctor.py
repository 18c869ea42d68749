"""Whether a machine can run the enclave app, and what is missing if it can't.

What is needed: Gramine's documentation, "SGX setup" and "Manifest syntax"; Intel's SGX DCAP
installation guide. Each check reads the machine below a root directory, so tests give it others.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

Outcome: TypeAlias = Literal["ok", "missing", "unknown"]

_AESM_SOCKET = "var/run/aesmd/aesm.socket"
_QCNL_CONFIG = "etc/sgx_default_qcnl.conf"
_OLDEST_KERNEL = (5, 11)
_OLDEST_KERNEL_EDMM = (6, 0)
_OLDEST_GRAMINE = (1, 9)
_TIMEOUT_SECONDS = 5
_GIB = 1 << 30


@dataclass(frozen=True)
class Machine:
    """Where a check looks.

    Attributes
    ----------
    root
        Root of the file system.
    release
        Release of the kernel, as ``uname -r`` prints it.
    path
        Where programs are looked for; None for the environment's PATH.
    """

    root: Path = Path("/")
    release: str = field(default_factory=lambda: os.uname().release)
    path: str | None = None

    def text(self, name: str) -> str | None:
        """Return a file's text, or None when it can't be read."""
        try:
            return (self.root / name).read_text("utf-8", "replace")
        except OSError:
            return None


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    check
        Name of the check.
    outcome
        ``missing`` is what keeps an enclave from running, ``unknown`` what could not be seen.
    found
        What is the case.
    remedy
        What to do; empty when all is well.
    """

    check: str
    outcome: Outcome
    found: str
    remedy: str = ""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def check_cpu(machine: Machine) -> Finding:
    """Look for SGX, with launch control, among the flags of the CPU."""
    text = machine.text("proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", text or "", re.MULTILINE)
    if flags is None:
        return Finding("cpu", "unknown", "/proc/cpuinfo names no flags", "is this an x86-64 CPU?")
    words = flags[1].split()
    if "sgx" not in words:
        return Finding(
            "cpu",
            "missing",
            "the CPU offers no SGX",
            "enable Intel SGX in the BIOS (not 'software controlled'); a virtual machine needs a "
            "host that passes SGX on. Without such a CPU use --insecure-simulation",
        )
    if "sgx_lc" not in words:
        return Finding(
            "cpu",
            "missing",
            "the CPU has SGX without flexible launch control (sgx_lc)",
            "enable launch control in the BIOS; CPUs without it can't use DCAP",
        )
    return Finding("cpu", "ok", "SGX with flexible launch control")


def check_kernel(machine: Machine, *, edmm: bool) -> Finding:
    """Compare the kernel's version with the oldest one that has the driver."""
    oldest = _OLDEST_KERNEL_EDMM if edmm else _OLDEST_KERNEL
    wanted = ".".join(map(str, oldest)) + (" (for EDMM)" if edmm else "")
    if _numbers(machine.release) < oldest:
        return Finding(
            "kernel",
            "missing",
            f"Linux {machine.release} is older than {wanted}",
            f"install Linux {wanted} or later: it brings the SGX driver",
        )
    return Finding("kernel", "ok", f"Linux {machine.release}")


def check_device(machine: Machine, name: str, why: str) -> Finding:
    """Look for a device, and whether this user may use it."""
    path = machine.root / "dev" / name
    if not path.exists():
        return Finding(
            name,
            "missing",
            f"there is no /dev/{name}, {why}",
            f"load the kernel's SGX driver (dmesg | grep sgx); in a container start it with "
            f"--device /dev/{name}",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding(
            name,
            "missing",
            f"this user may not open /dev/{name}, {why}",
            f"add the user to the device's group (stat -c %G /dev/{name}); in a container use "
            f"--group-add with the group's number",
        )
    return Finding(name, "ok", f"/dev/{name} is there and may be used")


def check_aesm(machine: Machine) -> Finding:
    """Connect to the AESM service, which makes quotes."""
    path = machine.root / _AESM_SOCKET
    remedy = (
        "install and start it on the host (packages sgx-aesm-service and libsgx-aesm-quote-ex-"
        "plugin, systemctl start aesmd); in a container mount -v /var/run/aesmd:/var/run/aesmd"
    )
    if not path.exists():
        return Finding("aesm", "missing", f"there is no AESM socket /{_AESM_SOCKET}", remedy)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_TIMEOUT_SECONDS)
            client.connect(str(path))
    except OSError as error:
        return Finding(
            "aesm", "missing", f"AESM does not answer on /{_AESM_SOCKET}: {error.strerror}", remedy
        )
    return Finding("aesm", "ok", f"AESM answers on /{_AESM_SOCKET}")


def configured_pccs(machine: Machine) -> str | None:
    """Return the address of the PCCS in the configuration of Intel's quote provider library."""
    text = machine.text(_QCNL_CONFIG)
    if text is None:
        return None
    # JSON with // comments since version 1.13 of the library, KEY=value lines before it.
    bare = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    try:
        address = json.loads(bare).get("pccs_url")
    except (ValueError, AttributeError):
        found = re.search(r"^\s*PCCS_URL\s*=\s*(\S+)", text, re.MULTILINE)
        address = found[1] if found else None
    return address if isinstance(address, str) else None


def check_pccs(machine: Machine, url: str | None) -> Finding:
    """Ask the PCCS for the CRL of Intel's root, which each of them has."""
    address = url or configured_pccs(machine)
    if address is None:
        return Finding(
            "pccs",
            "missing",
            f"no PCCS is configured in /{_QCNL_CONFIG}",
            "install libsgx-dcap-default-qpl and set pccs_url there, or name one with --pccs",
        )
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return Finding("pccs", "missing", f"{address!r} is not a URL", "https://HOST:8081/…")
    base = address.rstrip("/").removesuffix("/sgx/certification/v4")
    target = f"{base}/sgx/certification/v4/rootcacrl"
    # A PCCS usually has a certificate of its own; what it serves is signed by Intel.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        request = urllib.request.Request(target)  # noqa: S310 - the scheme was checked
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=context):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        error.close()
        return Finding(
            "pccs",
            "missing",
            f"the PCCS at {address} answers with status {error.code}",
            "look at its log: is its key for Intel's service valid?",
        )
    except OSError as error:
        reason = getattr(error, "reason", error)
        return Finding(
            "pccs",
            "missing",
            f"the PCCS at {address} can't be reached: {reason}",
            "start it, open its port, or correct the address; --add-host names it in a container",
        )
    return Finding("pccs", "ok", f"the PCCS at {address} answers")


def check_memory(machine: Machine, needed_bytes: int) -> Finding:
    """Compare the enclave's size with the memory that SGX protects (EPC)."""
    wanted = f"the enclave's {needed_bytes / _GIB:.1f} GiB"
    sizes = [
        int(path.read_text())
        for path in sorted(machine.root.glob("sys/devices/system/node/node*/x86/sgx_total_bytes"))
    ]
    if not sizes:
        return Finding(
            "memory",
            "unknown",
            "the kernel does not say how much memory SGX protects",
            f"see that it holds {wanted}: dmesg | grep 'sgx: EPC section'",
        )
    total = sum(sizes)
    if total < needed_bytes:
        return Finding(
            "memory",
            "missing",
            f"SGX protects {total / _GIB:.1f} GiB, less than {wanted}",
            "raise the PRMRR size in the BIOS, build with a smaller --enclave-size, or use --edmm",
        )
    return Finding("memory", "ok", f"SGX protects {total / _GIB:.1f} GiB")


def check_gramine(machine: Machine) -> Finding:
    """Look for Gramine, and for its version."""
    program = shutil.which("gramine-sgx", path=machine.path)
    remedy = "install Gramine 1.9 or later, or use the image clf-enclave-sgx, which brings it"
    if program is None:
        return Finding("gramine", "missing", "gramine-sgx is not installed", remedy)
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("gramine", "unknown", f"gramine-sgx fails: {type(error).__name__}", remedy)
    version = _numbers(done.stdout)
    if not version:
        return Finding("gramine", "unknown", "gramine-sgx does not tell its version", remedy)
    shown = ".".join(map(str, version))
    if version < _OLDEST_GRAMINE:
        return Finding("gramine", "missing", f"Gramine {shown} is too old", remedy)
    return Finding("gramine", "ok", f"Gramine {shown}")


def examine(
    machine: Machine, *, pccs: str | None = None, enclave_bytes: int = 4 * _GIB, edmm: bool = False
) -> list[Finding]:
    """Run every check.

    Parameters
    ----------
    machine
        Where to look.
    pccs
        Address of the PCCS; by default the one that is configured on the machine.
    enclave_bytes
        ``sgx.enclave_size`` of the build that is to run.
    edmm
        Whether the build uses EDMM.
    """
    return [
        check_cpu(machine),
        check_kernel(machine, edmm=edmm),
        check_device(machine, "sgx_enclave", "which starts enclaves"),
        check_device(machine, "sgx_provision", "which quotes need"),
        check_aesm(machine),
        check_pccs(machine, pccs),
        check_memory(machine, enclave_bytes),
        check_gramine(machine),
    ]


def as_lines(findings: Iterable[Finding]) -> list[str]:
    """Return the findings for people, each remedy below what it mends."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.outcome:<8}{finding.check:<15}{finding.found}")
        if finding.remedy:
            lines.append(f"{'':<8}{'':<15}→ {finding.remedy}")
    return lines
