"""The composition root: builds the parts from the settings, starts the roles, keeps them alive, stops them in order.

``serve`` is a supervisor with three child processes: *receive* (the DICOM loop), *work* (pydicom, rendering, delivery) and *web*; a
fourth, *folders*, where folders are watched. They meet only in the ledger. The supervisor reads code and mappings once, binds the
listening sockets and forks (``roles/child.py``), so that a role that dies and comes back keeps its port and its queue of callers. Each
role also holds the reading end of a pipe, the life line: when the supervisor is gone, it ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import IO

import structlog

from gateway import __version__
from gateway.config import Settings, address
from gateway.errors import Misconfigured
from gateway.fhir.endpoint import images_address
from gateway.in_force import SiteInForce
from gateway.roles import child
from gateway.roles.folders import folders
from gateway.roles.receive import receive
from gateway.roles.rooms import migrate, open_ledger
from gateway.roles.web import web
from gateway.roles.work import work
from gateway.telemetry import configure

log = structlog.get_logger()

#: Stopping follows the flow: nothing new comes in, what is in hand is finished, then the pages go.
ROLES = ("receive", "folders", "work", "web")

DRAIN_SECS = 35.0
BIND_PATIENCE_SECS = 10.0
LONGEST_RESTART_WAIT_SECS = 30.0


@dataclass
class _Role:
    """One child process and its history."""

    name: str
    listeners: tuple[socket.socket, ...]
    process: BaseProcess | None = None
    starts: int = 0
    start_at: float = 0.0
    started_at: float = field(default=0.0)


class Supervisor:
    """Runs the roles until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False
        self._life_read, self._life_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def run(self) -> None:
        """Start everything, wait, stop everything. Raises :class:`Misconfigured` when it cannot start."""
        directory = self._settings.data.directory
        directory.mkdir(parents=True, exist_ok=True)
        with _only_one(directory) as self._lock, _listeners(self._settings) as (dicom, tls, http):
            _prepare(self._settings)
            sockets = {"receive": (dicom, tls) if tls else (dicom,), "web": (http,)}
            wanted = [name for name in ROLES if name != "folders" or self._watches()]
            self._children = [_Role(name, sockets.get(name, ())) for name in wanted]
            child.settle()
            self._install_signals()
            run_file = _write_run_file(self._settings, dicom, tls, http)
            try:
                self._supervise()
            finally:
                self._stop_all()
                run_file.unlink(missing_ok=True)

    def _watches(self) -> bool:
        return any(folder.enabled for folder in self._settings.folders)

    def _install_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: self._wake())

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: it will wake anyway
            os.write(self._wake_write, b"x")

    def _supervise(self) -> None:
        log.info("started", version=__version__, pid=os.getpid())
        while not self._stopping:
            for role in self._children:
                self._keep_alive(role)
            select.select([self._wake_read], [], [], 1.0)
            with contextlib.suppress(BlockingIOError):
                os.set_blocking(self._wake_read, False)
                os.read(self._wake_read, 4096)

    def _keep_alive(self, role: _Role) -> None:
        if role.process is not None and (code := role.process.exitcode) is not None:
            lived = time.monotonic() - role.started_at
            role.starts = 0 if lived > 60 else role.starts
            wait = min(LONGEST_RESTART_WAIT_SECS, 0.2 * 2**role.starts) if role.starts else 0.0
            role.process, role.start_at = None, time.monotonic() + wait
            log.error("role_ended", kind=role.name, code=code, restarts=role.starts)
        if role.process is None and time.monotonic() >= role.start_at:
            self._start(role)

    def _start(self, role: _Role) -> None:
        closes: list[int | child.Closable] = [self._life_write, self._wake_read, self._wake_write, self._lock]
        closes += [listener for other in self._children if other is not role for listener in other.listeners]
        again = role.starts > 0 or role.started_at > 0
        role.process = child.start(role.name, self._run(role, again=again), closes=closes)
        role.starts += 1
        role.started_at = time.monotonic()

    def _run(self, role: _Role, *, again: bool) -> Callable[[], None]:
        """What the child does."""
        settings, life_line = self._settings, self._life_read
        match role.name, role.listeners:
            case "receive", (dicom, *secure):
                return partial(receive, settings, dicom, secure[0] if secure else None, life_line)
            case "web", (http, *_):
                return partial(web, settings, http, life_line)
            case "folders", _:
                return partial(folders, settings, life_line)
            case _:
                return partial(work, settings, life_line, after_crash=again)

    def _stop_all(self) -> None:
        """In flow order, each given the time to finish what it has in hand."""
        deadline = time.monotonic() + DRAIN_SECS
        for role in self._children:
            if role.process is None or role.process.exitcode is not None:
                continue
            role.process.terminate()
            role.process.join(max(0.1, deadline - time.monotonic()))
            if role.process.exitcode is None:
                log.warning("role_killed", kind=role.name)
                role.process.kill()
                role.process.join()
        log.info("stopped")


def serve(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    configure(level=settings.log.level, style=settings.log.format, role="supervisor")
    Supervisor(settings).run()


def _prepare(settings: Settings) -> None:
    """Everything that must be right before anybody is let in: schema, key, the first mappings. All of it once, before the roles start.

    A version of the mappings that is gone stops nobody: objects are received, and the worker waits for it.
    """
    _check_key(settings)
    if settings.clients:
        from gateway.web.bearers import check_clients

        check_clients(settings)
    migrate(settings)
    ledger = open_ledger(settings)
    try:
        SiteInForce(settings, ledger.mappings)
    finally:
        ledger.close()


def _check_key(settings: Settings) -> None:
    """A new key is made for a new gateway only: for one that has worked, it would silently give everything a second id."""
    has_worked = any(settings.spool_directory.glob("????-??-??"))
    if has_worked and not settings.key_file.exists():
        raise Misconfigured(
            f"{settings.key_file}: the installation key is lost, and this gateway has published under it; docs/operations.md, disasters"
        )


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[IO[str]]:
    """Two daemons on one data directory would fight over leases and files. Gives what holds the lock."""
    with (directory / "lock").open("a+") as lock:
        _take_lock(lock, directory)
        yield lock


def _take_lock(lock: IO[str], directory: Path) -> None:
    deadline = time.monotonic() + BIND_PATIENCE_SECS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Misconfigured(f"another isobridge runs on {directory}") from error
            time.sleep(0.2)
        else:
            return


@contextlib.contextmanager
def _listeners(settings: Settings) -> Iterator[tuple[socket.socket, socket.socket | None, socket.socket]]:
    with contextlib.ExitStack() as stack:
        dicom = stack.enter_context(contextlib.closing(_bind("receive.bind", settings.receive.bind, backlog=128)))
        tls = settings.receive.tls.bind
        secure = stack.enter_context(contextlib.closing(_bind("receive.tls.bind", tls, backlog=128))) if tls else None
        http = stack.enter_context(contextlib.closing(_bind("web.bind", settings.web.bind, backlog=128)))
        yield dicom, secure, http


def _bind(option: str, bind: str, *, backlog: int) -> socket.socket:
    """A listening socket. A predecessor may need some seconds to let go of the port."""
    host, port = address(bind)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + BIND_PATIENCE_SECS
    while True:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise Misconfigured(f"{option}: cannot listen on {bind} ({error.strerror})") from error
            time.sleep(0.2)
        else:
            listener.listen(backlog)
            listener.set_inheritable(True)
            return listener


def _write_run_file(settings: Settings, dicom: socket.socket, tls: socket.socket | None, http: socket.socket) -> Path:
    """Where we listen, for people and scripts: with port 0 nobody could know otherwise."""
    dicom_host, dicom_port = dicom.getsockname()[:2]
    http_host, http_port = http.getsockname()[:2]
    shown = f"[{http_host}]" if ":" in http_host else http_host
    scheme = "https" if settings.web.tls_certificate else "http"
    content: dict[str, object] = {
        "pid": os.getpid(),
        "dicom": {"host": dicom_host, "port": dicom_port, "ae_title": settings.receive.ae_title},
        "http": {"host": http_host, "port": http_port, "url": f"{scheme}://{shown}:{http_port}"},
        "images_at": images_address(settings),  # what the worker tells clients of FHIR
    }
    if tls is not None:
        tls_host, tls_port = tls.getsockname()[:2]
        content["dicom_tls"] = {"host": tls_host, "port": tls_port, "ae_title": settings.receive.ae_title}
    path = settings.data.directory / "run.json"
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        temporary.replace(path)
    except OSError as error:  # a full disk: scanners must be answered all the same
        log.warning("run_file_unwritten", path=str(path), reason=error.strerror)
    return path
