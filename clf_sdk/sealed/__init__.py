"""Sealed tables: Arrow data encrypted per column and row group (docs/protocol.md §4)."""

from clf_sdk.sealed._batch import normalise_batch
from clf_sdk.sealed._bytes import (
    FILE_COLUMN,
    FILE_GROUP_BYTES,
    FILE_SCHEMA,
    file_record_batches,
    is_file,
)
from clf_sdk.sealed._cipher import open_blob
from clf_sdk.sealed._content import ContentDigest, content_tag
from clf_sdk.sealed._document import open_document, seal_document
from clf_sdk.sealed._input import TARGET_BYTES, RecordBatches, as_record_batches
from clf_sdk.sealed._manifest import Manifest, RowGroup, open_manifest
from clf_sdk.sealed._reader import (
    FetchRange,
    RowGroupReader,
    SegmentPart,
    iter_batches,
    open_table,
)
from clf_sdk.sealed._schema import describe_schema, normalise_schema
from clf_sdk.sealed._writer import SealedManifest, TableSealer

__all__ = [
    "FILE_COLUMN",
    "FILE_GROUP_BYTES",
    "FILE_SCHEMA",
    "TARGET_BYTES",
    "ContentDigest",
    "FetchRange",
    "Manifest",
    "RecordBatches",
    "RowGroup",
    "RowGroupReader",
    "SealedManifest",
    "SegmentPart",
    "TableSealer",
    "as_record_batches",
    "content_tag",
    "describe_schema",
    "file_record_batches",
    "is_file",
    "iter_batches",
    "normalise_batch",
    "normalise_schema",
    "open_blob",
    "open_document",
    "open_manifest",
    "open_table",
    "seal_document",
]
