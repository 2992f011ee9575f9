"""``isobridge mappings``: what hospital IT does with mapping files. Each command prints what one module of the workbench returns."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from gateway.cli_deploy import add_deployment
from gateway.config import Loaded

Command = Callable[..., Any]


def mappings_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    """The group; ``with_settings`` hands the loaded settings in."""

    @click.group("mappings")
    def mappings() -> None:
        """Check and test the mapping files: the YAML that says how DICOM becomes FHIR."""

    for command in (_lint, _test, _show):
        mappings.add_command(click.command(command.__name__.strip("_"))(with_settings(command)))
    add_deployment(mappings, with_settings)
    return mappings


def _lint(loaded: Loaded, arguments: list[str]) -> None:
    """Read every mapping file and print all complaints at once, with file and line."""
    from gateway.mapping.language import lint

    complaints = lint(loaded.settings.mappings.directory)
    for complaint in complaints:
        click.echo(str(complaint), err=True)
    click.echo(f"{len(complaints)} complaints")
    sys.exit(2 if complaints else 0)


def _test(loaded: Loaded, arguments: list[str]) -> None:
    """Run the tests that stand inside the mapping files."""
    from gateway.mapping.language import load
    from gateway.workbench.selftest import run_tests

    results = run_tests(load(loaded.settings.mappings.directory))
    for result in results:
        click.echo(f"{'ok  ' if result.ok else 'FAIL'}  {result.mapping}: {result.name}", err=not result.ok)
        for reason in result.reasons:
            click.echo(f"        {reason}", err=True)
    failed = sum(not result.ok for result in results)
    click.echo(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


@click.argument("name")
def _show(name: str, loaded: Loaded, arguments: list[str]) -> None:
    """Print one mapping as it is in force: all that it inherits, with the file and line of each key.

    NAME is a mapping's name or its file.
    """
    from gateway.workbench.effective import effective_mapping

    click.echo(effective_mapping(loaded.settings.mappings.directory, name), nl=False)
