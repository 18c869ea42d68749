from __future__ import annotations

import asyncio
from pathlib import Path

import uvloop

from clf_server._serve import _loop_factory


def test_an_enclave_gets_the_loop_that_needs_no_eventfd(tmp_path: Path) -> None:
    assert _loop_factory(tmp_path) is asyncio.new_event_loop
    assert _loop_factory(tmp_path / "none") is uvloop.new_event_loop
