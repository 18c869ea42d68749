"""Collateral: what Intel signs about a platform's state (docs/protocol.md §6.3)."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509

from clf_sdk.attestation._chain import PARSE_ERRORS, chain_root_key
from clf_sdk.attestation._library import to_library_collateral
from clf_sdk.errors import CollateralMalformed, CollateralUnavailable, Malformed
from clf_sdk.protocol import parse_json

MAX_COLLATERAL_BYTES = 1 << 20

_HEX_FIELDS = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_CHAIN_FIELDS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_DATED = ("tcb_info", "qe_identity")
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, repr=False)
class Collateral:
    """Certificate chains, CRLs, TCB info and QE identity for one kind of platform.

    Chains are PEM, CRLs and signatures hex; ``tcb_info`` and ``qe_identity`` are the exact signed
    strings. It is signed throughout, so it does not matter who carries it; ``verify_quote`` checks
    it.
    """

    pck_crl_issuer_chain: str
    root_ca_crl: str
    pck_crl: str
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: str
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: str

    def __repr__(self) -> str:
        start, end = self.window
        return f"Collateral(fmspc={self.fmspc}, valid {_iso(start)} to {_iso(end)})"

    def __post_init__(self) -> None:
        for field in fields(self):
            if not isinstance(getattr(self, field.name), str):
                raise _malformed(f'"{field.name}" must be text')
        for name in _HEX_FIELDS:
            try:
                size = len(bytes.fromhex(getattr(self, name)))
            except ValueError as error:
                raise _malformed(f'"{name}" is not hex') from error
            if name.endswith("_signature") and size != _SIGNATURE_BYTES:
                raise _malformed(f'"{name}" has {size} bytes, not {_SIGNATURE_BYTES}')
        if sum(len(text) for text in self.to_json().values()) > MAX_COLLATERAL_BYTES:
            raise _malformed(f"it is larger than {MAX_COLLATERAL_BYTES} bytes")

    @classmethod
    def from_json(cls, document: Any) -> Collateral:
        """Read collateral from an object, or from JSON text or bytes.

        Raises
        ------
        CollateralMalformed
            A field is missing, unknown, or not what it should be.
        """
        if isinstance(document, (str, bytes)):
            if len(document) > MAX_COLLATERAL_BYTES:
                raise _malformed(f"it is larger than {MAX_COLLATERAL_BYTES} bytes")
            try:
                document = parse_json(document, what="collateral")
            except Malformed as error:
                raise _malformed("it is not JSON") from error
        if not isinstance(document, dict):
            raise _malformed("it is not an object")
        expected = {field.name for field in fields(cls)}
        if wrong := expected ^ set(document):
            names = ", ".join(sorted(str(name) for name in wrong))
            raise _malformed(f"missing or unknown fields: {names}")
        return cls(**document)

    @classmethod
    def from_file(cls, path: str | Path) -> Collateral:
        """Read collateral from a JSON file.

        Raises
        ------
        CollateralUnavailable
            The file can't be read.
        CollateralMalformed
            It holds something else.
        """
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_COLLATERAL_BYTES + 1)
        except OSError as error:
            raise CollateralUnavailable(
                f"the collateral file {path} can't be read: {error.strerror}",
                hint="name a file with the collateral's JSON",
            ) from error
        return cls.from_json(content)

    def to_json(self) -> dict[str, str]:
        """Return the JSON object."""
        return {name: str(value) for name, value in asdict(self).items()}

    def to_text(self) -> bytes:
        """Return the JSON object as the content of a file."""
        return json.dumps(self.to_json(), indent=1).encode()

    @cached_property
    def library(self) -> Any:
        """The same in dcap-qvl's type, converted once.

        Raises
        ------
        CollateralMalformed
            The library can't read it.
        """
        _ = (
            self.window,
            self.root_keys,
        )  # a part that can't be read is named here, not as a failed check
        return to_library_collateral(self.to_json())

    @cached_property
    def root_keys(self) -> frozenset[bytes]:
        """Public keys (DER) in which the three issuer chains end."""
        return frozenset(
            chain_root_key(getattr(self, name).encode(), CollateralMalformed)
            for name in _CHAIN_FIELDS
        )

    @cached_property
    def fmspc(self) -> str:
        """FMSPC that the TCB info is for, lower-case hex."""
        return str(self._signed("tcb_info").get("fmspc", "")).lower()

    @cached_property
    def issued_at(self) -> int:
        """Unix second at which the older one of TCB info and QE identity was issued."""
        return min(self._date(name, "issueDate") for name in _DATED)

    def _date(self, name: str, which: str) -> int:
        try:
            return int(dt.datetime.fromisoformat(self._signed(name)[which]).timestamp())
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(f'"{name}" lacks its dates') from error

    @cached_property
    def window(self) -> tuple[int, int]:
        """First and last Unix second at which everything that is reissued regularly holds.

        Certificates of the chains may end earlier; they live for years.
        """
        issued = [self._date(name, "issueDate") for name in _DATED]
        until = [self._date(name, "nextUpdate") for name in _DATED]
        for name in ("root_ca_crl", "pck_crl"):
            try:
                crl = x509.load_der_x509_crl(bytes.fromhex(getattr(self, name)))
                issued.append(int(crl.last_update_utc.timestamp()))
                if crl.next_update_utc is not None:
                    # A CRL ends before its nextUpdate, the JSON documents end with theirs.
                    until.append(int(crl.next_update_utc.timestamp()) - 1)
            except PARSE_ERRORS as error:
                raise _malformed(f'"{name}" is not a CRL') from error
        return max(issued), min(until)

    def _signed(self, name: str) -> dict[str, Any]:
        try:
            document = json.loads(getattr(self, name))
        except (ValueError, RecursionError) as error:
            raise _malformed(f'"{name}" is not JSON') from error
        if not isinstance(document, dict):
            raise _malformed(f'"{name}" is not a JSON object')
        return document


def _iso(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _malformed(why: str) -> CollateralMalformed:
    return CollateralMalformed(
        f"the collateral can't be read: {why}",
        hint="collateral is the JSON object of docs/protocol.md §6.3; fetch it again",
    )
