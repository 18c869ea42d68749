"""The audit log: its Merkle tree, its signed checkpoints, and their verification.

`verify_export` and `verify_proof` need nothing but a file. `Connection.audit` and ``clf audit``
look at a server.
"""

from clf_sdk.audit._checkpoint import Checkpoint
from clf_sdk.audit._export import VerifiedLog, verify_export
from clf_sdk.audit._merkle import (
    Frontier,
    Node,
    Range,
    consistency_ranges,
    fold,
    inclusion_ranges,
    leaf_hash,
    subtrees,
    verify_consistency,
    verify_inclusion,
)
from clf_sdk.audit._proof import VerifiedEntry, is_proof, verify_proof
from clf_sdk.audit._remote import RemoteLog

__all__ = [
    "Checkpoint",
    "Frontier",
    "Node",
    "Range",
    "RemoteLog",
    "VerifiedEntry",
    "VerifiedLog",
    "consistency_ranges",
    "fold",
    "inclusion_ranges",
    "is_proof",
    "leaf_hash",
    "subtrees",
    "verify_consistency",
    "verify_export",
    "verify_inclusion",
    "verify_proof",
]
