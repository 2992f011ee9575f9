"""``isobridge export``: a table from the embedded store. ``isobridge group``: cohorts. ``isobridge store``: move the store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import click

from gateway.config import Loaded
from gateway.errors import Misconfigured

Command = Callable[..., Any]


def export_command(with_settings: Callable[[Command], Command]) -> click.Command:
    """``with_settings`` hands the loaded settings in."""

    @click.command("export")
    @click.option("--view", "view_name", required=True, metavar="NAME|FILE", help="A shipped view, or a ViewDefinition in JSON.")
    @click.option("--format", "form", type=click.Choice(["csv", "ndjson", "parquet"]), default="csv", show_default=True)
    @click.option(
        "--where", multiple=True, metavar="SEARCH", help="A FHIR search on the view's type, as 'date=ge2026&patient=...'."
    )
    @click.option("--group", metavar="ID", help="Only members of this Group; see 'isobridge group'.")
    @click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of stdout; parquet needs one.")
    @with_settings
    def export(
        loaded: Loaded,
        view_name: str,
        form: str,
        where: tuple[str, ...],
        group: str | None,
        out: Path | None,
    ) -> None:
        """Write a table of what is published: one row per fact, with units, flags and the address of the images.

        Shipped views: studies, series, administrations, organ_doses, time_activity_points, suv_measurements. The table holds patient
        data. Reads the embedded store, also while the gateway runs.
        """
        from gateway.fhir.endpoint import images_address
        from gateway.views.formats import WRITERS, write_parquet
        from gateway.views.run import run_view, view_named

        if form == "parquet" and out is None:
            raise Misconfigured("--format parquet needs --out FILE")
        view = view_named(view_name)
        rows = run_view(_store(loaded), view, conditions(where), group=group, images_at=images_address(loaded.settings))
        if out is None:
            for piece in WRITERS[form](view.columns, rows):
                sys.stdout.buffer.write(piece)
            return
        fresh = out.with_name(f"{out.name}.part")
        try:
            if form == "parquet":
                write_parquet(fresh, view.columns, rows)
            else:
                with fresh.open("wb") as file:
                    file.writelines(WRITERS[form](view.columns, rows))
            fresh.replace(out)  # whoever reads the file never sees half a table
        finally:
            fresh.unlink(missing_ok=True)

    return export


def conditions(where: Iterable[str]) -> list[tuple[str, str]]:
    """Search parameters as in an address. Raises :class:`Misconfigured`."""
    try:
        return [pair for text in where for pair in parse_qsl(text, keep_blank_values=True, strict_parsing=True)]
    except ValueError as error:
        raise Misconfigured("--where: expected parameter=value, several joined by &") from error


def group_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    """The group of commands about cohorts."""

    @click.group("group")
    def group() -> None:
        """Cohorts: a FHIR Group of patients, for exports and tables that are about them alone."""

    @group.command("create")
    @click.argument("name")
    @click.option(
        "--where", "searches", multiple=True, required=True, metavar="TYPE?SEARCH", help="Several: every one must hold."
    )
    @with_settings
    def create(loaded: Loaded, name: str, searches: tuple[str, ...]) -> None:
        """Write Group/NAME with the patients for whom a search finds something now: --where 'Observation?code=113507&date=ge2026'."""
        from gateway.store.cohort import create_group

        made = create_group(_store(loaded), name, searches)
        click.echo(f"Group/{name}: {made['quantity']} patients")

    @group.command("delete")
    @click.argument("name")
    @with_settings
    def delete(loaded: Loaded, name: str) -> None:
        """Delete Group/NAME."""
        from gateway.store.cohort import delete_group

        if not delete_group(_store(loaded), name):
            raise Misconfigured(f"there is no Group/{name}")
        click.echo(f"Group/{name} is deleted")

    return group


def store_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    """The group of commands about the embedded store."""

    @click.group("store")
    def store() -> None:
        """The embedded FHIR store."""

    @store.command("copy")
    @click.option("--to", "target", required=True, envvar="ISOBRIDGE_COPY_TO", metavar="URL", help="An empty database.")
    @with_settings
    def copy(loaded: Loaded, target: str) -> None:
        """Copy the whole store to another database (postgresql+psycopg://...), read it back and compare digests.

        Stop the gateway first: what is written meanwhile is not copied. Then set store.url. A URL with a password is better given as
        ISOBRIDGE_COPY_TO.
        """
        from gateway.store.copy import copy_store

        copied = copy_store(loaded.settings.store_url, target)
        for name, rows in copied.rows.items():
            click.echo(f"{name}: {rows} rows")
        click.echo(f"verified: both sides have the digest sha256:{copied.digest}")

    return store


def _store(loaded: Loaded) -> Any:
    from gateway.store import FhirStore

    return FhirStore(loaded.settings.store_url, timezone=loaded.settings.site.timezone)
