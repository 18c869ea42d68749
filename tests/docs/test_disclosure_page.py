"""The worked examples of the page on disclosure come out as it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clf_enclave._disclosure import Disclosure
from clf_sdk.errors import PolicyRefused
from clf_sdk.operations import Aggregate
from clf_sdk.protocol import Dominance, GrantedInput
from clf_testing import demand, operate

PAGE = (Path(__file__).parents[2] / "docs" / "disclosure.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


def ask(
    rows: dict[str, list[Any]],
    sql: str,
    *,
    dominance: tuple[int, int] | None = None,
    entity: str | None = None,
    **rules: Any,
) -> str:
    """Run one aggregate under rules, and show the table that comes out."""
    table = pa.table(rows)
    pairs = [] if dominance is None else [dominance]
    disclosure = Disclosure()
    granted = GrantedInput(
        name="data",
        table="data",
        version_id="00" * 16,
        version="00" * 32,
        source=None,
        columns=[name for name in table.schema.names if name != entity],
        entity=entity,
        epsilon_millionths=0,
        manifest_bytes=1,
    )
    demanded = [Dominance(largest=n, percent=k) for n, k in pairs]
    disclosure.add("00" * 32, demand(dominance=demanded, **rules), [granted])
    try:
        found = operate(Aggregate(sql=sql), table, disclosure=disclosure)["groups"]
    except PolicyRefused as error:
        return f"refused: {error.rule}"
    assert isinstance(found, pa.Table)
    if not found.num_rows:
        return "none"
    lines = [found.column_names, *(each.values() for each in found.to_pylist())]
    return "\n".join(" ".join("hidden" if x is None else str(x) for x in line) for line in lines)


def test_page_has_examples() -> None:
    assert len(EXAMPLES) >= 5
    assert PAGE.count("```python") == len(EXAMPLES)


@pytest.mark.parametrize(("code", "expected"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_comes_out_as_the_page_says(code: str, expected: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {"ask": ask})  # noqa: S102 - a page of this repository
    shown = [" ".join(line.split()) for line in printed.getvalue().splitlines()]
    assert shown == [" ".join(line.split()) for line in expected.splitlines()]
