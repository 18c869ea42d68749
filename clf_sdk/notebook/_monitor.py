"""``monitor()``: how far a run has come, live."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clf_sdk._cards import Identifier, Shown, card
from clf_sdk._connection import Connection, connections_to, known_names
from clf_sdk._run import Run
from clf_sdk._run_stages import RunStages, steps_of
from clf_sdk.errors import ClfError, NotFound
from clf_sdk.notebook._view import View, button, error_html
from clf_sdk.protocol import RunResults

if TYPE_CHECKING:
    import ipywidgets

_POLL_SECONDS = 0.5
_IN_WORDS = {
    "at_once": "goes out at once",
    "pending": "waits for this owner's review",
    "released": "released",
    "refused": "REFUSED",
}


class Monitor(View):
    """How far a run has come, from `monitor`.

    Attributes
    ----------
    run
        The run.
    connections
        To the servers of its owners, as far as they are connected; they tell about releases.
    """

    def __init__(self, run: Run, connections: Sequence[Connection]) -> None:
        self.run = run
        self.connections = tuple(connections)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        warning = ", INSECURE SIMULATION" if self.run.simulated else ""
        return f"Monitor(run {self.run.id[:12]}… of {self.run.job.name!r}, {self.state}{warning})"

    @property
    def state(self) -> str:
        """``"running"``, ``"delivered"``, ``"failed"``, or ``"ended"`` without a word."""
        stages = self.run.stages
        if stages.state == "running" and self.run.ended is not None:
            # It may have said its last word between the two looks.
            stages = self.run.stages
            return "ended" if stages.state == "running" else stages.state
        return stages.state

    def releases(self) -> dict[str, list[str]]:
        """Say for each connected owner what became of each output."""
        found = {}
        for connection in self.connections:
            try:
                results = connection.http.ask(RunResults, "GET", f"/v1/results/{self.run.id}")
            except NotFound:
                continue
            found[connection.name] = [
                f"{held.envelope.output}: {_IN_WORDS[held.release]}" for held in results.outputs
            ]
        return found

    def _sections(self, stages: RunStages, state: str) -> dict[str, list[str]]:
        names = known_names()
        released = self.releases() if state == "delivered" else {}
        sections = {}
        for server in self.run.job.document.servers():
            name = names.get(server, f"server {server[:12]}…")
            sections[name] = stages.owner_in_words(server) + released.get(name, [])
        return sections | {"enclave": stages.stages_in_words()}

    def _lines(self) -> list[str]:
        lines = [repr(self), f"  run {self.run.id}"]
        for title, said in self._sections(self.run.stages, self.state).items():
            lines += [
                f"  {title if number == 0 else '':<14}  {line}" for number, line in enumerate(said)
            ]
        return lines

    def _build(self) -> ipywidgets.Widget:
        import ipywidgets as widgets  # noqa: PLC0415 - text needs none

        self.bar = widgets.IntProgress(
            description="Run",
            min=0,
            max=steps_of(self.run.job.document),
            layout=widgets.Layout(width="40em"),
        )
        self.details = widgets.HTML()
        self.refresh_button = button("Refresh", self._act(self._reload))
        self._update()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="clf-monitor")
        self._thread.start()
        return widgets.VBox(
            [widgets.HBox([self.bar, self.refresh_button]), self.details, self.message]
        )

    def _reload(self) -> str:
        return f"the run is {self._update()}"

    def _update(self) -> str:
        state, stages = self.state, self.run.stages
        self.bar.value = stages.steps
        self.bar.bar_style = {"delivered": "success", "failed": "danger", "ended": "danger"}.get(
            state, "info"
        )
        rows: dict[str, Shown] = {"run": Identifier(self.run.id)}
        rows |= self._sections(stages, state)
        title = f"{self.run.job.name} ({state})"
        self.details.value = card("Run", title, rows, simulation=self.run.simulated)
        return state

    def _follow(self) -> None:
        """Look again until the run has ended; a failure to look is shown, and ends it."""
        while not self._stop.wait(_POLL_SECONDS):
            try:
                if self._update() != "running":
                    return
            except ClfError as error:
                self.message.value = error_html(error)
                return

    def close(self) -> None:
        """Stop looking. The run goes on."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()


def monitor(
    run: Run | str,
    *,
    connections: Sequence[Connection] | None = None,
    insecure_simulation: str | os.PathLike[str] | None = None,
) -> Monitor:
    """Show how far a run has come: owner by owner, with bytes, rates and time left.

    Parameters
    ----------
    run
        A run, or the id of one that was started on this machine, also by a kernel that is gone.
    connections
        To the servers of the run's owners; by default those that this process has made.
    insecure_simulation
        INSECURE: for an id, directory of the simulated TEE that the run was started with.

    Raises
    ------
    NotFound
        No run of this id was started by this user on this machine.
    """
    found = run if isinstance(run, Run) else Run.find(run, insecure_simulation=insecure_simulation)
    servers = found.job.document.servers()
    return Monitor(found, connections_to(servers) if connections is None else connections)
