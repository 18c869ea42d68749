"""The only module that talks to dcap-qvl.

The library checks signatures, chains, CRLs, dates and TCB levels. It is asked to let every TCB
status but ``Revoked`` through, because ``_verify`` decides about the status later, under the
owner's policy and in the order of docs/protocol.md §7.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import dcap_qvl  # type: ignore[import-untyped]  # has stubs, but no py.typed marker

from clf_sdk.errors import CollateralMalformed, QuoteMalformed

TCB_STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
"""TCB statuses of SGX that a policy may allow. ``Revoked`` is deliberately not among them."""

_A_CENTURY_SECONDS = 100 * 366 * 86400


class LibraryRefused(Exception):
    """The library did not verify the quote. Never leaves the package."""


def to_library_collateral(fields: dict[str, str]) -> Any:
    """Convert the nine fields of collateral to the library's type.

    Raises
    ------
    CollateralMalformed
        The library can't read them.
    """
    try:
        return dcap_qvl.QuoteCollateralV3.from_json(json.dumps(fields))
    except ValueError as error:
        raise CollateralMalformed(
            "the collateral can't be read", hint="fetch it again from the PCCS"
        ) from error


def parse(quote: bytes) -> Any:
    """Parse a quote without verifying anything.

    Raises
    ------
    QuoteMalformed
        The library can't read it.
    """
    try:
        return dcap_qvl.parse_quote(quote)
    except ValueError as error:
        raise QuoteMalformed(
            "the bytes are not an SGX quote", hint="pass the raw quote, neither Base64 nor hex"
        ) from error


def pck_extension(chain_pem: bytes) -> Any:
    """Intel's extension of the first certificate of a PEM chain."""
    return dcap_qvl.parse_pck_extension_from_pem(chain_pem)


@lru_cache(maxsize=16)
def _verifier(root_der: bytes) -> Any:
    return dcap_qvl.QuoteVerifier(root_der)


def verify(quote: bytes, collateral: Any, *, root_der: bytes, now: int) -> dict[str, Any]:
    """Verify everything that is signed, at the time ``now``, and return the library's claims.

    Dynamic platforms, cached platform keys and SMT are allowed: every multi-package Xeon that was
    registered with Intel reports them. A QE or platform that is out of date passes here, with that
    status in its claims.

    Raises
    ------
    LibraryRefused
        With the library's message, which names few causes; see ``_refusal``.
    """
    policy = dcap_qvl.QuotePolicy.strict(now)
    for status in TCB_STATUSES[1:]:
        policy = policy.allow_status(status)
    policy = (
        policy.platform_grace_period(_A_CENTURY_SECONDS)
        .qe_grace_period(_A_CENTURY_SECONDS)
        .allow_dynamic_platform(True)  # noqa: FBT003 -- the library takes it by position only
        .allow_cached_keys(True)  # noqa: FBT003 -- the same
        .allow_smt(True)  # noqa: FBT003 -- the same
    )
    try:
        claims = _verifier(root_der).verify_with_policy(quote, collateral, now, policy)
    except ValueError as error:
        raise LibraryRefused(str(error).removeprefix("Verification failed: ")) from error
    document: dict[str, Any] = json.loads(claims.to_json())
    return document
