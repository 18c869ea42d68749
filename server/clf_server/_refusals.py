"""Refusals in the audit log: each with its reason, and never so many that they fill the disk."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

from clf_server._audit import AuditLog

BURST = 100
SECONDS_EACH = 300
MOST_CAUSES = 32

Cause: TypeAlias = tuple[tuple[str, str | None], ...]
_OTHER: Cause = ()


class _Event:
    """One kind of refusal: how many entries it may still write, and what it only counted."""

    def __init__(self, now: float) -> None:
        self.left = float(BURST)
        self.refilled = now
        self.since = 0
        self.counted: Counter[Cause] = Counter()

    def take(self, now: float) -> bool:
        """Take the right to write one entry, if there is one."""
        self.left = min(BURST, self.left + (now - self.refilled) / SECONDS_EACH)
        self.refilled = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Refusals:
    """Writes refusals to the audit log (docs/protocol.md §14.2).

    Anyone can provoke a refusal. So each event may write 100 entries at once and one more every
    five minutes; what goes beyond is counted by its cause, and the counts become one entry.

    Parameters
    ----------
    audit
        The log.
    now, monotonic
        Wall clock for what is written, monotonic clock for the rate.
    """

    def __init__(
        self, audit: AuditLog, *, now: Callable[[], int], monotonic: Callable[[], float]
    ) -> None:
        self._audit = audit
        self._now = now
        self._monotonic = monotonic
        self._events: dict[str, _Event] = {}
        self._lock = threading.Lock()

    def record(self, event: str, details: dict[str, Any], *, cause: dict[str, str | None]) -> None:
        """Log a refusal, or count it.

        Parameters
        ----------
        event
            The event.
        details
            The rest of the entry; of bounded size, whoever asked.
        cause
            Fields that stand in the entry and by which refusals are counted: the same for each
            refusal of the event.
        """
        now = self._monotonic()
        with self._lock:
            state = self._events.setdefault(event, _Event(now))
            if state.counted and state.take(now):
                self._summarise(event, state)
            if not state.counted and state.take(now):
                self._audit.append(event, {**cause, **details})
                return
            if not state.counted:
                state.since = self._now()
            known = tuple(cause.items())
            if known not in state.counted and len(state.counted) >= MOST_CAUSES:
                known = _OTHER
            state.counted[known] += 1

    def flush(self, *, at_end: bool = False) -> None:
        """Log what was only counted; at the end of the process whatever the rate allows."""
        now = self._monotonic()
        with self._lock:
            for event, state in self._events.items():
                if state.counted and (at_end or state.take(now)):
                    self._summarise(event, state)

    def _summarise(self, event: str, state: _Event) -> None:
        causes = [
            {**dict(cause), "count": count} for cause, count in state.counted.most_common() if cause
        ]
        summary = {
            "count": state.counted.total(),
            "since": state.since,
            "causes": causes,
            "others": state.counted[_OTHER],
        }
        self._audit.append(event, summary)
        state.counted.clear()
