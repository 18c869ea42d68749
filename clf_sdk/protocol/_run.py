"""The run request: what an enclave app is started with. Untrusted: it only routes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from clf_sdk.protocol._document import Document, Identifier, Sha256, Version
from clf_sdk.protocol._job import JobDocument


class Endpoint(Document):
    """Where a server can be reached. Who answers there must prove to be the pinned server."""

    server: Sha256
    url: str
    ca: str


class RunRequest(Document):
    """A job, the id of this run of it, and where its servers can be reached."""

    clf: Version
    type: Literal["run-request"]
    run: Identifier
    job: JobDocument
    endpoints: Annotated[list[Endpoint], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = {endpoint.server for endpoint in self.endpoints}
        if missing := [server for server in self.job.servers() if server not in known]:
            raise ValueError(f"there is no endpoint for server {missing[0][:12]}…")
        return self
