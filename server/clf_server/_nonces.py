"""Challenge nonces: random, used once, short-lived, gone with the process."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

from clf_sdk.errors import NonceRefused

NONCE_BYTES = 32
LIFETIME_SECONDS = 60
_MOST = 65_536


class NonceStore:
    """Nonces that were given out and not yet used.

    They live in memory only: a nonce from before a restart is unknown after it.

    Parameters
    ----------
    monotonic
        A clock in seconds that no one can set back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._born: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self) -> str:
        """Give out a fresh nonce, in hex."""
        nonce = secrets.token_hex(NONCE_BYTES)
        now = self._monotonic()
        with self._lock:
            while self._born:
                oldest = next(iter(self._born))
                if now - self._born[oldest] <= LIFETIME_SECONDS and len(self._born) < _MOST:
                    break
                del self._born[oldest]
            self._born[nonce] = now
        return nonce

    def consume(self, nonce: str) -> None:
        """Use a nonce up.

        Raises
        ------
        NonceRefused
            It was never given out, was used before, or is too old.
        """
        with self._lock:
            born = self._born.pop(nonce, None)
        if born is None or self._monotonic() - born > LIFETIME_SECONDS:
            raise NonceRefused(
                "the nonce is unknown, used, or older than 60 seconds",
                hint="ask for a new challenge; every session needs its own",
            )
