"""An S3-compatible store of the tests' own: a real HTTP server in a process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

from pyarrow import fs

from clf_sdk._server_process import free_port

_START_SECONDS = 60.0
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "of-the-tests",
    "AWS_EC2_METADATA_DISABLED": "true",  # nothing reaches out of this machine
}


class Store:
    """A store with one bucket; `stop` and `go_on` are what a broken network would do."""

    def __init__(self) -> None:
        self.port = free_port()
        self._prefixes = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)
        made = fs.S3FileSystem(
            scheme="http",
            endpoint_override=f"127.0.0.1:{self.port}",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        made.create_dir("clf")

    def create_prefix(self) -> str:
        """Return the URL of an empty part of the bucket."""
        self._prefixes += 1
        endpoint = f"http://127.0.0.1:{self.port}"
        return f"s3://clf/owner-{self._prefixes}?endpoint={endpoint}&region=us-east-1"

    def stop(self) -> None:
        """Let it answer nobody."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
