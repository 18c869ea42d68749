"""Make one table of all inputs (docs/protocol.md §3.4)."""

from clf_enclave._alignment._partition import align_streams
from clf_enclave._alignment._report import MATCH_REPORT, match_report
from clf_enclave._alignment._tree import Aligned, Input, align, count_rows

__all__ = [
    "MATCH_REPORT",
    "Aligned",
    "Input",
    "align",
    "align_streams",
    "count_rows",
    "match_report",
]
