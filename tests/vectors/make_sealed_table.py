"""Write sealed_table.json. Ciphertexts differ at each run: each has a random salt."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pyarrow as pa

from clf_sdk.keys import derive_column_key, derive_manifest_key
from clf_sdk.sealed import TableSealer, as_record_batches
from clf_sdk.sealed._cipher import manifest_context
from clf_sdk.sealed._segment import (
    open_segment_into,
    segment_context,
    segment_plaintext_size,
)

TABLE = "plans"
VERSION_ID = "000102030405060708090a0b0c0d0e0f"
TABLE_KEY = bytes(range(32))
ROWS = {
    "person_id": pa.array([1, 2, 3], pa.int64()),
    "lncoins": pa.array([0.5, None, -1.25], pa.float64()),
    "größe": pa.array(["klein", None, "groß"]),
}


def b64(data: bytes | memoryview) -> str:
    return base64.b64encode(data).decode()


def make() -> dict[str, object]:
    """Seal a small table as two row groups and note every step."""
    table = pa.table(ROWS)
    sealer = TableSealer(
        table=TABLE, schema=table.schema, table_key=TABLE_KEY, version_id=VERSION_ID
    )
    batches = [
        batch for part in (table.slice(0, 2), table.slice(2)) for batch in as_record_batches(part)
    ]
    objects = [bytes(sealer.seal(number, batch)) for number, batch in enumerate(batches)]
    done = sealer.finish()
    segments = []
    for number, group in enumerate(done.manifest.row_groups):
        for position, column in enumerate(table.column_names):
            start, stop = group.offsets[position : position + 2]
            context = segment_context(TABLE, VERSION_ID, column, number)
            key = derive_column_key(TABLE_KEY, VERSION_ID, column)
            plaintext = memoryview(bytearray(segment_plaintext_size(stop - start)))
            open_segment_into(key, context, objects[number][start:stop], plaintext, what=column)
            segments.append(
                {
                    "row_group": number,
                    "column": column,
                    "column_key": key.hex(),
                    "context": context.decode(),
                    "offset": start,
                    "length": stop - start,
                    "blake3": group.segments[position][1],
                    "plaintext": b64(plaintext),
                    "values": batches[number].column(column).to_pylist(),
                }
            )
    return {
        "table": TABLE,
        "version_id": VERSION_ID,
        "table_key": TABLE_KEY.hex(),
        "manifest_key": derive_manifest_key(TABLE_KEY, VERSION_ID).hex(),
        "manifest_context": manifest_context(TABLE, VERSION_ID).decode(),
        "manifest_plaintext": done.manifest.canonical.decode(),
        "manifest_sealed": b64(done.sealed),
        "dataset_version": done.version,
        "objects": [b64(each) for each in objects],
        "segments": segments,
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("sealed_table.json")
    path.write_text(json.dumps(make(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
