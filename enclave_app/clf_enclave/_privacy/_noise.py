"""Noise by OpenDP: the discrete Laplace mechanism on whole numbers, from its own generator.

Ghosh, Roughgarden, Sundararajan, *Universally utility-maximizing privacy mechanisms* (2009);
sampled exactly, after Canonne, Kamath, Steinke, *The discrete Gaussian for differential privacy*
(2020). Sums of whole numbers are exact, so what one person changes is exact, too: there is no
rounding of doubles to account for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from opendp import domains, measurements, metrics
from opendp.mod import enable_features

enable_features("contrib")  # the discrete Laplace mechanism counts as contributed

LIBRARY = f"opendp {version('opendp')}"
MECHANISM = "discrete Laplace"
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Noise:
    """Noise for numbers that one person changes by so much at most.

    Attributes
    ----------
    sensitivity
        Most that the numbers change together, as whole numbers, when one person comes or goes.
    epsilon
        What the privacy map of the mechanism must not exceed.
    """

    sensitivity: int
    epsilon: float

    @cached_property
    def scale(self) -> float:
        """Scale of the noise: the smallest one whose privacy map is within epsilon."""
        scale = self.sensitivity / self.epsilon
        while self._with_scale(scale).map(self.sensitivity) > self.epsilon:
            scale = math.nextafter(scale, math.inf)
        return scale

    @property
    def measurement(self) -> Any:
        """OpenDP's measurement of a vector of whole numbers, in L1 distance."""
        return self._with_scale(self.scale)

    @staticmethod
    def _with_scale(scale: float) -> Any:
        space = domains.vector_domain(domains.atom_domain(T="i64")), metrics.l1_distance(T="i64")
        return measurements.make_laplace(*space, scale=scale)

    def add(self, numbers: Sequence[int]) -> list[int]:
        """Return numbers with noise.

        Numbers beyond 64 bits are moved to the last one first, which brings none farther apart.
        """
        exact = [max(-_LARGEST, min(_LARGEST, number)) for number in numbers]
        noised: list[int] = self.measurement(exact)
        return noised
