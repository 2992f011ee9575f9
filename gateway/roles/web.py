"""The role that people and clients talk to."""

from __future__ import annotations

import socket

from gateway.config import Settings
from gateway.gather.patient import PatientKeys
from gateway.in_force import SiteInForce
from gateway.roles.life import stop_event
from gateway.roles.rooms import clear_left_over, open_files, open_ledger, open_store
from gateway.telemetry import configure
from gateway.web.app import run_web
from gateway.web.decisions import PageDecisions


def web(settings: Settings, listener: socket.socket, life_line: int) -> None:
    """Every HTTP route."""
    configure(level=settings.log.level, style=settings.log.format, role="web")
    stop = stop_event(life_line)
    ledger = open_ledger(settings)
    site = SiteInForce(settings, ledger.mappings)
    files = open_files(settings, writer="web")
    clear_left_over(settings, files)
    run_web(
        settings,
        listener,
        ledger,
        open_store(settings),
        files,
        stop,
        decisions=PageDecisions(PatientKeys(system=settings.site.patient_id_system)),
        site=site,
    )
