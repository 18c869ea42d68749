"""What an operation is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure
from clf_sdk.operations import Parameters

P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True)
class Context(Generic[P]):
    """One call of an operation.

    Attributes
    ----------
    parameters
        The operation's parameters, checked.
    data
        The aligned and prepared table.
    disclosure
        The tightest rules of all owners; what it refuses ends the job.
    secret
        32 bytes that follow from the keys of all owners and the run, and that nobody knows
        outside: the source of all randomness, so that a repeated run gives the same result.
    beside
        Inputs that are not aligned, by name.
    rehearsal
        Whether this is a dry run on mock data, in a process of the analyst's.
    """

    parameters: P
    data: AlignedData
    disclosure: Disclosure
    secret: bytes = field(repr=False)
    beside: Mapping[str, pa.Table] = field(default_factory=dict, repr=False)
    rehearsal: bool = False

    def generator(self) -> np.random.Generator:
        """Return random numbers that are the same in a repeated run."""
        return np.random.default_rng(list(self.secret))
