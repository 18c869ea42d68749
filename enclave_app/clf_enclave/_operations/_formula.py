"""Model formulas: parsed by formulaic, never evaluated.

Only columns, ``0`` and ``1`` may stand in a formula. Formulaic would evaluate anything else as
Python, so nothing else reaches the part of it that evaluates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import formulaic
import pandas as pd
from formulaic.errors import FormulaicError
from formulaic.parser.types import Factor as ParsedFactor

from clf_enclave._operations._terms import Factor, Term
from clf_sdk.errors import InvalidJob

_HINT = "write it like visits ~ age * copay + region; derive other columns before"
_LITERALS = ("0", "1")
_MOST_TERMS = 1000


@dataclass(frozen=True)
class Formula:
    """A formula that consists of columns alone.

    Attributes
    ----------
    outcome
        Column on the left.
    columns
        Columns on the right, in order of appearance.
    """

    outcome: str
    columns: tuple[str, ...]
    _right: Any

    @classmethod
    def parse(cls, text: str) -> Formula:
        """Read a formula.

        Raises
        ------
        InvalidJob
            It is none, or has anything but columns and operators.
        """
        try:
            found = formulaic.Formula(text)
            left, right = list(found.lhs), list(found.rhs)
        except (
            FormulaicError,
            AttributeError,
            SyntaxError,
            TypeError,
            ValueError,
            RecursionError,
        ):
            raise InvalidJob("the formula can't be read", hint=_HINT) from None
        if not all(hasattr(term, "factors") for term in [*left, *right]):
            raise InvalidJob("the formula has more than two sides", hint=_HINT)
        outcome = _columns(left)
        if len(left) != 1 or len(outcome) != 1:
            raise InvalidJob("the formula needs one column on its left", hint=_HINT)
        columns = _columns(right)
        if not columns or outcome[0] in columns or len(right) > _MOST_TERMS:
            raise InvalidJob("the formula explains nothing, or a column by itself", hint=_HINT)
        return cls(outcome[0], tuple(columns), found.rhs)

    def terms(self, levels: Mapping[str, Sequence[str]]) -> list[Term]:
        """Return the terms, in which categories are coded so that none follows from others.

        Parameters
        ----------
        levels
            Categories of each column of texts; all others are numbers.
        """
        length = max([2, *map(len, levels.values())])
        # Which categories are left out follows from the terms alone: no row is needed.
        stand_in = pd.DataFrame(
            {
                name: pd.Categorical(
                    [levels[name][n % len(levels[name])] for n in range(length)],
                    categories=list(levels[name]),
                )
                if name in levels
                else [float(n) for n in range(length)]
                for name in self.columns
            }
        )
        made = self._right.get_model_matrix(stand_in, context={})
        terms = []
        for part in made.model_spec.structure:
            for scoped in part.scoped_terms:
                products: list[tuple[Factor, ...]] = [()]
                for each in scoped.factors:
                    name = each.factor.factor.expr
                    chosen = [Factor(name)]
                    if name in levels:
                        kept = levels[name][1:] if each.reduced else levels[name]
                        chosen = [Factor(name, level) for level in kept]
                    products = [(*done, factor) for done in products for factor in chosen]
                terms += [Term(factors) for factors in products]
        return terms


def _columns(terms: Sequence[Any]) -> list[str]:
    columns: dict[str, None] = {}
    for term in terms:
        for factor in term.factors:
            if factor.eval_method is ParsedFactor.EvalMethod.LOOKUP:
                columns.setdefault(factor.expr)
            elif factor.expr not in _LITERALS:
                raise InvalidJob("the formula has more than columns and operators", hint=_HINT)
    return list(columns)
