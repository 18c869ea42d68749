from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from clf_sdk._server_process import ServerProcess
from clf_sdk.errors import ConfigurationError, TransportError
from clf_server._cli import server as cli
from clf_server._health import check_health
from clf_testing import Owner


def test_running_server_is_ready(clinic: Owner) -> None:
    done = CliRunner().invoke(cli, ["healthcheck", str(clinic.directory)])
    assert (done.exit_code, done.stdout) == (0, "ready\n")


def test_stopped_server_is_not(make_server: Callable[..., ServerProcess]) -> None:
    server = make_server("stopped")
    check_health(server.directory)
    server.stop()
    with pytest.raises(TransportError, match="does not answer"):
        check_health(server.directory)
    done = CliRunner().invoke(cli, ["healthcheck", str(server.directory)])
    assert (done.exit_code, "does not answer" in done.stderr) == (1, True)


def test_another_server_on_the_port_is_not_taken_for_it(
    clinic: Owner, insurer: Owner, tmp_path: Path
) -> None:
    """Whoever took the port has another key."""
    directory = clinic.directory
    conf = (insurer.directory / "clf_server.conf").read_text()
    (tmp_path / "clf_server.conf").write_text(conf)
    for name in ("tls/server.pem", "tls/server.key", "insecure_simulation.pem"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((directory / name).read_bytes())
    with pytest.raises(TransportError, match="certificate verify failed"):
        check_health(tmp_path)


def test_directory_without_certificate_is_told(tmp_path: Path, clinic: Owner) -> None:
    conf = (clinic.directory / "clf_server.conf").read_text()
    (tmp_path / "clf_server.conf").write_text(conf)
    with pytest.raises(ConfigurationError):
        check_health(tmp_path)
