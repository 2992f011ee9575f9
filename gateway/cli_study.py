"""``isobridge study``: look at one study and decide about it. Each command is one function of :mod:`gateway.workbench.decisions`."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from gateway.config import Loaded

Command = Callable[..., Any]

_STUDY = click.argument("study", metavar="STUDY")


def study_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    """The group; ``with_settings`` hands the loaded settings in."""

    def deciding(command: Command) -> Command:
        """Adds the study, ``--reason`` and ``--by``, and prints what was decided."""

        @_STUDY
        @click.option("--reason", required=True, callback=not_blank, help="Why. It is kept, and published in a Provenance.")
        @click.option("--by", default=asked_user, show_default="your user name", callback=not_blank, help="Who decides.")
        @with_settings
        @wraps(command)
        def wrapped(loaded: Loaded, study: str, reason: str, by: str, **rest: Any) -> None:
            from gateway.workbench import decisions

            decision = command(loaded, study, {"reason": reason, "by": by, "now": time.time()}, **rest)
            click.echo(decisions.decided_line(decision))

        return wrapped

    @click.group("study")
    def study_group() -> None:
        """Look at one study; decide about what is held, wrong or must not be published.

        STUDY is a Study Instance UID. Nothing is ever deleted: facts that no longer hold are marked, and every decision can be undone.
        """

    @study_group.command("show")
    @_STUDY
    @click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
    @with_settings
    def show(loaded: Loaded, study: str, as_json: bool) -> None:
        """Show what arrived, whose it is, what is held and why, what was decided, what was published."""
        from gateway.workbench import decisions

        view = decisions.show(_ledger(loaded), study)
        for line in [json.dumps(view, indent=2)] if as_json else decisions.study_lines(view):
            click.echo(line)

    @study_group.command("accept")
    @click.option(
        "--digest", help="Of an object with several contents: the first digits of the right one, as 'show' prints them."
    )
    @deciding
    def accept(loaded: Loaded, study: str, who: dict[str, Any], digest: str | None) -> Any:
        """What is held for its patient id belongs to the study's patient; or, with --digest, put that content in force."""
        from gateway.workbench import decisions

        return decisions.accept(_ledger(loaded), study, digest=digest, **who)

    @study_group.command("reassign")
    @click.option("--to", "to", required=True, metavar="PATIENT_ID", callback=not_blank, help="The right patient's id.")
    @click.option("--issuer", default="", help="Who issued that id (URI, OID or name). Default: the site.")
    @click.option("--held", "only_held", is_flag=True, help="Move only what is held for its patient id, not the whole study.")
    @deciding
    def reassign(loaded: Loaded, study: str, who: dict[str, Any], to: str, issuer: str, only_held: bool) -> Any:
        """Move the study to another patient: it was scanned or sent under the wrong one."""
        from gateway.gather.patient import PatientKeys
        from gateway.workbench import decisions

        patients = PatientKeys(system=loaded.settings.site.patient_id_system)
        return decisions.reassign(_ledger(loaded), patients, study, to=to, issuer=issuer, only_held=only_held, **who)

    @study_group.command("withdraw")
    @deciding
    def withdraw(loaded: Loaded, study: str, who: dict[str, Any]) -> Any:
        """The study must not be published: what was published of it is marked as cancelled or entered in error."""
        from gateway.workbench import decisions

        return decisions.withdraw(_ledger(loaded), study, **who)

    @study_group.command("undo")
    @deciding
    def undo(loaded: Loaded, study: str, who: dict[str, Any]) -> Any:
        """Take back the latest decision about the study."""
        from gateway.workbench import decisions

        return decisions.undo(_ledger(loaded), study, **who)

    return study_group


def not_blank(_context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    if value is None or not value.strip():
        raise click.BadParameter("must not be empty")
    return value.strip()


def asked_user() -> str | None:
    """The operating system's user; None, so that --by is asked for, where there is no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _ledger(loaded: Loaded) -> Any:
    from gateway.roles.rooms import open_existing_ledger

    return open_existing_ledger(loaded.settings)
