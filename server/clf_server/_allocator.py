"""Keep the allocators from giving memory back between two chunks of a body.

The event loop allocates a buffer of 256 KiB for each read of a TLS connection, and each record
batch needs 64 MiB for a moment. By default glibc and mimalloc (Arrow's pool) unmap them at once,
and the kernel's work for fresh pages costs more than decrypting what arrives in them: uploads run
at a third of their speed.
"""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # from malloc.h
_GLIBC = {
    _M_MMAP_THRESHOLD: 32 << 20,
    _M_TRIM_THRESHOLD: 64 << 20,
    _M_TOP_PAD: 4 << 20,
}
_MIMALLOC_PURGE_DELAY = "MIMALLOC_PURGE_DELAY"  # milliseconds; an operator's own value stays


def keep_memory() -> None:
    """Tune the allocators of this process. Call it before pyarrow is imported."""
    os.environ.setdefault(_MIMALLOC_PURGE_DELAY, "5000")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, other libraries may not
    if mallopt is not None:
        for option, value in _GLIBC.items():
            mallopt(option, value)
