"""Receipts: how a run's outputs came about, for anyone to verify (docs/protocol.md §10.1)."""

from clf_sdk.receipt._compare import Comparison, Difference, compare_receipts
from clf_sdk.receipt._consistency import check_receipt
from clf_sdk.receipt._disclosure_words import output_in_words
from clf_sdk.receipt._signed import MOST_RECEIPT_BYTES, SignedReceipt
from clf_sdk.receipt._text import as_text, describe
from clf_sdk.receipt._verified import VerifiedOwner, VerifiedReceipt
from clf_sdk.receipt._verify import verify

__all__ = [
    "MOST_RECEIPT_BYTES",
    "Comparison",
    "Difference",
    "SignedReceipt",
    "VerifiedOwner",
    "VerifiedReceipt",
    "as_text",
    "check_receipt",
    "compare_receipts",
    "describe",
    "output_in_words",
    "verify",
]
