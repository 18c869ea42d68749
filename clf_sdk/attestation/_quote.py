"""The SGX quote, version 3: its layout, its exact length, and its fields for display."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from clf_sdk.attestation import _library
from clf_sdk.errors import QuoteMalformed

HEADER_BYTES = 48
REPORT_BYTES = 384
REPORT_DATA_BYTES = 64
MAX_QUOTE_BYTES = 16 << 10

_SIGNED_BYTES = HEADER_BYTES + REPORT_BYTES
_SIGNATURE_AT = _SIGNED_BYTES + 4
_VERSION, _ECDSA_P256, _SGX, _PCK_CHAIN = 3, 2, 0, 5
_AUTH_LENGTH_AT = _SIGNATURE_AT + 64 + 64 + REPORT_BYTES + 64


@dataclass(frozen=True)
class QuoteFields:
    """What a quote says, verified by nobody. Byte strings are lower-case hex."""

    version: int
    qe_svn: int
    pce_svn: int
    cpu_svn: str
    attributes: str
    mrenclave: str
    mrsigner: str
    isv_prod_id: int
    isv_svn: int
    report_data: str
    fmspc: str | None
    ppid: str | None
    ca: str | None

    @property
    def debug(self) -> bool:
        """Whether the enclave's memory can be read by its host."""
        return bool(int(self.attributes[:2], 16) & 0x02)


def split_quote(quote: bytes) -> bytes:
    """Check the layout of a quote and return the PEM chain that it carries.

    Raises
    ------
    QuoteMalformed
        It is not an SGX ECDSA quote version 3, it is cut, or something follows it.
    """
    if not isinstance(quote, bytes) or len(quote) <= _AUTH_LENGTH_AT:
        raise _malformed("it is too short")
    if len(quote) > MAX_QUOTE_BYTES:
        raise _malformed(f"it is larger than {MAX_QUOTE_BYTES} bytes")
    version, key_type, tee = struct.unpack_from("<HHI", quote)
    if (version, key_type, tee) != (_VERSION, _ECDSA_P256, _SGX):
        raise _malformed(
            f"version {version}, key type {key_type}, TEE {tee:#x} instead of 3, 2 and 0x0"
        )
    (signature_bytes,) = struct.unpack_from("<I", quote, _SIGNED_BYTES)
    if len(quote) != _SIGNATURE_AT + signature_bytes:
        raise _malformed(f"{len(quote)} bytes instead of {_SIGNATURE_AT + signature_bytes}")
    (auth_bytes,) = struct.unpack_from("<H", quote, _AUTH_LENGTH_AT)
    certification_at = _AUTH_LENGTH_AT + 2 + auth_bytes
    if certification_at + 6 > len(quote):
        raise _malformed("its authentication data overruns it")
    kind, chain_bytes = struct.unpack_from("<HI", quote, certification_at)
    if kind != _PCK_CHAIN:
        raise _malformed(f"certification data of type {kind} instead of 5 (PCK chain)")
    if certification_at + 6 + chain_bytes != len(quote):
        raise _malformed("its certification data does not end where it ends")
    return quote[certification_at + 6 :]


def parse_quote(quote: bytes) -> QuoteFields:
    """Read a quote for display. Nothing in the answer is verified.

    Raises
    ------
    QuoteMalformed
        The bytes are not an SGX ECDSA quote version 3, exactly.
    """
    split_quote(quote)
    parsed = _library.parse(quote)
    isv_prod_id, isv_svn = read_product(quote)
    pck = parsed.pck_extension()
    return QuoteFields(
        version=parsed.header.version,
        qe_svn=parsed.header.qe_svn,
        pce_svn=parsed.header.pce_svn,
        cpu_svn=parsed.report.cpu_svn.hex(),
        attributes=parsed.report.attributes.hex(),
        mrenclave=parsed.report.mr_enclave.hex(),
        mrsigner=parsed.report.mr_signer.hex(),
        isv_prod_id=isv_prod_id,
        isv_svn=isv_svn,
        report_data=parsed.report.report_data.hex(),
        fmspc=pck.fmspc.hex() if pck else None,
        ppid=pck.ppid.hex() if pck else None,
        ca=platform_of(quote)[1] if pck else None,
    )


def read_product(quote: bytes) -> tuple[int, int]:
    """ISV_PROD_ID and ISV_SVN; the library does not expose them before verification."""
    isv_prod_id, isv_svn = struct.unpack_from("<HH", quote, 304)
    return isv_prod_id, isv_svn


def report_data_of(quote: bytes) -> bytes:
    """Return the 64 bytes that the enclave chose, verified by nobody."""
    return quote[_SIGNED_BYTES - REPORT_DATA_BYTES : _SIGNED_BYTES]


def platform_of(quote: bytes) -> tuple[str, str]:
    """Return FMSPC (lower-case hex) and PCK CA (``processor`` or ``platform``) of a quote.

    Raises
    ------
    QuoteMalformed
        The quote names no platform.
    """
    parsed = _library.parse(quote)
    try:
        return str(parsed.fmspc()).lower(), str(parsed.ca())
    except ValueError as error:
        raise QuoteMalformed("the quote's certificates name no platform") from error


def _malformed(why: str) -> QuoteMalformed:
    return QuoteMalformed(
        f"the bytes are not an SGX ECDSA quote version 3: {why}",
        hint="pass the raw quote as the hardware made it, with nothing before or after it",
    )
