from __future__ import annotations

import pytest

from clf_testing import HandmadeRun, Simulation


@pytest.fixture
def made(simulation: Simulation) -> HandmadeRun:
    return HandmadeRun(simulation)
