"""Whether the server of a directory answers: for containers and supervisors on the same machine."""

from __future__ import annotations

import http.client
import ssl
from http import HTTPStatus
from pathlib import Path

from clf_sdk.errors import ConfigurationError, TransportError
from clf_server._config import load_config

_TIMEOUT_SECONDS = 5
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def check_health(directory: Path) -> None:
    """Ask the server for ``/readyz``.

    Raises
    ------
    TransportError
        It does not answer, is not ready, or something else answers on its port.
    """
    config = load_config(directory)
    # Whoever answers must hold the server's key; by which name it is called does not matter here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(config.server_cert_path)
    except OSError as error:
        raise ConfigurationError(f"{config.server_cert_path} can't be read: {error}") from error
    host = _EVERYWHERE.get(config.host, config.host)
    connection = http.client.HTTPSConnection(
        host, config.port, timeout=_TIMEOUT_SECONDS, context=context
    )
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise TransportError(
            f"the server does not answer on {host}:{config.port}: {error}",
            hint="is it running? its log says why it stopped",
        ) from error
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        raise TransportError(f"the server is not ready (status {status})", hint="look at its log")
