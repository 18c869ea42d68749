"""Whether the objects of a version are those that its manifest names."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from blake3 import blake3

from clf_sdk.errors import Malformed, NotFound, SealBroken
from clf_sdk.sealed import Manifest, RowGroup
from clf_server._metadata import Version
from clf_server._state import ServerState
from clf_server._vault import DOCUMENT_NAME, MANIFEST_NAME, Vault

_PATIENCE_SECONDS = 60
"""Clients wait for twice as long before they give up."""


def check_objects(manifest: Manifest, sizes: Mapping[str, int]) -> None:
    """Check that there are exactly the row groups of a manifest, in their lengths.

    Raises
    ------
    Malformed
        Some are missing, too many, or cut.
    """
    expected = {str(number): group.bytes for number, group in enumerate(manifest.row_groups)}
    beside = (MANIFEST_NAME, DOCUMENT_NAME)
    found = {name: size for name, size in sizes.items() if name not in beside}
    if found != expected:
        raise Malformed(
            "the objects of the upload are not those that its manifest names",
            hint="some are missing, too many, or cut; share the table again",
        )


def is_whole(state: ServerState, vault: Vault, version: Version) -> bool:
    """Tell whether all objects of a version are here and unchanged; no if that takes too long.

    Raises
    ------
    StorageUnavailable
        The store does not answer.
    """
    ends_at = state.monotonic() + _PATIENCE_SECONDS
    try:
        manifest = vault.read_manifest(version)
        check_objects(manifest, state.objects.sizes(version.version_id))
        vault.mock(version)
        for number, group in enumerate(manifest.row_groups):
            data = state.objects.read_range(version.version_id, str(number), 0, group.bytes)
            if state.monotonic() > ends_at or not _is_group(group, memoryview(data)):
                return False
    except (NotFound, SealBroken, Malformed):
        return False
    return True


def _is_group(group: RowGroup, data: memoryview) -> bool:
    start = 0
    for length, digest in group.segments:
        segment = data[start : start + length]
        if not hmac.compare_digest(blake3(segment).hexdigest(), digest):
            return False
        start += length
    return True
