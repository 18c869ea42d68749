"""How often an address may present tokens that do not exist (docs/protocol.md §11.5)."""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict
from collections.abc import Callable

from clf_sdk.errors import TooManyAttempts

BURST = 10
SECONDS_EACH = 6
_MOST_ADDRESSES = 65_536
_PREFIX_BITS = 64  # whoever has one IPv6 address has at least that network


class Attempts:
    """Counts failed attempts by client address, in memory.

    An address has 10 attempts at once and one more every 6 seconds. Attempts that run at the same
    time may all fail; they are paid for afterwards.

    Parameters
    ----------
    monotonic
        A clock in seconds that no one can set back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # attempts, as of when
        self._lock = threading.Lock()

    def check(self, client: str) -> None:
        """Let an address try.

        Raises
        ------
        TooManyAttempts
            It has used its attempts up.
        """
        with self._lock:
            left = self._left_of(_network(client))
        if left < 1:
            seconds = math.ceil((1 - left) * SECONDS_EACH)
            raise TooManyAttempts(
                "too many unknown access tokens came from this address",
                retry_after_seconds=seconds,
                hint=f"wait {seconds} seconds; use the profile file that the server's operator "
                "gave you",
            )

    def failed(self, client: str) -> None:
        """Count a failed attempt of an address."""
        network = _network(client)
        with self._lock:
            left = self._left_of(network) - 1
            self._left[network] = (left, self._monotonic())
            self._left.move_to_end(network)
            if len(self._left) > _MOST_ADDRESSES:
                self._left.popitem(last=False)

    def _left_of(self, network: str) -> float:
        now = self._monotonic()
        left, since = self._left.get(network, (float(BURST), now))
        return min(BURST, left + (now - since) / SECONDS_EACH)


def _network(client: str) -> str:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _PREFIX_BITS), strict=False))
