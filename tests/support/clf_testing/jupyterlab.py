"""JupyterLab on copies of the notebooks, with the example's owners beside it."""

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

import requests

import clf_sdk as clf
from clf_sdk._server_process import free_port
from clf_sdk.testing import Cluster

ROOT = Path(__file__).parents[3]
_PATIENCE_SECONDS = 180
_SETTINGS = {
    # Cells that are not on the screen must be in the page too.
    "notebook-extension/tracker": {"windowingMode": "none"},
    # What opens a dialog by itself would stand before what is to be clicked.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
_FOLDERS = (
    "IPYTHONDIR",
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "MPLCONFIGDIR",
)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab, and the owners beside it."""

    url: str
    token: str
    cluster: Cluster

    def notebook(self, workspace: str, name: str) -> str:
        return f"{self.url}/lab/workspaces/{workspace}/tree/{name}?token={self.token}"


def _environment(home: Path) -> dict[str, str]:
    """Keep what JupyterLab writes for itself in a folder, and bring its settings there."""
    settings = home / "settings"
    for name, values in _SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    folders = {name: str(home / name.lower()) for name in _FOLDERS}
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **folders, "JUPYTERLAB_SETTINGS_DIR": str(settings), "PATH": programs}


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=10).ok:
                return
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab does not answer:\n{log.read_text()}")


@contextlib.contextmanager
def jupyterlab(folder: Path, log: Path) -> Iterator[Lab]:
    """Run JupyterLab in a folder, as `make notebooks` does."""
    notebooks = folder / "notebooks"
    shutil.copytree(ROOT / "notebooks", notebooks, ignore=shutil.ignore_patterns("cluster", ".*"))
    port, token = free_port(), secrets.token_hex(16)
    url = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={notebooks}"),
        *(f"--IdentityProvider.token={token}", "--LabApp.extension_manager=readonly"),
        "--LabApp.expose_app_in_browser=True",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=_environment(folder / "home"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            owners = clf.testing.example_cluster(directory=notebooks / "cluster", people=5000)
            with owners as cluster:
                _wait_for(f"{url}/api/status?token={token}", process, log)
                yield Lab(url, token, cluster)
        finally:
            process.terminate()  # it ends its kernels
            process.wait(_PATIENCE_SECONDS)
