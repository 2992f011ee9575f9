"""Bulk exports as jobs on disk (Bulk Data Access IG, export.html): accepted, run one after the other, kept for a while, then removed.

A job is a folder with ``job.json`` and its NDJSON files, compressed. Its state changes by replacing ``job.json``, so whatever stops
the process, a job is as it was: one that was not finished is run anew, from its beginning, at the next start.
"""

from __future__ import annotations

import datetime as dt
import os
import queue
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from gateway.errors import GatewayError, Rejected
from gateway.store.export import Exporter, Patients, Wanted, known_types, read_filter
from gateway.store.export_files import Cancelled, JobFile, write_deletions, write_resources
from gateway.store.query import Filter, check_cost
from gateway.store.reach import EVERYTHING, Reach

KEEP_SECS = 24 * 3600
MOST_WAITING = 10
_SWEEP_SECS = 600
_JOB_ID = re.compile(r"[0-9a-f]{32}")

log = structlog.get_logger()


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked for. ``since`` is microseconds since 1970, UTC; ``filters`` are (type, search parameters).

    ``within`` is the Group that the asker is limited to, ``reachable`` the types that he may read and search (``None``: all),
    ``only`` the queries of his scopes.
    """

    request: str  #: the address with its parameters, as the manifest repeats it
    level: Literal["system", "patient", "group"] = "system"
    group: str | None = None
    types: tuple[str, ...] = ()
    since: int | None = None
    filters: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    user: str = ""
    within: str | None = None
    reachable: tuple[str, ...] | None = None
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def reach(self) -> Reach:
        types = None if self.reachable is None else frozenset(self.reachable)
        return Reach(self.within, types, types, self.only)

    def is_within(self, reach: Reach) -> bool:
        """Whether what was asked for then may be asked for now."""
        types = None if self.reachable is None else frozenset(self.reachable)
        return (self.within, self.only) == (reach.group, reach.only) and all(
            limit is None or (types is not None and types <= limit) for limit in (reach.readable, reach.searchable)
        )


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """One export. Times are seconds since 1970, but ``transaction_time``: microseconds."""

    id: str
    order: Order
    accepted: float
    state: Literal["waiting", "done", "failed"] = "waiting"
    finished: float = 0.0
    expires: float = 0.0
    transaction_time: int = 0
    output: tuple[JobFile, ...] = ()
    deleted: tuple[JobFile, ...] = ()
    reason: str = ""


class ExportJobs:
    """The jobs below one directory, which belongs to this process alone. Nothing is made there before the first job."""

    def __init__(
        self, directory: Path, exporter: Exporter, *, keep_secs: float = KEEP_SECS, clock: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self._exporter = exporter
        self._keep_secs = keep_secs
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: queue.Queue[str] = queue.Queue()
        self._stops: dict[str, threading.Event] = {}
        self._progress: dict[str, tuple[str, int]] = {}
        self._thread: threading.Thread | None = None
        for job in sorted(self._all(), key=lambda job: job.accepted):
            if job.state == "waiting":
                self._enqueue(job.id)

    def start(self, order: Order) -> str:
        """Accept a job and give its id. Raises :class:`Rejected` (400 for a wrong filter or type, 404 for an unknown Group, 429)."""
        self._check(order)
        self.sweep()
        with self._lock:
            if len(self._stops) >= MOST_WAITING:
                raise Rejected(f"{MOST_WAITING} exports are waiting already; ask again later", status=429)
            job = Job(id=secrets.token_hex(16), order=order, accepted=self._clock())
            self._folder(job.id).mkdir(parents=True, mode=0o700)
            self._save(job)
        self._enqueue(job.id)
        return job.id

    def get(self, job_id: str, user: str, reach: Reach = EVERYTHING) -> Job | None:
        """The job, if it is there still, was asked for by this user, and holds nothing beyond what he may see now."""
        if not _JOB_ID.fullmatch(job_id):
            return None
        job = self._load(job_id)
        if job is None or job.order.user != user or not job.order.is_within(reach) or self._is_over(job):
            return None
        if reach.group is not None and job.state == "done":
            return job if self._exporter.all_are_members_still(reach.group, job.transaction_time) else None
        return job

    def progress(self, job_id: str) -> str:
        """One short line about a job that is not done."""
        kind, count = self._progress.get(job_id, ("", 0))
        return f"{kind}: {count} resources written" if kind else "waiting for its turn"

    def file(self, job: Job, name: str) -> Path | None:
        """The compressed file of a job that is done."""
        known = {item.name for item in (*job.output, *job.deleted)}
        return self._folder(job.id) / f"{name}.gz" if job.state == "done" and name in known else None

    def delete(self, job: Job) -> None:
        """Stop the job if it runs, and remove its files."""
        with self._lock:
            if stop := self._stops.get(job.id):
                stop.set()
            shutil.rmtree(self._folder(job.id), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what has expired."""
        for job in self._all():
            if self._is_over(job):
                self.delete(job)

    def wait(self, job_id: str, timeout_secs: float) -> None:
        """Until a job is done or has failed; for commands and tests."""
        end = time.monotonic() + timeout_secs
        while job_id in self._stops and time.monotonic() < end:
            time.sleep(0.01)

    def _check(self, order: Order) -> None:
        unknown = sorted(set(order.types) - known_types())
        if unknown:
            raise Rejected("_type names a resource type that is not known here: " + ", ".join(unknown)[:200], status=400)
        asked: list[Filter] = []
        for kind, parameters in order.filters:
            if order.types and kind not in order.types:
                raise Rejected(f"_typeFilter is about {kind}, which _type does not name", status=400)
            asked += read_filter(kind, parameters)
        check_cost(asked)
        order.reach.check_filters(asked)
        for kind in order.types:
            if not order.reach.may_read(kind):
                raise Rejected(f"this token may not export {kind}: that needs the right to read and to search it", status=403)
        if order.group is not None and not self._exporter.within(order.reach).group_exists(order.group):
            raise Rejected("there is no such Group", status=404)

    def _enqueue(self, job_id: str) -> None:
        self._stops[job_id] = threading.Event()
        self._queue.put(job_id)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                # A daemon thread: a process that ends does not wait for an export, which is run anew at the next start.
                self._thread = threading.Thread(target=self._work, name="bulk-export", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            try:
                job_id = self._queue.get(timeout=_SWEEP_SECS)
            except queue.Empty:
                self.sweep()
                continue
            stop = self._stops[job_id]
            job = self._load(job_id)
            try:
                if job is not None and not stop.is_set():
                    self._run(job, stop)
            finally:
                self._progress.pop(job_id, None)
                self._stops.pop(job_id, None)

    def _run(self, job: Job, stop: threading.Event) -> None:
        result = msgspec.structs.replace(job, state="failed", reason="internal error")
        try:
            result = self._export(job, stop)
        except Cancelled:
            result = msgspec.structs.replace(result, reason="withdrawn")
        except GatewayError as error:
            result = msgspec.structs.replace(result, reason=error.reason)
        except OSError as error:
            result = msgspec.structs.replace(result, reason=f"the files could not be written ({error.strerror})")
        finally:
            self._finish(result, stop)

    def _finish(self, job: Job, stop: threading.Event) -> None:
        now = self._clock()
        with self._lock:
            if stop.is_set():
                shutil.rmtree(self._folder(job.id), ignore_errors=True)
            elif self._folder(job.id).is_dir():
                self._save(msgspec.structs.replace(job, finished=now, expires=now + self._keep_secs))
        rows = sum(item.count for item in job.output)
        log.info("bulk_export", stage="web", state=job.state, resources=rows, seconds=round(now - job.accepted, 1))

    def _export(self, job: Job, stop: threading.Event) -> Job:
        order, folder = job.order, self._folder(job.id)
        for left_over in folder.glob("*.gz"):
            left_over.unlink()
        exporter = self._exporter.within(order.reach)
        until = exporter.moment()
        patients = None if order.level == "system" else Patients(order.group)
        output: list[JobFile] = []
        deleted: list[JobFile] = []

        def note(kind: str, count: int) -> None:
            self._progress[job.id] = (kind, count)
            if stop.is_set():
                raise Cancelled

        for kind in order.types or exporter.types():
            note(kind, 0)
            alternatives = tuple(read_filter(kind, parameters) for about, parameters in order.filters if about == kind)
            wanted = Wanted(kind, until, order.since, alternatives, patients)
            output += write_resources(folder, kind, exporter.resources(wanted), note)
            deleted += write_deletions(folder, kind, exporter.deletions(wanted))
        return msgspec.structs.replace(
            job, state="done", transaction_time=until, output=tuple(output), deleted=tuple(deleted), reason=""
        )

    def _is_over(self, job: Job) -> bool:
        return job.state != "waiting" and self._clock() >= job.expires

    def _folder(self, job_id: str) -> Path:
        return self._directory / job_id

    def _all(self) -> list[Job]:
        names = [path.name for path in self._directory.iterdir()] if self._directory.is_dir() else []
        return [job for name in names if _JOB_ID.fullmatch(name) and (job := self._load(name))]

    def _load(self, job_id: str) -> Job | None:
        try:
            return msgspec.json.decode((self._folder(job_id) / "job.json").read_bytes(), type=Job)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _save(self, job: Job) -> None:
        path = self._folder(job.id) / "job.json"
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(job))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


def instant(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
