"""Which enclave an owner trusts, on which platforms, in which state."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields
from typing import Any

from clf_sdk.attestation._library import TCB_STATUSES
from clf_sdk.errors import ConfigurationError

_MEASUREMENT_DIGITS = 64
_FMSPC_DIGITS = 12
_PPID_DIGITS = 32
_MAX_U16 = 0xFFFF
_MAX_AGE_DAYS = 366
_ADVISORY = re.compile(r"INTEL-SA-\d{5}")


@dataclass(frozen=True, kw_only=True)
class EnclavePolicy:
    """What `verify_quote` demands. There is no policy that accepts any enclave.

    Everything that is given must hold. Hex is normalised to lower case, advisories to upper case.

    Parameters
    ----------
    mrenclave
        The exact measurement, 64 hex digits.
    mrsigner
        Digest of the signer's key, 64 hex digits. Without ``mrenclave`` it needs ``isv_prod_id``
        and ``min_isv_svn``, or else it would trust every enclave that this signer ever signed.
    isv_prod_id
        The signer's product, equal.
    min_isv_svn
        The oldest security version that is trusted.
    tcb_statuses
        TCB statuses that are allowed; ``Revoked`` can't be.
    refused_advisories
        Security advisories that must not apply, such as ``INTEL-SA-00615``.
    fmspcs, ppids
        Platform types (12 hex digits) and single platforms (32 hex digits) that are trusted; None
        trusts every genuine one.
    max_collateral_age_days
        How long ago Intel may have issued the TCB info and the QE identity, 1 to 366; None is as
        long as they are valid.

    Raises
    ------
    ConfigurationError
        Nothing is pinned, or a value makes no sense.
    """

    mrenclave: str | None = None
    mrsigner: str | None = None
    isv_prod_id: int | None = None
    min_isv_svn: int | None = None
    tcb_statuses: frozenset[str] = frozenset({"UpToDate"})
    refused_advisories: frozenset[str] = frozenset()
    fmspcs: frozenset[str] | None = None
    ppids: frozenset[str] | None = None
    max_collateral_age_days: int | None = None

    def __post_init__(self) -> None:
        def normalise(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        normalise("mrenclave", _measurement("mrenclave", self.mrenclave))
        normalise("mrsigner", _measurement("mrsigner", self.mrsigner))
        _check_u16("isv_prod_id", self.isv_prod_id)
        _check_u16("min_isv_svn", self.min_isv_svn)
        if self.mrenclave is None and self.mrsigner is None:
            raise ConfigurationError(
                "the policy pins no enclave",
                hint="give mrenclave, or mrsigner with isv_prod_id and min_isv_svn",
            )
        if self.mrenclave is None and None in (self.isv_prod_id, self.min_isv_svn):
            raise ConfigurationError(
                "mrsigner alone trusts everything that its holder ever signed",
                hint="add isv_prod_id and min_isv_svn, or pin mrenclave",
            )
        normalise("tcb_statuses", _statuses(self.tcb_statuses))
        normalise("refused_advisories", _advisories(self.refused_advisories))
        if self.fmspcs is not None:
            normalise("fmspcs", _platforms("fmspcs", self.fmspcs, _FMSPC_DIGITS))
        if self.ppids is not None:
            normalise("ppids", _platforms("ppids", self.ppids, _PPID_DIGITS))
        age = self.max_collateral_age_days
        if age is not None and not (type(age) is int and 1 <= age <= _MAX_AGE_DAYS):
            raise ConfigurationError(
                f"max_collateral_age_days must be an integer from 1 to {_MAX_AGE_DAYS}",
                hint="Intel reissues collateral about once a month; leave it out to rely on that",
            )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of docs/protocol.md §11.2, lists sorted."""
        return {
            field.name: sorted(value) if isinstance(value, frozenset) else value
            for field in fields(self)
            for value in [getattr(self, field.name)]
        }

    @classmethod
    def from_json(cls, document: Any) -> EnclavePolicy:
        """Read the JSON object; fields that are left out have their default.

        Raises
        ------
        ConfigurationError
            It is no such object, has unknown fields, or pins nothing.
        """
        if not isinstance(document, dict):
            raise ConfigurationError("the enclave policy must be a JSON object")
        known = [field.name for field in fields(cls)]
        for name in document:
            if name not in known:
                raise ConfigurationError(
                    f"the enclave policy has no field {str(name)[:40]!r}",
                    hint=_nearest(name, known),
                )
        if "tcb_statuses" in document and document["tcb_statuses"] is None:
            raise ConfigurationError("tcb_statuses must be a list")
        if "refused_advisories" in document and document["refused_advisories"] is None:
            raise ConfigurationError("refused_advisories must be a list")
        return cls(**document)


def _nearest(word: object, known: list[str] | tuple[str, ...]) -> str:
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.5)
    return f"did you mean {lowered[near[0]]!r}?" if near else "known: " + ", ".join(known)


def _hex(name: str, value: object, digits: int) -> str:
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", value):
        raise ConfigurationError(
            f"{name} must be {digits} hex digits",
            hint="gramine-sgx-sigstruct-view prints measurements in this form",
        )
    return value.lower()


def _measurement(name: str, value: object) -> str | None:
    if value is None:
        return None
    text = _hex(name, value, _MEASUREMENT_DIGITS)
    if not text.strip("0"):
        raise ConfigurationError(
            f"{name} is all zeros, which is no measurement",
            hint="read it from the signed enclave: gramine-sgx-sigstruct-view",
        )
    return text


def _check_u16(name: str, value: object) -> None:
    if value is not None and not (type(value) is int and 0 <= value <= _MAX_U16):
        raise ConfigurationError(f"{name} must be an integer from 0 to {_MAX_U16}")


def _texts(name: str, values: object) -> frozenset[str]:
    if not isinstance(values, (frozenset, set, list, tuple)) or not all(
        isinstance(value, str) for value in values
    ):
        raise ConfigurationError(f"{name} must be a collection of texts")
    return frozenset(values)


def _statuses(values: object) -> frozenset[str]:
    statuses = _texts("tcb_statuses", values)
    if not statuses:
        raise ConfigurationError(
            "tcb_statuses allows no status", hint='the usual one is "UpToDate"'
        )
    for status in sorted(statuses):
        if status == "Revoked":
            raise ConfigurationError("a revoked platform can't be allowed")
        if status not in TCB_STATUSES:
            raise ConfigurationError(
                f"there is no TCB status {status[:40]!r}", hint=_nearest(status, TCB_STATUSES)
            )
    return statuses


def _advisories(values: object) -> frozenset[str]:
    advisories = frozenset(text.upper() for text in _texts("refused_advisories", values))
    for advisory in advisories:
        if not _ADVISORY.fullmatch(advisory):
            raise ConfigurationError(
                f"{advisory[:40]!r} is not an advisory", hint="they look like INTEL-SA-00615"
            )
    return advisories


def _platforms(name: str, values: object, digits: int) -> frozenset[str]:
    platforms = frozenset(_hex(name, value, digits) for value in _texts(name, values))
    if not platforms:
        raise ConfigurationError(
            f"{name} is empty, so no platform could satisfy it",
            hint="leave it out to trust every genuine platform",
        )
    return platforms
