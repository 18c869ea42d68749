"""Errors on the wire: ``application/problem+json`` with a stable code (docs/protocol.md §12)."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from clf_sdk import errors
from clf_sdk.errors import ClfError
from clf_sdk.protocol import PROTOCOL_VERSION, Problem

MEDIA_TYPE = "application/problem+json"

_STATUS: Mapping[type[ClfError], int] = {
    errors.TokenRefused: 401,
    errors.TicketRefused: 401,
    errors.TooManyAttempts: 429,
    errors.ServerPaused: 503,
    errors.AccessDenied: 403,
    errors.AttestationError: 403,
    errors.KeyNotGranted: 403,
    errors.NotFound: 404,
    errors.PolicyWidened: 409,
    errors.NotReady: 503,
    errors.KeysUnavailable: 503,
    errors.DeadlineExceeded: 408,
    errors.Conflict: 409,
    errors.JobAltered: 409,
    errors.TooLarge: 413,
    errors.InvalidInput: 400,
    errors.FormatError: 400,
    errors.ConfigurationError: 400,
    errors.SealBroken: 400,
    errors.SignatureInvalid: 400,
    errors.ServerIdentityMismatch: 400,
    errors.ReceiptError: 400,
    errors.StorageFull: 507,
    errors.StorageUnavailable: 503,
}


def status_of(error: ClfError) -> int:
    """HTTP status of an error: that of its nearest ancestor that has one."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def problem_response(error: ClfError, request_id: str) -> JSONResponse:
    """Answer a request with an error."""
    status = status_of(error)
    problem = Problem(
        type="about:blank",
        title=(type(error).__doc__ or error.code).splitlines()[0],
        status=status,
        code=error.code,
        detail=error.message,
        hint=error.hint,
        rule=getattr(error, "rule", None),
        request_id=request_id,
    )
    headers = {}
    if status == 401:  # noqa: PLR2004 - HTTP
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.TooManyAttempts):
        headers["retry-after"] = str(error.retry_after_seconds)
    return JSONResponse(problem.to_json(), status, headers, media_type=MEDIA_TYPE)


def from_validation(error: RequestValidationError) -> ClfError:
    """Explain a body that does not follow its schema; never shows a value of it."""
    first = error.errors()[0]
    place = ".".join(str(part)[:64] for part in first["loc"])
    given = first.get("input")
    if first["loc"][-1] == "clf" and isinstance(given, int) and given > PROTOCOL_VERSION:
        return errors.FormatTooNew(
            f"the document is of protocol version {given}, this server knows {PROTOCOL_VERSION}",
            hint="upgrade the server, or use an older client",
        )
    return errors.Malformed(f"{place}: {first['msg']}")


def from_http(error: HTTPException, request: Request) -> ClfError:
    """Explain a path or method that does not exist, or a body that can't be parsed."""
    if isinstance(error.__cause__, ClfError):
        return error.__cause__
    if error.status_code == 400:  # noqa: PLR2004 - HTTP
        return errors.Malformed("the request's body can't be parsed")
    if error.status_code in (404, 405):
        return errors.NotFound(f"there is no {request.method} {request.url.path[:200]}")
    return ClfError(str(error.detail))
