"""How far a run has come, owner by owner: read from what the enclave reported, decided nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from clf_sdk.protocol import JobDocument

State: TypeAlias = Literal["running", "delivered", "failed"]

_MEGABYTE = 1e6
_STAGES = ("aligned", "computed", "delivered")
_STEPS_OF_AN_OWNER = 2  # a session before the data, and one that confirms after it


@dataclass(frozen=True)
class InputProgress:
    """How much of one input has come.

    Attributes
    ----------
    name, server
        Of the input, and of the server that has it.
    pulled_bytes, total_bytes
        Sealed bytes; the total is None before the enclave knows it.
    seconds
        Since the pull began, or that it took.
    complete
        Whether all of it is there.
    """

    name: str
    server: str
    pulled_bytes: int = 0
    total_bytes: int | None = None
    seconds: float = 0.0
    complete: bool = False

    @property
    def bytes_per_second(self) -> float:
        """Mean rate; 0 when nothing can be said yet."""
        return self.pulled_bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time that the rest takes at this rate; None when nothing can be said yet."""
        if self.total_bytes is None or not self.bytes_per_second:
            return None
        return (self.total_bytes - self.pulled_bytes) / self.bytes_per_second

    def __str__(self) -> str:
        if not self.pulled_bytes and not self.complete:
            return f"{self.name}: waits"
        rate = f"{self.bytes_per_second / _MEGABYTE:,.1f} MB/s"
        amount = f"{self.pulled_bytes / _MEGABYTE:,.1f} MB"
        if self.complete:
            return f"{self.name}: pulled {amount} ({rate})"
        of = "" if self.total_bytes is None else f" of {self.total_bytes / _MEGABYTE:,.1f} MB"
        left = "" if self.seconds_left is None else f", {self.seconds_left:,.0f} s left"
        return f"{self.name}: pulling {amount}{of} ({rate}{left})"


@dataclass(frozen=True)
class RunStages:
    """How far a run has come.

    Attributes
    ----------
    state
        ``"running"``, ``"delivered"`` or ``"failed"``.
    sessions
        How many sessions each owner's server has granted, by server id.
    waiting
        Servers that have yet to seal the rows that may leave.
    inputs
        What came of each input, in the job's order.
    stages
        Seconds that each stage of the computation took, as far as they are over.
    failure
        What ended the run, in the enclave's words.
    mode
        ``"simulation"`` or ``"dcap"`` as the enclave's host says; None when it does not.
    """

    state: State = "running"
    sessions: Mapping[str, int] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    inputs: tuple[InputProgress, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    mode: str | None = None

    @property
    def steps(self) -> int:
        """How many steps of `steps_of` the run has made."""
        sessions = sum(min(count, _STEPS_OF_AN_OWNER) for count in self.sessions.values())
        return sessions + sum(entry.complete for entry in self.inputs) + len(self.stages)

    def owner_in_words(self, server: str) -> list[str]:
        """Say how far the run is with one owner, a line for each thing."""
        granted = self.sessions.get(server, 0)
        if server in self.waiting and not granted:
            return ["sealing the rows that may leave"]
        if not granted:
            return ["not asked yet"]
        lines = ["attested, keys granted"]
        lines += [str(entry) for entry in self.inputs if entry.server == server]
        if granted >= _STEPS_OF_AN_OWNER and "computed" in self.stages:
            lines.append("confirmed before sealing")
        return lines

    def stages_in_words(self) -> list[str]:
        """Say what the enclave has done with the data, a line for each stage."""
        lines = [f"{name} in {seconds:,.2f} s" for name, seconds in self.stages.items()]
        if self.failure is not None:
            lines.append(f"FAILED: {self.failure}")
        return lines or ["nothing yet"]


def steps_of(job: JobDocument) -> int:
    """Return how many steps a run of a job makes."""
    return _STEPS_OF_AN_OWNER * len(job.servers()) + len(job.inputs) + len(_STAGES)


def read_stages(job: JobDocument, events: Sequence[Mapping[str, Any]]) -> RunStages:
    """Read how far a run has come from the events of its enclave."""
    sessions: dict[str, int] = {}
    inputs = {entry.name: InputProgress(entry.name, entry.server) for entry in job.inputs}
    stages: dict[str, float] = {}
    waiting: set[str] = set()
    state: State = "running"
    failure = mode = None
    for event in events:
        kind, server = event["event"], str(event.get("server"))
        if kind == "process":
            mode = event.get("mode")
        elif kind == "waiting":
            waiting.add(server)
        elif kind == "session":
            sessions[server] = sessions.get(server, 0) + 1
            waiting.discard(server)
        elif kind in ("pulling", "pulled") and event.get("input") in inputs:
            inputs[event["input"]] = _pulled(inputs[event["input"]], event)
        elif kind in _STAGES:
            stages[kind] = float(event["seconds"])
            state = "delivered" if kind == "delivered" else state
        elif kind == "failed":
            state, failure = "failed", str(event.get("message"))
    return RunStages(
        state, sessions, frozenset(waiting), tuple(inputs.values()), stages, failure, mode
    )


def _pulled(before: InputProgress, event: Mapping[str, Any]) -> InputProgress:
    total = event.get("total_bytes", before.total_bytes)
    return InputProgress(
        before.name,
        before.server,
        pulled_bytes=int(event["sealed_bytes"]),
        total_bytes=None if total is None else int(total),
        seconds=float(event["seconds"]),
        complete=event["event"] == "pulled",
    )
