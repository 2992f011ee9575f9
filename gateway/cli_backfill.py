"""``isobridge backfill``: fetch the past from a source, resumable, or follow it; and how far each has come."""

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
    @click.option(
        "--follow", is_flag=True, help="Of an Orthanc: everything in the order in which it came there, and what still comes."
    )
    @click.option("--once", is_flag=True, help="With --follow: end when all that has come so far is fetched.")
    @with_settings
    def backfill(
        source: str | None,
        from_day: dt.datetime | None,
        to_day: dt.datetime | None,
        modalities: tuple[str, ...],
        at_once: bool,
        follow: bool,
        once: bool,
        loaded: Loaded,
    ) -> None:
        """Fetch studies of former years from SOURCE (section sources: of the settings) into the spool.

        Works until all is fetched; ended before (Ctrl-C, kill), the same command goes on where it stopped. With --follow it goes through
        the log of an Orthanc and stays with it until it is ended; --from, --to and --modality are limits then, none of them needed.
        Without SOURCE it tells how far each backfill has come.
        """
        if source is None:
            _list(loaded)
            return
        if once and not follow:
            raise click.UsageError("--once belongs to --follow")
        if from_day is not None and to_day is not None and to_day < from_day:
            raise click.UsageError("--to is before --from")
        if follow:
            _follow(loaded, source, from_day, to_day, modalities, at_once=at_once, once=once)
            return
        if from_day is None:
            raise click.UsageError("--from is missing")
        _run(loaded, source, from_day.date(), to_day.date() if to_day else None, modalities, at_once=at_once)

    return backfill


def _list(loaded: Loaded) -> None:
    from gateway.roles.rooms import open_existing_ledger

    ledger = open_existing_ledger(loaded.settings)
    for item in ledger.feeds.listing():
        limits = f" {item['from_day']}..{item['to_day']}" if item["from_day"] or item["to_day"] else ""
        problem = f"; {item['problem']}" if item["problem"] else ""
        click.echo(
            f"{item['source']} followed{limits} {item['modalities'] or 'all modalities'}: change {item['cursor']} of {item['newest']}; "
            f"{item['objects']} objects, {item['refused']} refused, {item['gone']} gone before, {item['failed']} failed; "
            f"turned back {item['turned_back']} times{problem}"
        )
    for item in ledger.backfills.listing():
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

    stop = _stop_on_signals()

    def tell(done: Progress) -> None:
        click.echo(
            f"\r{done.day}  {done.studies} studies, {done.objects} objects, {done.refused} refused, {done.failed} failed ",
            err=True,
            nl=False,
        )

    to_day = to_day or dt.datetime.now(loaded.settings.site.zone).date()
    if to_day < from_day:
        raise click.UsageError("--to is before --from")
    order = Order(source=name, from_day=from_day.isoformat(), to_day=to_day.isoformat(), modalities=_wanted(modalities))
    work = open_backfill(loaded.settings, name, stop, tell=tell, at_once=at_once)
    try:
        done = work.run(order, stop)
    except GatewayError as error:
        click.echo(f"\nstopped: {error.reason} The same command goes on from here.", err=True)
        sys.exit(1)
    click.echo("", err=True)
    ended = "stopped; the same command goes on from here" if stop.is_set() else "done"
    click.echo(f"{ended}: {done.studies} studies, {done.objects} objects, {done.refused} refused, {done.failed} studies failed")
    sys.exit(1 if done.failed or stop.is_set() else 0)


def _follow(
    loaded: Loaded,
    name: str,
    from_day: dt.datetime | None,
    to_day: dt.datetime | None,
    modalities: tuple[str, ...],
    *,
    at_once: bool,
    once: bool,
) -> None:
    from gateway.backfill.follow import FollowProgress
    from gateway.errors import GatewayError
    from gateway.roles.backfill import open_follow
    from gateway.spool.feeds import Feed

    stop = _stop_on_signals()

    def say(done: FollowProgress) -> str:
        problem = f"; {done.problem}" if done.problem else ""
        return (
            f"change {done.cursor} of {done.newest}: {done.objects} objects, {done.refused} refused, {done.gone} gone before, "
            f"{done.failed} failed{problem}"
        )

    def tell(done: FollowProgress) -> None:
        click.echo(f"\r{say(done)} ", err=True, nl=False)

    feed = Feed(source=name, from_day=_day(from_day), to_day=_day(to_day), modalities=_wanted(modalities))
    work = open_follow(loaded.settings, name, stop, tell=tell, at_once=at_once)
    try:
        done = work.run(feed, stop, once=once)
    except GatewayError as error:
        click.echo(f"\nstopped: {error.reason} The same command goes on from here.", err=True)
        sys.exit(1)
    click.echo("", err=True)
    click.echo(f"{'stopped' if stop.is_set() else 'done'}; the same command goes on from here: {say(done)}")
    sys.exit(1 if done.failed else 0)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _wanted(modalities: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({item.upper() for item in modalities}))


def _day(given: dt.datetime | None) -> str:
    return given.date().isoformat() if given else ""
