"""Make one table of all inputs (docs/protocol.md §3.4)."""

from clf_enclave._alignment._report import MATCH_REPORT, match_report
from clf_enclave._alignment._tree import Aligned, align

__all__ = ["MATCH_REPORT", "Aligned", "align", "match_report"]
