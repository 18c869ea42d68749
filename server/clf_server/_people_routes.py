"""Routes of people and of anyone: tables, results, who this server is (docs/protocol.md §11)."""

from __future__ import annotations

from importlib.metadata import version as software_version

import structlog
from fastapi import APIRouter, Depends, Request, Response

from clf_sdk import Policy
from clf_sdk.keys import SigningKey, server_id
from clf_sdk.protocol import (
    AUTHORITIES_SIGNATURE,
    PROTOCOL_VERSION,
    Identifier,
    Name,
    PolicyChange,
    PolicyUpdate,
    RunResults,
    ServerEvidenceDocument,
    ServerInfo,
    Sha256,
    SignedAuthorities,
    TableDescription,
    TableList,
    TableMock,
    TlsAuthorities,
    UploadCommit,
    UploadRequest,
    UploadTicket,
)
from clf_server._access import Principal, person
from clf_server._blobs import object_response
from clf_server._drop import drop_table
from clf_server._policies import Policies
from clf_server._renewal import announced_authorities
from clf_server._results import Results
from clf_server._routing import BINARY_CONTENT, ObjectName, StrictRoute
from clf_server._state import ServerState
from clf_server._uploads import Uploads

_LOG = structlog.get_logger("clf_server")


def anyone_router(state: ServerState) -> APIRouter:
    """Return the routes that are open to all."""
    router = APIRouter(route_class=StrictRoute, tags=["anyone"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Tell that the process answers."""
        return {"status": "ok"}

    @router.get("/readyz")
    def readyz() -> dict[str, str]:
        """Tell that the server can do its work."""
        state.metadata.ping()
        state.keks.ping()
        state.objects.ping()
        return {"status": "ready"}

    @router.get("/v1/info")
    def info() -> ServerInfo:
        """Tell who this server is."""
        identity = state.identity
        return ServerInfo(
            name=state.config.name,
            server=server_id(identity.public_bytes),
            public_key=identity.public_bytes,
            mode=state.anchor.mode,
            protocol_versions=[PROTOCOL_VERSION],
            software=f"clf-sdk/{software_version('clf-sdk')}",
            tls=_signed_authorities(state, identity),
            succession=state.identities.succession(now=state.now()),
        )

    @router.get("/v1/evidence")
    def evidence(nonce: Sha256, server: Sha256 | None = None) -> ServerEvidenceDocument:
        """Prove which program runs here, for the caller's nonce and the identity that it pins."""
        now = state.now()
        identity = state.identities.offered(now=now).get(server or "") or state.identity
        made = state.proof.make(
            nonce, identity=identity, certificate=state.certificate.digest, now=now
        )
        return ServerEvidenceDocument(**made.to_json())

    return router


def _signed_authorities(state: ServerState, identity: SigningKey) -> SignedAuthorities:
    """Sign which authorities clients are to trust: who holds a TLS key can't say so."""
    authorities = TlsAuthorities(
        clf=1,
        type="tls-authorities",
        server=server_id(identity.public_bytes),
        issued_at=state.now(),
        authorities=announced_authorities(state.config),
    )
    signature = identity.sign(AUTHORITIES_SIGNATURE, authorities.to_json())
    return SignedAuthorities(authorities=authorities, signature=signature)


def people_router(
    state: ServerState, policies: Policies, uploads: Uploads, results: Results
) -> APIRouter:
    """Return the routes that need a token."""
    router = APIRouter(route_class=StrictRoute)

    owner = Depends(person(state, "owner"))
    anyone_known = Depends(person(state, "owner", "analyst"))

    @router.post("/v1/uploads", tags=["owner"], dependencies=[owner])
    def post_upload(body: UploadRequest) -> UploadTicket:
        """Announce a table with its policy."""
        return uploads.announce(body.table, Policy.from_json(body.policy), widen=body.widen)

    @router.post("/v1/uploads/{upload}/commit", tags=["owner"], dependencies=[owner])
    def post_commit(upload: Identifier, body: UploadCommit) -> TableDescription:
        """Publish the table, now that all its objects are here."""
        described = uploads.commit(upload, body)
        _LOG.info(
            "table_shared",
            table=described.name,
            version=described.version,
            rows=described.rows,
        )
        return described

    @router.delete("/v1/uploads/{upload}", status_code=204, tags=["owner"], dependencies=[owner])
    def delete_upload(upload: Identifier) -> None:
        """End an upload without a trace."""
        uploads.abandon(upload)

    @router.get("/v1/tables", tags=["owner", "analyst"])
    def get_tables(principal: Principal = anyone_known) -> TableList:
        """List the tables: to the owner with policies, to analysts what they may ask for."""
        tables = state.metadata.list_tables()
        if principal.role == "owner":
            return TableList(tables=[uploads.describe(table) for table in tables])
        described = [uploads.catalogue(table, principal.analyst) for table in tables]
        return TableList(tables=[entry for entry in described if entry is not None])

    @router.get("/v1/tables/{name}/mock", tags=["owner", "analyst"])
    def get_mock(name: Name, principal: Principal = anyone_known) -> TableMock:
        """Return made-up rows of a table's schema, if its owner shares some."""
        table = state.metadata.table(name)
        return uploads.mock(table, principal)

    @router.put("/v1/tables/{name}/policy", tags=["owner"], dependencies=[owner])
    def put_policy(name: Name, body: PolicyUpdate) -> PolicyChange:
        """Give a table another policy; a wider one only when the request says so."""
        change = policies.set(name, Policy.from_json(body.policy), widen=body.widen)
        _LOG.info("policy_changed", table=name, widen=body.widen)
        return change

    @router.delete("/v1/tables/{name}", status_code=204, tags=["owner"], dependencies=[owner])
    def delete_table(name: Name) -> None:
        """Destroy a table's keys, then its bytes."""
        version = drop_table(state, name)
        _LOG.info("table_dropped", table=name, version=version.version)

    @router.get("/v1/results/{run}", tags=["owner", "analyst"])
    def get_results(run: Identifier, principal: Principal = anyone_known) -> RunResults:
        """List the sealed outputs of a run; an analyst sees those of its jobs and for it."""
        return results.list(run, principal)

    @router.get(
        "/v1/results/{run}/{output}/{name}",
        tags=["owner", "analyst"],
        response_class=Response,
        responses={200: {"description": "Ciphertext", "content": BINARY_CONTENT}},
    )
    def get_result_object(
        run: Identifier,
        output: Name,
        name: ObjectName,
        request: Request,
        principal: Principal = anyone_known,
    ) -> Response:
        """Return one object of a sealed output, or a range of it."""
        version_id = results.version_id(run, output, principal)
        return object_response(state, version_id, name, request.headers.get("range"))

    return router
