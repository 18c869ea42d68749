"""Receipts made by hand from docs/protocol.md, so that a test can get every part wrong."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from clf_sdk import TrustAnchor, VerifiedReceipt, verify
from clf_sdk.attestation import Binding, Evidence
from clf_sdk.keys import CLASSIC, PrivateKey, SigningKey, server_id
from clf_sdk.protocol import SESSION_SIGNATURE, JobDocument, canonical_json
from clf_testing._jobs import MRENCLAVE, job_input, make_job
from clf_testing._simulation import PROD_ID, SVN, Simulation

RULES: dict[str, Any] = {
    "smallest_group": 5,
    "dominance": [],
    "round_counts": 1,
    "output_rows": None,
    "output_bytes": None,
    "differencing": "off",
    "row_level": [],
    "release": "at_once",
}
_PAYLOAD_TYPE = "application/vnd.in-toto+json"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def owner_keys(count: int) -> tuple[SigningKey, ...]:
    return tuple(SigningKey.generate() for _ in range(count))


def job_of(owners: tuple[SigningKey, ...], **options: Any) -> JobDocument:
    """Return a job with one input of each owner: ``t0``, ``t1``, …."""
    return make_job(
        [
            job_input(
                server_id(key.public_bytes), f"t{n}", version=f"{n:064x}", columns=["id", f"x{n}"]
            )
            for n, key in enumerate(owners)
        ],
        **options,
    )


@dataclass
class HandmadeRun:
    """A run that no server saw: the keys of its owners, and those of its enclave."""

    simulation: Simulation
    owners: tuple[SigningKey, ...] = field(default_factory=lambda: owner_keys(2))
    job: JobDocument = field(init=False)
    run: str = field(default_factory=lambda: secrets.token_hex(16))
    hpke: PrivateKey = field(default_factory=lambda: PrivateKey.generate(CLASSIC))
    signing: SigningKey = field(default_factory=SigningKey.generate)
    granted_at: int = field(default_factory=lambda: int(time.time()) + 60)
    versions: dict[str, str] = field(
        default_factory=lambda: {"coefficients": "a0" * 32, "fit": "a1" * 32}
    )

    def __post_init__(self) -> None:
        self.job = job_of(self.owners)

    @property
    def anchor(self) -> TrustAnchor:
        return TrustAnchor.insecure_simulation(self.simulation.anchor)

    def binding(self, owner: SigningKey, **changes: Any) -> Binding:
        fields: dict[str, Any] = {
            "nonce": secrets.token_hex(32),
            "server": server_id(owner.public_bytes),
            "run": self.run,
            "job": self.job.digest,
            "hpke": self.hpke.public.to_document(),
            "signing_key": self.signing.public_bytes,
        }
        return Binding(**(fields | changes))

    def evidence(self, binding: Binding, **claims: Any) -> Evidence:
        provider = self.simulation.provider(**claims)
        return Evidence(provider.quote(binding.report_data), binding, provider.collateral())

    def session(self, evidence: Evidence, **changes: Any) -> dict[str, Any]:
        """Return the session that the owner of the evidence's binding grants."""
        binding = evidence.binding
        granted = [entry for entry in self.job.inputs if entry.server == binding.server]
        return {
            "clf": 1,
            "type": "session",
            "server": binding.server,
            "session": secrets.token_hex(16),
            "nonce": binding.nonce,
            "binding": binding.report_data.hex(),
            "run": self.run,
            "job": self.job.digest,
            "mode": "simulation",
            "granted_at": self.granted_at,
            "grant": {"number": 1, "runs": 1, "expires_at": self.granted_at + 1, "resumed": False},
            "inputs": [
                {
                    "name": entry.name,
                    "table": entry.table,
                    "version_id": "00" * 16,
                    "version": entry.version,
                    "source": None,
                    "columns": list(entry.columns or ()),
                    "entity": None,
                    "epsilon_millionths": 0,
                    "manifest_bytes": 100,
                }
                for entry in granted
            ],
            "secrets": [],
            "rules": dict(RULES),
            "access": "00" * 32,
        } | changes

    def proof(
        self,
        owner: SigningKey,
        *,
        evidence: Evidence | None = None,
        signer: SigningKey | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Return what an owner contributes, with changes to its session, signed anew."""
        proved = evidence or self.evidence(self.binding(owner))
        session = self.session(proved, **changes)
        return {
            "public_key": _base64(owner.public_bytes),
            "evidence": proved.to_json(),
            "session": session,
            "signature": _base64((signer or owner).sign(SESSION_SIGNATURE, session)),
        }

    def disclosure(self, *row_level: str, **rules: Any) -> dict[str, Any]:
        """Return a report on all outputs from which nothing is hidden."""
        checked = {"checked": ["smallest_group"], "suppressed": [], "noise": None}
        return {
            "rules": RULES | rules,
            "row_level": list(row_level),
            "outputs": [{"output": name} | checked for name in self.versions],
        }

    def statement(self) -> dict[str, Any]:
        recipients = [recipient.digest for recipient in self.job.recipients]
        return {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [
                {"name": name, "digest": {"sha256": version}}
                for name, version in self.versions.items()
            ],
            "predicateType": "urn:clf:receipt:v1",
            "predicate": {
                "clf": 1,
                "type": "receipt",
                "run": self.run,
                "mode": "simulation",
                "job": self.job.to_json(),
                "program": {
                    "mrenclave": MRENCLAVE,
                    "mrsigner": self.simulation.platform.mrsigner,
                    "isv_prod_id": PROD_ID,
                    "isv_svn": SVN,
                },
                "owners": [self.proof(owner) for owner in self.owners],
                "inputs": [
                    {
                        "name": entry.name,
                        "server": entry.server,
                        "table": entry.table,
                        "version": entry.version,
                        "source": None,
                        "columns": list(entry.columns or ()),
                        "rows": 8,
                    }
                    for entry in self.job.inputs
                ],
                "aligned_rows": 7,
                "outputs": [
                    {"name": name, "version": version, "recipients": recipients}
                    for name, version in self.versions.items()
                ],
                "disclosure": self.disclosure(),
            },
        }

    def seal(
        self, statement: dict[str, Any] | bytes | None = None, *, key: SigningKey | None = None
    ) -> bytes:
        """Sign a statement, or any bytes in its place, with the run's key or another."""
        content = self.statement() if statement is None else statement
        payload = content if isinstance(content, bytes) else canonical_json(content)
        return seal_payload(payload, key or self.signing)

    def verify(self, data: bytes, **options: Any) -> VerifiedReceipt:
        return verify(data, **({"anchor": self.anchor} | options))


def seal_payload(payload: bytes, key: SigningKey, *, payload_type: str = _PAYLOAD_TYPE) -> bytes:
    """Put a payload into an envelope, as the library writes it."""
    text = key.public_bytes.hex()
    public = SSlibKey(text, "ed25519", "ed25519", {"public": text})
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(CryptoSigner(Ed25519PrivateKey.from_private_bytes(key.private_bytes()), public))
    return canonical_json(envelope.to_dict())
