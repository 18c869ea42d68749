"""Python's garbage collector in programs of our own.

While hundreds of modules load, the collector walks through all objects again and again and frees
next to none of them; that is a third of the time that a server takes to start.
"""

from __future__ import annotations

import gc

_RARELY = 50_000


def collect_rarely() -> None:
    """Let a program load and work with few collections; a process calls it once, first of all."""
    gc.set_threshold(_RARELY, 20, 20)


def keep_loaded() -> None:
    """Collect once more, leave out what lives by now, and collect as often as Python does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 10)
