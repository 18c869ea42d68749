"""What a scenario of the demonstration is made of."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from clf_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

    from clf_sdk._result import Output
    from clf_sdk.operations import Parameters
    from clf_sdk.protocol import AlignNode

BAR = 40


@dataclass(frozen=True)
class Scenario:
    """Who owns what, and what is computed on all of it.

    Attributes
    ----------
    name, title, purpose
        Of the job, and of the page.
    tables
        By owner, the name of its table and the table.
    operation
        What is computed.
    reviewer
        The owner who looks at results first.
    joint
        Returns the numbers that matter from a run's outputs.
    reference
        Finds the same numbers where one party sees everything.
    page
        Returns the lines that show the outputs, beside the reference.
    on, align
        How the tables are aligned.
    smallest_group
        Of all owners' policies.
    """

    name: str
    title: str
    purpose: str
    tables: Mapping[str, tuple[str, pd.DataFrame]]
    operation: Parameters
    reviewer: str
    joint: Callable[[Mapping[str, Output]], dict[str, float]]
    reference: Callable[[], dict[str, float]]
    page: Callable[[Mapping[str, Output], Mapping[str, float]], list[str]]
    on: str | None = None
    align: AlignNode | None = None
    smallest_group: int = field(default=10)


def load(module: str) -> Any:
    """Import a module that only the demonstration needs.

    Raises
    ------
    ConfigurationError
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the demonstration needs {error.name}", hint="pip install 'clf-sdk[demo]'"
        ) from error


def rows_of(outputs: Mapping[str, Output], name: str) -> list[dict[str, Any]]:
    """Return the rows of an output; of a document, itself."""
    found = outputs[name]
    rows: list[dict[str, Any]] = found.to_pylist() if isinstance(found, pa.Table) else [found]
    return rows


def coefficients_of(outputs: Mapping[str, Output]) -> dict[str, float]:
    """Return the coefficients by term."""
    return {row["term"]: row["coefficient"] for row in rows_of(outputs, "coefficients")}


def table_of_coefficients(
    outputs: Mapping[str, Output], reference: Mapping[str, float]
) -> list[str]:
    """Return a table of joint and pooled coefficients, with errors where there are any."""
    rows = rows_of(outputs, "coefficients")
    width = max(10, *(len(row["term"]) for row in rows)) + 2
    inference = "std_error" in rows[0]
    more = f"{'std error':>11}{'z':>9}{'p':>8}   95 % interval" if inference else ""
    lines = [f"  {'term':<{width}}{'joint':>10}{'pooled':>10}{more}"]
    for row in rows:
        line = f"  {row['term']:<{width}}{row['coefficient']:>10.4f}{reference[row['term']]:>10.4f}"
        if inference:
            line += (
                f"{row['std_error']:>11.4f}{row['z']:>9.2f}{row['p']:>8.3f}"
                f"   [{row['ci_low']:.4f}, {row['ci_high']:.4f}]"
            )
        lines.append(line)
    return lines


def bar(share: float) -> str:
    """Return a share as a bar."""
    return "█" * round(share * BAR) + "·" * (BAR - round(share * BAR))
