"""Expressions over columns: SQL that was parsed and compiled node by node (protocol.md §3.5)."""

from clf_sdk.expressions._compile import Compiled, Source
from clf_sdk.expressions._expression import Expression
from clf_sdk.expressions._kinds import Kind, kind_of_type
from clf_sdk.expressions._query import GroupQuery, Measure

__all__ = [
    "Compiled",
    "Expression",
    "GroupQuery",
    "Kind",
    "Measure",
    "Source",
    "kind_of_type",
]
