"""A DICOM client for the bench: sends files and tests a connection. Used by the command line and the demo; prints nothing.

Every reason is a sentence for the person at the keyboard. pynetdicom does the protocol; files travel as they lie on disk.
"""

from __future__ import annotations

import itertools
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom import _config, build_context
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.associating import NoAssociation, associate, reactor_held
from gateway.workbench.outgoing import DicomFile, Skipped, by_association, find_files

#: The Verification SOP Class (PS3.4 annex A).
VERIFICATION_UID = "1.2.840.10008.1.1"

#: How often one file may be sent again because the connection was lost before its answer came.
MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What became of one file. ``status`` is None when no answer came."""

    file: DicomFile
    status: int | None
    meaning: str

    @property
    def stored(self) -> bool:
        """Success, or a warning: the peer keeps the object (PS3.4 B.2.3)."""
        return self.status is not None and (self.status == 0 or self.status == 0x0001 or 0xB000 <= self.status <= 0xBFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReport:
    """What :func:`send` did with all files, in no particular order."""

    target: AEAddress
    outcomes: tuple[FileOutcome, ...]
    skipped: tuple[Skipped, ...]
    duration_s: float

    @property
    def stored(self) -> int:
        return sum(outcome.stored for outcome in self.outcomes)

    @property
    def failures(self) -> tuple[FileOutcome, ...]:
        return tuple(outcome for outcome in self.outcomes if not outcome.stored)

    @property
    def remarks(self) -> tuple[FileOutcome, ...]:
        """Every answer that was not plain success, warnings included."""
        return tuple(outcome for outcome in self.outcomes if outcome.status != 0)

    @property
    def ok(self) -> bool:
        """All files that were found are stored, and there was at least one."""
        return bool(self.outcomes) and not self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoStep:
    """One step of an echo: ``connect``, ``associate`` or ``C-ECHO``."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoReport:
    """How far an echo came."""

    target: AEAddress
    steps: tuple[EchoStep, ...]

    @property
    def ok(self) -> bool:
        return all(step.ok for step in self.steps)


#: Told after each file: how many are done, of how many, and what became of this one.
Progress = Callable[[int, int, FileOutcome], None]
_Report = Callable[[FileOutcome], None]


def status_meaning(status: int) -> str:
    """The standard's words for a C-STORE status (PS3.4 B.2.3, PS3.7 annex C)."""
    category, meaning = STORAGE_SERVICE_CLASS_STATUS.get(status, ("Unknown", "not a status of the standard"))
    return f"{category}: {meaning}" if meaning else str(category)


def echo(target: AEAddress, *, calling_ae: str = "ISOBRIDGE", tls: ssl.SSLContext | None = None) -> EchoReport:
    """Connect (over TLS with ``tls``), associate, C-ECHO; the first step that fails says why and ends it."""
    association = associate(target, calling_ae, [build_context(VERIFICATION_UID)], tls)
    if isinstance(association, NoAssociation):
        if not association.connected:
            return EchoReport(target=target, steps=(EchoStep(name="connect", ok=False, detail=association.reason),))
        refused = EchoStep(name="associate", ok=False, detail=association.reason)
        return EchoReport(target=target, steps=(EchoStep(name="connect", ok=True, detail="connected"), refused))
    try:
        answer = association.send_c_echo()
    finally:
        association.release()
    status = answer.get("Status")
    detail = "no answer" if status is None else f"0x{status:04X} {status_meaning(status)}"
    return EchoReport(
        target=target,
        steps=(
            EchoStep(name="connect", ok=True, detail="connected"),
            EchoStep(name="associate", ok=True, detail=f"accepted by {_implementation(association)}"),
            EchoStep(name="C-ECHO", ok=status == 0, detail=detail),
        ),
    )


def send(
    paths: Iterable[Path],
    target: AEAddress,
    *,
    calling_ae: str = "ISOBRIDGE",
    associations: int = 1,
    tls: ssl.SSLContext | None = None,
    on_progress: Progress | None = None,
) -> SendReport:
    """Send all DICOM files among ``paths`` (folders included) over ``associations`` parallel associations.

    A file whose connection was lost before the answer is sent again, at most twice. Never raises for what the network or the peer
    does: that is in the report. ``on_progress`` is called once per file, from one thread at a time.
    """
    # Then pynetdicom streams the data set from the file, unopened; the switch is global, but only a path argument heeds it.
    _config.STORE_SEND_CHUNKED_DATASET = True
    started = time.monotonic()
    files, skipped = find_files(paths)
    lock = threading.Lock()

    done = itertools.count(1)

    def report(outcome: FileOutcome) -> None:
        if on_progress is not None:
            with lock:
                on_progress(next(done), len(files), outcome)

    lanes = by_association(files, associations)
    with ThreadPoolExecutor(max_workers=max(1, associations), thread_name_prefix="send") as pool:
        sent = pool.map(lambda lane: _send_lane(lane, target, calling_ae, tls, report), lanes)
        outcomes = tuple(outcome for lane in sent for outcome in lane)
    return SendReport(target=target, outcomes=outcomes, skipped=tuple(skipped), duration_s=time.monotonic() - started)


def _send_lane(
    files: Sequence[DicomFile], target: AEAddress, calling_ae: str, tls: ssl.SSLContext | None, report: _Report
) -> list[FileOutcome]:
    """Send files over one association, opening it again while it makes progress."""
    waiting = list(files)
    attempts: dict[Path, int] = {}
    outcomes: list[FileOutcome] = []
    while waiting:
        with _association(waiting, target, calling_ae, tls) as association, reactor_held(association):
            for outcome in _send_over(association, waiting, attempts):
                report(outcome)
                outcomes.append(outcome)
        done = {outcome.file.path for outcome in outcomes}
        waiting = [file for file in waiting if file.path not in done]
    return outcomes


def _send_over(association: Any, files: Sequence[DicomFile], attempts: dict[Path, int]) -> Iterator[FileOutcome]:
    """Yield an outcome per file until the connection is lost; what has none then is sent again by the caller."""
    if isinstance(association, NoAssociation):
        yield from (FileOutcome(file=file, status=None, meaning=association.reason) for file in files)
        return
    accepted = {(str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts}
    for message_id, file in enumerate(files):
        if file.context not in accepted:
            yield FileOutcome(file=file, status=None, meaning="the peer does not accept this SOP class in this transfer syntax")
            continue
        attempts[file.path] = attempts.get(file.path, 0) + 1
        try:
            status = association.send_c_store(file.path, msg_id=message_id % 65535 + 1).get("Status")
            reason = "the connection was lost before the answer"
        except RuntimeError:  # pynetdicom's way to say that the association has ended
            status, reason = None, "the connection was lost"
        except OSError as error:
            status, reason = None, f"the file cannot be read ({error.strerror})"
        if status is not None:
            yield FileOutcome(file=file, status=int(status), meaning=status_meaning(int(status)))
            continue
        if attempts[file.path] >= MAX_ATTEMPTS:
            yield FileOutcome(file=file, status=None, meaning=reason)
        return


@contextmanager
def _association(files: Sequence[DicomFile], target: AEAddress, calling_ae: str, tls: ssl.SSLContext | None) -> Iterator[Any]:
    """An association for these files, or the reason why there is none."""
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in dict.fromkeys(file.context for file in files)]
    association = associate(target, calling_ae, contexts, tls)
    try:
        yield association
    finally:
        if not isinstance(association, NoAssociation) and association.is_established:
            association.release()


def _implementation(association: Any) -> str:
    """Implementation version name of the peer, when it told one."""
    name = association.acceptor.implementation_version_name
    return str(name) if name else "a peer without a version name"
