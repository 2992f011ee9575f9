"""``isobridge tables``, ``isobridge import`` and ``isobridge assign``: tables of dosimetry software at the command line."""

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

_BY = click.option("--by", default=asked_user, show_default="your user name", callback=not_blank, help="Who decides.")
_REASON = click.option("--reason", required=True, callback=not_blank, help="Why. It is kept.")
_PART = click.argument("part", metavar="ID", type=int)


def tables_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    @click.group("tables")
    def tables() -> None:
        """Check and try the adapters that read tables of dosimetry software (mappings/tables)."""

    for name, command in (("list", _list), ("lint", _lint), ("test", _test), ("preview", _preview), ("read-again", _read_again)):
        tables.add_command(click.command(name)(with_settings(command)))
    return tables


def import_command(with_settings: Callable[[Command], Command]) -> click.Command:
    files = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
    adapter = click.option("--adapter", help="Which adapter reads them. Default: the one that fits.")
    return click.command("import")(files(adapter(with_settings(_import))))


def assign_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    @click.group("assign")
    def assign() -> None:
        """Tables that wait for a person: whose they are, to which administration they belong."""

    listed = click.option("--all", "everything", is_flag=True, help="The others as well.")(with_settings(_waiting))
    assign.add_command(click.command("list")(listed))
    show = click.option("--patient", help="Look at the administrations of this patient.")(_PART(with_settings(_show)))
    assign.add_command(click.command("show")(show))
    choose = with_settings(_choose)
    for option in (
        click.option("--patient", help="The patient's id. Default: the one that the table names."),
        click.option("--administration", help="Its number or id, as 'show' prints it. Default: the only one."),
        click.option("--cycle", type=click.IntRange(1, 99), help="Which cycle of the therapy it is."),
        _REASON,
        _BY,
        _PART,
    ):
        choose = option(choose)
    assign.add_command(click.command("choose")(choose))
    for command in (_withdraw, _restore):
        assign.add_command(click.command(command.__name__.strip("_"))(_PART(_BY(_REASON(with_settings(command))))))
    return assign


def _list(loaded: Loaded) -> None:
    """List the adapters: name, format, what it reads, and whether anybody saw a real export of that layout."""
    from gateway.tables.library import listed
    from gateway.workbench.tables import adapters_of

    for line in listed(adapters_of(loaded.settings.mappings.directory)):
        click.echo(line)


def _lint(loaded: Loaded) -> None:
    """Read every adapter and print all complaints at once, with file and line. Exit 2 when something is wrong."""
    from gateway.mapping.codes import load_codes
    from gateway.mapping.complaints import counted
    from gateway.tables.library import examine_adapters

    directory = loaded.settings.mappings.directory
    codes, complaints = load_codes(directory / "codes")
    _, found = examine_adapters(directory, codes)
    for complaint in (*complaints, *found):
        click.echo(str(complaint), err=True)
    click.echo(counted(len(complaints) + len(found), "complaint"))
    sys.exit(2 if complaints or found else 0)


@click.argument("adapter", required=False)
def _test(adapter: str | None, loaded: Loaded) -> None:
    """Run the tests that stand inside the adapters, or inside one."""
    from gateway.workbench.tables import adapters_of, tests_of

    results = tests_of(adapters_of(loaded.settings.mappings.directory), adapter)
    for result in results:
        click.echo(f"{'ok  ' if result.ok else 'FAIL'}  {result.adapter}: {result.name}", err=not result.ok)
        for reason in result.reasons:
            click.echo(f"        {reason}", err=True)
    failed = sum(not result.ok for result in results)
    click.echo(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--adapter", help="Which adapter reads it. Default: the one that fits.")
def _preview(file: Path, adapter: str | None, loaded: Loaded) -> None:
    """Show what would be read from one table: facts with their cells, and what cannot be read and why. Nothing is kept."""
    from gateway.workbench.tables import adapters_of, preview_lines, read_file

    settings = loaded.settings
    understood = adapters_of(settings.mappings.directory).read(read_file(file), file.name, settings.site.zone, adapter=adapter)
    for line in preview_lines(understood):
        click.echo(line)


def _read_again(loaded: Loaded) -> None:
    """Read all tables that were taken again, by the adapters in force: after a deployment that changed one. Decisions stay."""
    for name, outcome in _door(loaded).read_again(now=time.time()):
        click.echo(f"{name}: {outcome}")


def _door(loaded: Loaded) -> Any:
    from gateway.in_force import SiteInForce
    from gateway.spool.table_files import TableFiles
    from gateway.table_door import TableDoor
    from gateway.telemetry import configure
    from gateway.workbench.deploy import check_owner

    configure(level="warning", style="console", role="import")
    check_owner(loaded.settings)  # files of another user would be closed to the gateway
    ledger = _ledger(loaded)
    return TableDoor(ledger, TableFiles(loaded.settings.spool_directory), SiteInForce(loaded.settings, ledger.mappings).refresh)


def _import(loaded: Loaded, files: tuple[Path, ...], adapter: str | None) -> None:
    """Take tables in. What fits one known patient and administration is published; the rest waits: isobridge assign list.

    Exit 1 when a file could not be read; the others are taken all the same.
    """
    from gateway.errors import Rejected
    from gateway.workbench.tables import read_file

    door = _door(loaded)
    refused = 0
    for file in files:
        try:
            content = read_file(file)
            taken = door.take(content, file.name, door="import", sender=asked_user() or "", now=time.time(), adapter=adapter)
        except Rejected as error:
            refused += 1
            click.echo(f"{file.name}: {error.reason}", err=True)
            continue
        state = "taken" if taken.is_new else "known already, nothing changed"
        parts = len(taken.understood.parts)
        click.echo(
            f"{file.name}: {state}; {taken.understood.adapter.name}, {taken.facts} facts in {parts} part{'s' * (parts != 1)}"
        )
        for issue in taken.understood.issues:
            click.echo(f"  {issue.severity}: {issue.field} {issue.reason}", err=True)
    sys.exit(1 if refused else 0)


def _waiting(loaded: Loaded, everything: bool) -> None:
    """List the tables that wait for a person, the newest first."""
    from gateway.workbench.tables import listed_lines

    for line in listed_lines(_ledger(loaded).tables.listed(everything=everything), loaded.settings.site.zone):
        click.echo(line)


def _show(loaded: Loaded, part: int, patient: str | None) -> None:
    """Show one table: its facts, the patients and administrations that it may belong to, what was decided."""
    from gateway.workbench.tables import choices, show_lines

    for line in show_lines(choices(_line(loaded), part, patient=patient), loaded.settings.site.zone):
        click.echo(line)


def _choose(
    loaded: Loaded,
    part: int,
    patient: str | None,
    administration: str | None,
    cycle: int | None,
    reason: str,
    by: str,
) -> None:
    """Assign a table to a patient and an administration. It is published with who did so, when and why kept."""
    from gateway.workbench.tables import assign

    made = assign(_line(loaded), part, _by(by, reason), patient=patient, administration=administration, cycle=cycle)
    _told(loaded, made)


def _withdraw(loaded: Loaded, part: int, reason: str, by: str) -> None:
    """The table must not be believed: what was published of it is entered in error."""
    _told(loaded, _ledger(loaded).tables.withdraw(part, _by(by, reason)))


def _restore(loaded: Loaded, part: int, reason: str, by: str) -> None:
    """A table that was withdrawn counts again."""
    _told(loaded, _ledger(loaded).tables.restore(part, _by(by, reason)))


def _told(loaded: Loaded, decision: Any) -> None:
    from gateway.workbench.tables import decision_words

    click.echo(decision_words(decision, loaded.settings.site.zone))


def _by(name: str, reason: str) -> Any:
    from gateway.spool.decisions import By

    return By(name=name, reason=reason, at=time.time())


def _line(loaded: Loaded) -> Any:
    from gateway.in_force import SiteInForce
    from gateway.line import Line
    from gateway.roles.rooms import open_files

    ledger = _ledger(loaded)
    site = SiteInForce(loaded.settings, ledger.mappings)
    return Line(understanding=site.understanding, files=open_files(loaded.settings), ledger=ledger, targets=())


def _ledger(loaded: Loaded) -> Any:
    from gateway.roles.rooms import open_existing_ledger

    return open_existing_ledger(loaded.settings)
