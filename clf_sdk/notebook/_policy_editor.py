"""``policy_editor()``: an owner's rules for one table, by hand."""

from __future__ import annotations

import datetime as dt
import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from clf_sdk._cards import grid, text
from clf_sdk.attestation import EnclavePolicy
from clf_sdk.errors import ClfError, ConfigurationError
from clf_sdk.notebook._sensitivity import Hint, sensitivity_hint
from clf_sdk.notebook._view import View, error_html
from clf_sdk.policy import Policy
from clf_sdk.sealed import as_record_batches

if TYPE_CHECKING:
    import ipywidgets

_GROUPS = (1, 200)
_RUNS = (1, 100)


class PolicyEditor(View):
    """Rules for one table, from `policy_editor`; `policy` is what they say now.

    Attributes
    ----------
    schema
        Names and types of the table's columns.
    hints
        How sensitive each column may be.
    """

    def __init__(
        self,
        schema: pa.Schema,
        hints: dict[str, Hint],
        *,
        policy: Policy,
        operations: Sequence[str],
    ) -> None:
        self.schema = schema
        self.hints = hints
        self._policy: Policy | None = policy
        self._enclave = policy.enclave
        self._last = policy
        self._operations = tuple(operations)

    def __repr__(self) -> str:
        allowed = len(self.schema) if self._last.columns is None else len(self._last.columns)
        return f"PolicyEditor({allowed} of {len(self.schema)} columns; {self._last!r})"

    @property
    def policy(self) -> Policy:
        """The policy as it is edited.

        Raises
        ------
        ConfigurationError, InvalidFilter
            What stands in the widget makes no policy.
        """
        if self._policy is None:
            self._policy = self._read()
        return self._policy

    def _lines(self) -> list[str]:
        policy = self._last
        width = max((len(name) for name in self.schema.names), default=0)
        lines = [repr(self), "", "columns"]
        for field in self.schema:
            leaves = "leaves" if _leaves(policy, field.name) else "stays"
            lines.append(f"  {field.name:<{width}}  {leaves:<6}  {field.type}  {self._hint(field)}")
        return [*lines, "", *str(policy).split("\n")]

    def _hint(self, field: pa.Field) -> str:
        return str(self.hints[field.name])

    def preview(self) -> list[tuple[str, str]]:
        """Return what analysts see of the table: columns and types, never a value."""
        return [(field.name, str(field.type)) for field in self.schema]

    def _build(self) -> ipywidgets.Widget:
        import ipywidgets as widgets  # noqa: PLC0415 - text needs none

        policy, wide = self._last, widgets.Layout(width="60em")
        self.columns = {
            field.name: widgets.Checkbox(
                value=_leaves(policy, field.name), description="", indent=False
            )
            for field in self.schema
        }
        lines = [
            widgets.HBox(
                [
                    self.columns[field.name],
                    widgets.HTML(f"<code>{text(field.name)}</code> {text(field.type)}"),
                    widgets.HTML(f"<em>{text(self._hint(field))}</em>"),
                ]
            )
            for field in self.schema
        ]
        chosen = sorted(policy.operations or ())
        self.operations = widgets.SelectMultiple(
            description="Operations",
            options=sorted({*self._operations, *chosen}),
            value=chosen,
        )
        low, high = _GROUPS
        self.smallest_group = widgets.IntSlider(
            description="Group ≥",
            min=low,
            max=max(high, policy.smallest_group),
            value=policy.smallest_group,
        )
        low, high = _RUNS
        self.runs = widgets.IntSlider(
            description="Runs", min=low, max=max(high, policy.runs), value=policy.runs
        )
        expires = None if policy.expires is None else policy.expires.date()
        self.expires = widgets.DatePicker(description="Last day", value=expires)
        self.release = widgets.ToggleButtons(
            description="Release", options=["at_once", "review"], value=policy.release
        )
        self.approval = widgets.ToggleButtons(
            description="Approval", options=["ask", "automatic"], value=policy.approval
        )
        self.rows = widgets.Text(
            description="Rows",
            value=policy.rows or "",
            placeholder="all, or a condition such as age >= 18",
            continuous_update=False,
            layout=wide,
        )
        self.document = widgets.HTML()
        seen = "<div><strong>What analysts see</strong>: these names and types, no value</div>"
        self.seen = widgets.HTML(seen + grid(["column", "type"], self.preview()))
        limits = [
            self.operations,
            self.smallest_group,
            self.runs,
            self.expires,
            self.release,
            self.approval,
            self.rows,
        ]
        for control in [*self.columns.values(), *limits]:
            control.observe(self._changed, names="value")
        self._changed()
        tabs = widgets.Tab([widgets.VBox(lines), widgets.VBox(limits), self.document, self.seen])
        tabs.titles = ("Columns that leave", "Limits", "Policy as JSON", "What analysts see")
        return widgets.VBox([tabs, self.message])

    def _read(self) -> Policy:
        allowed = [name for name, box in self.columns.items() if box.value]
        everything = len(allowed) == len(self.schema)
        last = self.expires.value
        end = None
        if last is not None:
            end = dt.datetime.combine(last, dt.time(), dt.UTC) + dt.timedelta(days=1)
        policy = Policy(
            enclave=self._enclave,
            operations=list(self.operations.value),
            jobs=self._last.jobs,
            analysts=self._last.analysts,
            columns=None if everything and self._last.columns is None else allowed,
            rows=str(self.rows.value).strip() or None,
            runs=self.runs.value,
            expires=end,
            smallest_group=self.smallest_group.value,
            entity=self._last.entity,
            dominance=self._last.dominance,
            round_counts=self._last.round_counts,
            output_rows=self._last.output_rows,
            output_bytes=self._last.output_bytes,
            differencing=self._last.differencing,
            privacy_budget=self._last.privacy_budget,
            row_level=self._last.row_level,
            release=self.release.value,
            approval=self.approval.value,
        )
        policy.check_table(self.schema)
        return policy

    def _changed(self, _: Any = None) -> None:
        self._policy = None
        try:
            self._policy = self._last = self._read()
        except ClfError as error:
            self.message.value = error_html(error)
            return
        self.message.value = ""
        document = json.dumps(self._policy.to_json(), indent=2, ensure_ascii=True)
        self.document.value = f"<pre>{html.escape(document)}</pre>{self._policy._repr_html_()}"


def _leaves(policy: Policy, column: str) -> bool:
    return policy.columns is None or column in policy.columns


def policy_editor(
    frame: Any,
    *,
    enclave: EnclavePolicy | None = None,
    policy: Policy | None = None,
    operations: Sequence[str] = ("glm",),
) -> PolicyEditor:
    """Edit the rules for a table with checkboxes, sliders and dates; `share` takes the result.

    Columns that look as if they identify people do not leave, unless they are ticked.

    Parameters
    ----------
    frame
        What is to be shared: a data frame, an Arrow table, or a path. It stays in this process.
    enclave
        The program that may use the table.
    policy
        Where to begin; by default the strict defaults for ``operations``.
    operations
        Operations that may be chosen.

    Raises
    ------
    ConfigurationError
        Neither a program nor a policy was given.
    UnsupportedColumn
        A column can't be shared.

    Examples
    --------
    >>> editor = clf.policy_editor(frame, enclave=program)  # doctest: +SKIP
    >>> clf.share(frame, name="health", policy=editor.policy)  # doctest: +SKIP
    """
    if policy is None and enclave is None:
        raise ConfigurationError(
            "a policy must pin a program", hint="give enclave=EnclavePolicy(mrenclave=…)"
        )
    batches = as_record_batches(frame, index=False)
    schema = batches.schema
    first = next(iter(batches), None)
    hints = {
        field.name: sensitivity_hint(
            field.name,
            pa.chunked_array([] if first is None else [first.column(field.name)], field.type),
        )
        for field in schema
    }
    if policy is None:
        assert enclave is not None  # noqa: S101 - checked above
        allowed = [name for name, hint in hints.items() if hint.level != "identifies"]
        columns = allowed if allowed and len(allowed) < len(schema) else None
        policy = Policy(enclave=enclave, operations=operations, columns=columns)
    policy.check_table(schema)
    return PolicyEditor(schema, hints, policy=policy, operations=operations)
