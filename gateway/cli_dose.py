"""``isobridge dose``: doses of a patient over time, and the declaration that lets them be added up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from gateway.cli_study import asked_user, not_blank
from gateway.config import Loaded

Command = Callable[..., Any]

_PATIENT = click.option("--patient", required=True, callback=not_blank, metavar="PATIENT_ID", help="The patient's id, or key.")
_BY = click.option("--by", default=asked_user, show_default="your user name", callback=not_blank, help="Who declares it.")
_REASON = click.option("--reason", required=True, callback=not_blank, help="Why. It is kept and published.")


def dose_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    @click.group("dose")
    def dose() -> None:
        """Doses of one patient over the cycles of a therapy.

        A cumulative dose is calculated only over cycles that a person declared to be all of them. It is for research use.
        """

    shown = click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")(with_settings(_history))
    dose.add_command(click.command("history")(_PATIENT(shown)))
    declare = with_settings(_complete)
    for option in (
        click.option("--cycles", required=True, help="Numbers of the administrations in 'history', as 1,2,3; or their ids."),
        click.option("--organ", help="Code or name of one region, as 'history' names it. Default: all regions."),
        _REASON,
        _BY,
        _PATIENT,
    ):
        declare = option(declare)
    dose.add_command(click.command("complete")(declare))
    number = click.argument("number", type=int)
    dose.add_command(click.command("undo")(_PATIENT(_BY(_REASON(number(with_settings(_undo)))))))
    return dose


def _history(loaded: Loaded, patient: str, as_json: bool) -> None:
    """Show administrations, doses over cycles, and what was declared complete."""
    from gateway.r4.canonical import encode
    from gateway.workbench.dose_history import history, history_json, history_lines, patient_named

    line = _line(loaded)
    found = history(line, patient_named(line, patient))
    for text in [encode(history_json(found)).decode()] if as_json else history_lines(found, loaded.settings.site.zone):
        click.echo(text)


def _complete(loaded: Loaded, patient: str, cycles: str, organ: str | None, reason: str, by: str) -> None:
    """Declare that these cycles are all of a therapy: the running gateway adds up their absorbed doses at once."""
    from gateway.spool.decisions import By
    from gateway.workbench.dose_history import complete, patient_named

    line = _line(loaded)
    words = [word.strip() for word in cycles.split(",") if word.strip()]
    number = complete(line, patient_named(line, patient), words, organ, By(name=by, reason=reason, at=time.time()))
    click.echo(f"declaration {number}: {len(words)} cycles are complete; the running gateway takes it up at once")


def _undo(loaded: Loaded, patient: str, number: int, reason: str, by: str) -> None:
    """Take a declaration back: what was added up over it is entered in error."""
    from gateway.spool.decisions import By
    from gateway.workbench.dose_history import patient_named

    line = _line(loaded)
    who = By(name=by, reason=reason, at=time.time())
    line.ledger.declarations.withdraw(patient_named(line, patient), number, who)
    click.echo(f"declaration {number} holds no longer; the running gateway takes it up at once")


def _line(loaded: Loaded) -> Any:
    from gateway.in_force import SiteInForce
    from gateway.line import Line
    from gateway.roles.rooms import open_existing_ledger, open_files

    ledger = open_existing_ledger(loaded.settings)
    site = SiteInForce(loaded.settings, ledger.mappings)
    return Line(understanding=site.understanding, files=open_files(loaded.settings), ledger=ledger, targets=())
