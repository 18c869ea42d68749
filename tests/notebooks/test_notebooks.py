"""The notebooks: paired with their sources, without outputs, and green from a clean kernel."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbclient
import nbformat
import pytest

import clf_sdk as clf
from clf_sdk.protocol import Profile
from clf_sdk.testing import Cluster

FOLDER = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
MOST_SECONDS = 180
ALONE = [path for path in SOURCES if path.stem[:2] not in ("02", "03")]
# IPython and nbclient leave these behind when a kernel ends.
pytestmark = [
    pytest.mark.xdist_group("notebooks"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(600),
]


def _cells(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_there_are_notebooks() -> None:
    assert [path.stem[:2] for path in SOURCES] == [f"{number:02}" for number in range(7)]
    assert {path.stem for path in SOURCES} == {path.stem for path in FOLDER.glob("*.ipynb")}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_is_its_source_without_outputs(source: Path) -> None:
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert _cells(notebook) == _cells(jupytext.read(source)), "run `make notebooks-pair`"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert notebook.cells[0].source.startswith("# ")
    assert "**Question:" in notebook.cells[0].source


@pytest.fixture
def _kernel_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what kernels write for themselves in the test's directory."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def _execute(source: Path, folder: Path) -> Any:
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=2 * MOST_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    began = time.monotonic()
    client.execute()
    # Where more wants to run than there are processors, each gets a share of one.
    share = min(1.0, (os.cpu_count() or 1) / max(os.getloadavg()))
    assert share * (time.monotonic() - began) < MOST_SECONDS
    return notebook


def _shown(notebook: Any, kind: str) -> list[str]:
    return [
        str(output["data"][kind])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if kind in output.get("data", {})
    ]


@pytest.mark.whole
@pytest.mark.usefixtures("_kernel_home")
@pytest.mark.parametrize("source", ALONE, ids=lambda path: path.stem)
def test_notebook_runs_from_a_clean_kernel(source: Path, tmp_path: Path) -> None:
    notebook = _execute(source, tmp_path)
    assert any("INSECURE SIMULATION" in text for text in _shown(notebook, "text/html"))
    assert not any("<script" in text for text in _shown(notebook, "text/html"))
    if source.stem == "00_quickstart":
        assert _shown(notebook, "image/png")


class _Hospital(threading.Thread):
    """The hospital's owner, who approves what is asked and releases what arrives."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._profile = folder / "cluster" / "hospital" / "owner.profile.json"
        self.done = threading.Event()
        self.approved = self.released = 0

    def run(self) -> None:
        while not self.done.wait(0.5):
            try:
                owner = clf.connect(Profile.load(self._profile))
            except clf.ClfError:
                continue  # it has not started yet
            for request in clf.requests(owner, state="pending"):
                request.approve()
                self.approved += 1
            for output in clf.releases(owner):
                if output.status == "pending":
                    output.approve()
                    self.released += 1
            owner.close()


@pytest.fixture
def side_by_side(tmp_path: Path) -> Iterator[Cluster]:
    with clf.testing.example_cluster(directory=tmp_path / "cluster", people=5000) as cluster:
        yield cluster


@pytest.mark.whole
@pytest.mark.skipif(
    shutil.which("chromium") is not None,
    reason="tests/browser runs these two, with clicks for the owner",
)
@pytest.mark.usefixtures("_kernel_home", "side_by_side")
def test_analyst_s_and_owner_s_notebooks_run_side_by_side(tmp_path: Path) -> None:
    analyst, owner = (path for path in SOURCES if path not in ALONE)
    hospital = _Hospital(tmp_path)
    hospital.start()
    try:
        notebook = _execute(analyst, tmp_path)
    finally:
        hospital.done.set()
        hospital.join()
    assert (hospital.approved, hospital.released) == (1, 2)
    assert _shown(notebook, "image/png")
    assert any("mdvis" in text for text in _shown(notebook, "text/html"))
    seen = _execute(owner, tmp_path)
    assert any("job.approved" in text for text in _shown(seen, "text/plain"))
