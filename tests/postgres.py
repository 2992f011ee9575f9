"""A private PostgreSQL cluster for tests: its own data directory, its own free port on loopback, gone when the run ends.

PostgreSQL refuses to run as root, so then the cluster belongs to the unprivileged user ``nobody``.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.harness.waiting import free_port

START_TIMEOUT_SECS = 60


@dataclass(frozen=True)
class Server:
    """A running cluster. Its only user needs no password; it listens on loopback only."""

    port: int
    user: str
    directory: Path

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{self.user}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str) -> None:
        """Run one statement outside a transaction, in the maintenance database."""
        with psycopg.connect(host="127.0.0.1", port=self.port, user=self.user, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def server() -> Iterator[Server]:
    """Start a cluster; stop it and delete its files at the end."""
    directory = Path(tempfile.mkdtemp(prefix="isobridge-pg-"))
    try:
        make_cluster(directory)
        with running_cluster(directory) as started:
            yield started
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def make_cluster(directory: Path, *, durable: bool = False) -> None:
    """The files of a new cluster in an empty directory."""
    as_root, user = _who()
    if as_root:
        os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
    quick = () if durable else ("--no-sync",)
    _run([_programs() / "initdb", "-D", directory / "data", "-U", user, "-A", "trust", "-E", "UTF8", *quick], as_root)


@contextmanager
def running_cluster(directory: Path, *, durable: bool = False) -> Iterator[Server]:
    """A cluster that was made there, until the block ends. Only a durable one syncs what it commits."""
    as_root, user = _who()
    port, control = free_port(), _programs() / "pg_ctl"
    options = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c fsync={'on' if durable else 'off'}"
    )
    start = ["-D", directory / "data", "-l", directory / "log", "-w", "-t", START_TIMEOUT_SECS, "-o", options, "start"]
    _run([control, *start], as_root)
    try:
        yield Server(port, user, directory)
    finally:
        _run([control, "-D", directory / "data", "-m", "immediate", "-w", "stop"], as_root)


def _who() -> tuple[bool, str]:
    as_root = os.geteuid() == 0
    return as_root, "nobody" if as_root else getpass.getuser()


@contextmanager
def database(running: object) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped at the end."""
    assert isinstance(running, Server)
    name = f"test_{uuid.uuid4().hex}"
    running.execute(f'CREATE DATABASE "{name}"')
    try:
        yield running.url(name)
    finally:
        running.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise FileNotFoundError("no PostgreSQL server programs under /usr/lib/postgresql")
    return found[-1].parent


def _run(command: list[Any], as_root: bool) -> None:
    words = [str(word) for word in command]
    if as_root:
        words = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--", *words]
    # The server inherits the output of pg_ctl: a pipe would stay open as long as it runs.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(words, stdout=output, stderr=output, check=False, cwd="/", timeout=2 * START_TIMEOUT_SECS)
        if done.returncode != 0:
            output.seek(0)
            raise RuntimeError(f"{words[0]} failed: {output.read().decode(errors='replace')[-2000:]}")
