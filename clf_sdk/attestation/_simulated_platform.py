"""A simulated SGX platform: real formats, no hardware, no protection whatsoever.

A directory made by `create_simulation` holds ``anchor.pem`` (the public root, the one file that
servers and receipts may trust, by name), ``collateral.json`` and ``platform/``, whose keys let
anybody who reads them forge every measurement.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from clf_sdk.attestation import _simulated_pki as pki_module
from clf_sdk.attestation._collateral import Collateral
from clf_sdk.attestation._library import pck_extension
from clf_sdk.attestation._quote import REPORT_DATA_BYTES
from clf_sdk.attestation._simulated_pki import Authority, SimulatedPki
from clf_sdk.attestation._simulated_quote import quote_tail, report_body, sign_quote
from clf_sdk.errors import ConfigurationError, EvidenceUnavailable, InvalidInput

_ATTRIBUTES = b"\x05" + bytes(7) + b"\xe7" + bytes(7)
_DEBUG = 0x02
_KEYS = ("root", "pck_ca", "tcb_signing", "pck")


@dataclass(frozen=True, repr=False)
class SimulatedPlatform:
    """A software TEE with a root of its own. INSECURE: its holder can forge any measurement.

    Attributes
    ----------
    collateral
        What a server needs to verify the platform's quotes.
    mrsigner
        Hex digest of a signer key that was made with the platform.
    """

    collateral: Collateral
    mrsigner: str
    _pki: SimulatedPki
    _attestation_key: ec.EllipticCurvePrivateKey
    _tail: bytes = field(init=False)
    """What follows the ISV signature in every quote."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tail", quote_tail(self._pki, self._attestation_key))

    def __repr__(self) -> str:
        return f"SimulatedPlatform(INSECURE SIMULATION, fmspc={self.collateral.fmspc})"

    @classmethod
    def generate(
        cls,
        *,
        now: int,
        tcb_status: str = "UpToDate",
        advisories: tuple[str, ...] = (),
        revoke_pck: bool = False,
    ) -> SimulatedPlatform:
        """Make a platform with fresh keys.

        Parameters
        ----------
        now
            Unix seconds from which its certificates and collateral are valid.
        tcb_status
            Status that its TCB info declares; ``Revoked`` too.
        advisories
            Security advisories that its TCB info declares.
        revoke_pck
            Put its PCK certificate on the CRL.
        """
        pki = pki_module.generate_pki(now)
        return cls(
            collateral=_collateral(pki, now, tcb_status, advisories, revoke_pck=revoke_pck),
            mrsigner=hashlib.sha256(os.urandom(32)).hexdigest(),
            _pki=pki,
            _attestation_key=ec.generate_private_key(ec.SECP256R1()),
        )

    def reissue(
        self,
        *,
        now: int,
        tcb_status: str = "UpToDate",
        advisories: tuple[str, ...] = (),
        revoke_pck: bool = False,
    ) -> Collateral:
        """Sign other collateral for this platform; see `generate` for the parameters."""
        return _collateral(self._pki, now, tcb_status, advisories, revoke_pck=revoke_pck)

    @property
    def anchor_pem(self) -> bytes:
        """The public root certificate."""
        return self._pki.root.pem.encode()

    @property
    def root_der(self) -> bytes:
        """The public root certificate, DER."""
        return self._pki.root.certificate.public_bytes(Encoding.DER)

    def quote(
        self,
        report_data: bytes,
        *,
        mrenclave: str,
        mrsigner: str,
        isv_prod_id: int,
        isv_svn: int,
        attributes: bytes = _ATTRIBUTES,
        debug: bool = False,
    ) -> bytes:
        """Sign a quote with any content, right or wrong."""
        if len(report_data) != REPORT_DATA_BYTES:
            raise InvalidInput(f"report data must have {REPORT_DATA_BYTES} bytes")
        if debug:
            attributes = bytes([attributes[0] | _DEBUG]) + attributes[1:]
        report = report_body(
            attributes=attributes,
            mrenclave=bytes.fromhex(mrenclave),
            mrsigner=bytes.fromhex(mrsigner),
            isv_prod_id=isv_prod_id,
            isv_svn=isv_svn,
            report_data=report_data,
        )
        return sign_quote(report, self._attestation_key, self._tail)

    def save(self, directory: str | Path) -> None:
        """Write the platform to a directory that is empty or does not exist.

        Raises
        ------
        ConfigurationError
            The directory holds something.
        """
        root = Path(directory)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise ConfigurationError(
                f"{root} is not an empty directory",
                hint="an existing simulation is never overwritten; name a new directory",
            )
        private = root / "platform"
        root.mkdir(parents=True, exist_ok=True)
        private.mkdir(mode=0o700)
        for name in _KEYS:
            authority: Authority = getattr(self._pki, name)
            _write_private(private / f"{name}.key", _key_pem(authority.key))
            _write_private(private / f"{name}.pem", authority.pem.encode())
        _write_private(private / "attestation.key", _key_pem(self._attestation_key))
        _write_private(private / "mrsigner", self.mrsigner.encode())
        (root / "collateral.json").write_bytes(self.collateral.to_text())
        (root / "anchor.pem").write_bytes(self.anchor_pem)

    @classmethod
    def load(cls, directory: str | Path) -> SimulatedPlatform:
        """Read a platform that `create_simulation` wrote.

        Raises
        ------
        EvidenceUnavailable
            The directory holds no simulated platform.
        """
        root = Path(directory)
        private = root / "platform"
        try:
            authorities = {
                name: Authority(
                    _load_key(private / f"{name}.key"),
                    x509.load_pem_x509_certificate((private / f"{name}.pem").read_bytes()),
                )
                for name in _KEYS
            }
            return cls(
                collateral=Collateral.from_file(root / "collateral.json"),
                mrsigner=(private / "mrsigner").read_text(),
                _pki=SimulatedPki(**authorities),
                _attestation_key=_load_key(private / "attestation.key"),
            )
        except (OSError, ValueError, TypeError) as error:
            raise EvidenceUnavailable(
                f"{root} holds no simulated platform that can be read",
                hint="make one with `clf simulation init DIR`",
            ) from error


def create_simulation(directory: str | Path) -> SimulatedPlatform:
    """Make a simulated TEE in a new directory. INSECURE: for machines without SGX.

    Its collateral is valid for one year; afterwards make a new simulation.

    Raises
    ------
    ConfigurationError
        The directory holds something already.
    """
    platform = SimulatedPlatform.generate(now=int(time.time()))
    platform.save(directory)
    return platform


def simulated_measurement(package_roots: list[Path]) -> str:
    """Digest of Python packages, which stands in for MRENCLAVE in a simulation.

    SHA-256 over the sorted lines ``<package>/<path> <SHA-256 of the content>`` of all ``*.py``
    files of the packages. It names the code; but, unlike with MRENCLAVE, nothing stops a host from
    claiming it for other code.
    """
    lines = []
    for root in package_roots:
        for path in root.rglob("*.py"):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{root.name}/{path.relative_to(root).as_posix()} {content}\n")
    if not lines:
        raise ConfigurationError("there is no Python file to measure")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _collateral(
    pki: SimulatedPki,
    now: int,
    tcb_status: str,
    advisories: tuple[str, ...],
    *,
    revoke_pck: bool,
) -> Collateral:
    return pki_module.issue_collateral(
        pki,
        now=now,
        fmspc=pck_extension(pki.pck.pem.encode()).fmspc,
        tcb_status=tcb_status,
        advisories=advisories,
        revoke_pck=revoke_pck,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key: Any = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds another kind of key")
    return key


def _write_private(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
