"""From a problem document on the wire to the error it stands for."""

from __future__ import annotations

from clf_sdk.errors import BY_CODE, ClfError, Malformed, PolicyRefused, ServerError
from clf_sdk.protocol._canonical import parse_json
from clf_sdk.protocol._owner import Problem


def error_from_problem(status: int, body: bytes) -> ClfError:
    """Return the error of an answer whose HTTP status is not a success.

    Parameters
    ----------
    status
        The HTTP status.
    body
        The answer's body; anything but a problem document becomes a plain `ServerError`.
    """
    try:
        problem = Problem.parse(parse_json(body, what="answer"))
    except Malformed:
        return ServerError(
            f"the server answered with HTTP status {status} and no explanation",
            hint="is this the address of a CLF server?",
        )
    kind = BY_CODE.get(problem.code, ServerError)
    if issubclass(kind, PolicyRefused):
        return kind(
            problem.detail, rule=problem.rule, hint=problem.hint, request_id=problem.request_id
        )
    return kind(problem.detail, hint=problem.hint, request_id=problem.request_id)
