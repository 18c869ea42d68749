"""Named secrets of the configuration, for attested enclaves only (docs/protocol.md §8.3)."""

from __future__ import annotations

from collections.abc import Iterable

from clf_sdk.attestation import VerifiedEnclave, check_program
from clf_sdk.errors import ConfigurationError, InvalidName, NotFound, NotPinned, TooLarge
from clf_sdk.protocol import MOST_SECRET_BYTES, check_name
from clf_server._config import ServerConfig
from clf_server._private import read_private

SECRET_NAME = "secret"  # noqa: S105 - the name of one, for enclaves to ask for


class Secrets:
    """The secrets of one server. They are read once, when it starts, and never logged.

    Parameters
    ----------
    config
        Where they are, and the pin under which they are released.

    Raises
    ------
    ConfigurationError
        A file can't be read, is open to others, or has a name that can't be asked for.
    TooLarge
        A secret exceeds 64 KiB.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._pin = config.pin
        self._values: dict[str, bytes] = {}
        if config.secret is not None:
            self._add(SECRET_NAME, config.secret)
        if config.secret_file is not None:
            self._add(SECRET_NAME, read_private(config.secret_file, what="the secret"))
        if config.secrets_dir is not None:
            try:
                files = sorted(config.secrets_dir.iterdir())
            except OSError as error:
                raise ConfigurationError(
                    f"secrets_dir {config.secrets_dir} can't be read: {error.strerror}"
                ) from error
            for file in files:
                # Kubernetes keeps the files of a mounted secret in folders that begin with dots.
                if file.is_file() and not file.name.startswith("."):
                    self._add(file.name, read_private(file, what="the secret"))

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)})"

    def _add(self, name: str, value: bytes) -> None:
        try:
            check_name(name, what="a secret")
        except InvalidName as error:
            raise ConfigurationError(error.message, hint=error.hint) from error
        if name in self._values:
            raise ConfigurationError(f"there are two secrets {name!r}", hint="keep one of them")
        if len(value) > MOST_SECRET_BYTES:
            raise TooLarge(f"secret {name!r} exceeds {MOST_SECRET_BYTES >> 10} KiB")
        if not value:
            raise ConfigurationError(f"secret {name!r} is empty")
        self._values[name] = value

    def check_program(self, enclave: VerifiedEnclave) -> None:
        """Check that an enclave is the one that the configuration pins, if it pins any.

        Raises
        ------
        MeasurementMismatch, SignerMismatch, ProductMismatch, SvnTooLow
            It is another program.
        """
        if self._pin is not None:
            check_program(enclave, self._pin, pinned_by="server")

    def take(self, names: Iterable[str], enclave: VerifiedEnclave) -> dict[str, bytes]:
        """Return the secrets that a verified enclave asks for.

        Raises
        ------
        NotPinned
            The configuration pins no enclave, so none may have a secret.
        MeasurementMismatch, SignerMismatch, ProductMismatch, SvnTooLow
            It is another program than the one that is pinned.
        NotFound
            There is no such secret.
        """
        asked = list(names)
        if not asked:
            return {}
        if self._pin is None:
            raise NotPinned(
                "this server pins no enclave, so it releases no secret",
                hint="its operator must set MREnclave, or MRSigner with isv_prod_id and isv_svn, "
                "in clf_server.conf",
            )
        self.check_program(enclave)
        for name in asked:
            if name not in self._values:
                raise NotFound(
                    f"there is no secret {name!r} on this server",
                    hint="its operator sets secret, secret_file or secrets_dir in clf_server.conf",
                )
        return {name: self._values[name] for name in asked}
