"""JupyterLab in a real browser: the owner's and the analyst's notebooks, side by side."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from playwright.sync_api import Browser, sync_playwright

import clf_sdk as clf
from clf_testing.jupyterlab import ROOT, Lab, jupyterlab
from clf_testing.notebook_page import NotebookPage

ARTEFACTS = ROOT / "build" / "browser"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
]
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; apt-get install chromium"),
    # Playwright's loop and the kernels' sockets are closed by their own processes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
Open: TypeAlias = Callable[[str, str], NotebookPage]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    shutil.rmtree(ARTEFACTS, ignore_errors=True)
    ARTEFACTS.mkdir(parents=True)
    with jupyterlab(tmp_path, ARTEFACTS / "jupyterlab.log") as running:
        yield running


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser) -> Iterator[Open]:
    """Open notebooks; how they look at the end of the test is kept, however it ends."""
    opened: list[NotebookPage] = []

    def open_one(who: str, notebook: str) -> NotebookPage:
        page = NotebookPage(browser, lab, who=who, notebook=notebook, pictures=ARTEFACTS)
        opened.append(page)
        return page

    yield open_one
    for page in opened:
        page.keep("at-the-end")


def test_owner_approves_and_releases_by_clicks_and_the_analyst_sees_table_and_plot(
    lab: Lab, open_notebook: Open
) -> None:
    analyst = open_notebook("analyst", "02_analyst_build_and_run.ipynb")
    owner = open_notebook("owner", "03_owner_approve_release_audit.ipynb")
    analyst.run_all()
    owner.run_all()
    analyst.keep("waits", showing=analyst.see("waiting for hospital"))

    owner.press("Refresh")  # of the inbox
    owner.see("How does health explain")
    owner.see(owner.button("Approve"))
    owner.keep("inbox", showing=owner.button("Approve"))
    hospital = lab.cluster.owners["hospital"]
    assert [request.state for request in clf.requests(hospital)] == ["pending"]
    owner.press("Approve")
    owner.see("is approved now")
    assert [request.state for request in clf.requests(hospital)] == ["approved"]

    analyst.keep("monitor", showing=analyst.see("waits for this owner's review"))
    owner.press("Refresh", 1)  # of the review
    owner.see("no number speaks of fewer than")
    owner.keep("review", showing=owner.button("Release all of the run"))
    assert {output.status for output in clf.releases(hospital)} == {"pending"}
    owner.press("Release all of the run")
    owner.see("released: ")
    assert {output.status for output in clf.releases(hospital)} == {"released"}

    table = analyst.see("95 % interval")
    plot = analyst.see(analyst.page.locator(".jp-OutputArea-output img"))
    assert plot.evaluate("image => image.naturalWidth") > 300
    analyst.keep("table", showing=table)
    analyst.keep("plot", showing=plot)
    analyst.see("granted at")  # by each owner: the receipt
    for page in (analyst, owner):
        page.check_no_trouble()
        assert page.page.get_by_text("INSECURE SIMULATION").count() > 0
