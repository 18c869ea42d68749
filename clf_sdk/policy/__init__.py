"""Policies: the owner's rules for a table, and the functions that decide by them."""

from clf_sdk.policy._comparison import Comparison, RuleChange
from clf_sdk.policy._document import PolicyDocument, Release
from clf_sdk.policy._explanation import Explanation
from clf_sdk.policy._policy import Policy, identity_id
from clf_sdk.policy._rules import RULES, AccessRequest, Rule, Verdict, decide, enforce

__all__ = [
    "RULES",
    "AccessRequest",
    "Comparison",
    "Explanation",
    "Policy",
    "PolicyDocument",
    "Release",
    "Rule",
    "RuleChange",
    "Verdict",
    "decide",
    "enforce",
    "identity_id",
]
