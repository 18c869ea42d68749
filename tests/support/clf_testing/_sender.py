"""An enclave's last step, by hand: one output on its way to one server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from clf_enclave._operations import Output
from clf_enclave._results import SealedOutput, seal_outputs
from clf_enclave._session import RunIdentity
from clf_sdk.keys import PublicKey, SigningKey
from clf_sdk.protocol import (
    RESULT_SIGNATURE,
    PublicKeyDocument,
    ReleaseShare,
    ResultSubmission,
    SealedMessage,
    SessionAnswer,
    SignedResult,
    share_delivery_info,
)
from clf_testing._enclave import HandmadeEnclave
from clf_testing._local import LocalServer


class Sender:
    """An enclave that puts one output, and may get it wrong.

    ``reviewers`` are the server ids of those who review it; by default nobody does.
    """

    def __init__(
        self,
        enclave: HandmadeEnclave,
        *,
        output: Output | None = None,
        reviewers: Sequence[str] = (),
    ) -> None:
        self.enclave = enclave
        self.server: LocalServer = enclave.server
        self.session: SessionAnswer = enclave.open()
        self.plaintext = pa.table({"n": [1, 2]}) if output is None else output
        self.reviewers = reviewers
        self.output = self.seal()

    def seal(self) -> SealedOutput:
        enclave = self.enclave
        identity = RunIdentity(
            enclave.run, enclave.job, enclave.hpke, enclave.signing, enclave.simulation.provider()
        )
        (sealed,) = seal_outputs(identity, {"fit": self.plaintext}, reviewers=self.reviewers)
        return sealed

    def share(
        self,
        share: ReleaseShare | None = None,
        *,
        key: PublicKeyDocument | None = None,
        **changes: Any,
    ) -> SealedMessage:
        """Seal the server's share for its way there, or another one, to another key or context."""
        chosen = share or self.output.shares[self.server.server_id]
        info = share_delivery_info(
            self.output.signed.envelope,
            server=self.server.server_id,
            session=self.session.session.session,
        )
        public = PublicKey.from_document((key or self.session.access.results.key).to_json())
        return SealedMessage(**public.seal(chosen.canonical(), info=info | changes))

    def headers(self, ticket: str | None = None) -> dict[str, str]:
        return {"authorization": f"CLF-Ticket {ticket or self.session.access.results.ticket}"}

    def put(
        self,
        name: str = "manifest",
        data: bytes | None = None,
        *,
        run: str | None = None,
        output: str = "fit",
        version_id: str | None = None,
        ticket: str | None = None,
    ) -> Any:
        version_id = version_id or self.output.signed.envelope.version_id
        return self.server.control.put(
            f"/v1/results/{run or self.enclave.run}/{output}/{version_id}/{name}",
            content=self.output.objects[name] if data is None else data,
            headers=self.headers(ticket),
        )

    def put_all(self) -> None:
        for name in self.output.objects:
            assert self.put(name).status_code == 204

    def finish(
        self,
        signed: SignedResult | None = None,
        *,
        run: str = "",
        ticket: str | None = None,
        share: SealedMessage | None = None,
    ) -> Any:
        chosen = signed or self.output.signed
        if share is None and self.server.server_id in self.output.shares:
            share = self.share()
        submission = ResultSubmission(
            envelope=chosen.envelope, signature=chosen.signature, share=share
        )
        return self.server.control.post(
            f"/v1/results/{run or self.enclave.run}/fit",
            json=submission.to_json(),
            headers=self.headers(ticket),
        )

    def signed(self, key: SigningKey | None = None, **changes: Any) -> SignedResult:
        """Return the envelope with changes, signed anew."""
        envelope = self.output.signed.envelope.model_copy(update=changes)
        signature = (key or self.enclave.signing).sign(RESULT_SIGNATURE, envelope.to_json())
        return SignedResult(envelope=envelope, signature=signature)

    def visible(self) -> list[str]:
        answer = self.server.control.get(
            f"/v1/results/{self.enclave.run}", headers=self.server.bearer("analyst")
        )
        return [entry["envelope"]["version_id"] for entry in answer.json()["outputs"]]
