"""The how-to pages are run as they stand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clf_testing._console_page import read_steps, run_page

PAGES = sorted((Path(__file__).parents[2] / "docs" / "howto").glob("*.md"))


@pytest.mark.whole
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_is_what_happens(page: Path, tmp_path: Path) -> None:
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "PYTHONUTF8": "1",
        "TMPDIR": str(tmp_path),
    }
    text = page.read_text("utf-8")
    people = tmp_path / "people"
    people.mkdir()
    assert run_page(text, people, environment) == len(list(read_steps(text))) > 1
