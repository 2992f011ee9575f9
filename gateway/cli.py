"""The command ``isobridge``: verbs only. Each prints what other modules return; none decides anything.

Exit codes: 0 done; 1 done, but something was set aside, refused or found wrong; 2 misuse or wrong settings. Problems go to stderr, one
clear line each; results go to stdout.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from gateway import __version__, config
from gateway.cli_audit import audit_commands
from gateway.cli_backfill import backfill_command
from gateway.cli_deploy import replay_command, scanner_commands
from gateway.cli_dicom import dicom_commands
from gateway.cli_dose import dose_commands
from gateway.cli_export import export_command, group_commands, store_commands
from gateway.cli_mappings import mappings_commands
from gateway.cli_spool import spool_commands
from gateway.cli_study import study_commands
from gateway.cli_tables import assign_commands, import_command, tables_commands
from gateway.config import Loaded
from gateway.errors import GatewayError, told

DEFAULT_CONFIG = Path("config/gateway.yaml")

Command = Callable[..., Any]


class _Main(click.Group):
    """Turns our errors into one line and an exit code, wherever they come from."""

    def invoke(self, context: click.Context) -> Any:
        warnings.simplefilter("ignore")  # pydicom's warnings quote values; what matters is told as an issue
        try:
            return super().invoke(context)
        except BrokenPipeError:
            context.exit(1)  # whoever read our output has seen enough
        except (GatewayError, OSError) as error:
            lines, code = told(error)
            for line in lines:
                click.echo(line, err=True)
            context.exit(code)


def with_settings(command: Command, *, needs_mappings: bool = False) -> Command:
    """Adds ``--config`` and ``--set`` and hands the loaded settings in."""

    @click.option(
        "--config",
        "config_file",
        envvar="ISOBRIDGE_CONFIG",
        type=click.Path(path_type=Path),
        help=f"Settings file. Default: ISOBRIDGE_CONFIG in the environment, else {DEFAULT_CONFIG}, if there.",
    )
    @click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one setting; may be repeated.")
    @wraps(command)
    def wrapped(config_file: Path | None, overrides: tuple[str, ...], **rest: Any) -> Any:
        path = config_file or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
        loaded = config.load(path, environment=os.environ, overrides=overrides, needs_mappings=needs_mappings)
        return command(loaded=loaded, **rest)

    return wrapped


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="isobridge")
def main() -> None:
    """Isobridge: a DICOM to FHIR gateway for nuclear medicine.

    \b
    First steps:
      isobridge serve                                   start the gateway (DICOM 11112, HTTP 8080)
      isobridge sample ./sample                         write several invented PET/CT and SPECT studies
      isobridge send ./sample --to ISOBRIDGE@127.0.0.1:11112
      curl 'http://127.0.0.1:8080/fhir/ImagingStudy'    a minute later

    Without a daemon: isobridge convert ./sample prints FHIR.
    """


@main.command()
@with_settings
def serve(loaded: Loaded) -> None:
    """Start the gateway: the DICOM receiver, the worker, the web pages and the FHIR endpoint.

    Runs until Ctrl-C or SIGTERM, finishing what it has in hand. Where it listens stands in data/run.json.
    """
    os.umask(0o077)  # what we keep is about patients: only our own user may read it
    # numpy comes in with pydicom; its idle algebra threads would take turns on the processor for nothing, and no fork keeps them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from gateway import daemon

    daemon.serve(loaded.settings)


@main.command("health")
@with_settings
def health_command(loaded: Loaded) -> None:
    """Ask the running gateway whether it is ready: 0 yes, 1 no. For health checks of containers and services."""
    from gateway.workbench.health import health

    found = health(loaded.settings.data.directory)
    for name, state in found.checks.items():
        click.echo(f"{name}: {state}", err=not found.ok)
    sys.exit(0 if found.ok else 1)


@main.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def sample(directory: Path) -> None:
    """Write several invented PET/CT and SPECT studies with their dose reports into DIRECTORY, to try things with."""
    from gateway.workbench.sample import generate_cycle, generate_samples

    for study in (*generate_samples(directory), *generate_cycle(directory / "lutathera")):
        click.echo(f"{study.directory}: {len(study.files)} objects")


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the bundles here instead of to stdout.")
@click.option("--issues", type=click.Path(path_type=Path, dir_okay=False), help="Write the problems here as JSON as well.")
@with_settings
def convert(paths: tuple[Path, ...], out: Path | None, issues: Path | None, loaded: Loaded) -> None:
    """Turn DICOM files or folders into FHIR transaction bundles, without a daemon.

    Prints one JSON array with one Bundle per study and per patient dossier; problems go to stderr, one line each. Ends with 0 when
    everything was understood, with 1 when something was set aside.
    """
    import time

    from gateway.fhir.provenance import instant
    from gateway.r4.canonical import encode
    from gateway.understanding import understanding
    from gateway.workbench.convert import convert as convert_files

    result = convert_files(paths, understanding(loaded.settings), recorded=instant(time.time()))
    body = b"[" + b",\n".join(encode(bundle) for bundle in result.bundles) + b"]\n"
    if out:
        out.write_bytes(body)
    else:
        sys.stdout.buffer.write(body)
    for problem in result.problems:
        what = f"{problem.field}: " if problem.field else ""
        click.echo(f"{problem.path}: {problem.severity}: {what}{problem.reason}", err=True)
    if issues:
        issues.write_text(json.dumps([problem.as_json() for problem in result.problems], indent=2) + "\n")
    sys.exit(0 if result.complete else 1)


@main.command("try")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@with_settings
def try_one(path: Path, loaded: Loaded) -> None:
    """Show what one DICOM file becomes: every value with its source, the issues, the FHIR."""
    import time

    from gateway.fhir.provenance import instant
    from gateway.understanding import understanding
    from gateway.workbench.tryout import try_lines

    for line in try_lines(path, understanding(loaded.settings), recorded=instant(time.time())):
        click.echo(line)


@main.command()
@click.option("--once", is_flag=True, help="Verify what came out and end, instead of keeping the gateway running.")
def demo(once: bool) -> None:
    """Show the whole line: start a gateway, push invented studies by C-STORE, query the FHIR that comes out."""
    from gateway.workbench.demo import run_demo

    display = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    sys.exit(run_demo(once=once, display=display))


@main.group("config")
def config_group() -> None:
    """Check the settings."""


@config_group.command("check")
@partial(with_settings, needs_mappings=True)
def config_check(loaded: Loaded) -> None:
    """Print every setting with its value and where it came from; complain about all mistakes at once."""
    for name, origin in loaded.origins.items():
        click.echo(f"{name} = {loaded.shown(name)}    ({origin})")
    from gateway.workbench.deploy import standing_line

    if line := standing_line(loaded.settings):
        click.echo(line, err="not deployed" in line)


@main.command("web-password")
def web_password() -> None:
    """Ask for a password and print the line for web.users that stands for it. The password itself is kept nowhere."""
    from gateway.web.passwords import hash_password

    click.echo(hash_password(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)))


@main.command("web-token")
def web_token() -> None:
    """Make a token for a program (Authorization: Bearer ...) and the line for web.tokens or clients that stands for it."""
    from gateway.web.passwords import hash_token, new_token

    token = new_token()
    click.echo(f"for the program, shown once:  {token}", err=True)
    click.echo(hash_token(token))


for command in dicom_commands(with_settings):
    main.add_command(command)
main.add_command(spool_commands(with_settings))
main.add_command(backfill_command(with_settings))
main.add_command(study_commands(with_settings))
main.add_command(audit_commands(with_settings))
main.add_command(mappings_commands(with_settings))
main.add_command(scanner_commands(with_settings))
main.add_command(replay_command(with_settings))
main.add_command(tables_commands(with_settings))
main.add_command(import_command(with_settings))
main.add_command(assign_commands(with_settings))
main.add_command(dose_commands(with_settings))
main.add_command(export_command(with_settings))
main.add_command(group_commands(with_settings))
main.add_command(store_commands(with_settings))


if __name__ == "__main__":
    main()
