"""Row filters: conditions on a table's columns, checked node by node (docs/protocol.md §11.4)."""

from typing import TYPE_CHECKING, Any

from clf_sdk.filters._row_filter import MOST_CHARACTERS, RowFilter

if TYPE_CHECKING:
    from clf_sdk.filters._evaluate import FilterRun

__all__ = ["MOST_CHARACTERS", "FilterRun", "RowFilter"]


def __getattr__(name: str) -> Any:
    # Only who runs filters needs DuckDB.
    if name != "FilterRun":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clf_sdk.filters._evaluate import FilterRun  # noqa: PLC0415 - see above

    return FilterRun
