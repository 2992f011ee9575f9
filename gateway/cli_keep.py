"""``isobridge spool release|scrub|reconcile``: the spool and what targets hold of it. Safe beside a running gateway."""

from __future__ import annotations

import datetime as dt
import sys
import threading
from collections.abc import Callable
from typing import Any

import click

from gateway.config import Loaded

Command = Callable[..., Any]


def add_keeping(spool: click.Group, with_settings: Callable[[Command], Command]) -> None:
    """Add the commands to the group ``spool``."""

    @spool.command("release")
    @click.option("--dry-run", is_flag=True, help="Only count what may leave; the archives are not asked.")
    @with_settings
    def release(dry_run: bool, loaded: Loaded) -> None:
        """Let originals leave the spool that every target has verified and that the archive holds now (see retention: in the settings)."""
        from gateway.publish.build import image_targets
        from gateway.roles.keeping import build_retention
        from gateway.roles.rooms import open_existing_ledger, open_files

        settings = loaded.settings
        if settings.retention.originals == "keep" and not dry_run:
            click.echo("retention.originals is keep: nothing leaves the spool", err=True)
            sys.exit(2)
        ledger = open_existing_ledger(settings)
        retention = build_retention(settings, open_files(settings), ledger, image_targets(settings.targets))
        done = retention.run(threading.Event(), dry=dry_run)
        click.echo(f"{done.objects} originals {'may leave' if dry_run else 'have left'}, {done.size_bytes / 1e6:.1f} MB")
        if done.lost:
            click.echo(
                f"{done.lost} stay: an archive that held them does not any more; see isobridge spool list --state findings"
            )
        if done.problem:
            click.echo(f"stopped early: {done.problem}", err=True)
        sys.exit(1 if done.lost or done.problem else 0)

    _add_reconcile(spool, with_settings)

    @spool.command("scrub")
    @with_settings
    def scrub(loaded: Loaded) -> None:
        """Read every file of the spool again and compare its digest; mend what an archive can give back."""
        from gateway.publish.build import image_targets
        from gateway.roles.keeping import build_scrubber
        from gateway.roles.rooms import open_existing_ledger, open_files

        settings = loaded.settings
        ledger = open_existing_ledger(settings)
        scrubber = build_scrubber(settings, open_files(settings), ledger, image_targets(settings.targets), in_haste=True)
        done = scrubber.run(threading.Event())
        click.echo(f"{done.objects} files read: {done.damaged} damaged, {done.missing} missing, {done.mended} of them mended")
        sys.exit(1 if done.damaged + done.missing > done.mended else 0)


def _add_reconcile(spool: click.Group, with_settings: Callable[[Command], Command]) -> None:
    @spool.command("reconcile")
    @click.option("--target", "only", help="Only this target. Default: all that are enabled.")
    @click.option(
        "--since", type=click.DateTime(["%Y-%m-%d"]), help="Only what was verified since this day. Default: everything."
    )
    @with_settings
    def reconcile(only: str | None, since: dt.datetime | None, loaded: Loaded) -> None:
        """Ask every target for all that it once verified, and send again what it lost, such as after a restore from an older copy.

        A running gateway delivers it at once, another one when it starts. Exit code 1: something cannot be sent again.
        """
        from gateway.roles.keeping import reconcile_targets

        zone = loaded.settings.site.zone
        begin = since.replace(tzinfo=zone).timestamp() if since else 0.0
        code = 0
        for done in reconcile_targets(loaded.settings, only, begin):
            click.echo(f"{done.target}: {done.asked} asked for, {done.again} missing and sent again")
            if done.stuck:
                click.echo(f"{done.target}: {done.stuck} missing and cannot be sent again", err=True)
            if done.problem:
                click.echo(f"{done.target}: stopped early: {done.problem}", err=True)
            code = 1 if done.stuck or done.problem else code
        sys.exit(code)
