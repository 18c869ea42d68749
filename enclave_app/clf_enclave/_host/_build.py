"""A measured build: the signed manifest with everything that it trusts, and the signature file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clf_sdk.attestation import Sigstruct, parse_sigstruct
from clf_sdk.errors import ConfigurationError, Malformed

_MANIFEST_ENDING = ".manifest.sgx"
_MOST_MANIFEST_BYTES = 256 << 20
_DISTRIBUTION = re.compile(
    r"/(?:site|dist)-packages/(?P<name>[^/]+?)-(?P<version>[^-/]+)\.dist-info/METADATA$"
)
_PACKAGES = re.compile(r"/(?:site|dist)-packages/(?P<top>[^/]+)")


@dataclass(frozen=True)
class Build:
    """What a signed manifest says.

    Attributes
    ----------
    name
        Path that the build was read from.
    signature
        What the signature file beside the manifest says; None when there is none.
    settings
        Lines of the manifest but for the trusted files, as ``key = value``, by key.
    files
        SHA-256 of each trusted file, by URI.
    packages
        Version of each Python distribution among the trusted files, by name.
    """

    name: str
    signature: Sigstruct | None
    settings: Mapping[str, str]
    files: Mapping[str, str]
    packages: Mapping[str, str]


def package_of(uri: str) -> str:
    """Return what a trusted file belongs to: a package's folder, or the folder it lies in."""
    if found := _PACKAGES.search(uri):
        # A distribution's metadata belongs to it; they are named alike but for the version.
        return re.sub(r"-[^-]+\.(dist|data)-info$", "", found["top"]).removesuffix(".py")
    return uri.removeprefix("file:").rpartition("/")[0] or "/"


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            # What a mount is for says more than its place in the list.
            label = inner.get("path", number) if isinstance(inner, dict) else number
            yield from _flatten(inner, f"{prefix}[{label}]")
    else:
        yield prefix, repr(value) if isinstance(value, str) else str(value).lower()


def _manifest_in(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob(f"*{_MANIFEST_ENDING}"))
    if len(found) != 1:
        raise ConfigurationError(
            f"{path} has {len(found)} signed manifests, not one",
            hint=f"name the file *{_MANIFEST_ENDING} itself",
        )
    return found[0]


def load_build(path: Path) -> Build:
    """Read a build.

    Parameters
    ----------
    path
        A signed manifest, ``*.manifest.sgx``, or the directory that holds one.

    Raises
    ------
    ConfigurationError
        It can't be read, or the directory does not hold exactly one.
    Malformed
        It is not a signed manifest.
    """
    manifest = _manifest_in(path)
    try:
        with manifest.open("rb") as file:
            data = file.read(_MOST_MANIFEST_BYTES)
        document = tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigurationError(f"{manifest} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise Malformed(f"{manifest} is not a manifest: it is not TOML") from error
    sgx = document.get("sgx")
    trusted = sgx.pop("trusted_files", None) if isinstance(sgx, dict) else None
    if not isinstance(trusted, list) or not all(
        isinstance(entry, dict)
        and isinstance(entry.get("uri"), str)
        and isinstance(entry.get("sha256"), str)
        for entry in trusted
    ):
        raise Malformed(
            f"{manifest} has no hashes of trusted files",
            hint="compare what gramine-sgx-sign wrote: *.manifest.sgx, not *.manifest",
        )
    files = {entry["uri"]: entry["sha256"] for entry in trusted}
    packages = {
        found["name"].lower().replace("_", "-"): found["version"]
        for uri in files
        if (found := _DISTRIBUTION.search(uri))
    }
    signature = manifest.with_name(manifest.name.removesuffix(_MANIFEST_ENDING) + ".sig")
    return Build(
        name=str(path),
        signature=parse_sigstruct(signature.read_bytes()) if signature.exists() else None,
        settings=dict(_flatten(document)),
        files=files,
        packages=packages,
    )
