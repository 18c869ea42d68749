"""Programs of one's own in the enclave: get a key, get a size, read a range, put a result.

Such a program is measured, pinned and approved like CLF's own. What owners agree to is what *it*
does: its operations are its own, and it must keep the rules that `OpenRun` tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from clf_enclave._compute import Report
from clf_enclave._disclosure import Disclosure
from clf_enclave._file import SealedFile
from clf_enclave._operations import Output
from clf_enclave._owners import Owners
from clf_enclave._program import reporting, run_request_file
from clf_enclave._pull import TablePull
from clf_enclave._session import RunIdentity
from clf_sdk.attestation import EvidenceProvider
from clf_sdk.errors import NotFound
from clf_sdk.protocol import JobDocument, Rules, RunRequest

_NO_SECRETS: Mapping[str, Sequence[str]] = MappingProxyType({})


class OpenRun:
    """A run in which every owner has released what the job asks for.

    Parameters
    ----------
    request
        The job and where its servers are.
    provider
        Where quotes come from.
    report
        Called at each stage.
    secrets
        By input, names of the secrets that its owner is asked for (docs/protocol.md §8.3).
    row_level
        Names of the outputs that hold rows of single people: they need every owner's leave for
        every recipient, before anything is pulled.

    Raises
    ------
    ClfError
        An owner refuses, or can't be reached.
    """

    def __init__(
        self,
        request: RunRequest,
        provider: EvidenceProvider,
        report: Report,
        *,
        secrets: Mapping[str, Sequence[str]] = _NO_SECRETS,
        row_level: Collection[str] = (),
    ) -> None:
        self.job: JobDocument = request.job
        self._row_level = frozenset(row_level)
        self._disclosure = Disclosure()
        self._inputs = {entry.name: entry.server for entry in self.job.inputs}
        self._owners = Owners(
            RunIdentity.of(request, provider),
            request.endpoints,
            self._disclosure,
            report,
            secrets=self._by_server(secrets),
        )
        report("started", {"run": request.run, "job": self.job.digest})
        self._sessions = self._owners.open_all()
        self._owners.check_outputs(self._row_level)
        self._told: Rules | None = None
        self._pulls: dict[str, TablePull] = {}
        self._files: dict[str, SealedFile] = {}

    def __repr__(self) -> str:
        return f"OpenRun({self.job.name!r} on {', '.join(self._inputs)})"

    def _by_server(self, secrets: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        asked: dict[str, list[str]] = {}
        for name, wanted in secrets.items():
            of_server = asked.setdefault(self._server(name), [])
            of_server += [each for each in wanted if each not in of_server]
        return asked

    def _server(self, name: str) -> str:
        if name not in self._inputs:
            raise NotFound(
                f"the job has no input {name[:64]!r}", hint=f"it has: {', '.join(self._inputs)}"
            )
        return self._inputs[name]

    def _pull(self, name: str) -> TablePull:
        server = self._server(name)
        if name not in self._pulls:
            session = self._sessions[server]
            renew = partial(self._owners.open, session.endpoint)
            self._pulls[name] = TablePull(name, session, renew)
        return self._pulls[name]

    @property
    def rules(self) -> Rules:
        """What the program must keep: the tightest rules of all owners so far.

        An owner who demands larger groups after the program has asked for them ends the run: what
        was computed by then is not known here.
        """
        rules = self._disclosure.rules
        self._told = self._told or rules
        return rules

    def entity(self, name: str) -> str | None:
        """Return the column of an input whose values are its people, if its owner names one.

        Groups are counted by it (docs/protocol.md §8.1); without it each row counts as a person.

        Raises
        ------
        NotFound
            There is no such input.
        """
        self._server(name)
        return self._disclosure.entities.get(name)

    def secret(self, name: str, secret: str = "secret") -> bytes:  # noqa: S107 - the name, not the value
        """Return a secret of the owner of an input, which it gives to pinned programs only.

        Parameters
        ----------
        name
            The input.
        secret
            Name of the secret.

        Raises
        ------
        NotFound
            The run was not opened with this secret.
        """
        released = self._sessions[self._server(name)].secrets
        if secret not in released:
            raise NotFound(
                f"the run was opened without secret {secret[:64]!r} of input {name!r}",
                hint="name it in `secrets`",
            )
        return released[secret]

    def size(self, name: str) -> int:
        """Return how many bytes a file has, or how many rows a table.

        Raises
        ------
        NotFound
            There is no such input.
        """
        return self._pull(name).manifest.rows

    def file(self, name: str) -> SealedFile:
        """Return an input that is a file, to be read by range or like any file.

        Raises
        ------
        NotFound
            There is no such input.
        InvalidInput
            It is a table.
        """
        if name not in self._files:
            self._files[name] = SealedFile(self._pull(name))
        return self._files[name]

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; beyond its end it stops there.

        Raises
        ------
        NotFound
            There is no such input.
        InvalidInput
            It is a table, or the range is negative.
        SealBroken
            What arrived is not what the owner shared.
        """
        return self.file(name).pread(offset, length)

    def table(self, name: str) -> pa.Table:
        """Pull an input that is a table: the job's columns, and that of its people, if it has one.

        Raises
        ------
        NotFound
            There is no such input.
        SealBroken
            What arrived is not what the owner shared.
        """
        return self._pull(name).table()

    def put(self, outputs: Mapping[str, Output], *, people: int) -> None:
        """Seal results to the job's recipients and put them, with the receipt, to every owner.

        It ends the run: all outputs go together, after every owner has confirmed once more.

        Parameters
        ----------
        outputs
            Tables or JSON objects, by name.
        people
            How many people, or rows, the outputs speak of. It goes into the receipt.

        Raises
        ------
        PolicyRefused
            They are fewer than an owner demands, or an owner does not agree any more.
        Conflict
            The run has results already.
        """
        rows = {name: self.size(name) for name in self._inputs}  # which may open sessions anew
        computed_under = self._told or self._disclosure.rules
        self._disclosure.check_counts([people or -1])
        self._owners.deliver(
            self._sessions,
            outputs,
            rows=rows,
            aligned_rows=self._disclosure.shown_count(people),
            row_level=self._row_level,
            computed_under=computed_under,
        )


def execute(
    program: Callable[[OpenRun], None],
    request: Path,
    *,
    package: Path,
    insecure_simulation: Path | None = None,
    secrets: Mapping[str, Sequence[str]] = _NO_SECRETS,
    row_level: Collection[str] = (),
) -> int:
    """Run a program of one's own on a run request, and return the exit status.

    It reports in JSON lines on standard output, as CLF's own program does. What the program
    raises is told by its type alone, because a message could hold data; but the message of a
    `ClfError` is told, so a program must put no value into one.

    Parameters
    ----------
    program
        Computes and calls `OpenRun.put`.
    request
        File with the run request.
    package
        Folder of the program; a simulation measures it together with CLF's own.
    insecure_simulation
        INSECURE: directory of a simulated TEE; None for SGX.
    secrets, row_level
        See `OpenRun`.
    """

    def run(wanted: RunRequest, provider: EvidenceProvider, report: Report) -> bool:
        return reporting(
            lambda: program(
                OpenRun(wanted, provider, report, secrets=secrets, row_level=row_level)
            ),
            report,
        )

    return run_request_file(request, run, insecure_simulation=insecure_simulation, package=package)
