"""The documents that cross a wire, and the canonical JSON they are hashed in."""

from clf_sdk.protocol._canonical import Json, canonical_json, digest, parse_json

__all__ = ["Json", "canonical_json", "digest", "parse_json"]
