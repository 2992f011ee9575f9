"""A DICOM client for the bench: sends files and tests a connection. Used by the command line and the demo; prints nothing.

Every reason is a sentence for the person at the keyboard. pynetdicom does the protocol; files travel as they lie on disk.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config, build_context, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from gateway.errors import Misconfigured
from gateway.workbench.outgoing import DicomFile, Skipped, by_association, find_files

#: Our maximum PDU length, and the time limits of one connection.
MAX_PDU_BYTES = 128 * 1024
CONNECT_SECS, ACSE_SECS, DIMSE_SECS = 10.0, 30.0, 120.0

#: The Verification SOP Class (PS3.4 annex A).
VERIFICATION_UID = "1.2.840.10008.1.1"

#: How often one file may be sent again because the connection was lost before its answer came.
MAX_ATTEMPTS = 3

#: How long a peer may take to say that it refuses our certificate.
_ALERT_SECS = 1.0

#: How long the reactor thread must have been waiting before we believe that it sleeps; it wakes every millisecond.
_REACTOR_ASLEEP_SECS = 0.02

_ADDRESS = re.compile(r"(?P<ae>[^@]+)@(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^@:\[\]/\s]+)):(?P<port>\d{1,5})")
#: PS3.5 6.2, AE: 1 to 16 characters, no backslash, no control characters.
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AEAddress:
    """Where a DICOM application listens."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


def parse_address(text: str) -> AEAddress:
    """Read ``AET@host:port``. Raises :class:`Misconfigured` with what is wrong with it."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise Misconfigured(f"'{text}' is not a DICOM address; write AET@host:port, for example ISOBRIDGE@127.0.0.1:11112")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise Misconfigured(f"'{text}': the port must be between 1 and 65535")
    return AEAddress(ae_title=check_ae_title(match["ae"]), host=match["v6"] or match["host"], port=port)


def check_ae_title(text: str) -> str:
    """The title without padding. Raises :class:`Misconfigured` when it is no AE title."""
    title = text.strip()
    if not title or not _AE_TITLE.fullmatch(title):
        raise Misconfigured(f"'{text}' is not an AE title: 1 to 16 ASCII characters, no backslash")
    return title


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
    association = _associate(target, calling_ae, [build_context(VERIFICATION_UID)], tls)
    if isinstance(association, _NoAssociation):
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
        with _association(waiting, target, calling_ae, tls) as association, _reactor_held(association):
            for outcome in _send_over(association, waiting, attempts):
                report(outcome)
                outcomes.append(outcome)
        done = {outcome.file.path for outcome in outcomes}
        waiting = [file for file in waiting if file.path not in done]
    return outcomes


def _send_over(association: Any, files: Sequence[DicomFile], attempts: dict[Path, int]) -> Iterator[FileOutcome]:
    """Yield an outcome per file until the connection is lost; what has none then is sent again by the caller."""
    if isinstance(association, _NoAssociation):
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
    association = _associate(target, calling_ae, contexts, tls)
    try:
        yield association
    finally:
        if not isinstance(association, _NoAssociation) and association.is_established:
            association.release()


@contextmanager
def _reactor_held(association: Any) -> Iterator[None]:
    """Keep pynetdicom's reactor thread asleep while we send.

    ``send_c_store`` pauses it for each object, but the pause has a gap: a reactor that has just woken may still take the answer
    of a fast peer off the queue, and the sender waits for it in vain (pynetdicom 3.0.4, ``Association._run_reactor``). Paused
    once, and given the time to fall asleep, it can take nothing.
    """
    if isinstance(association, _NoAssociation):
        yield
        return
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    asleep_since = time.monotonic()
    while time.monotonic() - asleep_since < _REACTOR_ASLEEP_SECS:
        if not association._is_paused:
            asleep_since = time.monotonic()
        time.sleep(0.001)
    checkpoint.set = _nothing
    try:
        yield
    finally:
        del checkpoint.set
        checkpoint.set()


def _nothing() -> None:
    """Stands in for waking the reactor."""


@dataclass(frozen=True, slots=True)
class _NoAssociation:
    """Whether the peer was reached at all, and a sentence that says what happened."""

    connected: bool
    reason: str


def _associate(target: AEAddress, calling_ae: str, contexts: list[PresentationContext], tls: ssl.SSLContext | None) -> Any:
    """An established pynetdicom association, or a :class:`_NoAssociation`."""
    try:
        socket.getaddrinfo(target.host, target.port)
    except socket.gaierror:
        return _NoAssociation(False, f"the host name {target.host} is not known")
    entity = AE(ae_title=calling_ae)
    entity.connection_timeout, entity.acse_timeout, entity.dimse_timeout = CONNECT_SECS, ACSE_SECS, DIMSE_SECS
    entity.network_timeout = DIMSE_SECS
    entity.maximum_pdu_size = MAX_PDU_BYTES
    association = entity.associate(
        target.host,
        target.port,
        contexts=contexts,
        ae_title=target.ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay)],
        tls_args=(tls, target.host) if tls else None,
    )
    return association if association.is_established else _why_not_established(association, target, tls)


def _without_delay(event: Any) -> None:
    """Switch Nagle's algorithm off: command and data set are two writes, and the second must not wait for a TCP ACK."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _why_not_established(association: Any, target: AEAddress, tls: ssl.SSLContext | None) -> _NoAssociation:
    if association.is_rejected:
        answer = association.acceptor.primitive
        return _NoAssociation(
            True, f"the peer rejected the association: {answer.reason_str} ({answer.result_str}, {answer.source_str})"
        )
    try:
        _knock(target, tls)
    except ssl.SSLError as error:
        return _NoAssociation(False, f"TLS with {target.host}:{target.port} failed: {_tls_words(error)}")
    except TimeoutError:
        return _NoAssociation(False, f"{target.host}:{target.port} does not answer within {CONNECT_SECS:.0f} s")
    except OSError as error:
        return _NoAssociation(False, f"no connection to {target.host}:{target.port} ({error.strerror})")
    if association.rejected_contexts:
        return _NoAssociation(True, "the peer accepted the association but none of the offered SOP classes and transfer syntaxes")
    return _NoAssociation(True, "the peer aborted, or does not speak DICOM on this port")


def _knock(target: AEAddress, tls: ssl.SSLContext | None) -> None:
    """Connect once more, for the reason. TLS 1.3 tells a caller whose certificate is refused only when it reads."""
    with socket.create_connection((target.host, target.port), timeout=CONNECT_SECS) as plain:
        if tls is not None:
            with tls.wrap_socket(plain, server_hostname=target.host) as sock:
                sock.settimeout(_ALERT_SECS)
                with contextlib.suppress(TimeoutError):
                    sock.recv(1)


def _tls_words(error: ssl.SSLError) -> str:
    detail = getattr(error, "verify_message", "")
    return str(detail or (error.reason or "a fault").replace("_", " ").lower())


def _implementation(association: Any) -> str:
    """Implementation version name of the peer, when it told one."""
    name = association.acceptor.implementation_version_name
    return str(name) if name else "a peer without a version name"
