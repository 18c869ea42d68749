"""Whether a certificate and a private key can serve TLS, said before a client finds out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from clf_sdk.errors import ConfigurationError
from clf_server._private import read_private

_RENEW = "make new ones with `clf server certs`"


def load_chain(path: Path) -> list[x509.Certificate]:
    """Read a PEM certificate chain.

    Raises
    ------
    ConfigurationError
        It can't be read, or holds no certificate.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"the certificate {path} can't be read: {error.strerror}", hint=_RENEW
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"{path} holds no PEM certificate", hint="the server's own certificate stands first"
        ) from error


def check_tls(cert_path: Path, key_path: Path, *, now: float) -> None:
    """Check that a certificate is valid at a time and belongs to a key that only its owner reads.

    Raises
    ------
    ConfigurationError
        They can't serve TLS, or the key is open to others.
    """
    certificate = load_chain(cert_path)[0]
    pem = read_private(key_path, what="the TLS key")
    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{key_path} holds no PEM private key without a passphrase", hint=_RENEW
        ) from error
    if key.public_key() != certificate.public_key():
        raise ConfigurationError(
            f"the TLS key {key_path} is not that of the certificate {cert_path}",
            hint="they were made apart; put both files of one `clf server certs` there",
        )
    moment = datetime.fromtimestamp(now, UTC)
    if moment >= certificate.not_valid_after_utc:
        raise ConfigurationError(
            f"the certificate {cert_path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}",
            hint=f"{_RENEW}; profiles go on when the authority stays",
        )
    if moment < certificate.not_valid_before_utc:
        raise ConfigurationError(
            f"the certificate {cert_path} is valid from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d} on",
            hint="is this machine's clock right?",
        )
