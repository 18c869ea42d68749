"""JupyterLab in a real browser: the owner's and the analyst's notebooks, side by side."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect, sync_playwright

import clf_sdk as clf
from clf_sdk._server_process import free_port

ROOT = Path(__file__).parents[2]
ARTEFACTS = ROOT / "build" / "browser"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    # Cells that are not on the screen must be in the page too.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
ERROR = ".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']"
PATIENCE_MILLISECONDS = 300_000
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.xdist_group("notebooks"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; apt-get install chromium"),
    # Playwright's loop and the kernels' sockets are closed by their own processes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass
class Lab:
    """A running JupyterLab."""

    url: str
    token: str

    def notebook(self, workspace: str, name: str) -> str:
        return f"{self.url}/lab/workspaces/{workspace}/tree/{name}?token={self.token}"


def _environment(home: Path) -> dict[str, str]:
    settings = home / "settings"
    for name, values in SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    folders = {
        name: str(home / name.lower())
        for name in (
            "IPYTHONDIR",
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_DATA_DIR",
            "JUPYTER_RUNTIME_DIR",
            "JUPYTERLAB_WORKSPACES_DIR",
            "MPLCONFIGDIR",
        )
    }
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **folders, "JUPYTERLAB_SETTINGS_DIR": str(settings), "PATH": programs}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """JupyterLab on copies of the notebooks, with the example's owners running beside it."""
    folder = tmp_path / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns("cluster", ".*"))
    port, token = free_port(), secrets.token_hex(16)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={folder}"),
        *(f"--IdentityProvider.token={token}", "--LabApp.extension_manager=readonly"),
        "--LabApp.expose_app_in_browser=True",
    ]
    with (
        clf.testing.example_cluster(directory=folder / "cluster", people=5000),
        (tmp_path / "lab.log").open("wb") as log,
    ):
        process = subprocess.Popen(
            command,
            env=_environment(tmp_path / "home"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            found = Lab(f"http://127.0.0.1:{port}", token)
            deadline = time.monotonic() + 120
            while not _answers(found):
                assert process.poll() is None, (tmp_path / "lab.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield found
        finally:
            process.terminate()
            process.wait(60)


def _answers(lab: Lab) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        answer = requests.get(f"{lab.url}/api/status?token={lab.token}", timeout=10)
        return answer.ok
    return False


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


def _open(browser: Browser, lab: Lab, who: str, name: str) -> Page:
    page = browser.new_page(viewport={"width": 1400, "height": 1800})
    page.set_default_timeout(PATIENCE_MILLISECONDS)
    page.goto(lab.notebook(who, name))
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    return page


def _run_all(page: Page) -> None:
    """Do what the menu's "Run All Cells" does, once the kernel answers."""
    expect(page.get_by_text("| Idle").first).to_be_attached()
    page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }")


def _keep(page: Page, name: str) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png")


def test_owner_approves_and_releases_by_clicks_and_the_analyst_sees_table_and_plot(
    lab: Lab, browser: Browser
) -> None:
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    analyst = _open(browser, lab, "analyst", "02_analyst_build_and_run.ipynb")
    _run_all(analyst)
    expect(analyst.get_by_text("waiting for hospital").last).to_be_visible()
    _keep(analyst, "analyst-waits")

    owner = _open(browser, lab, "owner", "03_owner_approve_release_audit.ipynb")
    _run_all(owner)
    approve = owner.get_by_role("button", name="Approve", exact=True)
    expect(approve).to_be_enabled()
    expect(owner.get_by_text("How does health explain").first).to_be_visible()
    approve.scroll_into_view_if_needed()
    _keep(owner, "owner-inbox")
    approve.click()
    expect(owner.get_by_text("is approved now")).to_be_visible()

    expect(analyst.get_by_text("waits for this owner's review").first).to_be_visible()
    analyst.get_by_text("waits for this owner's review").first.scroll_into_view_if_needed()
    _keep(analyst, "analyst-monitor")

    release = owner.get_by_role("button", name="Release all of the run", exact=True)
    owner.get_by_role("button", name="Refresh", exact=True).nth(1).click()
    expect(release).to_be_enabled()
    expect(owner.get_by_text("no number speaks of fewer than").first).to_be_visible()
    release.scroll_into_view_if_needed()
    _keep(owner, "owner-review")
    release.click()
    expect(owner.get_by_text("released: ").first).to_be_visible()

    table = analyst.get_by_text("95 % interval").first
    expect(table).to_be_visible()
    plot = analyst.locator(".jp-OutputArea-output img").last
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.naturalWidth") > 300
    table.scroll_into_view_if_needed()
    _keep(analyst, "analyst-table")
    plot.scroll_into_view_if_needed()
    _keep(analyst, "analyst-plot")
    for page in (analyst, owner):
        assert page.get_by_text("INSECURE SIMULATION").count() > 0
        assert (
            page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count()
            == 0
        )
