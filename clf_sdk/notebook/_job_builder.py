"""``job_builder()``: from the catalogue to a job by clicks, and the code that does the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clf_sdk._cards import text
from clf_sdk._connection import Connection, analyst_connections
from clf_sdk._identity import Identity
from clf_sdk._job import Job
from clf_sdk._public_identity import PublicIdentity
from clf_sdk._table import SharedTable
from clf_sdk.attestation import EnclavePolicy
from clf_sdk.errors import InvalidInput
from clf_sdk.notebook._catalogue import Catalogue
from clf_sdk.notebook._controls import controls_of
from clf_sdk.notebook._view import View, button
from clf_sdk.operations import OPERATIONS, Parameters, parameters_class

if TYPE_CHECKING:
    import ipywidgets


class JobBuilder(View):
    """A job in the making, from `job_builder`; `job` is the last one that was built.

    Attributes
    ----------
    catalogue
        The tables to choose from.
    job
        The last job that was built; None before.
    code
        Code that builds the same job; empty before.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        enclave: EnclavePolicy,
        analyst: Identity | PublicIdentity | None,
    ) -> None:
        self.catalogue = catalogue
        self.job: Job | None = None
        self.code = ""
        self._enclave = enclave
        self._analyst = analyst

    def __repr__(self) -> str:
        return f"JobBuilder({self.catalogue!r}; built: {self.job!r})"

    def build(
        self,
        *,
        name: str,
        tables: Sequence[tuple[str, str]],
        on: str | Sequence[str],
        operation: str,
        parameters: dict[str, Any],
        columns: dict[tuple[str, str], Sequence[str]] | None = None,
        purpose: str = "",
    ) -> Job:
        """Build a job, and the code that does the same.

        Parameters
        ----------
        name, purpose
            Of the job.
        tables
            Places in the catalogue: owner and table.
        on
            Key column or columns.
        operation
            Name of an operation.
        parameters
            Its parameters; those that are left out have their defaults.
        columns
            Columns of each table that are asked for; by default all.

        Raises
        ------
        InvalidInput, InvalidJob, NotFound
            The parts can't be used.
        """
        if not tables:
            raise InvalidInput("no table is chosen", hint="choose at least one")
        chosen = {place: list((columns or {}).get(place) or ()) for place in tables}
        inputs = _input_names(tables)
        found: dict[str, SharedTable] = {}
        for place, alias in inputs.items():
            table = self.catalogue[place]
            found[alias] = table[chosen[place]] if chosen[place] else table
        made = parameters_class(operation)(**parameters)
        job = Job(
            name=name,
            purpose=purpose,
            inputs=found,
            on=on,
            operation=made,
            enclave=self._enclave,
            analyst=self._analyst,
        )
        self.job, self.code = job, self._code(job, inputs, chosen, on, made)
        return job

    def _code(
        self,
        job: Job,
        inputs: dict[tuple[str, str], str],
        columns: dict[tuple[str, str], list[str]],
        on: str | Sequence[str],
        operation: Parameters,
    ) -> str:
        owners = list(dict.fromkeys(owner for owner, _ in inputs))
        variables = {owner: _variable(owner) for owner in owners}
        lines = ["import clf_sdk as clf", ""]
        lines += [f'{variables[owner]} = clf.connect("{owner}.profile.json")' for owner in owners]
        lines += [
            "job = clf.Job(",
            f"    name={job.name!r},",
            f"    purpose={job.document.purpose!r},",
        ]
        lines.append("    inputs={")
        for (owner, table), alias in inputs.items():
            picked = f"[{columns[owner, table]!r}]" if columns[owner, table] else ""
            lines.append(f"        {alias!r}: {variables[owner]}.table({table!r}){picked},")
        keys = on if isinstance(on, str) else list(on)
        given = ", ".join(
            f"{name}={getattr(operation, name)!r}"
            for name, field in type(operation).model_fields.items()
            if getattr(operation, name) != field.default
        )
        lines += [
            "    },",
            f"    on={keys!r},",
            f"    operation=clf.{type(operation).__name__}({given}),",
            f"    enclave={_enclave_code(self._enclave)},",
            ")",
            "clf.submit(job)",
        ]
        return "\n".join(lines)

    def _lines(self) -> list[str]:
        lines = [repr(self), *self.catalogue.text().split("\n")[1:]]
        lines += ["", "operations: " + ", ".join(OPERATIONS)]
        if self.code:
            lines += ["", *self.code.split("\n")]
        else:
            lines += [
                "",
                "build(name=…, tables=[(owner, table), …], on=…, operation=…, parameters={…})",
            ]
        return lines

    def _build(self) -> ipywidgets.Widget:
        import ipywidgets as widgets  # noqa: PLC0415 - text needs none

        wide = widgets.Layout(width="60em")
        places = [(f"{owner}: {table}", (owner, table)) for owner, table in self.catalogue.tables]
        self.tables = widgets.SelectMultiple(description="Tables", options=places, layout=wide)
        self.on = widgets.SelectMultiple(description="Join on", options=[])
        self.operation = widgets.Dropdown(description="Operation", options=list(OPERATIONS))
        self.parameters: dict[str, Any] = {}
        self.parameter_box = widgets.VBox()
        self.name = widgets.Text(description="Name", value="my-job")
        self.purpose = widgets.Textarea(description="Purpose", layout=wide)
        self.build_button = button("Build", self._act(self._from_widget), style="primary")
        self.built = widgets.HTML()
        self.tables.observe(self._tables_changed, names="value")
        self.on.observe(self._operation_changed, names="value")
        self.operation.observe(self._operation_changed, names="value")
        self._operation_changed()
        return widgets.VBox(
            [
                self.tables,
                self.on,
                self.operation,
                self.parameter_box,
                self.name,
                self.purpose,
                self.build_button,
                self.message,
                self.built,
            ]
        )

    def _columns(self) -> list[str]:
        """Return the columns of all chosen tables, without the keys."""
        keys = set(self.on.value)
        names = [
            column.name
            for place in self.tables.value
            for column in self.catalogue[place].description.columns
        ]
        return [name for name in dict.fromkeys(names) if name not in keys]

    def _tables_changed(self, _: Any = None) -> None:
        described = [self.catalogue[place].description for place in self.tables.value]
        shared = [{column.name for column in each.columns} for each in described]
        common = set.intersection(*shared) if shared else set()
        first = described[0].columns if described else []
        self.on.options = [column.name for column in first if column.name in common]
        self._operation_changed()

    def _operation_changed(self, _: Any = None) -> None:
        kind = parameters_class(str(self.operation.value))
        self.parameters = controls_of(kind, self._columns())
        self.parameter_box.children = tuple(self.parameters.values())

    def _from_widget(self) -> str:
        values = {name: control.value for name, control in self.parameters.items()}
        given = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value not in ((), None, "")
        }
        keys = list(self.on.value)
        job = self.build(
            name=str(self.name.value),
            tables=list(self.tables.value),
            on=keys[0] if len(keys) == 1 else keys,
            operation=str(self.operation.value),
            parameters=given,
            purpose=str(self.purpose.value),
        )
        code = "\n".join(text(line, most=10_000) for line in self.code.split("\n"))
        self.built.value = f"{job._repr_html_()}<pre>{code}</pre>"
        return f"built job {job.name} with the digest {job.digest}"


def _input_names(tables: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Name inputs by their owners, or by owner and table where an owner has several."""
    owners = [owner for owner, _ in tables]
    return {
        (owner, table): owner if owners.count(owner) == 1 else f"{owner}-{table}"
        for owner, table in tables
    }


def _variable(name: str) -> str:
    plain = "".join(letter if letter.isalnum() else "_" for letter in name)
    return plain if plain.isidentifier() else f"owner_{plain}"


def _enclave_code(enclave: EnclavePolicy) -> str:
    return repr(enclave.mrenclave) if enclave.mrenclave is not None else repr(enclave)


def job_builder(
    *connections: Connection,
    enclave: EnclavePolicy | str,
    analyst: Identity | PublicIdentity | None = None,
) -> JobBuilder:
    """Build a job from the catalogue by clicks; the code that does the same is shown.

    Parameters
    ----------
    *connections
        To the owners' servers; by default all that this process has made as an analyst.
    enclave
        The program that may run the job: its MRENCLAVE, or what an `EnclavePolicy` pins.
    analyst
        Who asks; by default this user.

    Raises
    ------
    ConfigurationError
        No server is connected.
    """
    pinned = EnclavePolicy(mrenclave=enclave) if isinstance(enclave, str) else enclave
    return JobBuilder(Catalogue(analyst_connections(connections)), enclave=pinned, analyst=analyst)
