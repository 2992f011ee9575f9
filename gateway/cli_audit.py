"""``isobridge audit``: who accessed what. Reads only; safe beside a running gateway."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from gateway.config import Loaded

if TYPE_CHECKING:
    from gateway.audit.record import Record

Command = Callable[..., Any]


def audit_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    """The group; ``with_settings`` hands the loaded settings in."""

    @click.group("audit")
    def audit() -> None:
        """Look at the audit trail: every access to /fhir, /dicom-web and the pages."""

    @audit.command("list")
    @click.option("--since", help="From this day or moment on: 2026-01-31, 2026-01-31T10:00 (time zone of the site).")
    @click.option("--until", help="Before this day or moment.")
    @click.option("--who", help="Name of a user, token or client.")
    @click.option("--patient", help="Id of a Patient (as in /fhir/Patient/ID): who saw his data.")
    @click.option("--count", default=50, show_default=True, type=click.IntRange(1, 1_000_000), help="How many, newest first.")
    @click.option("--json", "as_json", is_flag=True, help="FHIR AuditEvents, one a line.")
    @with_settings
    def listed(
        loaded: Loaded,
        since: str | None,
        until: str | None,
        who: str | None,
        patient: str | None,
        count: int,
        as_json: bool,
    ) -> None:
        """List accesses, newest first. What happened in the last half second may not be there yet."""
        from gateway.audit.record import audit_event
        from gateway.audit.trail import Asked, AuditTrail
        from gateway.errors import Misconfigured
        from gateway.r4.canonical import encode

        settings = loaded.settings
        if not (settings.data.directory / "audit.db").is_file():
            raise Misconfigured(f"nothing was accessed yet in {settings.data.directory} (there is no audit.db)")
        trail = AuditTrail(settings.audit_url, settings.data.directory / "audit")
        asked = Asked(
            since=_moment(loaded, "--since", since),
            until=_moment(loaded, "--until", until),
            who=who,
            patient=patient.removeprefix("Patient/") if patient else None,
        )
        for record in trail.all(asked, count):
            event = encode(audit_event(record, site=settings.site.name)).decode() if as_json else line(record)
            click.echo(event)

    return audit


def _moment(loaded: Loaded, option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"{option} must be like 2026-01-31 or 2026-01-31T10:00") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=loaded.settings.site.zone)).timestamp()


def line(record: Record) -> str:
    """One access for people: when, who, from where, what, with which answer, whose data."""
    at = dt.datetime.fromtimestamp(record.at, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    what = f"{record.what} {record.kind}{'/' if record.kind and record.id else ''}{record.id}".strip()
    asked = f" ({', '.join(record.parameters)})" if record.parameters else ""
    people = f"  {len(record.patients)} patient{'s' if len(record.patients) > 1 else ''}" if record.patients else ""
    return f"{at}  {record.who or '-'}  {record.peer}  {record.status}  {what}{asked}{people}"
