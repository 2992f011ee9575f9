"""The loops that drive the pipeline: lease, call, store what came of it. Holds the only broad ``except`` of the house.

Three rules: a fault of one item costs that item, never the loop; what cannot be decided is set aside with a reason, never
dropped; a worker that dies leaves leases that run out, and its successor takes the work up again.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import structlog

from gateway import pipeline
from gateway.errors import GatewayError, Quarantined, Retryable
from gateway.lanes import FactLane, ImageLane, LaneSettings
from gateway.line import Line
from gateway.spool.stages import MOST_CRASHES, Compared, Normalised, Ticket
from gateway.spool.subjects import SubjectTicket
from gateway.telemetry import describe_exception, token
from gateway.understanding import Understanding

log = structlog.get_logger()

#: One header takes a millisecond. Whatever takes this long is not a header.
INSTANCE_SECS = 20

#: Address space of a worker: a header that needs more is a bomb.
MEMORY_BYTES = 4 * 1024**3

NICENESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings:
    lease_secs: float
    batch_instances: int
    poll_secs: float
    retry_budget_secs: float
    shadow_new_scanners: bool = False
    retry_budgets: Mapping[str, float] = field(default_factory=dict)  #: seconds, for targets that have a budget of their own


class Marker:
    """Names the instance that is being read, so that a supervisor who sees this process die knows which one it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def put(self, instance_id: int) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(self._descriptor, b"%019d\n" % instance_id, 0)

    def read(self) -> int | None:
        try:
            return int(self._path.read_text()) or None
        except (OSError, ValueError):
            return None


class _TooLong(Exception):
    """Reading one object took too long."""


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLong


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise in this (main) thread when the block takes longer; nothing where signals cannot reach."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def caught(action: Callable[[], object]) -> Exception | None:
    """Run one item's work; whatever it raises is handed back, so that it costs that item and never the lane."""
    try:
        action()
    except Exception as error:
        return error
    return None


class Worker:
    """Normalises and seals in the calling thread; delivers in one thread per target, so that a slow one holds no other.

    ``look`` tells the understanding that is in force. It is asked after work was leased and before it is done, so that what is leased
    after a deployment is read by the mappings deployed.
    """

    def __init__(
        self,
        line: Line,
        settings: WorkSettings,
        marker: Marker,
        stop: threading.Event,
        *,
        look: Callable[[], Understanding] | None = None,
        idle: Callable[[], None] | None = None,
    ) -> None:
        self._line = line
        self._settings = settings
        self._marker = marker
        self._stop = stop
        self._look = look
        self._idle = idle
        self._archive_names = [target.name for target in line.archives]
        self._normalised_names = [target.name for target in line.archives if target.normalised]
        self._original_names = [target.name for target in line.archives if not target.normalised]

    def run(self) -> None:
        """Work until ``stop`` is set; what is in hand is finished first."""
        lanes = [*self._fact_lanes(), *self._image_lanes()]
        threads = [threading.Thread(target=self._lane, args=(lane,), name=lane.name) for lane in lanes]
        for thread in threads:
            thread.start()
        self._loop(lambda: self.normalise_batch() or self.compare_one() or self.seal_one() or self.replay_batch() or self._rest())
        for thread in threads:
            thread.join()

    def _rest(self) -> bool:
        if self._idle:
            self._idle()
        return False

    def _refresh(self) -> None:
        """Swap the mappings between two items, never within one."""
        if self._look:
            self._line.understanding = self._look()

    def _fact_lanes(self) -> list[FactLane]:
        return [FactLane(target, self._line, self._lane_settings(target.name), caught) for target in self._line.targets]

    def _image_lanes(self) -> list[ImageLane]:
        return [ImageLane(target, self._line, self._lane_settings(target.name), caught) for target in self._line.archives]

    def _lane_settings(self, name: str) -> LaneSettings:
        budget = self._settings.retry_budgets.get(name, self._settings.retry_budget_secs)
        return LaneSettings(lease_secs=self._settings.lease_secs, retry_budget_secs=budget)

    def _lane(self, lane: FactLane | ImageLane) -> None:
        def step() -> bool:
            pause = lane.pause_secs
            if pause:
                self._stop.wait(pause)
            return lane.step() if not self._stop.is_set() else False

        lane.open()
        self._loop(step)
        lane.close()

    def _loop(self, step: Callable[[], bool]) -> None:
        while not self._stop.is_set():
            try:
                busy = step()
            except Retryable as error:
                log.warning("ledger_waits", stage="work", reason=error.reason)
                busy = False
            except Exception as error:
                log.exception("work_failed", stage="work", problem=describe_exception(error))
                busy = False
            if not busy:
                self._stop.wait(self._settings.poll_secs)

    def normalise_batch(self) -> bool:
        """Lease some received instances and normalise them. True when there may be more.

        A batch that is not full ends with a pause: while a scanner sends, a few commits a second leave the disk to the receiver.
        """
        settings = self._settings
        tickets = self._line.ledger.stages.lease(limit=settings.batch_instances, now=time.time(), lease_secs=settings.lease_secs)
        if tickets:
            self._refresh()
        done = [result for ticket in tickets if (result := self._normalise(ticket)) is not None]
        self._line.ledger.stages.advance(
            done,
            archives=self._original_names,
            normalised=self._normalised_names,
            new_scanners=settings.shadow_new_scanners,
            now=time.time(),
        )
        return len(tickets) == settings.batch_instances

    def _normalise(self, ticket: Ticket) -> Normalised | None:
        read = self._read(ticket)
        if isinstance(read, Normalised):
            return read
        self._set_aside(ticket, read)
        return None

    def _read(self, ticket: Ticket) -> Normalised | str:
        """The record, or why there is none."""
        if ticket.crashes >= MOST_CRASHES:
            return f"Reading this object ended the reader {ticket.crashes} times; it was set aside."
        self._marker.put(ticket.instance_id)
        try:
            with _deadline(INSTANCE_SECS):
                return pipeline.process(ticket, self._line)
        except GatewayError as error:
            reason = error.reason
        except FileNotFoundError:
            reason = self._why_absent(ticket)
        except _TooLong:
            reason = f"Reading this object took longer than {INSTANCE_SECS} seconds."
        except MemoryError:
            reason = "Reading this object needed more memory than a worker has."
        except Exception as error:
            reason = f"Reading this object failed inside Isobridge ({describe_exception(error)}); please report it."
            log.exception("object_failed", stage="normalise", item=token(ticket.digest), problem=describe_exception(error))
        finally:
            self._marker.put(0)
        return reason

    def _why_absent(self, ticket: Ticket) -> str:
        """What the door refused is damaged, and trying again does not mend it: its first reason stays."""
        note = self._line.files.read_note(ticket.day, ticket.digest)
        return note.reason if note is not None else "The object is not in the spool any longer."

    def replay_batch(self) -> bool:
        """Map some instances again that were asked for. True when there may be more."""
        settings, replays = self._settings, self._line.ledger.replays
        tickets = replays.lease(limit=settings.batch_instances, now=time.time(), lease_secs=settings.lease_secs)
        if not tickets:
            return False
        self._refresh()
        done: list[Normalised] = []
        for ticket in tickets:
            try:
                path = self._line.original(ticket.day, ticket.digest)
            except Retryable as error:  # an archive is away: the lease runs out, then it is tried again
                log.warning("replay_waits", stage="normalise", item=token(ticket.digest), reason=error.reason)
                continue
            if not path.exists():
                replays.give_up(
                    ticket, "Its file has left the spool (retention), and no archive gives it back: its former record stays."
                )
                continue
            read = self._read(ticket)
            if isinstance(read, Normalised):
                done.append(read)
            else:
                replays.give_up(ticket, f"Its former record stays. {read}")
        replays.advance(done, normalised=self._normalised_names, new_scanners=settings.shadow_new_scanners, now=time.time())
        return len(tickets) == settings.batch_instances

    def _set_aside(self, ticket: Ticket, reason: str) -> None:
        # An image that no mapping understands is still archived; what was refused at the door stands elsewhere and is not.
        is_image = self._line.files.locate(ticket.day, ticket.digest).exists()
        archives = self._archive_names if is_image else ()
        self._line.ledger.stages.quarantine(ticket, reason, archives=archives, now=time.time())
        log.warning("object_quarantined", stage="normalise", item=token(ticket.digest), reason=reason)

    def compare_one(self) -> bool:
        """Compare another content of a known SOP Instance UID with the one in force. False when none waits."""
        stages = self._line.ledger.stages
        tickets = stages.lease_comparisons(limit=1, now=time.time(), lease_secs=self._settings.lease_secs)
        self._refresh()
        for ticket in tickets:
            result = self._compare(ticket)
            if result is None:
                stages.take_vacant_place(ticket)
            else:
                stages.settle_comparison(result)
                log.info(
                    "contents_compared", stage="normalise", item=token(ticket.digest), result="same" if result.same else "other"
                )
        return bool(tickets)

    def _compare(self, ticket: Ticket) -> Compared | None:
        """What came of it; a comparison that fails leaves a conflict for a person."""
        reason = f"Comparing this object ended the reader {ticket.crashes} times."
        if ticket.crashes < MOST_CRASHES:
            self._marker.put(ticket.instance_id)
            try:
                with _deadline(INSTANCE_SECS):
                    return pipeline.compare(ticket, self._line)
            except GatewayError as error:
                reason = error.reason
            except _TooLong:
                reason = f"Comparing this object took longer than {INSTANCE_SECS} seconds."
            except (MemoryError, OSError) as error:
                reason = f"Comparing this object failed ({describe_exception(error)})."
            except Exception as error:
                reason = f"Comparing this object failed inside Isobridge ({describe_exception(error)})."
                log.exception("object_failed", stage="normalise", item=token(ticket.digest), problem=describe_exception(error))
            finally:
                self._marker.put(0)
        told = f"Another content of this SOP Instance UID is in force. {reason} A person decides."
        return Compared(ticket=ticket, same=False, reason=told, normalised=None)

    def seal_one(self) -> bool:
        """Gather one quiet subject. False when none is due."""
        ticket = self._line.ledger.subjects.lease_due(now=time.time(), lease_secs=self._settings.lease_secs)
        if ticket is None:
            return False
        self._refresh()
        try:
            version = pipeline.seal(ticket, self._line, now=time.time())
        except Quarantined as error:
            self._postpone(ticket, error.reason)
        except Exception as error:
            self._postpone(ticket, f"gathering failed inside Isobridge ({describe_exception(error)})")
            log.exception("subject_failed", stage="gather", problem=describe_exception(error))
        else:
            log.info("subject_sealed", stage="gather", kind=str(ticket.kind), subject=token(ticket.key), version=version)
        return True

    def _postpone(self, ticket: SubjectTicket, reason: str) -> None:
        """The lease stays until it runs out, so the subject is tried again without spinning; nothing of it is lost."""
        log.error("subject_held", stage="gather", kind=str(ticket.kind), subject=token(ticket.key), reason=reason)
        self._line.ledger.subjects.note_problem(ticket, reason)


def be_modest() -> None:
    """A worker may ask for this much memory and no more, and it yields the processor to the receiver: a scanner waits, a worker can."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.nice(NICENESS)
