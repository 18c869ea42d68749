"""Collateral from a PCCS, or from Intel's own service, with a cache that survives restarts.

Both speak Intel's REST interface, version 4. dcap-qvl has a client for it too; this one is needed
because a PCCS usually has a certificate of its own CA, and because it works with and without an
event loop.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard
from urllib.parse import unquote, urlsplit

from cryptography import x509

from clf_sdk.attestation._anchor import TrustAnchor
from clf_sdk.attestation._collateral import MAX_COLLATERAL_BYTES, Collateral
from clf_sdk.attestation._quote import platform_of
from clf_sdk.errors import (
    ClfError,
    CollateralMalformed,
    CollateralUnavailable,
    ConfigurationError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

_log = logging.getLogger("clf_sdk.attestation")

_API = "/sgx/certification/v4"
_INTEL_HOST = "api.trustedservices.intel.com"
_REFRESH_SECONDS = 86400
_RETRY_SECONDS = 60
_SILENT_SECONDS = 5
_PIECE_BYTES = 1 << 16


class _Answer(NamedTuple):
    headers: Mapping[str, str]
    body: bytes


class PccsCollateral:
    """Collateral from an owner's PCCS.

    It is cached per platform type and PCK CA, in memory and on disk, fetched anew once a day or
    when it has expired; while the PCCS can't be reached, the cached collateral serves until it
    expires. One thread asks at a time, and nobody who finds collateral in the cache waits for it. A
    PCCS that did not answer is not asked again for a few seconds, so that a slow one does not make
    all sessions wait one after the other.

    Parameters
    ----------
    url
        Of the PCCS, such as ``https://pccs.example.org:8081``. There is no default: whoever
        answers learns which platforms are verified.
    cache_dir
        Directory for the cache; made if needed.
    ca
        PEM file of the CA that signed the PCCS's TLS certificate; None for the system's CAs.
    timeout_seconds
        Limit for each request: for its connection, for each silence, and for all of its body.
    """

    def __init__(
        self,
        url: str,
        *,
        cache_dir: str | Path,
        ca: str | Path | None = None,
        timeout_seconds: float = 10,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(
                f"{url!r} is not the URL of a PCCS", hint="such as https://pccs.example.org:8081"
            )
        self._url = url.rstrip("/").removesuffix(_API) + _API
        self._is_intel = parts.hostname == _INTEL_HOST
        self._cache_dir = Path(cache_dir)
        try:
            self._cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the collateral cache {cache_dir} can't be made: {error.strerror}",
                hint="name a directory that the server may write",
            ) from error
        self._ca = str(ca) if ca is not None else True
        self._timeout_seconds = timeout_seconds
        self._fetching = threading.Lock()
        self._cache: dict[str, tuple[int, Collateral]] = {}
        self._silent_until = 0.0

    def __repr__(self) -> str:
        return f"PccsCollateral({self._url!r})"

    def collateral_for(self, quote: bytes, *, now: int) -> Collateral:
        """See `CollateralSource.collateral_for`.

        Raises
        ------
        CollateralUnavailable
            The PCCS can't be reached or has nothing for the platform, and the cache has nothing
            valid.
        """
        fmspc, ca = platform_of(quote)
        key = f"{fmspc}-{ca}"
        entry = self._cache.get(key) or self._load(key)
        if _fresh(entry, now):
            return entry[1]
        with self._fetching:
            entry = self._cache.get(key)  # somebody else may have fetched it meanwhile
            if _fresh(entry, now):
                return entry[1]
            usable = entry is not None and _valid_at(entry[1], now)
            try:
                fetched = self._fetch(fmspc, ca)
                _ = fetched.window
            except (CollateralUnavailable, CollateralMalformed) as error:
                if entry is None or not usable:
                    raise
                _log.warning("cached collateral is used: %s", error.message)
                self._cache[key] = (now - _REFRESH_SECONDS + _RETRY_SECONDS, entry[1])
                return entry[1]
            self._cache[key] = (now, fetched)
            self._store(key, now, fetched)
            return fetched

    def _load(self, key: str) -> tuple[int, Collateral] | None:
        try:
            document = json.loads((self._cache_dir / f"{key}.json").read_bytes())
            entry = int(document["fetched_at"]), Collateral.from_json(document["collateral"])
            _ = entry[1].window
        except (OSError, ValueError, KeyError, TypeError, ClfError):
            return None  # a cache that can't be read is no cache; it is fetched again
        self._cache[key] = entry
        return entry

    def _store(self, key: str, now: int, collateral: Collateral) -> None:
        content = json.dumps({"fetched_at": now, "collateral": collateral.to_json()})
        try:
            handle, temporary = tempfile.mkstemp(dir=self._cache_dir, prefix=f".{key}-")
            with os.fdopen(handle, "w") as file:
                file.write(content)
            Path(temporary).replace(self._cache_dir / f"{key}.json")
        except OSError as error:
            _log.warning("the collateral cache can't be written: %s", error.strerror)

    def _fetch(self, fmspc: str, ca: str) -> Collateral:
        import requests  # noqa: PLC0415 -- loaded only where a PCCS is used

        with requests.Session() as session:
            crl = self._get(session, f"{self._url}/pckcrl?ca={ca}&encoding=der")
            tcb = self._get(session, f"{self._url}/tcb?fmspc={fmspc.upper()}")
            identity = self._get(session, f"{self._url}/qe/identity")
            root_crl_url = _intel_root_crl_url() if self._is_intel else f"{self._url}/rootcacrl"
            root_crl = self._get(session, root_crl_url)
        tcb_info, tcb_signature = self._signed(tcb, "tcbInfo")
        qe_identity, qe_signature = self._signed(identity, "enclaveIdentity")
        return Collateral(
            pck_crl_issuer_chain=self._chain(crl, "SGX-PCK-CRL-Issuer-Chain"),
            root_ca_crl=_crl_hex(root_crl.body),
            pck_crl=_crl_hex(crl.body),
            tcb_info_issuer_chain=self._chain(
                tcb, "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"
            ),
            tcb_info=tcb_info,
            tcb_info_signature=tcb_signature,
            qe_identity_issuer_chain=self._chain(identity, "SGX-Enclave-Identity-Issuer-Chain"),
            qe_identity=qe_identity,
            qe_identity_signature=qe_signature,
        )

    def _get(self, session: requests.Session, url: str) -> _Answer:
        import requests  # noqa: PLC0415 -- loaded only where a PCCS is used
        import urllib3  # noqa: PLC0415 -- the same

        if time.monotonic() < self._silent_until:
            raise CollateralUnavailable(
                f"the PCCS does not answer at {url}: it did not a moment ago",
                hint="check the URL, the network and, with HTTPS, the CA of the PCCS",
            )
        deadline = time.monotonic() + self._timeout_seconds
        try:
            with session.get(
                url,
                timeout=self._timeout_seconds,
                verify=self._ca,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = self._body(response, deadline)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            self._silent_until = time.monotonic() + _SILENT_SECONDS
            raise CollateralUnavailable(
                f"the PCCS does not answer at {url}: {type(error).__name__}",
                hint="check the URL, the network and, with HTTPS, the CA of the PCCS",
            ) from error
        if response.status_code != requests.codes.ok:
            raise CollateralUnavailable(
                f"the PCCS answers {response.status_code} at {url}",
                hint="register the platform with the PCCS, or refresh the PCCS",
            )
        if len(body) > MAX_COLLATERAL_BYTES:
            raise self._unusable("an answer is too large")
        return _Answer(response.headers, body)

    @staticmethod
    def _body(response: requests.Response, deadline: float) -> bytes:
        """Read an answer that may be too large, or come in drips that no silence ends."""
        body = b""
        while len(body) <= MAX_COLLATERAL_BYTES:
            piece = response.raw.read1(_PIECE_BYTES, decode_content=True)
            if not piece:
                break
            body += piece
            if time.monotonic() > deadline:
                raise TimeoutError
        return body

    def _chain(self, answer: _Answer, *names: str) -> str:
        for name in names:
            if name in answer.headers:
                return unquote(answer.headers[name])
        raise self._unusable(f"there is no header {names[0]}")

    def _signed(self, answer: _Answer, name: str) -> tuple[str, str]:
        """Cut the exact signed string out of the body; writing it anew could change it."""
        try:
            text = answer.body.decode()
            start = re.match(rf'\s*\{{\s*"{name}"\s*:\s*', text)
            if start is None:
                raise self._unusable(f'the answer does not start with "{name}"')
            _, end = json.JSONDecoder().raw_decode(text, start.end())
            signature: Any = json.loads(text)["signature"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._unusable(f"{name} is not signed JSON") from error
        return text[start.end() : end], str(signature)

    def _unusable(self, why: str) -> CollateralUnavailable:
        return CollateralUnavailable(
            f"{self._url} does not answer as a PCCS: {why}",
            hint="the URL must be that of a PCCS (API version 4) or of Intel's service",
        )


def _fresh(entry: tuple[int, Collateral] | None, now: int) -> TypeGuard[tuple[int, Collateral]]:
    return entry is not None and _valid_at(entry[1], now) and 0 <= now - entry[0] < _REFRESH_SECONDS


def _valid_at(collateral: Collateral, now: int) -> bool:
    start, end = collateral.window
    return start <= now <= end


def _crl_hex(body: bytes) -> str:
    """Return a CRL as hex: a PCCS sends hex text, Intel's service DER."""
    text = body.strip()
    return text.decode() if re.fullmatch(rb"[0-9A-Fa-f]+", text) else body.hex()


def _intel_root_crl_url() -> str:
    """Intel's service has no route for the root's CRL: the root certificate names its place."""
    root = x509.load_der_x509_certificate(TrustAnchor.intel().root_der)
    points = root.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    return str(next(name.value for point in points for name in point.full_name or ()))
