"""``isobridge mappings``: what hospital IT does with mapping files. Each command prints what one module of the workbench returns."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.cli_deploy import add_deployment
from gateway.config import Loaded

Command = Callable[..., Any]

_files = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def mappings_commands(with_settings: Callable[[Command], Command]) -> click.Group:
    """The group; ``with_settings`` hands the loaded settings in."""

    @click.group("mappings")
    def mappings() -> None:
        """Check and test the mapping files: the YAML that says how DICOM becomes FHIR."""

    for command in (_lint, _test, _schema, _show, _explain, _preview, _diff, _new, _coverage):
        mappings.add_command(click.command(command.__name__.strip("_"))(with_settings(command)))
    add_deployment(mappings, with_settings)
    return mappings


def _lint(loaded: Loaded) -> None:
    """Read every mapping file and print all complaints at once, with file and line. Exit 2 when something is wrong."""
    from gateway.mapping.codes import load_codes
    from gateway.mapping.complaints import counted
    from gateway.mapping.language import examine
    from gateway.tables.library import examine_adapters

    directory = loaded.settings.mappings.directory
    found = examine(directory)
    found.complaints.extend(examine_adapters(directory, load_codes(directory / "codes")[0])[1])
    for complaint in found.complaints:
        click.echo(str(complaint), err=True)
    for warning in found.warnings:
        click.echo(f"{warning} (a warning)", err=True)
    warnings = f", {counted(len(found.warnings), 'warning')}" if found.warnings else ""
    click.echo(counted(len(found.complaints), "complaint") + warnings)
    sys.exit(2 if found.complaints else 0)


@click.argument("kind", type=click.Choice(["mapping", "codes", "table"]), default="mapping")
def _schema(kind: str, loaded: Loaded) -> None:
    """Print the JSON Schema of mapping files (or of code tables, or of table adapters), for an editor that completes and checks."""
    import json

    from gateway.workbench.mapping_schema import code_table_schema, mapping_schema
    from gateway.workbench.table_schema import table_adapter_schema

    made = {"mapping": mapping_schema, "codes": code_table_schema, "table": table_adapter_schema}[kind]
    click.echo(json.dumps(made(), indent=1, ensure_ascii=False))


@_json
@click.option("--prove", is_flag=True, help="Drop each rule and each line of a resource in turn; name what no test protects.")
def _test(prove: bool, as_json: bool, loaded: Loaded) -> None:
    """Run the tests that stand inside the mapping files."""
    from gateway.mapping.language import load
    from gateway.workbench.origins import Origins
    from gateway.workbench.prove import prove as unproven_of
    from gateway.workbench.selftest import run_tests

    directory = loaded.settings.mappings.directory
    mappings = load(directory)
    results = run_tests(mappings)
    failed = sum(not result.ok for result in results)
    # Only a green test protects anything.
    unproven = unproven_of(mappings, Origins(directory)) if prove and not failed else []
    if as_json:
        told = {"tests": [result.as_json() for result in results]}
        _print_json(told | ({"unproven": [one.as_json() for one in unproven]} if prove else {}))
        sys.exit(1 if failed or unproven else 0)
    for result in results:
        if not prove or not result.ok:
            mark = "ok  " if result.ok else f"FAIL  {result.where}:"
            click.echo(f"{mark}  {result.mapping}: {result.name}", err=not result.ok)
        for reason in result.reasons:
            click.echo(f"        {reason}", err=True)
    for one in unproven:
        click.echo(f"{one.where}: {one.what} {one.name}: no test fails without it", err=True)
    click.echo(
        f"{len(results) - failed} passed, {failed} failed" + (f", {len(unproven)} unproven" if prove and not failed else "")
    )
    sys.exit(1 if failed or unproven else 0)


@click.argument("name")
def _show(name: str, loaded: Loaded) -> None:
    """Print one mapping as it is in force: all that it inherits, with the file and line of each key.

    NAME is a mapping's name or its file.
    """
    from gateway.workbench.effective import effective_mapping

    click.echo(effective_mapping(loaded.settings.mappings.directory, name), nl=False)


@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--element", metavar="PATH", help="Only this FHIR path, field or DICOM keyword; absent ones are explained as well.")
@_json
def _explain(file: Path, element: str | None, as_json: bool, loaded: Loaded) -> None:
    """Tell for every FHIR element of one DICOM file where it comes from.

    \b
    isobridge mappings explain PET.dcm
    isobridge mappings explain PET.dcm --element MedicationAdministration.dosage.dose
    isobridge mappings explain PET.dcm --element RadionuclideTotalDose

    The element with its value and the line of the resource; below it the field, the place in the file with the value as it stands there,
    the rule in force with its line, the conversion, and the issues. Ends with 1 when nothing is called so.
    """
    from gateway.understanding import understanding
    from gateway.workbench.explain import explain
    from gateway.workbench.explanation import explain_lines, is_fhir
    from gateway.workbench.origins import Origins

    found = explain(file, understanding(loaded.settings), Origins(loaded.settings.mappings.directory))
    shown = found.narrowed(element) if element else found
    if as_json:
        _print_json(shown.as_json())
    else:
        for line in explain_lines(shown, everything=bool(element)):
            click.echo(line)
    if element and not shown.fields and not shown.written and not shown.changes:
        if is_fhir(element):
            click.echo(f"{element}: not filled, because no line of mapping {found.mapping} fills it")
            return
        near = difflib.get_close_matches(element, sorted(found.known_names()), n=3)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        click.echo(f"{file.name}: no element, field or tag is called '{element}'{hint}", err=True)
        sys.exit(1)


@_files
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Write bundle.json and dicom/*.dcm into this folder."
)
@_json
def _preview(files: tuple[Path, ...], out: Path | None, as_json: bool, loaded: Loaded) -> None:
    """Show what would become of DICOM files or folders: FHIR and normalised DICOM, without a daemon.

    A line per file with its issues and the DICOM elements that would change (before -> after), then the bundles, then a table per kind.
    Ends with 0 when everything was understood, with 1 when something was set aside.
    """
    from gateway.understanding import understanding
    from gateway.workbench.preview import preview, preview_lines

    found = preview(files, understanding(loaded.settings), now=time.time(), out=out)
    if as_json:
        _print_json(found.as_json())
    else:
        for line in preview_lines(found):
            click.echo(line)
    sys.exit(0 if found.complete else 1)


@click.argument("old", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("new", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--on", "files", multiple=True, required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
@click.argument("more", nargs=-1, type=click.Path(path_type=Path, exists=True))
@_json
def _diff(old: Path, new: Path, files: tuple[Path, ...], more: tuple[Path, ...], as_json: bool, loaded: Loaded) -> None:
    """Tell what a change of mappings would change in the output.

    \b
    isobridge mappings diff mappings mappings.new --on studies/

    OLD and NEW are two directories of mappings. Resource by resource, element by element: old -> new; then new and vanished issues.
    Ends with 0 when nothing changes, with 1 when something does.
    """
    from gateway.understanding import understanding
    from gateway.workbench.mapping_diff import diff_files, difference_lines

    found = diff_files(old, new, [*files, *more], understanding(loaded.settings))
    if as_json:
        _print_json([difference.as_json() for difference in found.differences])
    else:
        for line in difference_lines(found.differences, found.files):
            click.echo(line)
    for path, reason in found.unreadable:
        click.echo(f"{path}: {reason}", err=True)
    sys.exit(1 if found.differences else 0)


@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="What to call the mapping. Default: the scanner's manufacturer and model.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it here instead of to stdout.")
def _new(file: Path, name: str | None, out: Path | None, loaded: Loaded) -> None:
    """Write a starter for one scanner from one of its files: an overlay that is valid and green as written.

    \b
    isobridge mappings new PET.dcm --out mappings/sites/our_pet.yaml

    It extends the mapping that fits today, matches this manufacturer, model and station, and names the private and the unread elements
    of the file. It holds no value that tells of a patient.
    """
    from gateway.errors import Misconfigured
    from gateway.understanding import understanding
    from gateway.workbench.read_as import finder
    from gateway.workbench.starter import starter

    if out and out.exists():
        raise Misconfigured(f"{out}: exists already; nothing was written")
    directory = loaded.settings.mappings.directory
    site = understanding(loaded.settings)
    kept = finder(site, directory)(file)
    made = starter(file, site.mappings, directory, name=name or (out.stem if out else None), read_as=kept)
    if out is None:
        click.echo(made.text, nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(made.text)
    click.echo(f"{out}: extends {made.extends}; lint and test are green")


@_files
@click.option("--private", "private_only", is_flag=True, help="Only private elements.")
@_json
def _coverage(files: tuple[Path, ...], private_only: bool, as_json: bool, loaded: Loaded) -> None:
    """List the elements of DICOM files that no rule reads, the most frequent first, private ones by creator; no values.

    Of structured reports: the content items by their concepts. Then the private elements that a rule reads, with the field that takes
    them, and what no FHIR element says. The first column is the number of files that have it.
    """
    from gateway.understanding import understanding
    from gateway.workbench.coverage import coverage, coverage_lines
    from gateway.workbench.read_as import finder

    site = understanding(loaded.settings)
    found = coverage(files, site.mappings, finder(site, loaded.settings.mappings.directory))
    if as_json:
        _print_json(found.as_json())
    else:
        for line in coverage_lines(found, private_only=private_only):
            click.echo(line)


def _print_json(value: Any) -> None:
    import msgspec

    from gateway.r4.canonical import encode

    sys.stdout.buffer.write(msgspec.json.format(encode(value), indent=2) + b"\n")
