"""The owner's rules for one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clf_sdk.attestation import EnclavePolicy
from clf_sdk.errors import ConfigurationError, FormatTooNew
from clf_sdk.protocol import PROTOCOL_VERSION, check_name

_FIELDS = {"clf", "type", "enclave", "operations"}


@dataclass(frozen=True)
class Policy:
    """Which program may use a table, and for what.

    Parameters
    ----------
    enclave
        What the enclave must prove.
    operations
        Names of the operations that may run on the table, for example ``["glm"]``.

    Raises
    ------
    ConfigurationError
        No operation is named.
    """

    enclave: EnclavePolicy
    operations: frozenset[str]

    def __init__(self, *, enclave: EnclavePolicy, operations: Iterable[str]) -> None:
        if not isinstance(enclave, EnclavePolicy):
            raise ConfigurationError(
                "the enclave rule of a policy must be an EnclavePolicy",
                hint='for example Policy(enclave=EnclavePolicy(mrenclave="…"), operations=["glm"])',
            )
        names = [operations] if isinstance(operations, str) else list(operations)
        if not names:
            raise ConfigurationError(
                "a policy must name at least one operation",
                hint='for example operations=["glm"]',
            )
        object.__setattr__(self, "enclave", enclave)
        object.__setattr__(
            self, "operations", frozenset(check_name(name, what="an operation") for name in names)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the policy as JSON values (docs/protocol.md §11)."""
        return {
            "clf": PROTOCOL_VERSION,
            "type": "policy",
            "enclave": self.enclave.to_json(),
            "operations": sorted(self.operations),
        }

    @classmethod
    def from_json(cls, value: Any) -> Policy:
        """Read a policy document.

        Raises
        ------
        FormatTooNew
            It was written for a later version.
        ConfigurationError
            It is not a policy.
        """
        if isinstance(value, dict):
            version = value.get("clf")
            if isinstance(version, int) and version > PROTOCOL_VERSION:
                raise FormatTooNew(
                    "the policy was written for a later version of CLF",
                    hint="upgrade CLF on this side",
                )
        if (
            not isinstance(value, dict)
            or set(value) != _FIELDS
            or value["type"] != "policy"
            or type(value["clf"]) is not int
            or value["clf"] != PROTOCOL_VERSION
            or not isinstance(value["operations"], list)
        ):
            raise ConfigurationError(
                "this is not a policy document",
                hint='it has exactly the fields "clf", "type", "enclave" and "operations"',
            )
        return cls(
            enclave=EnclavePolicy.from_json(value["enclave"]), operations=value["operations"]
        )
