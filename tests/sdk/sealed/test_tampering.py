"""must: no byte of a table version can be changed, cut, swapped or replayed unseen."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from blake3 import blake3
from cryptography.cobblestone import Cobblestone256Encryptor

from clf_sdk.errors import FormatTooNew, KeyNotGranted, Malformed, NotFound, SealBroken
from clf_sdk.protocol import canonical_json
from clf_sdk.sealed import Manifest, RowGroupReader, open_table
from clf_sdk.sealed._cipher import manifest_context
from clf_sdk.sealed._segment import segment_context

TABLE = pa.table({"a": [1, 2, 3, 4], "b": ["w", "x", "y", "z"], "c": [1.5, None, 2.5, 3.5]})


@pytest.fixture
def sealed(seal: Any) -> Any:
    return seal(TABLE, target_bytes=TABLE.nbytes // 2)


def test_every_single_byte_of_a_segment_counts(sealed: Any) -> None:
    reader, segment = sealed.reader(), sealed.segment(0, "b")
    for position in range(len(segment)):
        changed = bytearray(segment)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            reader.open(0, "b", changed)


def test_the_cipher_alone_also_sees_every_changed_byte(sealed: Any) -> None:
    """A manifest that names the changed bytes does not help."""
    segment = sealed.segment(0, "b")
    group = sealed.manifest.row_groups[0]
    for position in range(0, len(segment), 7):
        changed = bytearray(segment)
        changed[position] ^= 0x80
        entry = (len(changed), blake3(changed).hexdigest())
        forged = replace(group, segments=(group.segments[0], entry, group.segments[2]))
        manifest = replace(sealed.manifest, row_groups=(forged,))
        with pytest.raises(SealBroken):
            RowGroupReader(manifest, sealed.keys()).open(0, "b", changed)


@pytest.mark.parametrize("cut", [0, 1, 55, 56, 72, -1])
def test_a_cut_or_longer_segment_is_refused(cut: int, sealed: Any) -> None:
    segment = sealed.segment(0, "a")
    for wrong in (segment[:cut], segment + segment[: abs(cut) + 1]):
        with pytest.raises(SealBroken):
            sealed.reader().open(0, "a", wrong)
        group = sealed.manifest.row_groups[0]
        entry = (len(wrong), blake3(wrong).hexdigest())
        forged = replace(group, segments=(entry, *group.segments[1:]))
        reader = RowGroupReader(replace(sealed.manifest, row_groups=(forged,)), sealed.keys())
        with pytest.raises(SealBroken):
            reader.open(0, "a", wrong)


def test_a_segment_of_another_place_is_refused_even_if_the_manifest_names_it(
    sealed: Any, seal: Any
) -> None:
    elsewhere = {
        "column": sealed.segment(0, "c"),
        "row group": sealed.segment(1, "a"),
        "version": seal(TABLE, target_bytes=TABLE.nbytes // 2, version_id="cd" * 16).segment(
            0, "a"
        ),
        "table": seal(TABLE, target_bytes=TABLE.nbytes // 2, table="other").segment(0, "a"),
        "key": seal(TABLE, target_bytes=TABLE.nbytes // 2, table_key=b"o" * 32).segment(0, "a"),
    }
    for segment in elsewhere.values():
        with pytest.raises(SealBroken):
            sealed.reader().open(0, "a", segment)
        group = sealed.manifest.row_groups[0]
        entry = (len(segment), blake3(segment).hexdigest())
        forged = replace(group, segments=(entry, *group.segments[1:]))
        manifest = replace(sealed.manifest, row_groups=(forged, *sealed.manifest.row_groups[1:]))
        with pytest.raises(SealBroken):
            RowGroupReader(manifest, sealed.keys()).open(0, "a", segment)


def test_an_owner_cannot_swap_bytes_beneath_a_version(sealed: Any, seal: Any) -> None:
    """The key holder can make a segment that opens, but not one that the version names."""
    other = seal(TABLE.set_column(0, "a", pa.array([9, 9, 9, 9])), target_bytes=TABLE.nbytes // 2)
    with pytest.raises(SealBroken):
        sealed.reader().open(0, "a", other.segment(0, "a"))


def test_swapped_row_groups_are_refused(sealed: Any) -> None:
    sealed.objects["0"], sealed.objects["1"] = sealed.objects["1"], sealed.objects["0"]
    with pytest.raises(SealBroken):
        sealed.open()
    groups = sealed.manifest.row_groups
    swapped = replace(sealed.manifest, row_groups=(groups[1], groups[0]))
    with pytest.raises(SealBroken):
        open_table(swapped, sealed.keys(), sealed.fetch)


def test_a_short_or_long_answer_of_the_carrier_is_refused(sealed: Any) -> None:
    manifest = sealed.open_manifest()

    def short(_: str, start: int, stop: int) -> bytes:
        return bytes(stop - start - 1)

    def long(_: str, start: int, stop: int) -> bytes:
        return bytes(stop - start + 1)

    for fetch in (short, long):
        with pytest.raises(SealBroken):
            open_table(manifest, sealed.keys(), fetch)


def test_every_byte_of_the_sealed_manifest_counts(sealed: Any) -> None:
    stored = sealed.sealed_manifest
    for position in range(0, len(stored), 3):
        changed = bytearray(stored)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            sealed.open_manifest(bytes(changed), expected_version=None)
    for wrong in (b"", stored[:-1], stored[:56], stored + b"\0"):
        with pytest.raises(SealBroken):
            sealed.open_manifest(wrong, expected_version=None)


@pytest.mark.parametrize(
    "changed",
    [
        {"table": "other"},
        {"version_id": "cd" * 16},
        {"manifest_key": b"o" * 32},
        {"expected_version": "0" * 64},
    ],
)
def test_a_manifest_opens_only_where_it_belongs(changed: dict[str, Any], sealed: Any) -> None:
    with pytest.raises(SealBroken):
        sealed.open_manifest(**changed)


def test_an_older_manifest_under_the_same_key_is_refused_as_a_replay(
    sealed: Any, seal: Any
) -> None:
    older = seal(TABLE.slice(0, 2))
    assert older.version != sealed.version
    with pytest.raises(SealBroken):
        sealed.open_manifest(older.sealed_manifest)


def _sealed(document: Any, sealed: Any) -> bytes:
    context = manifest_context(sealed.table, sealed.version_id)
    encryptor = Cobblestone256Encryptor(sealed.manifest_key, context)
    plaintext = document if isinstance(document, bytes) else canonical_json(document)
    return encryptor.update(plaintext) + encryptor.finalize()


def _set(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return change


def _metadata(document: Any) -> None:
    schema = TABLE.schema.with_metadata({"pandas": "{}"})
    document["schema"] = base64.b64encode(schema.serialize()).decode()


@pytest.mark.parametrize(
    "change",
    [
        _set("rows", value=5),
        _set("rows", value=True),
        _set("clf", value=0),
        _set("clf", value="1"),
        _set("type", value="segment"),
        _set("table", value=7),
        _set("extra", value=1),
        _set("schema", value="!"),
        _set("schema", value=""),
        _set("schema", value=base64.b64encode(b"\xff" * 64).decode()),
        _metadata,
        _set("columns", value=["a", "b"]),
        _set("columns", 0, value="z"),
        _set("row_groups", value={}),
        _set("row_groups", 0, value=[]),
        _set("row_groups", 0, "extra", value=1),
        _set("row_groups", 0, "rows", value=-1),
        _set("row_groups", 0, "rows", value=0),
        _set("row_groups", 0, "bytes", value=1),
        _set("row_groups", 0, "segments", value=[]),
        _set("row_groups", 0, "segments", 0, value=[1]),
        _set("row_groups", 0, "segments", 0, 0, value=-1),
        _set("row_groups", 0, "segments", 0, 1, value="AB" * 32),
        lambda document: document.pop("rows"),
        lambda document: document["row_groups"].pop(),
    ],
)
def test_a_manifest_that_contradicts_itself_is_malformed(
    change: Callable[[Any], None], sealed: Any
) -> None:
    document = sealed.manifest.to_json()
    change(document)
    with pytest.raises(Malformed):
        sealed.open_manifest(_sealed(document, sealed), expected_version=None)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b'{"clf":1,"clf":1}', b"\xff"])
def test_a_manifest_that_is_not_a_document_is_malformed(text: bytes, sealed: Any) -> None:
    with pytest.raises(Malformed):
        sealed.open_manifest(_sealed(text, sealed), expected_version=None)


def test_a_manifest_that_is_not_canonical_is_malformed(sealed: Any) -> None:
    spaced = sealed.manifest.canonical.replace(b":", b": ", 1)
    with pytest.raises(Malformed):
        sealed.open_manifest(_sealed(spaced, sealed), expected_version=None)


def test_a_manifest_of_a_later_version_is_too_new(sealed: Any) -> None:
    document = {**sealed.manifest.to_json(), "clf": 2, "novelty": True}
    with pytest.raises(FormatTooNew):
        sealed.open_manifest(_sealed(document, sealed), expected_version=None)


def test_a_manifest_naming_another_table_inside_is_refused(sealed: Any) -> None:
    document = {**sealed.manifest.to_json(), "table": "other"}
    with pytest.raises(SealBroken):
        sealed.open_manifest(_sealed(document, sealed), expected_version=None)


def test_a_manifest_document_comes_back_equal(sealed: Any) -> None:
    assert Manifest.from_json(sealed.manifest.to_json()) == sealed.manifest
    assert sealed.open_manifest() == sealed.manifest
    assert sealed.open_manifest().version == sealed.version
    assert "rows" in repr(sealed.manifest)


def test_column_limits_are_cryptographic(sealed: Any) -> None:
    """must: with the key of one column the others stay closed, whatever is asked."""
    manifest = sealed.open_manifest()
    assert open_table(manifest, sealed.keys(["b"]), sealed.fetch).column_names == ["b"]
    with pytest.raises(KeyNotGranted, match="'c'"):
        open_table(manifest, sealed.keys(["b"]), sealed.fetch, ["b", "c"])
    reader = RowGroupReader(manifest, sealed.keys(["b"]))
    assert reader.columns == ["b"]
    with pytest.raises(KeyNotGranted):
        reader.ranges(0, ["a"])
    with pytest.raises(KeyNotGranted):
        reader.open(0, "a", sealed.segment(0, "a"))
    with pytest.raises(NotFound):
        reader.open(0, "nope", b"")
    only_b = {"a": sealed.keys()["b"]}
    with pytest.raises(SealBroken):
        open_table(manifest, only_b, sealed.fetch)


def test_contexts_bind_table_version_column_and_row_group() -> None:
    assert segment_context("t", "ab" * 16, 'q"', 3) == (
        b'{"clf":1,"column":"q\\"","row_group":3,"table":"t","type":"segment","version":"'
        + b"ab" * 16
        + b'"}'
    )
