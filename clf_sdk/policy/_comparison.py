"""What changes when one policy takes the place of another: rule by rule tighter, wider or equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from clf_sdk._cards import grid
from clf_sdk.policy._words import in_words

if TYPE_CHECKING:
    import pandas as pd

    from clf_sdk.attestation import EnclavePolicy
    from clf_sdk.policy._policy import Policy
    from clf_sdk.protocol import Dominance

Change: TypeAlias = Literal["equal", "tighter", "wider"]
"""``wider``: something becomes allowed that was not, whatever else is not allowed any more."""


@dataclass(frozen=True)
class RuleChange:
    """What becomes of one rule.

    Attributes
    ----------
    rule
        Name of the rule: a field of the policy.
    change
        ``"equal"``, ``"tighter"`` or ``"wider"``.
    before, after
        The rule in words.
    """

    rule: str
    change: Change
    before: str
    after: str


@dataclass(frozen=True, repr=False)
class Comparison:
    """What changes from one policy to another, from `Policy.compare`.

    Attributes
    ----------
    changes
        One for each rule, in the policy's order.
    """

    changes: tuple[RuleChange, ...]

    @property
    def wider(self) -> tuple[str, ...]:
        """Rules that allow something that they did not allow before."""
        return tuple(entry.rule for entry in self.changes if entry.change == "wider")

    @property
    def tighter(self) -> tuple[str, ...]:
        """Rules that allow less than before, and nothing new."""
        return tuple(entry.rule for entry in self.changes if entry.change == "tighter")

    def __repr__(self) -> str:
        parts = [
            f"{change}: {', '.join(rules)}"
            for change, rules in (("wider", self.wider), ("tighter", self.tighter))
            if rules
        ]
        return f"Comparison({'; '.join(parts) or 'equal'})"

    def __str__(self) -> str:
        width = max(len(entry.rule) for entry in self.changes)
        return "\n".join(
            f"{entry.change:<8} {entry.rule:<{width}}  {entry.after}"
            + ("" if entry.change == "equal" else f" (was: {entry.before})")
            for entry in self.changes
        )

    def _repr_html_(self) -> str:
        rows = [(entry.rule, entry.change, entry.before, entry.after) for entry in self.changes]
        return grid(["rule", "change", "before", "after"], rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a rule, with ``rule``, ``change``, ``before`` and ``after``."""
        import pandas as pd  # noqa: PLC0415 - only this method needs pandas

        columns = ["rule", "change", "before", "after"]
        return pd.DataFrame([vars(entry) for entry in self.changes], columns=columns)


def _allowed_set(before: frozenset[Any] | None, after: frozenset[Any] | None) -> Change:
    """Compare what may be; None is everything."""
    if before == after:
        return "equal"
    if before is None or (after is not None and after < before):
        return "tighter"
    return "wider"


def _demanded_set(before: frozenset[Any], after: frozenset[Any]) -> Change:
    """Compare what must hold: all of it."""
    if before == after:
        return "equal"
    return "tighter" if after > before else "wider"


def _most(before: int | None, after: int | None) -> Change:
    """Compare upper limits; None is no limit."""
    if before == after:
        return "equal"
    return "tighter" if before is None or (after is not None and after < before) else "wider"


def _least(before: int | None, after: int | None) -> Change:
    """Compare lower limits; None is no limit."""
    if before == after:
        return "equal"
    return "tighter" if before is None or (after is not None and after > before) else "wider"


def _pinned(before: Any, after: Any) -> Change:
    """Compare values that must be equal; None pins nothing."""
    if before == after:
        return "equal"
    return "tighter" if before is None else "wider"


def _dominances(before: Dominance | None, after: Dominance | None) -> Change:
    """Compare (n, k) rules: more people looked at, or less that they may make up, is tighter."""
    if before == after:
        return "equal"
    if before is None:
        return "tighter"
    if after is None or after.largest < before.largest or after.percent > before.percent:
        return "wider"
    return "tighter"


def _multiples(before: int, after: int) -> Change:
    """Compare roundings: a multiple of what was is coarser."""
    if before == after:
        return "equal"
    return "wider" if after % before else "tighter"


def _ordered(before: str, after: str) -> Change:
    """Compare what becomes of results that are too close to earlier ones."""
    if before == after:
        return "equal"
    stricter = ("off", "review", "refuse")
    return "tighter" if stricter.index(after) > stricter.index(before) else "wider"


def _budgets(before: float | None, after: float | None) -> Change:
    """Compare privacy budgets; None gives nothing out."""
    if before == after:
        return "equal"
    return "wider" if after is not None and after > (before or 0) else "tighter"


def _either(before: str, after: str, *, tight: str) -> Change:
    if before == after:
        return "equal"
    return "tighter" if after == tight else "wider"


def _enclaves(before: EnclavePolicy, after: EnclavePolicy) -> Change:
    parts = {
        _pinned(before.mrenclave, after.mrenclave),
        _pinned(before.mrsigner, after.mrsigner),
        _pinned(before.isv_prod_id, after.isv_prod_id),
        _least(before.min_isv_svn, after.min_isv_svn),
        _allowed_set(before.tcb_statuses, after.tcb_statuses),
        _demanded_set(before.refused_advisories, after.refused_advisories),
        _allowed_set(before.fmspcs, after.fmspcs),
        _allowed_set(before.ppids, after.ppids),
        _most(before.max_collateral_age_days, after.max_collateral_age_days),
    }
    if "wider" in parts:
        return "wider"
    return "tighter" if "tighter" in parts else "equal"


def _conditions(policy: Policy) -> frozenset[str]:
    row_filter = policy.row_filter
    return frozenset() if row_filter is None else row_filter.conjuncts


def _seconds(policy: Policy) -> int | None:
    return None if policy.expires is None else int(policy.expires.timestamp())


_COMPARED: dict[str, Callable[[Policy, Policy], Change]] = {
    "enclave": lambda old, new: _enclaves(old.enclave, new.enclave),
    "analysts": lambda old, new: _allowed_set(old.analysts, new.analysts),
    "operations": lambda old, new: _allowed_set(old.operations, new.operations),
    "jobs": lambda old, new: _allowed_set(old.jobs, new.jobs),
    "columns": lambda old, new: _allowed_set(old.columns, new.columns),
    # Conditions that AND joins are compared as texts: one more lets fewer rows out, any other
    # change may let new ones out.
    "rows": lambda old, new: _demanded_set(_conditions(old), _conditions(new)),
    "runs": lambda old, new: _most(old.runs, new.runs),
    "expires": lambda old, new: _most(_seconds(old), _seconds(new)),
    "smallest_group": lambda old, new: _least(old.smallest_group, new.smallest_group),
    "entity": lambda old, new: _pinned(old.entity, new.entity),
    "dominance": lambda old, new: _dominances(old.dominance, new.dominance),
    "round_counts": lambda old, new: _multiples(old.round_counts, new.round_counts),
    "output_rows": lambda old, new: _most(old.output_rows, new.output_rows),
    "output_bytes": lambda old, new: _most(old.output_bytes, new.output_bytes),
    "differencing": lambda old, new: _ordered(old.differencing, new.differencing),
    "privacy_budget": lambda old, new: _budgets(old.privacy_budget, new.privacy_budget),
    "row_level": lambda old, new: _allowed_set(old.row_level, new.row_level),
    "release": lambda old, new: _either(old.release, new.release, tight="review"),
    "approval": lambda old, new: _either(old.approval, new.approval, tight="ask"),
}


def compare_policies(before: Policy, after: Policy) -> Comparison:
    """Compare two policies rule by rule."""
    old, new = in_words(before), in_words(after)
    return Comparison(
        tuple(
            RuleChange(rule, compare(before, after), old[rule], new[rule])
            for rule, compare in _COMPARED.items()
        )
    )
