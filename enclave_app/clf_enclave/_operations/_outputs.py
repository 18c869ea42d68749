"""What an operation returns."""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa

Output: TypeAlias = "pa.Table | dict[str, Any]"
"""A table, or a document: a JSON object."""
