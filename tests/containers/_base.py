"""A base image without a registry: Debian's own tool makes the root file system."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from _engine import DOCKER, Engine, Impossible

BASE = "debian:trixie-slim"
_SUITE = "trixie"
_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def make_root(directory: Path) -> None:
    """Make the root file system of a small Debian.

    It trusts the certificate authorities that this machine trusts, and says so to pip: on some
    machines packages come through a proxy with one of its own.
    """
    done = subprocess.run(
        [  # noqa: S607
            "debootstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            _SUITE,
            str(directory),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = f"{done.stdout}{done.stderr}"[-600:]
        raise Impossible(f"debootstrap can't make a base image: {tail}")
    for certificate in sorted(_AUTHORITIES.glob("*.crt")):
        shutil.copy(certificate, directory / _AUTHORITIES.relative_to("/"))
    subprocess.run(
        ["chroot", str(directory), "update-ca-certificates"],  # noqa: S607
        capture_output=True,
        check=True,
    )
    (directory / "etc/pip.conf").write_text(f"[global]\ncert = {_BUNDLE}\n")
    for cached in (directory / "var/cache/apt/archives").glob("*.deb"):
        cached.unlink()


def import_root(engine: Engine, directory: Path, tag: str) -> None:
    """Import a root file system under an image's name."""
    with subprocess.Popen(
        ["tar", "--create", "--numeric-owner", "--directory", str(directory), "."],  # noqa: S607
        stdout=subprocess.PIPE,
    ) as tar:
        subprocess.run(
            [DOCKER, "import", "-", tag],
            env=engine.environment,
            stdin=tar.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    assert tar.returncode == 0


def add_gramine(directory: Path, signature: bytes) -> list[str]:
    """Add stand-ins for Gramine's tools, and return the files: enough to build the SGX images.

    They copy; how templates are rendered and signed is tested without containers.
    """
    files = {
        "usr/bin/gramine-manifest": (
            '#!/bin/sh\nfor last; do shift $(($# > 2)); done\ncp "$1" "$2"\n'
        ),
        "usr/bin/gramine-sgx-sign": (
            "#!/bin/sh\nset -e\n"
            '[ "$5" = --key ] && grep -q "PRIVATE KEY" "$6"\n'
            'cp "$2" "$4"\ncp /usr/lib/stand-in.sig "${2%.manifest}.sig"\n'
        ),
    }
    for name, text in files.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    (directory / "usr/lib/stand-in.sig").write_bytes(signature)
    return [*files, "usr/lib/stand-in.sig"]
