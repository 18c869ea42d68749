"""A PostgreSQL cluster of the tests' own: real, private, gone with them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import sqlalchemy as sa

from clf_sdk._server_process import free_port

_USER = "clf"


def find_postgresql() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None where it is not installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class PostgreSQL:
    """One cluster on a free port of the loopback address. It refuses root, so root lends a user."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="clf-postgresql-"))
        self._owner: str | None = None
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._owner = "postgres" if "postgres" in names else "nobody"
            shutil.chown(self._folder, self._owner)
        self.port = free_port()
        self._databases = 0
        self._run("initdb", "-U", _USER, "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        # A killed process loses nothing without fsync; only a power cut would.
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._start = ("-w", "-o", options, "-l", str(self._folder / "log"))
        self._run("pg_ctl", *self._start, "start")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), "-D", str(self._folder / "data"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            user=self._owner,
            cwd="/",
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")

    def url(self, database: str) -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Return the URL of an empty database.

        It is a schema: a database of its own has hundreds of files, and there are hundreds of them.
        """
        self._databases += 1
        name = f"clf{self._databases}"
        engine = sa.create_engine(
            self.url("postgres").replace("postgresql", "postgresql+psycopg", 1),
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}?options=-csearch_path%3D{name}"

    def stop(self) -> None:
        """Stop it at once, as when the machine dies."""
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")

    def start(self) -> None:
        self._run("pg_ctl", *self._start, "start")

    def close(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder)
