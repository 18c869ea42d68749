"""An owner's server as a real process, behind a network that a test controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clf_enclave._run import EnclaveRun
from clf_sdk._server_process import ServerProcess, free_port
from clf_sdk.attestation import EvidenceProvider
from clf_sdk.protocol import Endpoint, JobDocument, Profile, RunRequest
from clf_server._provision import create_server
from clf_testing._jobs import agree, endpoint_of, run_request
from clf_testing._people import admit, the_analyst
from clf_testing._relay import Relay

_HOST = "127.0.0.1"
_PUBLIC_HOST = "127.0.0.2"  # an address of the loopback interface too, where the relays listen


class Owner:
    """A server process; enclaves reach its data listener, and may reach all of it, by relays.

    The server's certificate is valid for the relays too, which hold its TLS key: TLS is an outer
    pipe, so whoever breaks it must gain nothing.
    """

    def __init__(
        self,
        directory: Path,
        *,
        simulation: Path | None,
        blob_listener: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.name = directory.name
        self.directory = directory
        port, blob_port = free_port(), free_port()
        create_server(
            directory,
            name=self.name,
            host=_HOST,
            port=port,
            public_hosts=[_PUBLIC_HOST],
            blob_port=blob_port if blob_listener else None,
            insecure_simulation=simulation,
            settings=settings,
        )
        admit(directory, the_analyst().public, label="analyst")
        self.process = ServerProcess(directory, name=self.name, insecure_simulation=simulation)
        self.control = Relay((_PUBLIC_HOST, port), (_HOST, port), tls=directory / "tls")
        self.data = Relay((_PUBLIC_HOST, blob_port), (_HOST, blob_port))
        self.process.start()

    def _direct(self, profile: Profile) -> Profile:
        return profile.model_copy(update={"url": profile.url.replace(_PUBLIC_HOST, _HOST)})

    @property
    def owner(self) -> Profile:
        """The owner's profile, which leads straight to the server."""
        return self._direct(self.process.owner)

    @property
    def analyst(self) -> Profile:
        """The analyst's profile, which leads straight to the server."""
        return self._direct(Profile.load(self.directory / "analyst.profile.json"))

    @property
    def relayed_analyst(self) -> Profile:
        """The analyst's profile, which leads through the relay."""
        return Profile.load(self.directory / "analyst.profile.json")

    @property
    def server(self) -> str:
        return self.process.owner.server

    @property
    def endpoint(self) -> Endpoint:
        """Where an enclave reaches the server without a relay."""
        return endpoint_of(self.owner)

    @property
    def relayed(self) -> Endpoint:
        """Where an enclave reaches the server through the relay."""
        return endpoint_of(self.process.owner)

    def agree(self, job: JobDocument, *, runs: int = 1000) -> None:
        """Let the analyst submit a job, and approve it."""
        agree(job, owner=self.owner, analyst=self.analyst, runs=runs)

    def close(self) -> None:
        self.process.stop()
        self.control.close()
        self.data.close()

    def stored(self) -> set[str]:
        """Return the version ids that lie in the object store."""
        return {path.name for path in (self.directory / "objects").iterdir()}


def execute(
    job: JobDocument,
    endpoints: list[Endpoint],
    provider: EvidenceProvider,
    *,
    agreed: Sequence[Owner] = (),
    events: list[dict[str, Any]] | None = None,
) -> RunRequest:
    """Run a job with the enclave's code in this process, and return the request.

    The owners that are named agree to it first.
    """
    for owner in agreed:
        owner.agree(job)
    request = run_request(job, endpoints)

    def report(event: str, details: dict[str, Any]) -> None:
        if events is not None:
            events.append({"event": event, **details})

    EnclaveRun(request, provider, report).execute()
    return request
