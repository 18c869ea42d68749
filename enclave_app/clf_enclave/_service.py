"""An enclave that stays and takes jobs over HTTP, one after the other.

Plain HTTP, and open to whoever reaches it: a job is untrusted anyway, and the answers hold nothing
but stages and times. Owners decide what the program may see; the results go to them, sealed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from clf_enclave._program import reporting
from clf_enclave._run import EnclaveRun
from clf_sdk.attestation import EvidenceProvider
from clf_sdk.errors import ClfError, Conflict, NotFound, TooLarge
from clf_sdk.protocol import Problem, RunRequest, parse_json

_MOST_BODY_BYTES = 8 << 20
_MOST_QUEUED = 100
_MOST_QUEUED_BYTES = 64 << 20
_MOST_REMEMBERED = 1000


class RunService:
    """Runs that wait, run and have ended.

    Parameters
    ----------
    provider
        Where quotes come from.
    """

    def __init__(self, provider: EvidenceProvider) -> None:
        self._provider = provider
        self._events: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        self._turn = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._queued_bytes = 0

    async def post(self, request: Request) -> JSONResponse:
        """Take a run request."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BODY_BYTES:
                raise TooLarge("the run request is too large")
        wanted = RunRequest.parse(parse_json(body, what="run request"))
        if wanted.run in self._tasks.values() or _delivered(self._events.get(wanted.run)):
            raise Conflict("there is a run of this id already", hint="draw a new random id")
        if len(self._tasks) >= _MOST_QUEUED or self._queued_bytes > _MOST_QUEUED_BYTES:
            raise TooLarge("too many runs are waiting", hint="try again later")
        self._forget()
        events = self._events[wanted.run] = []
        task = asyncio.create_task(self._execute(wanted, events))
        self._tasks[task] = wanted.run
        self._queued_bytes += len(body)

        def done(ended: asyncio.Task[None]) -> None:
            del self._tasks[ended]
            self._queued_bytes -= len(body)

        task.add_done_callback(done)
        return JSONResponse({"run": wanted.run}, 202)

    def _forget(self) -> None:
        """Forget the oldest runs that have ended, so that a bounded number is remembered."""
        going = set(self._tasks.values())
        ended = [run for run in self._events if run not in going]
        for run in ended[: max(0, len(self._events) - _MOST_REMEMBERED + 1)]:
            del self._events[run]

    async def _execute(self, wanted: RunRequest, events: list[dict[str, Any]]) -> None:
        def report(event: str, details: dict[str, Any]) -> None:
            events.append({"event": event, **details})

        async with self._turn:
            run = EnclaveRun(wanted, self._provider, report)
            await asyncio.to_thread(reporting, run.execute, report)
            await asyncio.to_thread(run.settle)  # the next one needs the memory

    async def get(self, request: Request) -> JSONResponse:
        """Tell what a run has reported."""
        run = request.path_params["run"]
        if run not in self._events:
            raise NotFound("there is no such run here")
        return JSONResponse({"run": run, "events": list(self._events[run])})


async def _healthz(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def _delivered(events: list[dict[str, Any]] | None) -> bool:
    return events is not None and bool(events) and events[-1]["event"] == "delivered"


async def _explain(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ClfError)  # noqa: S101 - starlette calls this for no other kind
    status = 404 if isinstance(error, NotFound) else 400
    problem = Problem(
        type="about:blank",
        title=error.code,
        status=status,
        code=error.code,
        detail=error.message,
        hint=error.hint,
        rule=None,
        request_id="-",
    )
    return JSONResponse(problem.to_json(), status, media_type="application/problem+json")


def create_service(provider: EvidenceProvider) -> Starlette:
    """Return the ASGI application of an enclave that takes jobs."""
    service = RunService(provider)
    return Starlette(
        routes=[
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/v1/runs", service.post, methods=["POST"]),
            Route("/v1/runs/{run}", service.get, methods=["GET"]),
        ],
        exception_handlers={ClfError: _explain},
    )


def serve(provider: EvidenceProvider, *, host: str, port: int) -> None:
    """Serve until the process is told to stop."""
    uvicorn.run(
        create_service(provider),
        host=host,
        port=port,
        loop="asyncio",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
