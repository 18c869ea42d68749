"""The tables of the demonstration: the same people at a clinic and at a hospital, all invented."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

ROWS = 400


def make_people(seed: str) -> dict[str, pd.DataFrame]:
    """Return each owner's table, by owner; the same seed gives the same people."""
    rng = np.random.default_rng(int(seed, 16))
    ids = [f"person-{value:016x}" for value in rng.integers(1 << 62, 1 << 63, ROWS)]
    pressure, age = rng.normal(130, 15, ROWS), rng.uniform(18, 90, ROWS)
    cost = 20 + 0.5 * pressure + 1.5 * age + rng.normal(0, 10, ROWS)
    return {
        "clinic": pd.DataFrame({"person": ids, "pressure": pressure, "age": age}),
        "hospital": pd.DataFrame({"person": ids, "cost": cost}).sample(frac=1, random_state=1),
    }


def table_of(owner: str) -> pd.DataFrame:
    """Return the table of one owner, who has no other one."""
    return make_people(os.environ["CLF_DEMO_SEED"])[owner]
