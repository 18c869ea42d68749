"""Where an enclave's evidence comes from: Gramine, or a simulation."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from clf_sdk.attestation._quote import MAX_QUOTE_BYTES, REPORT_DATA_BYTES
from clf_sdk.errors import EvidenceUnavailable, InvalidInput

if TYPE_CHECKING:
    from clf_sdk.attestation._collateral import Collateral
    from clf_sdk.attestation._simulated_platform import SimulatedPlatform

_log = logging.getLogger("clf_sdk.attestation")


class EvidenceProvider(Protocol):
    """Makes quotes over report data for the process it runs in."""

    @property
    def mode(self) -> Literal["dcap", "simulation"]:
        """Whether hardware vouches for the quotes."""

    def quote(self, report_data: bytes) -> bytes:
        """Make a quote that carries exactly these 64 bytes.

        Raises
        ------
        EvidenceUnavailable
            This process can't obtain one.
        """

    def collateral(self) -> Collateral | None:
        """Collateral to attach, or None when the verifier has its own source."""


def _check(report_data: bytes) -> None:
    if not isinstance(report_data, bytes) or len(report_data) != REPORT_DATA_BYTES:
        raise InvalidInput(f"report data must have {REPORT_DATA_BYTES} bytes")


class GramineProvider:
    """Quotes of the SGX enclave that this process runs in, from Gramine's pseudo-files.

    Parameters
    ----------
    root
        Directory of the pseudo-files; another one only for tests.
    """

    mode: Literal["dcap"] = "dcap"

    def __init__(self, root: str | Path = "/dev/attestation") -> None:
        self._root = Path(root)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"GramineProvider({str(self._root)!r})"

    def quote(self, report_data: bytes) -> bytes:
        """See `EvidenceProvider.quote`. Safe to call from several threads."""
        _check(report_data)
        try:
            # Report data and quote are one state of the process: nobody may come between them.
            with self._lock:
                self._check_type()
                # Gramine takes the 64 bytes in one write only, so there is no buffer in between.
                with (self._root / "user_report_data").open("wb", buffering=0) as file:
                    written = file.write(report_data)
                with (self._root / "quote").open("rb") as file:
                    quote = file.read(MAX_QUOTE_BYTES + 1)
        except EvidenceUnavailable:  # an OSError too, but one that has its reason
            raise
        except OSError as error:
            raise EvidenceUnavailable(
                f"no quote from {self._root}: {error.strerror or error}",
                hint='run inside gramine-sgx with sgx.remote_attestation = "dcap" and AESM on '
                "the host; on a machine without SGX use a simulation",
            ) from error
        if written != REPORT_DATA_BYTES or not quote or len(quote) > MAX_QUOTE_BYTES:
            raise EvidenceUnavailable(
                f"{self._root} gave no usable quote",
                hint="look at the log of the host's AESM service",
            )
        return quote

    def _check_type(self) -> None:
        path = self._root / "attestation_type"
        if path.exists() and (kind := path.read_text().strip("\0 \n")) != "dcap":
            raise EvidenceUnavailable(
                f"Gramine offers attestation of type {kind[:20]!r}, not dcap",
                hint='set sgx.remote_attestation = "dcap" in the manifest',
            )

    def collateral(self) -> Collateral | None:
        """Return None: the verifier asks its own source."""
        return None


class SimulatedProvider:
    """Quotes of a simulated platform. INSECURE: it claims the measurement that it is told.

    Parameters
    ----------
    platform
        The simulated TEE.
    mrenclave, mrsigner, isv_prod_id, isv_svn
        What the quotes claim.
    """

    mode: Literal["simulation"] = "simulation"

    def __init__(
        self,
        platform: SimulatedPlatform,
        *,
        mrenclave: str,
        mrsigner: str,
        isv_prod_id: int,
        isv_svn: int,
    ) -> None:
        self._platform = platform
        self._mrenclave = mrenclave
        self._mrsigner = mrsigner
        self._isv_prod_id = isv_prod_id
        self._isv_svn = isv_svn
        _log.warning("INSECURE SIMULATION: quotes are made in software and protect nothing")

    def __repr__(self) -> str:
        return f"SimulatedProvider(INSECURE SIMULATION, mrenclave={self._mrenclave[:12]}…)"

    def quote(self, report_data: bytes) -> bytes:
        """See `EvidenceProvider.quote`."""
        _check(report_data)
        return self._platform.quote(
            report_data,
            mrenclave=self._mrenclave,
            mrsigner=self._mrsigner,
            isv_prod_id=self._isv_prod_id,
            isv_svn=self._isv_svn,
        )

    def collateral(self) -> Collateral | None:
        """Return the simulated platform's collateral."""
        return self._platform.collateral
