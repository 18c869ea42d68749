"""The control plane and the data plane as ASGI applications."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from clf_sdk.errors import ClfError
from clf_sdk.protocol import PROTOCOL_VERSION, Problem
from clf_sdk.receipt import MOST_RECEIPT_BYTES
from clf_server._audit_routes import audit_router
from clf_server._blobs import BlobEndpoint, UploadEndpoint
from clf_server._derived import DerivedVersions
from clf_server._direct import DirectRoutes
from clf_server._enclave_routes import enclave_router
from clf_server._job_routes import job_router
from clf_server._jobs import Jobs
from clf_server._memory import MOST_MEMORY_BYTES, Memory
from clf_server._memory_routes import memory_router
from clf_server._middleware import MOST_JSON_BYTES, RequestGuard
from clf_server._people_routes import anyone_router, people_router
from clf_server._policies import Policies
from clf_server._problems import MEDIA_TYPE, from_http, from_validation, problem_response
from clf_server._receipt_routes import receipt_router
from clf_server._release_routes import release_router
from clf_server._results import MOST_OBJECT_BYTES, Results
from clf_server._state import ServerState
from clf_server._uploads import Uploads
from clf_server._vault import Vault


def _most_bytes(method: str, path: str) -> int | None:
    if method == "PUT" and path.startswith("/v1/uploads/"):
        return None
    if method == "PUT" and path.endswith("/receipt"):
        return MOST_RECEIPT_BYTES
    if path.startswith("/v1/memory/"):
        return MOST_MEMORY_BYTES
    return MOST_OBJECT_BYTES if method == "PUT" else MOST_JSON_BYTES


def create_apps(state: ServerState) -> tuple[FastAPI, Starlette]:
    """Return the applications of the control listener and of the plain-HTTP listener.

    The second one serves ciphertext for tickets and nothing else. When that listener is switched
    off, the first one does this too.
    """
    vault = Vault(state.keks, state.objects)
    memory = Memory(state)
    results = Results(state, memory)
    policies = Policies(state, vault)
    uploads = Uploads(state, vault, policies)
    data = Starlette(
        routes=[
            Route("/v1/blobs/{version_id}/{name}", BlobEndpoint(state).get, methods=["GET"]),
            Route("/v1/uploads/{upload}/{name}", UploadEndpoint(uploads).put, methods=["PUT"]),
        ]
    )
    control = _create_control(state, vault, policies, results, uploads)
    control.include_router(memory_router(state, memory))
    if state.config.blob_port is None:
        control.router.routes.extend(data.routes)
    return control, data


def _create_control(
    state: ServerState, vault: Vault, policies: Policies, results: Results, uploads: Uploads
) -> FastAPI:
    app = FastAPI(
        title="CLF server",
        version=str(PROTOCOL_VERSION),
        summary="Sealed tables for attested enclaves",
        description="The control plane of docs/protocol.md; errors are application/problem+json.",
        docs_url=None,
        redoc_url=None,
        responses={
            "default": {
                "description": "Any error",
                "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
            }
        },
    )
    app.include_router(anyone_router(state))
    derived = DerivedVersions(state, vault)
    enclave = enclave_router(state, vault, policies, derived, results)
    app.include_router(enclave)
    # Before the people's, in which an object of an output may have any name.
    app.include_router(release_router(state, results))
    app.include_router(people_router(state, policies, uploads, results))
    app.include_router(receipt_router(state, results))
    app.include_router(audit_router(state))
    app.include_router(job_router(state, Jobs(state, vault, policies)))
    app.add_middleware(DirectRoutes, routes=enclave.routes)
    app.add_middleware(RequestGuard, most_bytes=_most_bytes, observe=state.metrics.request)
    _add_error_handlers(app)
    return app


def _request_id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ClfError)
    async def on_clf_error(request: Request, error: ClfError) -> Response:
        return problem_response(error, _request_id(request))

    @app.exception_handler(RequestValidationError)
    async def on_validation(request: Request, error: RequestValidationError) -> Response:
        return problem_response(from_validation(error), _request_id(request))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        return problem_response(from_http(error, request), _request_id(request))
