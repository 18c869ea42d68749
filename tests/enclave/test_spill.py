"""Rows that do not fit in memory: the same results, in files that tell and change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave._alignment import _partition, align, align_streams
from clf_enclave._spill import Chained, SpilledTable
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob, PolicyRefused, SealBroken, StorageFull
from clf_sdk.protocol import LEAST_MEMORY_BYTES, AlignNode
from clf_testing import MemoryStream, demand, joined, operate

SECRET = "patient-4711-has-the-plague"
ROWS = pa.table({"k": range(500), "s": [f"{SECRET}-{n}" for n in range(500)]})


def all_rows(table: SpilledTable) -> pa.Table:
    return pa.Table.from_batches(table.batches())


def test_spilled_rows_come_back_as_often_as_they_are_read(tmp_path: Path) -> None:
    spilled = SpilledTable(ROWS, tmp_path)
    for _ in range(2):
        assert all_rows(spilled).to_pydict() == ROWS.to_pydict()
    assert spilled.rows == 500
    twice = Chained(spilled.schema, [spilled, spilled])
    assert twice.reader().read_all().num_rows == twice.rows == 1000
    spilled.delete()
    assert list(tmp_path.iterdir()) == []


def test_files_hold_no_plaintext(tmp_path: Path) -> None:
    SpilledTable(ROWS, tmp_path)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) > len(SECRET) * 500
    assert SECRET.encode() not in written
    assert b"plague" not in written


@pytest.mark.parametrize("attack", ["flip", "cut", "append", "delete", "swap", "roll back"])
def test_host_that_changes_a_file_is_found_out(
    tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clf_enclave._spill.SPILL_BYTES", 4096)
    spilled = SpilledTable(ROWS, tmp_path)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) > 2
    data = files[0].read_bytes()
    if attack == "flip":
        files[0].write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif attack == "cut":
        files[0].write_bytes(data[:-1])
    elif attack == "append":
        files[-1].write_bytes(files[-1].read_bytes()[::-1] + b"\0")
    elif attack == "delete":
        files[1].unlink()
    elif attack == "swap":
        files[0].write_bytes(files[1].read_bytes())
    else:  # the same rows, sealed by another run
        other = tmp_path / "other"
        other.mkdir()
        SpilledTable(ROWS, other)
        old = next(path for path in other.rglob(files[0].name) if path.is_file())
        files[0].write_bytes(old.read_bytes())
    with pytest.raises(SealBroken):
        all_rows(spilled)


def test_disk_that_is_gone_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StorageFull):
        SpilledTable(ROWS, tmp_path / "nowhere")


# -- joins in parts -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide even small tables."""
    monkeypatch.setattr(_partition, "_WORKING_SHARE", LEAST_MEMORY_BYTES // 1000)


def both_ways(
    tree: AlignNode,
    tables: Mapping[str, pa.Table],
    tmp_path: Path,
    entities: Mapping[str, str] | None = None,
) -> None:
    """Check that joining in parts is joining."""
    streams = {name: MemoryStream(table, 64) for name, table in tables.items()}
    options: dict[str, Any] = {"entities": entities or {}, "matches": True}
    with Workspace() as workspace:
        whole = align(workspace, tree, tables, **options)
        with Workspace() as other:
            parts = align_streams(
                other,
                tree,
                streams,
                folder=tmp_path,
                memory_limit_bytes=LEAST_MEMORY_BYTES,
                **options,
            )
            assert parts.data.streamed
            columns = list(whole.data.all_columns)
            order = [(name, "ascending") for name in columns]
            found = parts.data.table(columns).sort_by(order)
            assert found.equals(whole.data.table(columns).sort_by(order))
            assert found.num_rows == parts.data.rows
            assert parts.data.count_persons() == whole.data.count_persons()
            assert parts.persons == whole.persons


def _tables() -> dict[str, pa.Table]:
    rng = np.random.default_rng(3)
    keys = {name: rng.permutation(1000)[:700] for name in ("a", "b", "c")}
    return {
        "a": pa.table({"k": keys["a"], "x": rng.normal(size=700)}),
        "b": pa.table({"k": [f"{key:05d}" for key in keys["b"]], "y": rng.normal(size=700)}),
        "c": pa.table({"k": keys["c"].astype(float), "z": rng.integers(0, 9, 700).astype(str)}),
    }


def test_join_of_three_in_parts(tmp_path: Path) -> None:
    key = clf.align.key("k", read_as="number")
    both_ways(clf.align.join("a", "b", "c", on=key), _tables(), tmp_path)
    assert len(list(tmp_path.iterdir())) > 3  # the parts of the result


def test_left_join_with_duplicates_in_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    visits = pa.table({"p": rng.integers(0, 300, 900), "cost": rng.normal(size=900)})
    persons = pa.table({"k": [None, *range(299)], "age": range(300)})
    for rule in ("keep", clf.align.first("cost"), clf.align.aggregate({"cost": "max"})):
        member = clf.align.member("visits", columns="p", duplicates=rule)
        tree = clf.align.join("persons", member, on="k", how="left")
        both_ways(tree, {"persons": persons, "visits": visits}, tmp_path)
    with pytest.raises(InvalidJob, match="not unique"):
        both_ways(
            clf.align.join("persons", clf.align.member("visits", columns="p"), on="k"),
            {"persons": persons, "visits": visits},
            tmp_path,
        )


def test_mixture_and_entities_in_parts(tmp_path: Path) -> None:
    tables = {
        "north": pa.table({"k": range(400), "x": range(400)}),
        "south": pa.table({"k": range(400, 700), "x": range(300)}),
        "insurer": pa.table({"k": range(100, 600), "cost": [1.5] * 500}),
    }
    tree = clf.align.join(clf.align.union("north", "south", source="h"), "insurer", on="k")
    both_ways(tree, tables, tmp_path, {"insurer": "k"})


def test_union_is_not_stored_at_all(tmp_path: Path) -> None:
    tables = {"a": pa.table({"x": range(400)}), "b": pa.table({"x": range(300)})}
    both_ways(clf.align.union("a", "b"), tables, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_joins_inside_of_joins_must_fit_in_memory(tmp_path: Path) -> None:
    inner = clf.align.join("a", "b", on="k")
    with Workspace() as workspace, pytest.raises(InvalidJob, match="must fit in memory"):
        align_streams(
            workspace,
            clf.align.join(inner, "c", on="k"),
            {name: MemoryStream(table) for name, table in _tables().items()},
            entities={},
            matches=False,
            folder=tmp_path,
            memory_limit_bytes=LEAST_MEMORY_BYTES,
        )


def test_job_larger_than_memory_equals_the_job_in_memory() -> None:
    rng = np.random.default_rng(6)
    tables = {
        "a": pa.table({"id": range(600), "x": rng.normal(size=600)}),
        "b": pa.table({"id": range(100, 700), "y": rng.poisson(2.0, 600)}),
    }
    glm = clf.GLM(outcome="y", predictors=["x"], family="poisson")
    options: dict[str, Any] = {
        "align": joined(["a", "b"]),
        "prepare": [clf.prepare.filter("x > -1"), clf.prepare.standardise("x")],
        "match_report": True,
    }
    whole, parts = operate(glm, tables, **options), operate(glm, tables, streamed=True, **options)
    assert parts["match_report"] == whole["match_report"]
    found, expected = parts["coefficients"], whole["coefficients"]
    assert isinstance(found, pa.Table)
    assert isinstance(expected, pa.Table)
    np.testing.assert_allclose(found["coefficient"], expected["coefficient"], rtol=1e-10)
    with pytest.raises(PolicyRefused):
        operate(glm, tables, streamed=True, rules=[demand(smallest_group=501)], **options)


def test_database_writes_no_files_of_its_own_and_keeps_to_its_memory(tmp_path: Path) -> None:
    with Workspace(32 << 20) as workspace:
        with pytest.raises(InvalidJob, match="more memory than it may use"):
            workspace.table("SELECT range AS c1, hash(range) AS c2 FROM range(20000000)")
        for setting in ("memory_limit = '8GB'", "temp_directory = '/tmp'", "threads = 8"):
            with pytest.raises(InvalidJob):
                workspace.execute(f"SET {setting}")
    assert list(tmp_path.iterdir()) == []
