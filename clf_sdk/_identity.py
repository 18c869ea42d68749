"""A person's identity: the key that signs jobs, and the key to which results are sealed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import platformdirs

from clf_sdk import _keychain
from clf_sdk._not_picklable import NotPicklable
from clf_sdk._passphrase import (
    configured_passphrase,
    decrypt,
    encrypt,
    find_passphrase,
    is_encrypted,
)
from clf_sdk._public_identity import PublicIdentity
from clf_sdk.errors import ConfigurationError, FormatTooNew, Malformed
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.protocol import (
    IdentityDocument,
    Json,
    PrivateIdentityDocument,
    PrivateKeyDocument,
    PublicKeyDocument,
    parse_json,
    write_private,
)


class Identity(NotPicklable):
    """The private keys of a person.

    An analyst signs jobs with it, and results are sealed to its public half. `Identity.mine` keeps
    one for you; its `public` half is what owners get to know.

    Parameters
    ----------
    signing
        Ed25519 key.
    hpke
        HPKE key.
    """

    _not_pickled: ClassVar[str] = "it is a private key; keep it with save(path, passphrase=…)"

    def __init__(self, signing: SigningKey, hpke: PrivateKey) -> None:
        self._signing = signing
        self._hpke = hpke
        self.public = PublicIdentity(
            IdentityDocument(
                clf=1,
                type="identity",
                signing_key=signing.public_bytes,
                hpke=PublicKeyDocument(**hpke.public.to_document()),
            )
        )

    def __repr__(self) -> str:
        return f"Identity({self.fingerprint})"

    @property
    def id(self) -> str:
        """Identity id of the public half: 64 hex digits."""
        return self.public.id

    @property
    def fingerprint(self) -> str:
        """The id in short, to compare by phone: six groups of five digits."""
        return self.public.fingerprint

    @classmethod
    def create(cls) -> Identity:
        """Make a fresh identity, in memory."""
        return cls(SigningKey.generate(), PrivateKey.generate())

    @classmethod
    def mine(cls, *, passphrase: str | None = None) -> Identity:
        """Return this user's identity, and make it at the first use.

        It is looked for in the user's data directory, then in the operating system's keyring. A new
        one is kept in a file that the passphrase encrypts, if there is one; otherwise in the
        keyring; and where there is none, in a file that only the user can read, with a warning.

        Parameters
        ----------
        passphrase
            Opens the file, or protects a new one. By default it comes from the file that
            ``CLF_PASSPHRASE_FILE`` names; to open a file it is asked for otherwise.

        Raises
        ------
        IdentityLocked
            The passphrase is missing or wrong, or the keyring does not open.
        ConfigurationError
            The file is damaged, or others can read it.
        """
        with _exclusive():
            if (found := cls._find(passphrase)) is not None:
                return found
            made, path = cls.create(), own_identity_path()
            if passphrase is None:
                passphrase = configured_passphrase()
            if passphrase is not None:
                made.save(path, passphrase=passphrase)
            elif _keychain.keychain_available():
                made.save_to_keyring()
            else:
                made.save(path, passphrase=None)
                warnings.warn(
                    f"your new identity lies unencrypted in {path}, readable by you only: this "
                    "machine has no keyring. To protect it, remove the file before you use the "
                    "identity, and run `clf identity create`",
                    stacklevel=2,
                )
        return made

    @classmethod
    def _find(cls, passphrase: str | None) -> Identity | None:
        path = own_identity_path()
        if path.exists():
            return cls.load(path, passphrase=passphrase)
        if not _keychain.keychain_available():
            return None
        stored = _keychain.read_keychain()
        return None if stored is None else cls._from_bytes(stored, "the identity in the keyring")

    def save(self, path: str | os.PathLike[str], *, passphrase: str | None) -> None:
        """Write the identity to a new file of mode 0600.

        Parameters
        ----------
        path
            The file, which must not exist.
        passphrase
            Encrypts the file, in the age format. With None the file's mode is all that protects
            it.

        Raises
        ------
        ConfigurationError
            The file exists already, or the passphrase is empty.
        """
        if passphrase is None:
            write_private(path, self._to_bytes())
            return
        if not passphrase:
            raise ConfigurationError("an empty passphrase protects nothing")
        write_private(path, encrypt(self._to_bytes(), passphrase))

    def save_to_keyring(self) -> None:
        """Store the identity in the operating system's keyring, where `mine` finds it.

        Raises
        ------
        ConfigurationError
            There is no keyring on this machine, or it has an identity already.
        IdentityLocked
            The keyring does not open.
        """
        _keychain.write_keychain(self._to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, passphrase: str | None = None) -> Identity:
        """Read an identity file.

        Parameters
        ----------
        path
            The file.
        passphrase
            Opens an encrypted file. By default it comes from the file that
            ``CLF_PASSPHRASE_FILE`` names, or is asked for.

        Raises
        ------
        IdentityLocked
            The passphrase is missing or wrong.
        ConfigurationError
            The file can't be read, is no identity, or others can read it.
        FormatTooNew
            A later version of CLF wrote it.
        """
        file, what = Path(path), f"the identity in {path}"
        try:
            data, mode = file.read_bytes(), file.stat().st_mode & 0o777
        except OSError as error:
            raise ConfigurationError(
                f"the identity file {path} can't be read: {error.strerror}",
                hint="make an identity with `clf identity create`",
            ) from error
        if is_encrypted(data):
            data = decrypt(data, find_passphrase(passphrase, what=what), what=what)
        elif mode & 0o077:
            raise ConfigurationError(
                f"the identity file {path} is readable by others (mode {mode:o})",
                hint=f"run `chmod 600 {path}`; if somebody may have read it, make a new identity",
            )
        return cls._from_bytes(data, what)

    def _to_bytes(self) -> bytes:
        document = PrivateIdentityDocument(
            clf=1,
            type="private-identity",
            signing_key=self._signing.private_bytes(),
            hpke=PrivateKeyDocument(suite=self._hpke.suite, private_key=self._hpke.private_bytes()),
        )
        return document.canonical()

    @classmethod
    def _from_bytes(cls, data: bytes, what: str) -> Identity:
        try:
            document = PrivateIdentityDocument.parse(parse_json(data, what="identity file"))
            return cls(
                SigningKey(document.signing_key),
                PrivateKey(document.hpke.suite, document.hpke.private_key),
            )
        except FormatTooNew:
            raise
        except (Malformed, ValueError) as error:
            raise ConfigurationError(
                f"{what} is damaged, or is not an identity", hint="restore it from backup"
            ) from error

    def sign(self, kind: str, document: Json) -> bytes:
        """Sign a document, in the domain of its kind: ``'clf/1 ' + kind ‖ 0x00 ‖ C(document)``."""
        return self._signing.sign(kind, document)

    def open(self, sealed: Any, *, info: Json) -> bytes:
        """Open what was sealed to this identity.

        Raises
        ------
        SealBroken
            It was sealed to another identity, or for another context.
        """
        return self._hpke.open(sealed, info=info)


def own_identity_path() -> Path:
    """Return where this user's identity file lies, if it is a file."""
    return Path(platformdirs.user_data_dir("clf")) / "identity.private"


def own_identity_place() -> str | None:
    """Tell where `Identity.mine` finds this user's identity; None when there is none yet.

    Raises
    ------
    IdentityLocked
        The keyring does not open.
    """
    if (path := own_identity_path()).exists():
        return str(path)
    if _keychain.keychain_available() and _keychain.read_keychain() is not None:
        return "the keyring"
    return None


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """Keep two notebooks from making two identities at the same time."""
    directory = own_identity_path().parent
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
