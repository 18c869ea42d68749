from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clf_sdk.errors import InvalidInput
from clf_sdk.sealed import FILE_GROUP_BYTES, FILE_SCHEMA, file_record_batches, is_file


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - no secret


@pytest.mark.parametrize("size", [0, 1, FILE_GROUP_BYTES, FILE_GROUP_BYTES + 1])
def test_a_file_is_a_table_of_its_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "report.bin"
    path.write_bytes(content(size))
    for source in (path, str(path), content(size), bytearray(content(size))):
        batches = file_record_batches(source)
        assert batches.schema == FILE_SCHEMA
        groups = list(batches)
        assert [len(group) for group in groups[:-1]] == [FILE_GROUP_BYTES] * (len(groups) - 1)
        assert b"".join(group["bytes"].to_numpy().tobytes() for group in groups) == content(size)


def test_memory_is_one_row_group(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # 1 TiB, none of it on the disk
    batches = iter(file_record_batches(path))
    before = pa.total_allocated_bytes()
    for _ in range(5):
        assert len(next(batches)) == FILE_GROUP_BYTES
    assert pa.total_allocated_bytes() - before <= FILE_GROUP_BYTES


@pytest.mark.parametrize(
    ("columns", "answer"),
    [
        ([("bytes", "uint8", False)], True),
        ([("bytes", "uint8", True)], False),
        ([("bytes", "int8", False)], False),
        ([("byte", "uint8", False)], False),
        ([("bytes", "uint8", False), ("more", "uint8", False)], False),
        ([], False),
    ],
)
def test_only_one_column_of_bytes_is_a_file(
    columns: list[tuple[str, str, bool]],
    answer: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert is_file(columns) is answer


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for source, words in [
        (tmp_path / "missing", "there is no file"),
        (tmp_path, "not an ordinary file"),
        (pipe, "not an ordinary file"),
        (7, "a int is not a file"),
        (memoryview(bytes(8)).cast("B")[::2], "a memoryview is not a file"),
    ]:
        with pytest.raises(InvalidInput, match=words):
            file_record_batches(source)


def test_a_file_that_ends_meanwhile_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "report.bin"
    path.write_bytes(b"x")
    batches = file_record_batches(path)

    def fail(*_: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(InvalidInput, match=r"report\.bin can't be read: Input/output error"):
        list(batches)
