"""The root that a verifier trusts: Intel's, or one simulated root that was configured by name."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from clf_sdk.attestation._chain import PARSE_ERRORS, public_key_der
from clf_sdk.errors import ConfigurationError

_log = logging.getLogger("clf_sdk.attestation")

# Intel SGX Root CA, valid 2018-05-21 to 2049-12-31.
# SHA-256 of its DER: 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3
_INTEL_PEM = b"""\
-----BEGIN CERTIFICATE-----
MIICjzCCAjSgAwIBAgIUImUM1lqdNInzg7SVUr9QGzknBqwwCgYIKoZIzj0EAwIw
aDEaMBgGA1UEAwwRSW50ZWwgU0dYIFJvb3QgQ0ExGjAYBgNVBAoMEUludGVsIENv
cnBvcmF0aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJ
BgNVBAYTAlVTMB4XDTE4MDUyMTEwNDUxMFoXDTQ5MTIzMTIzNTk1OVowaDEaMBgG
A1UEAwwRSW50ZWwgU0dYIFJvb3QgQ0ExGjAYBgNVBAoMEUludGVsIENvcnBvcmF0
aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJBgNVBAYT
AlVTMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEC6nEwMDIYZOj/iPWsCzaEKi7
1OiOSLRFhWGjbnBVJfVnkY4u3IjkDYYL0MxO4mqsyYjlBalTVYxFP2sJBK5zlKOB
uzCBuDAfBgNVHSMEGDAWgBQiZQzWWp00ifODtJVSv1AbOScGrDBSBgNVHR8ESzBJ
MEegRaBDhkFodHRwczovL2NlcnRpZmljYXRlcy50cnVzdGVkc2VydmljZXMuaW50
ZWwuY29tL0ludGVsU0dYUm9vdENBLmRlcjAdBgNVHQ4EFgQUImUM1lqdNInzg7SV
Ur9QGzknBqwwDgYDVR0PAQH/BAQDAgEGMBIGA1UdEwEB/wQIMAYBAf8CAQEwCgYI
KoZIzj0EAwIDSQAwRgIhAOW/5QkR+S9CiSDcNoowLuPRLsWGf/Yi7GSX94BgwTwg
AiEA4J0lrHoMs+Xo5o/sX6O9QWxHRAvZUGOdRQ7cvqRXaqI=
-----END CERTIFICATE-----
"""


@lru_cache(maxsize=16)
def _key_of(root_der: bytes) -> bytes:
    return public_key_der(x509.load_der_x509_certificate(root_der))


@lru_cache(maxsize=1)
def _intel_der() -> bytes:
    return x509.load_pem_x509_certificate(_INTEL_PEM).public_bytes(Encoding.DER)


@dataclass(frozen=True, repr=False)
class TrustAnchor:
    """One root certificate. Make it with `intel` or `insecure_simulation`.

    Attributes
    ----------
    mode
        ``dcap`` for Intel's root, ``simulation`` for a simulated one.
    root_der
        The root certificate, DER.
    """

    mode: Literal["dcap", "simulation"]
    root_der: bytes

    def __post_init__(self) -> None:
        if self.mode not in ("dcap", "simulation"):
            raise ConfigurationError('the mode of a trust anchor is "dcap" or "simulation"')
        try:
            is_intel = self.root_key == _key_of(_intel_der())
        except PARSE_ERRORS as error:
            raise ConfigurationError(
                "the trust anchor is not a certificate",
                hint="name the anchor.pem that `clf simulation init` wrote",
            ) from error
        if self.mode == "dcap" and self.root_der != _intel_der():
            raise ConfigurationError(
                "a root other than Intel's can't be trusted as hardware",
                hint="use TrustAnchor.intel(), or TrustAnchor.insecure_simulation(…) for tests",
            )
        if self.mode == "simulation" and is_intel:
            raise ConfigurationError(
                "Intel's root can't be declared a simulation",
                hint="use TrustAnchor.intel(), or name the anchor.pem of a simulation",
            )

    def __repr__(self) -> str:
        kind = "Intel SGX Root CA" if self.mode == "dcap" else "INSECURE SIMULATION"
        return f"TrustAnchor({kind}, {self.fingerprint[:12]}…)"

    @classmethod
    def intel(cls) -> TrustAnchor:
        """Intel's SGX root: real hardware only."""
        return cls("dcap", _intel_der())

    @classmethod
    def insecure_simulation(cls, anchor: str | Path | bytes) -> TrustAnchor:
        """Trust a simulated root. Proves nothing about hardware; each call logs a warning.

        Parameters
        ----------
        anchor
            Path of the simulation's ``anchor.pem``, or its PEM bytes.

        Raises
        ------
        ConfigurationError
            It can't be read, or it is Intel's root.
        """
        try:
            pem = anchor if isinstance(anchor, bytes) else Path(anchor).read_bytes()
            certificate = x509.load_pem_x509_certificate(pem)
        except (OSError, *PARSE_ERRORS) as error:
            what = "the given PEM" if isinstance(anchor, bytes) else str(anchor)
            raise ConfigurationError(
                f"the simulation's trust anchor can't be read from {what}",
                hint="name the anchor.pem that `clf simulation init` wrote",
            ) from error
        made = cls("simulation", certificate.public_bytes(Encoding.DER))
        _log.warning(
            "INSECURE SIMULATION: evidence under root %s… is accepted, which proves nothing "
            "about hardware",
            made.fingerprint[:12],
        )
        return made

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the root certificate's DER, hex."""
        return hashlib.sha256(self.root_der).hexdigest()

    @cached_property
    def root_key(self) -> bytes:
        """The root's SubjectPublicKeyInfo, DER."""
        return _key_of(self.root_der)
