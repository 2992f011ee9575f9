"""``isobridge spool``: what was received, what became of it, another try of what was set aside."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from gateway.cli_keep import add_keeping
from gateway.config import Loaded

Command = Callable[..., Any]


def spool_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    """The group; ``with_settings`` hands the loaded settings in."""

    @click.group("spool")
    def spool() -> None:
        """Look at what was received and what became of it; try again what was set aside."""

    @spool.command("list")
    @click.option(
        "--state",
        type=click.Choice(
            [
                "received",
                "normalised",
                "quarantined",
                "conflict",
                "variant",
                "shadowed",
                "pending",
                "parked",
                "problems",
                "commitments",
                "findings",
            ]
        ),
        help="Show these items.",
    )
    @click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
    @with_settings
    def spool_list(state: str | None, limit: int, loaded: Loaded) -> None:
        """Count everything by state, or list the items in one state with their reasons."""
        from gateway.workbench.inspect import finding_lines, folder_lines, list_lines

        ledger = _ledger(loaded)
        lines = finding_lines(ledger.keeping, limit) if state == "findings" else list_lines(ledger.overview, state, limit)
        for line in lines:
            click.echo(line)
        for line in folder_lines(loaded.settings.data.directory) if state is None else ():
            click.echo(line)

    @spool.command("show")
    @click.argument("what", metavar="DIGEST|UID")
    @with_settings
    def spool_show(what: str, loaded: Loaded) -> None:
        """Show all that is known of objects: by the first digits of the digest, by SOP Instance UID or Study Instance UID."""
        found = _overview(loaded).find(what)
        if not found:
            click.echo("nothing is known of that", err=True)
            sys.exit(1)
        click.echo(json.dumps(found, indent=2, default=str))

    @spool.command("retry")
    @click.argument("what", metavar="quarantined|parked|commitments", type=click.Choice(["quarantined", "parked", "commitments"]))
    @click.option("--id", "ids", type=int, multiple=True, help="Only these items (ids as 'spool list' shows them). Default: all.")
    @with_settings
    def spool_retry(what: str, ids: tuple[int, ...], loaded: Loaded) -> None:
        """Try again: objects in quarantine, deliveries that were parked, or answers of storage commitment. Taken up at once."""
        import time

        from gateway.roles.rooms import open_existing_ledger

        ledger = open_existing_ledger(loaded.settings)
        if what == "commitments":
            click.echo(f"{ledger.commitments.unpark(now=time.time())} answers will be tried again")
            return
        listed = (
            ledger.overview.instances(what, limit=10_000)
            if what == "quarantined"
            else ledger.overview.deliveries(what, limit=10_000)
        )
        wanted = [item["id"] for item in listed if not ids or item["id"] in ids]
        count = ledger.stages.requeue(wanted) if what == "quarantined" else ledger.deliveries.unpark(wanted, now=time.time())
        click.echo(f"{count} of {len(wanted)} items will be tried again")

    add_keeping(spool, with_settings)
    return spool


def _ledger(loaded: Loaded) -> Any:
    from gateway.roles.rooms import open_existing_ledger

    return open_existing_ledger(loaded.settings)


def _overview(loaded: Loaded) -> Any:
    from gateway.roles.rooms import open_existing_ledger

    return open_existing_ledger(loaded.settings).overview
