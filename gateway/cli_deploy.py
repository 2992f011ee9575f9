"""The life of mappings at the command line: deploy, rollback, history, approve, ``isobridge scanner`` and ``isobridge replay``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.cli_study import asked_user, not_blank
from gateway.config import Loaded

Command = Callable[..., Any]

_BY = click.option("--by", default=asked_user, show_default="your user name", callback=not_blank, help="Who does this.")
_REASON = click.option("--reason", required=True, callback=not_blank, help="Why. It is kept.")
_WHY = click.option("--reason", default="no reason given", callback=not_blank, help="Why. It is kept in the history.")


def _nobody_to_ask(context: click.Context, parameter: click.Parameter, yes: bool) -> bool:
    """Said before the long part: whoever pipes this must not wait for a question that never comes."""
    if not yes and not sys.stdin.isatty():
        click.echo(
            "no terminal, so nobody can be asked: the change is checked and shown, and put in force with --yes only", err=True
        )
    return yes


_ALL = click.option("--all", "every", is_flag=True, help="Show every difference, not only the first 30.")
_YES = click.option("--yes", is_flag=True, callback=_nobody_to_ask, help="Do not ask.")


def add_deployment(group: click.Group, with_settings: Callable[[Command], Command]) -> None:
    """The commands of ``isobridge mappings`` that change what is in force."""
    deploy = click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))(_deploy)
    deploy = click.option("--dry-run", is_flag=True, help="Print what would change; write nothing.")(deploy)
    rollback = click.option("--to", metavar="VERSION", help="As 'history' prints it; first digits are enough.")(_rollback)
    for command, options in (
        (deploy, (_BY, _WHY, _ALL, _YES)),
        (rollback, (_BY, _WHY, _ALL, _YES)),
        (_history, ()),
        (_approve, (_BY, _REASON)),
    ):
        built = with_settings(command)
        for option in options:
            built = option(built)
        group.add_command(click.command(command.__name__.strip("_"))(built))


def scanner_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    @click.group("scanner")
    def scanner() -> None:
        """List the scanners that objects came from; approve new ones (mappings.shadow_new_scanners)."""

    scanner.add_command(click.command("list")(with_settings(_scanners)))
    approve = click.argument("identifier", metavar="ID", type=int)(_BY(_REASON(with_settings(_approve_scanner))))
    scanner.add_command(click.command("approve")(approve))
    return scanner


def replay_command(with_settings: Callable[[Command], Command]) -> click.Command:
    built = with_settings(_replay)
    for option in (
        click.option("--since", metavar="DATE", help="What arrived on this day or later, e.g. 2026-01-31."),
        click.option("--study", metavar="UID", help="One Study Instance UID."),
        click.option("--dry-run", is_flag=True, help="Print what would change; change nothing."),
        click.option("--no-wait", is_flag=True, help="Ask for it and end; the gateway works on."),
    ):
        built = option(built)
    return click.command("replay")(built)


def _deploy(loaded: Loaded, directory: Path, dry_run: bool, by: str, reason: str, every: bool, yes: bool) -> None:
    """Lint, test and try the mapping files of DIRECTORY, then put them in force. The version before stays for 'rollback'."""
    from gateway.workbench.deploy import plan_deployment

    ledger = _ledger(loaded)
    _put(ledger, plan_deployment(loaded.settings, ledger, directory), by, reason, yes=yes, every=every, dry_run=dry_run)


def _rollback(loaded: Loaded, to: str | None, by: str, reason: str, every: bool, yes: bool) -> None:
    """Put a former version in force again; by default the one before."""
    from gateway.workbench.deploy import plan_rollback

    ledger = _ledger(loaded)
    _put(ledger, plan_rollback(loaded.settings, ledger, to), by, reason, yes=yes, every=every)


def _put(ledger: Any, plan: Any, by: str, reason: str, *, yes: bool, every: bool = False, dry_run: bool = False) -> None:
    from gateway.spool.decisions import By
    from gateway.workbench.deploy import done_lines, plan_lines, put_in_force

    for line in plan_lines(plan, every=every):
        click.echo(line)
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here; look at the differences and repeat with --yes")
        click.confirm("Put it in force?", abort=True)
    put = put_in_force(ledger, plan, By(name=by, reason=reason, at=time.time()))
    for line in done_lines(plan, put):
        click.echo(line)


def _history(loaded: Loaded) -> None:
    """Which mappings were in force, since when, by whom and why; the first line holds. Says what lies in the folder undeployed."""
    from gateway.in_force import changed_on_disk
    from gateway.workbench.deploy import history_lines
    from gateway.workbench.shadow import waiting_lines

    ledger = _ledger(loaded)
    history = ledger.mappings.listed()
    for line in history_lines(history, loaded.settings.site.zone):
        click.echo(line)
    for line in waiting_lines(ledger.shadows.waiting()):
        click.echo(line)
    changes = changed_on_disk(loaded.settings, history[0].version) if history else []
    if changes:
        click.echo(f"{loaded.settings.mappings.directory}: not deployed: {', '.join(changes)}", err=True)


@click.argument("name")
def _approve(loaded: Loaded, name: str, by: str, reason: str) -> None:
    """Approve a mapping with 'shadow: true': what it read and will read is published."""
    from gateway.in_force import standing_in_force, understanding_in_force
    from gateway.spool.decisions import By
    from gateway.workbench.shadow import approve_mapping

    ledger = _ledger(loaded)
    site = understanding_in_force(loaded.settings, standing_in_force(ledger.mappings))
    click.echo(approve_mapping(ledger, site, name, By(name=by, reason=reason, at=time.time())))


def _scanners(loaded: Loaded) -> None:
    """Every scanner that something came from; those that wait for a person first."""
    from gateway.workbench.shadow import scanner_lines

    shadows = _ledger(loaded).shadows
    for line in scanner_lines(shadows.scanners(), shadows.waiting(), loaded.settings.site.zone):
        click.echo(line)


def _approve_scanner(loaded: Loaded, identifier: int, by: str, reason: str) -> None:
    """Approve a new scanner: what came and comes from it is published. ID as 'scanner list' prints it."""
    from gateway.spool.decisions import By
    from gateway.workbench.shadow import approve_scanner

    click.echo(approve_scanner(_ledger(loaded), identifier, By(name=by, reason=reason, at=time.time())))


def _replay(loaded: Loaded, since: str | None, study: str | None, dry_run: bool, no_wait: bool) -> None:
    """Map again what the spool still holds, by the mappings in force; publish only what changed.

    The running gateway does the work; Ctrl-C ends the watching, not the work.
    """
    from rich.console import Console
    from rich.progress import Progress

    from gateway.workbench import replay
    from gateway.workbench.health import health

    settings, ledger = loaded.settings, _ledger(loaded)
    scope = replay.scope_of(since, study, settings.site.zone)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("replay", total=None)
        if dry_run:
            for line in replay.rehearse(
                ledger, _line(loaded, ledger), scope, lambda done, total: progress.update(bar, completed=done, total=total)
            ):
                click.echo(line)
            return
        number = replay.ask(ledger, scope, now=time.time())
        finished = not no_wait and replay.watch(
            ledger,
            number,
            alive=lambda: health(settings.data.directory).ok,
            pause=lambda: time.sleep(0.3),
            clock=time.time,
            on_progress=lambda found: progress.update(bar, completed=found.total - found.waiting, total=found.total),
        )
    for line in replay.outcome_lines(ledger, number):
        click.echo(line)
    if not finished:
        click.echo("asked for; a running gateway works on it", err=True)


def _line(loaded: Loaded, ledger: Any) -> Any:
    """What a rehearsal needs: the site as the running gateway understands it, wherever that stands. Puts nothing in force."""
    from gateway.fhir.endpoint import images_address
    from gateway.in_force import SiteInForce, standing_in_force
    from gateway.line import Line
    from gateway.roles.rooms import open_files
    from gateway.workbench.health import read_run_file

    standing_in_force(ledger.mappings)
    running = read_run_file(loaded.settings.data.directory)
    images_at = running["images_at"] if running and "images_at" in running else images_address(loaded.settings)
    site = SiteInForce(loaded.settings, ledger.mappings, images_at=images_at)
    return Line(understanding=site.understanding, files=open_files(loaded.settings), ledger=ledger, targets=())


def _ledger(loaded: Loaded) -> Any:
    from gateway.roles.rooms import open_existing_ledger

    return open_existing_ledger(loaded.settings)
