"""TLS certificates under a small authority of the server's own."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clf_sdk.errors import ConfigurationError

SERVER_DAYS = 397
_AUTHORITY_DAYS = 3650
_BACKDATE = timedelta(days=2)  # so that a peer whose clock is a day behind still connects


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key (ECDSA P-256)."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """PEM of the certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """PEM of the private key, PKCS 8, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise ConfigurationError(
            f"{host[:80]!r} is neither a host name nor an address",
            hint="write names beyond ASCII in their xn-- form",
        ) from error


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses for which a certificate is."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]


def certificate_digest(chain: Path) -> str:
    """Return the SHA-256 of the first certificate of a PEM file, in hex.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    try:
        (first, *_) = x509.load_pem_x509_certificates(chain.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{chain} holds no certificate that can be read") from error
    return first.fingerprint(hashes.SHA256()).hex()


def _build(name: str, issuer: x509.Name, *, days: int, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=days))
    )


def make_authority(name: str, *, now: datetime) -> KeyPair:
    """Make an authority, which signs server certificates and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    called = f"CLF {name} CA"
    certificate = (
        _build(called, _name(called), days=_AUTHORITY_DAYS, now=now)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate, key)


def issue_certificate(
    authority: KeyPair, name: str, hosts: Sequence[str], *, now: datetime, days: int = SERVER_DAYS
) -> KeyPair:
    """Make a server certificate for host names and addresses, with a key of its own.

    Raises
    ------
    ConfigurationError
        A host is neither a name nor an address.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject
    issuer_id = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    names = x509.SubjectAlternativeName([_san(host) for host in dict.fromkeys(hosts)])
    certificate = (
        _build(name, issuer, days=days, now=now)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id.value),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return KeyPair(certificate, key)
