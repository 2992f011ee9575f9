"""``isobridge backfill``: fetch the past from a source, resumable; and how far each backfill has come."""

from __future__ import annotations

import datetime as dt
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import click

from gateway.config import Loaded

Command = Callable[..., Any]
_DAY = click.DateTime(["%Y-%m-%d"])


def backfill_command(with_settings: Callable[[Command], Command]) -> click.Command:
    """The command; ``with_settings`` hands the loaded settings in."""

    @click.command("backfill")
    @click.argument("source", required=False)
    @click.option("--from", "from_day", type=_DAY, help="The oldest study date, e.g. 2021-01-01.")
    @click.option("--to", "to_day", type=_DAY, help="The newest study date. Default: today.")
    @click.option("--modality", "modalities", multiple=True, help="Only these, e.g. --modality PT --modality NM. Default: all.")
    @click.option("--now", "at_once", is_flag=True, help="Do not wait for the night window of the source.")
    @with_settings
    def backfill(
        source: str | None,
        from_day: dt.datetime | None,
        to_day: dt.datetime | None,
        modalities: tuple[str, ...],
        at_once: bool,
        loaded: Loaded,
    ) -> None:
        """Fetch studies of former years from SOURCE (section sources: of the settings) into the spool.

        Works until all is fetched; ended before (Ctrl-C, kill), the same command goes on where it stopped. Without SOURCE it tells how
        far each backfill has come.
        """
        if source is None:
            _list(loaded)
            return
        if from_day is None:
            raise click.UsageError("--from is missing")
        _run(loaded, source, from_day.date(), to_day.date() if to_day else None, modalities, at_once=at_once)

    return backfill


def _list(loaded: Loaded) -> None:
    from gateway.roles.rooms import open_existing_ledger

    for item in open_existing_ledger(loaded.settings).backfills.listing():
        share = f"listed down to {item['listed_day'] or '(not begun)'}"
        problem = f"; {item['problem']}" if item["problem"] else ""
        click.echo(
            f"{item['source']} {item['from_day']}..{item['to_day']} {item['modalities'] or 'all modalities'}: {share}; "
            f"{item['done']} of {item['studies']} studies fetched, {item['failed']} failed; {item['objects']} objects, "
            f"{item['refused']} refused{problem}"
        )


def _run(
    loaded: Loaded, name: str, from_day: dt.date, to_day: dt.date | None, modalities: tuple[str, ...], *, at_once: bool
) -> None:
    from gateway.backfill.run import Progress
    from gateway.errors import GatewayError
    from gateway.roles.backfill import open_backfill
    from gateway.spool.backfills import Order

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())

    def tell(done: Progress) -> None:
        click.echo(
            f"\r{done.day}  {done.studies} studies, {done.objects} objects, {done.refused} refused, {done.failed} failed ",
            err=True,
            nl=False,
        )

    to_day = to_day or dt.datetime.now(loaded.settings.site.zone).date()
    if to_day < from_day:
        raise click.UsageError("--to is before --from")
    wanted = tuple(sorted({item.upper() for item in modalities}))
    order = Order(source=name, from_day=from_day.isoformat(), to_day=to_day.isoformat(), modalities=wanted)
    try:
        done = open_backfill(loaded.settings, name, stop, tell=tell, at_once=at_once).run(order, stop)
    except GatewayError as error:
        click.echo(f"\nstopped: {error.reason} The same command goes on from here.", err=True)
        sys.exit(1)
    click.echo("", err=True)
    ended = "stopped; the same command goes on from here" if stop.is_set() else "done"
    click.echo(f"{ended}: {done.studies} studies, {done.objects} objects, {done.refused} refused, {done.failed} studies failed")
    sys.exit(1 if done.failed or stop.is_set() else 0)
