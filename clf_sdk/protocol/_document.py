"""Base of the documents that cross a wire: strict, frozen, and versioned (docs/protocol.md §1)."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from clf_sdk.errors import FormatTooNew, InvalidName, Malformed
from clf_sdk.protocol._canonical import canonical_json, digest

PROTOCOL_VERSION = 1


def _decode(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("expected Base64 text")  # noqa: TRY004 - pydantic collects ValueError
    raw = base64.b64decode(value, validate=True)
    if base64.b64encode(raw).decode() != value:
        raise ValueError("expected Base64 in its one form")
    return raw


Base64 = Annotated[
    bytes,
    PlainValidator(_decode),
    PlainSerializer(lambda raw: base64.b64encode(raw).decode(), return_type=str),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


def _refuse_dots(name: str) -> str:
    if ".." in name:
        raise ValueError('a name can not contain ".."')
    return name


Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$"), AfterValidator(_refuse_dots)
]
Identifier = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Sha512 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
Mode = Literal["dcap", "simulation"]


def _refuse_lookalikes(value: Any) -> Any:
    if type(value) is not int:
        raise ValueError("expected an integer")  # Literal alone takes true and 1.0 for 1
    return value


Version = Annotated[Literal[1], BeforeValidator(_refuse_lookalikes)]
"""The field ``clf`` of a document: the protocol version that it follows."""


def _check_version(version: object) -> None:
    if isinstance(version, int) and version > PROTOCOL_VERSION:
        raise FormatTooNew(
            f"the document is of protocol version {version}, "
            f"this side knows version {PROTOCOL_VERSION}",
            hint="upgrade CLF on this side",
        ) from None


class Document(BaseModel):
    """A JSON document with exactly its fields; nothing is coerced, nothing is ignored."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
        ser_json_inf_nan="constants",
    )

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Validate a parsed JSON value.

        Raises
        ------
        FormatTooNew
            It was written for a later protocol version.
        Malformed
            It does not follow the format; the message names the place, never the value.
        """
        if isinstance(value, dict):
            _check_version(value.get("clf"))
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_context=False):
                if each["loc"][-1:] == ("clf",):  # of a document inside this one
                    _check_version(each["input"])
            raise Malformed(_explain(cls, error)) from None

    def to_json(self) -> dict[str, Any]:
        """Return the document as JSON values.

        Raises
        ------
        Malformed
            A part whose form is free is nested too deep to be written.
        """
        try:
            return self.model_dump(mode="json", by_alias=True)
        except ValueError:  # beyond 255 levels
            raise Malformed(
                f"{type(self).__name__} document: it is nested too deep",
                hint="parameters and evidence need few levels",
            ) from None

    def canonical(self) -> bytes:
        """Return the document's canonical JSON."""
        return canonical_json(self.to_json())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return digest(self.to_json())


_NAME: TypeAdapter[str] = TypeAdapter(Name)


def check_name(name: object, *, what: str) -> str:
    """Return a name that can stand for a table, an input or an output.

    Raises
    ------
    InvalidName
        It can not.
    """
    try:
        return _NAME.validate_python(name, strict=True)
    except ValidationError:
        raise InvalidName(
            f"{str(name)[:40]!r} can't be the name of {what}",
            hint="use 1 to 64 lower-case letters, digits, '_', '-' and single '.', "
            "beginning with a letter or digit",
        ) from None


_RUN: TypeAdapter[str] = TypeAdapter(Identifier)


def check_run(run: object) -> str:
    """Return a run's id.

    Raises
    ------
    InvalidName
        It is none.
    """
    try:
        return _RUN.validate_python(run, strict=True)
    except ValidationError:
        raise InvalidName("a run's id has 32 hex digits", hint="it is the id of the Run") from None


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part)[:64] for part in first["loc"]) or "the document"
    # Of all messages of pydantic, only this one would repeat what it refuses.
    said = "it is of no known kind" if first["type"] == "union_tag_invalid" else first["msg"]
    return f"{cls.__name__} document: {place}: {said}"
