"""A Docker engine of one's own: started by hand, and gone without a trace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

# Debian's client builds with BuildKit; others may need a plugin for that.
DOCKER = "/usr/bin/docker"
PROGRAMS = (
    DOCKER,
    "dockerd",
    "docker-compose",
    "debootstrap",
    "iptables-save",
    "iptables-restore",
    "ip",
)
_BRIDGE = Path("/sys/class/net/docker0")
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


class Impossible(Exception):
    """This machine can't run containers."""


class Engine:
    """A Docker engine below a directory.

    Parameters
    ----------
    directory
        Where everything that it keeps lies; it must be on a disk, not on an overlay.
    """

    def __init__(self, directory: Path) -> None:
        self.data_root = directory / "data"
        self._directory = directory
        self._socket = f"unix://{directory}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._rules = b""
        self._forward = ""

    @property
    def environment(self) -> dict[str, str]:
        """What programs need to talk to it."""
        return {
            **os.environ,
            "PATH": f"/usr/bin:/usr/sbin:{os.environ['PATH']}",
            "DOCKER_HOST": self._socket,
            "DOCKER_CONFIG": str(self._directory / "config"),
            "DOCKER_BUILDKIT": "1",
        }

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise Impossible("only root can start a Docker engine")
        path = self.environment["PATH"]
        if missing := [name for name in PROGRAMS if shutil.which(name, path=path) is None]:
            raise Impossible(
                f"not installed: {', '.join(missing)} (Debian: docker.io docker-compose "
                "debootstrap iptables iproute2)"
            )
        if _BRIDGE.exists():
            raise Impossible("another Docker engine uses this machine's docker0; stop it first")
        saved = subprocess.run(["iptables-save"], capture_output=True, check=False)  # noqa: S607
        if saved.returncode:
            raise Impossible("iptables-save fails: the kernel has no packet filter")
        self._rules = saved.stdout
        self._forward = _FORWARD.read_text()
        self.data_root.mkdir(parents=True)
        log = (self._directory / "dockerd.log").open("wb")
        self._process = subprocess.Popen(
            [  # noqa: S607
                "dockerd",
                *("--data-root", str(self.data_root)),
                *("--exec-root", str(self._directory / "exec")),
                *("--pidfile", str(self._directory / "dockerd.pid")),
                *("--host", self._socket),
            ],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        try:
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self._directory / "dockerd.log").read_text("utf-8", "replace")[-600:]
                raise Impossible(f"the engine does not start: {tail}")
            time.sleep(0.5)

    def _answers(self) -> bool:
        command = [DOCKER, "version"]
        done = subprocess.run(command, env=self.environment, capture_output=True, check=False)
        return done.returncode == 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine, and take away its mounts, its bridge and its packet filter rules."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process = None
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            mounted = line.split()[1]
            if mounted.startswith(f"{self._directory}/"):
                subprocess.run(["umount", "--lazy", mounted], check=False)  # noqa: S607
        if _BRIDGE.exists():
            subprocess.run(["ip", "link", "delete", "docker0"], check=True)  # noqa: S607
        subprocess.run(["iptables-restore"], input=self._rules, check=True)  # noqa: S607
        _FORWARD.write_text(self._forward)

    def docker(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the client, and return what it printed."""
        return self.run([DOCKER, *arguments], check=check)

    def run(self, command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program that talks to the engine."""
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)[:300]} ended with {done.returncode}:\n"
                f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )
        return done
