"""The policy's JSON form, and the JSON Schema that describes it (docs/protocol.md §11.2)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic.config import JsonDict

from clf_sdk.attestation import TCB_STATUSES
from clf_sdk.protocol import (
    MOST_ROUNDING,
    ColumnName,
    Differencing,
    Document,
    Dominance,
    Name,
    Sha256,
    Version,
)

DEFAULT_GROUP = 10
MOST_FILTER_CHARACTERS = 4000  # as in clf_sdk.filters, which is not loaded for a policy without
MOST_BUDGET = 1_000_000
MOST_GROUP = 1_000_000_000
MOST_OUTPUT = 2**53
MOST_RUNS = 1_000_000
MOST_LISTED = 16_384
LAST_SECOND = 253_402_300_799  # of the year 9999

Release = Literal["at_once", "review"]
Approval = Literal["ask", "automatic"]


def _hex(digits: int) -> dict[str, str]:
    return {"type": "string", "pattern": f"^[0-9a-fA-F]{{{digits}}}$"}


def _or_null(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}], "default": None, "description": description}


def _list_of(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": schema, "uniqueItems": True, **more}


def _given(names: tuple[str, ...], kinds: tuple[str, ...]) -> dict[str, Any]:
    typed = {name: {"type": kind} for name, kind in zip(names, kinds, strict=True)}
    return {"required": list(names), "properties": typed}


_U16 = {"type": "integer", "minimum": 0, "maximum": 0xFFFF}
_STATUS = {"enum": [status for status in TCB_STATUSES if status != "Revoked"]}
_ADVISORY = {"type": "string", "pattern": r"^[Ii][Nn][Tt][Ee][Ll]-[Ss][Aa]-[0-9]{5}$"}

# The dataclass EnclavePolicy reads it, with messages that know what is meant.
_ENCLAVE: dict[str, Any] = {
    "type": "object",
    "description": "What the enclave must prove: everything that is given must hold.",
    "additionalProperties": False,
    "anyOf": [
        _given(("mrenclave",), ("string",)),
        _given(("mrsigner", "isv_prod_id", "min_isv_svn"), ("string", "integer", "integer")),
    ],
    "properties": {
        "mrenclave": _or_null(_hex(64), "The exact measurement."),
        "mrsigner": _or_null(_hex(64), "Digest of the signer's key."),
        "isv_prod_id": _or_null(_U16, "The signer's product, equal."),
        "min_isv_svn": _or_null(_U16, "The oldest security version that is trusted."),
        "tcb_statuses": _list_of(
            _STATUS, minItems=1, default=["UpToDate"], description="TCB statuses that are allowed."
        ),
        "refused_advisories": _list_of(
            _ADVISORY, default=[], description="Advisories that must not apply."
        ),
        "fmspcs": _or_null(
            _list_of(_hex(12), minItems=1), "Platform types; null trusts every genuine one."
        ),
        "ppids": _or_null(
            _list_of(_hex(32), minItems=1), "Single platforms; null trusts every genuine one."
        ),
        "max_collateral_age_days": _or_null(
            {"type": "integer", "minimum": 1, "maximum": 366},
            "How long ago the collateral may have been issued.",
        ),
    },
}

_UNIQUE: JsonDict = {"uniqueItems": True}
_Some = Field(min_length=1, max_length=MOST_LISTED, json_schema_extra=_UNIQUE)
_Any = Field(max_length=MOST_LISTED, json_schema_extra=_UNIQUE)
_Condition = StringConstraints(min_length=1, max_length=MOST_FILTER_CHARACTERS)


class PolicyDocument(Document):
    """The owner's rules for one table: all of them must allow what is asked."""

    model_config = ConfigDict(
        title="CLF policy, version 1",
        json_schema_extra={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "anyOf": [_given(("operations",), ("array",)), _given(("jobs",), ("array",))],
        },
    )

    clf: Version
    type: Literal["policy"]
    enclave: Annotated[dict[str, Any], WithJsonSchema(_ENCLAVE)]
    analysts: Annotated[list[Sha256], _Some] | None = Field(
        default=None,
        description="Identity ids of those who may ask; null: every analyst that the server knows.",
    )
    operations: Annotated[list[Name], _Some] | None = Field(
        default=None,
        description="Operations that may run; null: those of the jobs that are named.",
    )
    jobs: Annotated[list[Sha256], _Some] | None = Field(
        default=None,
        description="Digests of the only jobs that may run; null: any job that the rules allow.",
    )
    columns: Annotated[list[ColumnName], _Some] | None = Field(
        default=None,
        description="Columns that may leave; null: all.",
    )
    rows: Annotated[str, _Condition] | None = Field(
        default=None,
        description="Condition that a row must meet to leave; null: all rows.",
        examples=["age >= 18 AND country = 'DE'"],
    )
    runs: int = Field(
        default=1, ge=1, le=MOST_RUNS, description="How often each approved job may run."
    )
    expires: Annotated[int, Field(ge=1, le=LAST_SECOND)] | None = Field(
        default=None, description="Unix second from which nothing is allowed any more."
    )
    smallest_group: int = Field(
        default=DEFAULT_GROUP,
        ge=1,
        le=MOST_GROUP,
        description="Fewest people that any number in a result may speak of.",
    )
    entity: ColumnName | None = Field(
        default=None,
        description="Column whose values are the people that are counted; null: each row is one.",
    )
    dominance: Dominance | None = Field(
        default=None,
        description="No sum of which so few people make up more than so many percent; null: any.",
    )
    round_counts: int = Field(
        default=1,
        ge=1,
        le=MOST_ROUNDING,
        description="Counts in results are multiples of this number.",
    )
    output_rows: Annotated[int, Field(ge=1, le=MOST_OUTPUT)] | None = Field(
        default=None, description="Most rows of an output; null: no limit."
    )
    output_bytes: Annotated[int, Field(ge=1, le=MOST_OUTPUT)] | None = Field(
        default=None, description="Most bytes of an output as it is sealed; null: no limit."
    )
    differencing: Differencing = Field(
        default="review",
        description="What becomes of results whose people differ by a few from an earlier one's.",
    )
    privacy_budget: Annotated[float, Field(gt=0, le=MOST_BUDGET)] | None = Field(
        default=None,
        description="Epsilon that all results with noise may cost together, six decimals at most, "
        "whatever version the table has; null: there are none.",
    )
    row_level: Annotated[list[Sha256], _Any] = Field(
        default=[],
        description="Identity ids that may receive rows of single people; empty: nobody.",
    )
    release: Release = Field(
        default="at_once", description="Whether results go out at once or after the owner's review."
    )
    approval: Approval = Field(
        default="ask",
        description="Whether the owner is asked about each job, or this policy approves it.",
    )


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a policy document."""
    return PolicyDocument.model_json_schema()
