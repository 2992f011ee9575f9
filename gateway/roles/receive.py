"""The role that scanners talk to."""

from __future__ import annotations

import datetime as dt
import gc
import os
import socket

import structlog

from gateway.config import Settings, is_loopback
from gateway.errors import Retryable
from gateway.receive.callers import CallerTrace
from gateway.receive.serving import refuse_until
from gateway.receive.serving import run as run_receiver
from gateway.receive.settings import CallerPolicy, ReceiveSettings
from gateway.receive.tls import TlsPort
from gateway.roles.rooms import MEGABYTE, open_files, open_ledger
from gateway.sender_settings import SenderSettings
from gateway.spool.durable import unwritable
from gateway.spool.files import SpoolFiles
from gateway.spool.intake import Intake
from gateway.spool.journal import Journal
from gateway.spool.recovery import recover
from gateway.telemetry import configure

log = structlog.get_logger()

#: Longer than a former receiver takes to finish what it has in hand.
_PATIENCE_SECS = 60.0
#: How many looks a start-up sweep that failed for want of room waits although there is no more than before.
_WAITS_MOST = 5
_NO_ROOM = "Starting: objects of the last run wait for room on the disk."


def receive(settings: Settings, listener: socket.socket, tls_listener: socket.socket | None, life_line: int) -> None:
    """The DICOM loop. Before the first caller is answered, files without a row are adopted."""
    configure(level=settings.log.level, style=settings.log.format, role="receive")
    section = settings.receive
    files, ledger = open_files(settings), open_ledger(settings)
    port = TlsPort(section.tls) if tls_listener is not None else None
    if settings.spool.acknowledge_after == "file":  # else several machines may share the spool, and no journal is used
        files.lock(patience_secs=_PATIENCE_SECS)
    journal = Journal(files, capacity_bytes=settings.spool.journal_megabytes * MEGABYTE)
    callers = CallerTrace(ledger.callers)
    tls = (tls_listener, port) if tls_listener is not None and port is not None else None
    limits = _limits(settings, port)
    recovery = Recovery(files, ledger.intake, journal)
    if not recovery.is_done() and not refuse_until(
        [listener],
        limits,
        files,
        ledger.intake,
        recovery.is_done,
        reason=_NO_ROOM,
        lifeline_fd=life_line,
        on_event=callers,
        tls=tls,
    ):
        callers.stop()
        return
    _tune_collector()
    run_receiver(
        [listener],
        limits,
        files,
        ledger.intake,
        lifeline_fd=life_line,
        journal=journal if settings.spool.acknowledge_after == "file" else None,
        on_event=callers,
        commitments=ledger.commitments if section.storage_commitment.mode != "off" else None,
        tls=tls,
    )
    callers.stop()


class Recovery:
    """The start-up sweep, tried until it succeeds: a full disk must not end the receiver again and again."""

    def __init__(self, files: SpoolFiles, intake: Intake, journal: Journal) -> None:
        self._files, self._intake, self._journal = files, intake, journal
        self._free_bytes = -1
        self._waits = 0

    def is_done(self) -> bool:
        """Try now. After a failure only when there is more room than then, or after a while: each try writes what it can."""
        disk = os.statvfs(self._files.directory)
        free_bytes = disk.f_bavail * disk.f_frsize
        self._waits += 1
        if free_bytes <= self._free_bytes and self._waits < _WAITS_MOST:
            return False
        self._waits = 0
        try:
            found = recover(self._files, self._intake, self._journal, today=dt.datetime.now(dt.UTC).date().isoformat())
        except (OSError, Retryable) as error:
            reason = error.reason if isinstance(error, Retryable) else unwritable(error).reason
            log.warning("recovery_waits", stage="receive", reason=reason)
            self._free_bytes = free_bytes
            return False
        if found.adopted or found.cleared or found.replayed:
            log.warning("recovered", stage="receive", adopted=found.adopted, cleared=found.cleared, replayed=found.replayed)
        return True


def _limits(settings: Settings, port: TlsPort | None) -> ReceiveSettings:
    section = settings.receive
    return ReceiveSettings(
        ae_title=section.ae_title,
        calling_aes=section.calling_aes,
        check_called_ae=section.check_called_ae,
        max_associations=section.max_associations,
        max_pdu_bytes=section.max_pdu_kilobytes * 1024,
        request_timeout_secs=section.request_timeout_secs,
        pdu_timeout_secs=section.pdu_timeout_secs,
        idle_timeout_secs=section.idle_timeout_secs,
        accept_raw_data=section.accept_raw_data,
        max_object_bytes=section.max_object_megabytes * MEGABYTE,
        acknowledge_after=settings.spool.acknowledge_after,
        storage_commitment=section.storage_commitment.mode != "off",
        certificates=port.bound if port else {},
        callers={one.ae_title: _policy(one) for one in settings.senders},
        warn_bytes=settings.spool.warn_mark_megabytes * MEGABYTE,
        reject_bytes=settings.spool.reject_mark_megabytes * MEGABYTE,
        minimum_bytes_per_sec=section.minimum_bytes_per_sec,
        max_associations_per_address=0 if is_loopback(section.bind) else section.max_associations_per_address,
    )


def _policy(sender: SenderSettings) -> CallerPolicy:
    return CallerPolicy(
        networks=sender.addresses, pdu_timeout_secs=sender.pdu_timeout_secs, idle_timeout_secs=sender.idle_timeout_secs
    )


def _tune_collector() -> None:
    """The receiver makes many short-lived objects and hardly a cycle: look for cycles rarely, and never in what is there for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
