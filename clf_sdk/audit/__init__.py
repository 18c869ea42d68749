"""The audit log: its Merkle tree, its signed checkpoints, and offline verification."""

from clf_sdk.audit._checkpoint import Checkpoint
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

__all__ = [
    "Checkpoint",
    "Frontier",
    "Node",
    "Range",
    "consistency_ranges",
    "fold",
    "inclusion_ranges",
    "leaf_hash",
    "subtrees",
    "verify_consistency",
    "verify_inclusion",
]
