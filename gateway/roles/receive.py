"""The role that scanners talk to."""

from __future__ import annotations

import datetime as dt
import gc
import socket

import structlog

from gateway.config import Settings
from gateway.receive.callers import CallerTrace
from gateway.receive.loop import run as run_receiver
from gateway.receive.settings import ReceiveSettings
from gateway.receive.tls import TlsPort
from gateway.roles.rooms import MEGABYTE, open_files, open_ledger
from gateway.spool.journal import Journal
from gateway.spool.recovery import recover
from gateway.telemetry import configure

log = structlog.get_logger()

#: Longer than a former receiver takes to finish what it has in hand.
_PATIENCE_SECS = 60.0


def receive(settings: Settings, listener: socket.socket, tls_listener: socket.socket | None, life_line: int) -> None:
    """The DICOM loop. Before the first caller is answered, files without a row are adopted."""
    configure(level=settings.log.level, style=settings.log.format, role="receive")
    section = settings.receive
    files, ledger = open_files(settings), open_ledger(settings)
    port = TlsPort(section.tls) if tls_listener is not None else None
    if settings.spool.acknowledge_after == "file":  # else several machines may share the spool, and no journal is used
        files.lock(patience_secs=_PATIENCE_SECS)
    journal = Journal(files, capacity_bytes=settings.spool.journal_megabytes * MEGABYTE)
    found = recover(files, ledger.intake, journal, today=dt.datetime.now(dt.UTC).date().isoformat())
    if found.adopted or found.cleared or found.replayed:
        log.warning("recovered", stage="receive", adopted=found.adopted, cleared=found.cleared, replayed=found.replayed)
    _tune_collector()
    callers = CallerTrace(ledger.callers)
    run_receiver(
        [listener],
        ReceiveSettings(
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
            reserve_bytes=settings.spool.reserve_megabytes * MEGABYTE,
        ),
        files,
        ledger.intake,
        lifeline_fd=life_line,
        journal=journal if settings.spool.acknowledge_after == "file" else None,
        on_event=callers,
        commitments=ledger.commitments if section.storage_commitment.mode != "off" else None,
        tls=(tls_listener, port) if tls_listener is not None and port is not None else None,
    )
    callers.stop()


def _tune_collector() -> None:
    """The receiver makes many short-lived objects and hardly a cycle: look for cycles rarely, and never in what is there for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
