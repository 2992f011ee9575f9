"""The commands that speak DICOM, or tell how others are to speak it with us: ``send``, ``echo``, ``setup-sheet``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from gateway.config import Loaded

Command = Callable[..., Any]


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


def dicom_commands(with_settings: Callable[[Command], Command]) -> tuple[click.Command, ...]:
    """The commands; ``with_settings`` hands the loaded settings in."""

    @click.command("echo")
    @click.argument("target", metavar="[AET@HOST:PORT]", required=False)
    @click.option("--from", "caller", metavar="AET", help="The other direction: what became of this scanner's calls to us.")
    @click.option("--calling", default="ISOBRIDGE-SCU", show_default=True, help="Our own AE title, when we call.")
    @click.option("--wait", default=0, type=click.IntRange(0, 3600), help="Go on for so many seconds, until it works.")
    @with_tls
    @with_settings
    def echo(target: str | None, caller: str | None, calling: str, wait: int, tls: Any, loaded: Loaded) -> None:
        """Test a DICOM connection step by step, in both directions.

        \b
        isobridge echo PACS@10.0.0.8:104            we call: network, association, C-ECHO
        isobridge echo --from PETCT1 --wait 300     the scanner calls: press 'verify' there; this tells what arrived, or why not
        """
        if (target is None) == (caller is None):
            raise click.UsageError("give either AET@HOST:PORT (we call) or --from AET (the scanner calls)")
        sys.exit(0 if (_echo_out(target, calling, wait, tls) if target else _echo_in(caller or "", wait, loaded)) else 1)

    @click.command("setup-sheet")
    @click.option("--host", help="The name or address that scanners use for this machine. Default: what the system knows.")
    @click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
    @with_settings
    def setup_sheet_command(host: str | None, as_json: bool, loaded: Loaded) -> None:
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

    return send, echo, setup_sheet_command


@click.command("send")
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
    from gateway.workbench.ae_address import parse_address
    from gateway.workbench.inspect import failure_lines

    target = parse_address(to)
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


def _echo_out(target: str, calling: str, wait: int, tls: Any) -> bool:
    import time

    from gateway.workbench import scu
    from gateway.workbench.ae_address import parse_address

    peer, deadline = parse_address(target), time.monotonic() + wait
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
    from gateway.workbench import calls, health
    from gateway.workbench.ae_address import check_ae_title

    wanted, section = check_ae_title(caller), loaded.settings.receive
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
