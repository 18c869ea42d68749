"""Documents that people make by calling functions: a wrong part is an error of the job."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from clf_sdk.errors import InvalidJob


def made(model: Any, /, **fields: Any) -> Any:
    """Make a document of a kind.

    Raises
    ------
    InvalidJob
        A field is missing, unknown or makes no sense; the message names it, never its value.
    """
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidJob(f"{place or fields['kind']}: {first['msg']}") from None
