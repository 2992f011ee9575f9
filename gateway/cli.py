"""The command ``isobridge``: verbs only. Each prints what other modules return; none decides anything.

Exit codes: 0 done; 1 done, but something was set aside, refused or found wrong; 2 misuse or wrong settings. Problems go to stderr, one
clear line each; results go to stdout.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from gateway import __version__, config
from gateway.cli_deploy import replay_command, scanner_commands
from gateway.cli_dose import dose_commands
from gateway.cli_mappings import mappings_commands
from gateway.cli_study import study_commands
from gateway.cli_tables import assign_commands, import_command, tables_commands
from gateway.config import Loaded
from gateway.errors import GatewayError, Misconfigured

DEFAULT_CONFIG = Path("config/gateway.yaml")

Command = Callable[..., Any]


class _Main(click.Group):
    """Turns our errors into one line and an exit code, wherever they come from."""

    def invoke(self, context: click.Context) -> Any:
        warnings.simplefilter("ignore")  # pydicom's warnings quote values; what matters is told as an issue
        try:
            return super().invoke(context)
        except Misconfigured as error:
            for line in error.complaints:
                click.echo(line, err=True)
            context.exit(2)
        except GatewayError as error:
            click.echo(error.reason, err=True)
            context.exit(1)
        except BrokenPipeError:
            context.exit(1)  # whoever read our output has seen enough
        except OSError as error:
            click.echo(f"{error.filename or 'the operating system'}: {error.strerror}", err=True)
            context.exit(2)


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
        return command(loaded=loaded, arguments=_arguments(path, overrides), **rest)

    return wrapped


def _arguments(path: Path | None, overrides: tuple[str, ...]) -> list[str]:
    """The same settings as arguments again, for child processes."""
    named = ["--config", str(path)] if path else []
    return named + [word for override in overrides for word in ("--set", override)]


def with_tls(command: Command) -> Command:
    """Adds ``--tls`` and its files and hands in what to speak: an SSL context, or None."""
    readable = click.Path(path_type=Path, exists=True, dir_okay=False)

    @click.option("--tls", "use_tls", is_flag=True, help="Speak DICOM over TLS (1.2 or 1.3).")
    @click.option("--tls-ca", type=readable, help="Who signed the peer's certificate (PEM). Default: the system's authorities.")
    @click.option("--tls-cert", type=readable, help="Our own certificate (PEM), for peers that want one.")
    @click.option("--tls-key", type=readable, help="Its key, when it stands in a file of its own.")
    @wraps(command)
    def wrapped(use_tls: bool, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None, **rest: Any) -> Any:
        from gateway.dicom_settings import TlsSettings, client_context

        if not use_tls and (tls_ca or tls_cert or tls_key):
            raise click.UsageError("--tls-ca, --tls-cert and --tls-key go with --tls")
        files = TlsSettings(certificate_file=tls_cert, key_file=tls_key, client_ca_file=tls_ca)
        return command(tls=client_context(files) if use_tls else None, **rest)

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
def serve(loaded: Loaded, arguments: list[str]) -> None:
    """Start the gateway: the DICOM receiver, the worker, the web pages and the FHIR endpoint.

    Runs until Ctrl-C or SIGTERM, finishing what it has in hand. Where it listens stands in data/run.json.
    """
    from gateway import daemon

    os.umask(0o077)  # what we keep is about patients: only our own user may read it
    daemon.serve(loaded.settings, arguments)


@main.command(hidden=True)
@click.argument("name", type=click.Choice(["receive", "folders", "work", "web"]))
@click.option("--life-line", type=int, required=True)
@click.option("--listener", type=int)
@click.option("--tls-listener", type=int)
@click.option("--after-crash", is_flag=True)
@with_settings
def role(
    name: str,
    life_line: int,
    listener: int | None,
    tls_listener: int | None,
    after_crash: bool,
    loaded: Loaded,
    arguments: list[str],
) -> None:
    """One role of the daemon; started by its supervisor."""
    os.umask(0o077)
    # numpy comes in with pydicom; its idle algebra threads would take turns on the processor for nothing.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if name == "work":
        from gateway.roles.work import work

        work(loaded.settings, life_line, after_crash=after_crash)
    elif name == "folders":
        from gateway.roles.folders import folders

        folders(loaded.settings, life_line)
    elif name == "receive" and listener is not None:
        from gateway.roles.receive import receive

        secure = socket.socket(fileno=tls_listener) if tls_listener is not None else None
        receive(loaded.settings, socket.socket(fileno=listener), secure, life_line)
    elif name == "web" and listener is not None:
        from gateway.roles.web import web

        web(loaded.settings, socket.socket(fileno=listener), life_line)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--to", "to", required=True, metavar="AET@HOST:PORT", help="Where to send, e.g. ISOBRIDGE@127.0.0.1:11112.")
@click.option("--calling", default="ISOBRIDGE-SCU", show_default=True, help="Our own AE title.")
@click.option("--associations", default=1, show_default=True, type=click.IntRange(1, 16), help="Send over so many at once.")
@with_tls
def send(paths: tuple[Path, ...], to: str, calling: str, associations: int, tls: Any) -> None:
    """Send DICOM files or folders by C-STORE, as a scanner would.

    Ends with 0 when the peer took every object, else with 1 and one line per failure.
    """
    from rich.console import Console
    from rich.progress import Progress

    from gateway.workbench import scu
    from gateway.workbench.inspect import failure_lines

    target = scu.parse_address(to)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("sending", total=None)

        def on_progress(done: int, total: int, _outcome: scu.FileOutcome) -> None:
            progress.update(bar, completed=done, total=total)

        report = scu.send(paths, target, calling_ae=calling, associations=associations, tls=tls, on_progress=on_progress)
    for skipped in report.skipped:
        click.echo(f"{skipped.path}: skipped: {skipped.reason}", err=True)
    for line in failure_lines(report.failures):
        click.echo(line, err=True)
    rate = report.stored / report.duration_s if report.duration_s else 0
    click.echo(
        f"{report.stored} of {len(report.outcomes)} objects stored by {target} in {report.duration_s:.1f} s ({rate:.0f}/s)"
    )
    sys.exit(0 if report.ok else 1)


@main.command()
@click.argument("target", metavar="[AET@HOST:PORT]", required=False)
@click.option("--from", "caller", metavar="AET", help="The other direction: what became of this scanner's calls to us.")
@click.option("--calling", default="ISOBRIDGE-SCU", show_default=True, help="Our own AE title, when we call.")
@click.option("--wait", default=0, type=click.IntRange(0, 3600), help="Go on for so many seconds, until it works.")
@with_tls
@with_settings
def echo(target: str | None, caller: str | None, calling: str, wait: int, tls: Any, loaded: Loaded, arguments: list[str]) -> None:
    """Test a DICOM connection step by step, in both directions.

    \b
    isobridge echo PACS@10.0.0.8:104            we call: network, association, C-ECHO
    isobridge echo --from PETCT1 --wait 300     the scanner calls: press 'verify' there; this tells what arrived, or why not
    """
    if (target is None) == (caller is None):
        raise click.UsageError("give either AET@HOST:PORT (we call) or --from AET (the scanner calls)")
    sys.exit(0 if (_echo_out(target, calling, wait, tls) if target else _echo_in(caller or "", wait, loaded)) else 1)


def _echo_out(target: str, calling: str, wait: int, tls: Any) -> bool:
    import time

    from gateway.workbench import scu

    peer, deadline = scu.parse_address(target), time.monotonic() + wait
    report = scu.echo(peer, calling_ae=calling, tls=tls)
    while not report.ok and time.monotonic() < deadline:
        time.sleep(0.5)
        report = scu.echo(peer, calling_ae=calling, tls=tls)
    for step in report.steps:
        click.echo(f"{'ok  ' if step.ok else 'FAIL'}  {step.name}: {step.detail}", err=not step.ok)
    return report.ok


def _echo_in(caller: str, wait: int, loaded: Loaded) -> bool:
    import time

    from gateway.roles.rooms import open_existing_ledger
    from gateway.workbench import calls, health, scu

    wanted, section = scu.check_ae_title(caller), loaded.settings.receive
    overview = open_existing_ledger(loaded.settings).overview
    started, deadline = time.time() if wait else 0.0, time.monotonic() + wait
    if wait:
        click.echo(f"waiting up to {wait} s for {wanted}; press 'verify' or send an image there now", err=True)
    told: list[calls.Step] = []
    while True:
        verdict = calls.judge(overview.callers(), wanted, section, loaded.settings.site.zone, since=started)
        for step in verdict.steps:
            if step not in told:
                click.echo(str(step), err=step.ok is False)
        told = [*verdict.steps]
        if verdict.ok or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    if not verdict.steps:
        running = health.read_run_file(loaded.settings.data.directory)
        for step in calls.nothing_came(wanted, section, port=running["dicom"]["port"] if running else None):
            click.echo(str(step), err=step.ok is False)
    return verdict.ok


@main.command("setup-sheet")
@click.option("--host", help="The name or address that scanners use for this machine. Default: what the system knows.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@with_settings
def setup_sheet_command(host: str | None, as_json: bool, loaded: Loaded, arguments: list[str]) -> None:
    """Print one page for the scanner's console: what to type in, what the answers mean, how to test."""
    from gateway.workbench import health
    from gateway.workbench.setup_sheet import setup_sheet, sheet_lines

    running = health.read_run_file(loaded.settings.data.directory)
    secure = running.get("dicom_tls", {}).get("port") if running else None
    sheet = setup_sheet(loaded.settings, host=host, port=running["dicom"]["port"] if running else None, tls_port=secure)
    if as_json:
        click.echo(json.dumps(sheet.as_json(), indent=2))
    for line in () if as_json else sheet_lines(sheet):
        click.echo(line)


@main.command("health")
@with_settings
def health_command(loaded: Loaded, arguments: list[str]) -> None:
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
def convert(paths: tuple[Path, ...], out: Path | None, issues: Path | None, loaded: Loaded, arguments: list[str]) -> None:
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
def try_one(path: Path, loaded: Loaded, arguments: list[str]) -> None:
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
def config_check(loaded: Loaded, arguments: list[str]) -> None:
    """Print every setting with its value and where it came from; complain about all mistakes at once."""
    for name, origin in loaded.origins.items():
        click.echo(f"{name} = {loaded.shown(name)}    ({origin})")
    from gateway.workbench.deploy import standing_line

    if line := standing_line(loaded.settings):
        click.echo(line, err="not deployed" in line)


@main.group()
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
        ]
    ),
    help="Show these items.",
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@with_settings
def spool_list(state: str | None, limit: int, loaded: Loaded, arguments: list[str]) -> None:
    """Count everything by state, or list the items in one state with their reasons."""
    from gateway.workbench.inspect import folder_lines, list_lines

    for line in list_lines(_overview(loaded), state, limit):
        click.echo(line)
    for line in folder_lines(loaded.settings.data.directory) if state is None else ():
        click.echo(line)


@spool.command("show")
@click.argument("what", metavar="DIGEST|UID")
@with_settings
def spool_show(what: str, loaded: Loaded, arguments: list[str]) -> None:
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
def spool_retry(what: str, ids: tuple[int, ...], loaded: Loaded, arguments: list[str]) -> None:
    """Try again: objects in quarantine, deliveries that were parked, or answers of storage commitment. Taken up at once."""
    import time

    from gateway.roles.rooms import open_existing_ledger

    ledger = open_existing_ledger(loaded.settings)
    if what == "commitments":
        click.echo(f"{ledger.commitments.unpark(now=time.time())} answers will be tried again")
        return
    listed = (
        ledger.overview.instances(what, limit=10_000) if what == "quarantined" else ledger.overview.deliveries(what, limit=10_000)
    )
    wanted = [item["id"] for item in listed if not ids or item["id"] in ids]
    count = ledger.stages.requeue(wanted) if what == "quarantined" else ledger.deliveries.unpark(wanted, now=time.time())
    click.echo(f"{count} of {len(wanted)} items will be tried again")


@main.command("web-password")
def web_password() -> None:
    """Ask for a password and print the line for web.users that stands for it. The password itself is kept nowhere."""
    from gateway.web.passwords import hash_password

    click.echo(hash_password(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)))


@main.command("web-token")
def web_token() -> None:
    """Make a token for a program (Authorization: Bearer ...) and the line for web.tokens that stands for it."""
    from gateway.web.passwords import hash_token, new_token

    token = new_token()
    click.echo(f"for the program, shown once:  {token}", err=True)
    click.echo(hash_token(token))


main.add_command(study_commands(with_settings))
main.add_command(mappings_commands(with_settings))
main.add_command(scanner_commands(with_settings))
main.add_command(replay_command(with_settings))
main.add_command(tables_commands(with_settings))
main.add_command(import_command(with_settings))
main.add_command(assign_commands(with_settings))
main.add_command(dose_commands(with_settings))


def _overview(loaded: Loaded) -> Any:
    from gateway.roles.rooms import open_existing_ledger

    return open_existing_ledger(loaded.settings).overview


if __name__ == "__main__":
    main()
