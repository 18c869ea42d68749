"""The control listener's certificate, and its renewal with an overlap (docs/protocol.md §2.1).

A renewal makes a new authority and a new certificate in ``tls/next``. Until its date the server
shows the old certificate and announces both authorities; then the new files take the place of the
old ones.
"""

from __future__ import annotations

import os
import shutil
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clf_sdk.errors import ConfigurationError
from clf_sdk.protocol import write_private
from clf_server._certificate_files import CA_KEY_NAME, CA_NAME, make_certificates
from clf_server._certificates import certificate_digest, hosts_of
from clf_server._config import ServerConfig
from clf_server._tls import load_chain

_TLS = "tls"
_NEXT = "next"
_SWITCH_AT = "switch_at"
_FILES = ("server.key", "server.pem", CA_KEY_NAME, CA_NAME)
MOST_OVERLAP_DAYS = 365


@dataclass(frozen=True)
class NextCertificate:
    """A certificate that will be shown.

    Attributes
    ----------
    digest
        SHA-256 of the certificate, in hex.
    switch_at
        When, in Unix seconds.
    """

    digest: str
    switch_at: int


def announced_authorities(config: ServerConfig) -> str:
    """Return the authorities that clients are to trust, as PEM: the present one, and the next one.

    They lie beside the server's certificate.

    Raises
    ------
    ConfigurationError
        A file can't be read.
    """
    tls = config.server_cert_path.parent
    try:
        present = (tls / "ca.pem").read_text("ascii")
        if (tls / _NEXT).exists():
            return present + (tls / _NEXT / "ca.pem").read_text("ascii")
    except FileNotFoundError as error:
        if (tls / "ca.pem").exists():  # the next one became the present one just now
            return (tls / "ca.pem").read_text("ascii")
        raise ConfigurationError(f"{tls / 'ca.pem'} is missing") from error
    except OSError as error:
        raise ConfigurationError(f"{tls / 'ca.pem'} can't be read: {error.strerror}") from error
    return present


def next_certificate(directory: Path) -> NextCertificate | None:
    """Return the certificate that waits for its date, or None."""
    folder = directory / _TLS / _NEXT
    if not folder.exists():
        return None
    switch_at = int((folder / _SWITCH_AT).read_text("ascii"))
    return NextCertificate(certificate_digest(folder / "server.pem"), switch_at)


def prepare_certificate(
    config: ServerConfig, *, switch_at: int, hosts: Sequence[str] = ()
) -> NextCertificate:
    """Make the next authority and certificate, or move the date of those that wait already.

    Parameters
    ----------
    config
        The server's.
    switch_at
        When the new certificate is to be shown, in Unix seconds.
    hosts
        Names and addresses for it; by default those of the present one.

    Raises
    ------
    ConfigurationError
        The present certificate is not one that ``clf server init`` made.
    """
    tls = config.directory / _TLS
    if (config.server_cert_path, config.server_private_key_path) != (
        tls / "server.pem",
        tls / "server.key",
    ):
        raise ConfigurationError(
            f"{config.server_cert_path} is a certificate of your own",
            hint="replace it and its key; the server takes both up within seconds",
        )
    waiting = tls / _NEXT
    if not waiting.exists():
        names = list(hosts) or hosts_of(load_chain(tls / "server.pem")[0])
        part = Path(tempfile.mkdtemp(prefix=".next.", dir=tls))
        try:
            make_certificates(part, name=config.name, hosts=names)
            (part / _SWITCH_AT).write_text(str(switch_at), "ascii")
            part.rename(waiting)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    _replace(waiting / _SWITCH_AT, str(switch_at).encode())
    found = next_certificate(config.directory)
    if found is None:
        raise ConfigurationError("the next certificate became the present one just now")
    return found


def switch_if_due(directory: Path, *, now: int) -> bool:
    """Put the next certificate in the place of the present one if its date has come.

    A process that dies within leaves what is needed to do it again, and so does the next one.
    """
    found = next_certificate(directory)
    if found is None or found.switch_at > now:
        return False
    tls = directory / _TLS
    for name in _FILES:
        _replace(tls / name, (tls / _NEXT / name).read_bytes())
    done = tls / f".{_NEXT}.{found.digest[:16]}"
    (tls / _NEXT).rename(done)
    shutil.rmtree(done)
    return True


def _replace(file: Path, data: bytes) -> None:
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    write_private(part, data)
    os.replace(part, file)  # noqa: PTH105 - as documented: atomic


class ShownCertificate:
    """The certificate that the control listener shows now.

    Parameters
    ----------
    chain, key
        Its files.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self.digest = certificate_digest(chain)

    def reload(self, context: ssl.SSLContext) -> bool:
        """Show what lies in the files from the next connection on; tell whether it changed.

        Raises
        ------
        ConfigurationError
            Certificate and key do not belong together; the old ones are shown on.
        """
        digest = certificate_digest(self._chain)
        if digest == self.digest:
            return False
        try:
            # On trial first: a context in use must not be left with half of a pair.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._chain, self._key)
            context.load_cert_chain(self._chain, self._key)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                f"{self._chain} and {self._key} do not belong together",
                hint="replace both; until then the old certificate is shown",
            ) from error
        self.digest = digest
        return True
