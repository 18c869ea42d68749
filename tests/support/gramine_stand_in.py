"""Stand-ins for Gramine's tools: they render templates and hash files as Gramine does.

What they can't do is run an enclave: MRENCLAVE is a digest of the manifest here. A module of its
own, because it runs as a program, which should start fast.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import jinja2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_DEBUG = 0x02
_MODE64BIT = 0x04


def make_sigstruct(
    key: rsa.RSAPrivateKey,
    *,
    mrenclave: bytes,
    isv_prod_id: int = 1,
    isv_svn: int = 1,
    debug: bool = False,
    flags_mask: int = 0xFFFF_FFFF_FFFF_FFFF,
) -> bytes:
    """Sign a SIGSTRUCT with an RSA-3072 key of exponent 3 (Intel SDM, volume 3D)."""
    data = bytearray(1808)
    data[0:16] = bytes.fromhex("06000000e10000000000010000000000")
    data[24:40] = bytes.fromhex("01010000600000006000000001000000")
    data[128:512] = key.public_key().public_numbers().n.to_bytes(384, "little")
    data[512:516] = (3).to_bytes(4, "little")
    data[928:936] = (_MODE64BIT | (_DEBUG if debug else 0)).to_bytes(8, "little")
    data[944:952] = flags_mask.to_bytes(8, "little")
    data[960:992] = mrenclave
    data[1024:1026] = isv_prod_id.to_bytes(2, "little")
    data[1026:1028] = isv_svn.to_bytes(2, "little")
    signed = bytes(data[:128] + data[900:1028])
    data[516:900] = key.sign(signed, PKCS1v15(), hashes.SHA256())[::-1]
    return bytes(data)


class _Runtimedir:
    def __init__(self, root: Path) -> None:
        self._path = root / "runtime" / "glibc"

    def __call__(self, libc: str = "glibc") -> Path:
        return self._path.with_name(libc)

    def __str__(self) -> str:
        return str(self._path)


def render(template: str, variables: dict[str, str], root: Path) -> str:
    """Render a template in Gramine's environment: an unknown variable is an error."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - TOML, not HTML
    )
    environment.globals["gramine"] = {
        "libos": root / "libsysdb.so",
        "runtimedir": _Runtimedir(root),
    }
    return environment.from_string(template).render(**variables)


def expand(uri: str) -> list[dict[str, str]]:
    """Return the hashes of a trusted file, or of all files below a trusted folder."""
    path = Path(uri.removeprefix("file:"))
    if uri.endswith("/") != path.is_dir():
        raise SystemExit(f"{uri} does not fit what is on the disk")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [
        {"uri": f"file:{file}", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in files
    ]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def sign(manifest: str, key: rsa.RSAPrivateKey) -> tuple[str, bytes]:
    """Return the manifest with all hashes, and a signature file."""
    document = tomllib.loads(manifest)
    sgx = document["sgx"]
    trusted = {file["uri"]: file for uri in sgx["trusted_files"] for file in expand(uri)}
    sgx["trusted_files"] = list(trusted.values())
    signed = "".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in document.items())
    sigstruct = make_sigstruct(
        key,
        mrenclave=hashlib.sha256(signed.encode()).digest(),
        isv_prod_id=sgx["isvprodid"],
        isv_svn=sgx["isvsvn"],
        debug=sgx["debug"],
    )
    return signed, sigstruct


def main(program: str, arguments: list[str], root: Path) -> None:
    """Behave like ``gramine-manifest`` or ``gramine-sgx-sign``."""
    if program == "gramine-manifest":
        variables = dict(a.removeprefix("-D").split("=", 1) for a in arguments[:-2])
        template, output = map(Path, arguments[-2:])
        output.write_text(render(template.read_text(), variables, root))
        return
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    if options["--date"] != "0000-00-00":
        raise SystemExit("a date makes two signatures differ")
    key = load_pem_private_key(Path(options["--key"]).read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    manifest = Path(options["--manifest"])
    signed, sigstruct = sign(manifest.read_text(), key)
    Path(options["--output"]).write_text(signed)
    manifest.with_suffix(".sig").write_bytes(sigstruct)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3:], Path(sys.argv[2]))
