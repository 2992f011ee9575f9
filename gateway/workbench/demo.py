"""The demonstration: a gateway on embedded defaults, invented studies over a real C-STORE, and what a researcher finds afterwards."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from gateway.errors import Misconfigured
from gateway.model import JsonObject
from gateway.workbench.ae_address import AEAddress
from gateway.workbench.demo_doses import check_kidneys, kidney_doses, print_kidneys
from gateway.workbench.sample import SampleStudy, generate_cycle, generate_samples
from gateway.workbench.sample_therapy import generate_earlier_cycles, write_dosimetry_table
from gateway.workbench.scu import FileOutcome, send

#: A machine that does much else may need minutes. Nothing is waited for that long where it is clear that nothing will come.
START_SECS = 180
#: Without anything new; what comes out step by step is waited for.
PATIENCE_SECS = 180

#: The quiet time is short here, so that nobody waits a minute to see the first result.
QUIET_SECS = 10


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the demonstration's gateway listens."""

    dicom: AEAddress
    url: str


def run_demo(*, once: bool, ports: tuple[int, int] = (11112, 8080), display: bool = False) -> int:
    """Run it. With ``once`` everything lives in a temporary folder, on free ports, and 0 means that all expected facts were found.

    ``display``: somebody looks at a screen, so the page is opened in the browser.
    """
    console = Console(width=max(110, Console().width))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())
        if once:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isobridge-demo-")))
            ports = (0, 0)
        else:
            directory = Path("data/demo")
        place, daemon = stack.enter_context(_gateway(directory / "data", ports, console))
        console.print(f"[bold]{place.url}/[/bold]  shows all that happens next, while it happens.", soft_wrap=True)
        if display and not once:
            webbrowser.open(f"{place.url}/")
        studies, table = _sample(directory / "sample", console)
        _push(studies, place, console)
        _post(table, place, console)
        facts, kidneys = _wait(studies, place, daemon, console)
        _print(facts, place, console)
        print_kidneys(kidneys, place.url, console)
        wrong = [*_check(studies, facts), *check_kidneys(kidneys)]
        for line in wrong:
            console.print(f"[red]missing or wrong:[/red] {line}")
        if not once and not wrong:
            _stay(daemon, place, console)
        return 1 if wrong else 0


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the demonstration as Ctrl-C does: by default it would leave the gateway behind, with nobody to end it."""
    # SIGINT too: a shell that starts us in the background has it ignored.
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _gateway(data: Path, ports: tuple[int, int], console: Console) -> Iterator[tuple[_Place, subprocess.Popen[bytes]]]:
    """A gateway as ``isobridge serve`` starts it, on loopback."""
    data.mkdir(parents=True, exist_ok=True)
    run_file = data / "run.json"
    run_file.unlink(missing_ok=True)
    options = {
        "data.directory": data,
        "receive.bind": f"127.0.0.1:{ports[0]}",
        "web.bind": f"127.0.0.1:{ports[1]}",
        "gather.quiet_secs": QUIET_SECS,
        "log.level": "warning",
    }
    command = [sys.executable, "-m", "gateway.cli", "serve"]
    command += [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    daemon = subprocess.Popen(command)
    try:
        with console.status("Starting a gateway ...") as status:
            place = _listening(run_file, daemon, lambda state: status.update(f"Starting a gateway: {state} ..."))
        yield place, daemon
    finally:
        daemon.send_signal(signal.SIGTERM)
        with contextlib.suppress(KeyboardInterrupt):
            daemon.wait()


def _listening(
    run_file: Path, daemon: subprocess.Popen[bytes], tell: Callable[[str], None], *, patience_secs: float = START_SECS
) -> _Place:
    """Where it listens, as soon as it is ready. Raises :class:`Misconfigured`: it ended, or the time is up."""
    deadline = time.monotonic() + patience_secs
    state = "it does not listen yet"
    while time.monotonic() < deadline:
        if _has_ended(daemon, within_secs=0.1):
            raise Misconfigured(f"the gateway ended while it started (code {daemon.returncode}); its complaints stand above")
        try:
            content = json.loads(run_file.read_text())
            dicom, url = content["dicom"], str(content["http"]["url"])
            answer = requests.get(f"{url}/readyz", timeout=10)
        except FileNotFoundError:
            continue
        except requests.RequestException:
            state = "it listens, its pages do not answer yet"
            tell(state)
            continue
        if answer.ok:
            return _Place(AEAddress(ae_title=dicom["ae_title"], host=dicom["host"], port=dicom["port"]), url)
        state = f"it is not ready: {answer.text.strip()}"
        tell(state)
    raise Misconfigured(f"the gateway was not ready within {patience_secs:.0f} s; {state}")


def _has_ended(daemon: subprocess.Popen[bytes], *, within_secs: float) -> bool:
    """Waits no longer than this, and not at all when it has ended."""
    try:
        daemon.wait(within_secs)
    except subprocess.TimeoutExpired:
        return False
    return True


def _sample(directory: Path, console: Console) -> tuple[tuple[SampleStudy, ...], Path]:
    """The studies, and the table that dosimetry software exported of the therapy."""
    with console.status("Inventing two PET/CT studies and a therapy of four cycles ..."):
        earlier = generate_earlier_cycles(directory / "earlier")
        last = generate_cycle(directory / "lutathera")
        table = write_dosimetry_table(directory / "table" / "dosimetry.csv", [*earlier, last[0]])
        studies = (*generate_samples(directory), *earlier, *last)
    count = sum(len(study.files) for study in studies)
    console.print(f"Invented {len(studies)} studies of 3 patients with {count} objects. No patient ever had them.")
    return studies, table


def _push(studies: Sequence[SampleStudy], place: _Place, console: Console) -> None:
    files = [file for study in studies for file in study.files]
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("C-STORE", total=len(files))

        def on_progress(done: int, total: int, _outcome: FileOutcome) -> None:
            progress.update(bar, completed=done, total=total)

        report = send(files, place.dicom, calling_ae="DEMO-SCANNER", on_progress=on_progress)
    if not report.ok:
        raise Misconfigured([f"{failure.file.path.name}: {failure.meaning}" for failure in report.failures])
    rate = report.stored / report.duration_s
    console.print(
        f"Pushed {report.stored} objects to {place.dicom} in {report.duration_s:.1f} s ({rate:.0f}/s), all acknowledged."
    )


def _post(table: Path, place: _Place, console: Console) -> None:
    """The table over HTTP, as a workstation would send it; a watched folder or 'isobridge import' do the same."""
    headers = {"Content-Type": "text/csv", "Content-Disposition": f'attachment; filename="{table.name}"'}
    answer = requests.post(f"{place.url}/tables", data=table.read_bytes(), headers=headers, timeout=30)
    if not answer.ok:
        raise Misconfigured(f"the table was refused: {answer.text.strip()}")
    told = answer.json()["tables"][0]
    console.print(f"Posted a table of dosimetry software: {told['facts']} facts, read by the adapter {told['adapter']}.")


def _wait(
    studies: Sequence[SampleStudy], place: _Place, daemon: subprocess.Popen[bytes], console: Console
) -> tuple[list[JsonObject], list[JsonObject]]:
    """Ask as a researcher would, until every study and its administration can be found, or nothing new comes any more."""
    facts: list[JsonObject] = [_NOTHING for _ in studies]
    kidneys: list[JsonObject] = []
    seen, deadline = "", time.monotonic() + PATIENCE_SECS
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        task = progress.add_task("Waiting ...", total=None)
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):  # a busy machine answers later
                facts = [_facts(study, place.url) for study in studies]
                kidneys = kidney_doses(place.url, facts[-1].get("patient"))
            missing = [*_check(studies, facts), *check_kidneys(kidneys)]
            if not missing:
                break
            if (now := _state(facts, kidneys)) != seen:
                seen, deadline = now, time.monotonic() + PATIENCE_SECS
            there = sum(fact["study"] is not None for fact in facts)
            progress.update(
                task,
                description=f"{there} of {len(studies)} studies published, {len(missing)} facts still to come "
                f"(a study is published when it was quiet for {QUIET_SECS} s) ...",
            )
            if _has_ended(daemon, within_secs=0.5):
                raise Misconfigured(f"the gateway ended (code {daemon.returncode}); its complaints stand above")
    return facts, kidneys


#: What is known of a study that nobody found yet.
_NOTHING: JsonObject = {"study": None, "administrations": []}


def _state(facts: Sequence[JsonObject], kidneys: Sequence[JsonObject]) -> str:
    """Changes whenever something new came out."""
    found = [(fact["study"], fact["administrations"]) for fact in facts]
    return json.dumps([found, kidneys], sort_keys=True, default=str)


def _facts(sample: SampleStudy, url: str) -> JsonObject:
    study = _first(f"{url}/fhir/ImagingStudy", {"identifier": f"urn:dicom:uid|urn:oid:{sample.study_instance_uid}"})
    if study is None:
        return _NOTHING
    reference = study["subject"]["reference"]
    patient = _get(f"{url}/fhir/{reference}", {})
    given = {
        "patient": reference,
        "identifier": f"urn:oid:{sample.administration_event_uid}",
        "_include": "MedicationAdministration:medication",
    }
    found = _get(f"{url}/fhir/MedicationAdministration", given)
    resources = [entry["resource"] for entry in found.get("entry", ())]
    return {
        "study": study,
        "patient": patient,
        "administrations": [item for item in resources if _is_given(item)],
        "medications": {f"Medication/{item['id']}": item for item in resources if item["resourceType"] == "Medication"},
    }


def _is_given(resource: JsonObject) -> bool:
    return bool(resource["resourceType"] == "MedicationAdministration" and resource["status"] != "entered-in-error")


def _first(url: str, parameters: dict[str, str]) -> JsonObject | None:
    entries = _get(url, parameters).get("entry", ())
    return entries[0]["resource"] if entries else None


def _get(url: str, parameters: dict[str, str]) -> Any:
    answer = requests.get(url, params=parameters, timeout=30)
    answer.raise_for_status()
    return answer.json()


def _print(facts: Sequence[JsonObject], place: _Place, console: Console) -> None:
    table = Table(title="What a researcher finds", title_justify="left")
    for name in ("Patient", "Study", "Series", "Objects", "Tracer", "Activity", "Injected"):
        table.add_column(name, overflow="fold")
    for fact in facts:
        if fact["study"]:
            table.add_row(*_row(fact))
    console.print(table)
    for fact in facts:
        if fact["study"]:
            console.print(f"  {place.url}/fhir/ImagingStudy/{fact['study']['id']}", soft_wrap=True)
            console.print(f"  {place.url}/studies/{_uid(fact['study'])}", soft_wrap=True)
    for identifier, remarks in sorted(_given(facts).items()):
        console.print(f"  {place.url}/fhir/MedicationAdministration/{identifier}", soft_wrap=True)
        for remark in remarks:
            console.print(f"    {remark}", soft_wrap=True)


def _uid(study: JsonObject) -> str:
    """The Study Instance UID that an ImagingStudy carries."""
    return next(str(item["value"]) for item in study["identifier"] if item.get("system") == "urn:dicom:uid").removeprefix(
        "urn:oid:"
    )


def _given(facts: Sequence[JsonObject]) -> dict[str, list[str]]:
    """Each administration once, with what its resource says about its sources: several studies tell of one."""
    items = [item for fact in facts for item in fact["administrations"]]
    return {item["id"]: [note["text"] for note in item.get("note", ())] for item in items}


def _row(fact: JsonObject) -> list[str]:
    study, patient = fact["study"], fact["patient"]
    name = patient.get("name", [{}])[0]
    shown = name.get("text") or " ".join([*name.get("given", []), name.get("family", "")]).strip()
    administration = fact["administrations"][0] if fact["administrations"] else {}
    dose = administration.get("dosage", {}).get("dose", {})
    return [
        shown,
        f"{study.get('description', '')}\n{study.get('started', '')[:10]}",
        "+".join(coding["code"] for coding in study.get("modality", [])),
        str(study.get("numberOfInstances", "")),
        _tracer(administration, fact.get("medications", {})),
        f"{dose['value']} {dose['unit']}" if dose else "-",
        str(administration.get("effectiveDateTime") or administration.get("effectivePeriod", {}).get("start", "-")).replace(
            "T", "\n"
        ),
    ]


def _tracer(administration: JsonObject, medications: JsonObject) -> str:
    reference = administration.get("medicationReference", {}).get("reference", "")
    return str(medications.get(reference, {}).get("code", {}).get("text", "-"))


def _check(studies: Sequence[SampleStudy], facts: Sequence[JsonObject]) -> Iterator[str]:
    """What must come out: every object in its study, one administration with the activity that was injected."""
    for sample, fact in zip(studies, facts, strict=True):
        if fact["study"] is None:
            yield f"study of {sample.radiopharmaceutical}"
            continue
        if fact["study"]["numberOfInstances"] != len(sample.files):
            yield f"{fact['study']['numberOfInstances']} of {len(sample.files)} objects in the study of {sample.radiopharmaceutical}"
        doses = [item.get("dosage", {}).get("dose", {}) for item in fact["administrations"]]
        if [(str(dose.get("value")), dose.get("unit")) for dose in doses] != [(str(sample.activity_mbq), "MBq")]:
            yield f"one administration of {sample.activity_mbq} MBq {sample.radiopharmaceutical}; found {doses}"


def _stay(daemon: subprocess.Popen[bytes], place: _Place, console: Console) -> None:
    console.print(f"\nThe gateway goes on. Send it more: isobridge send FOLDER --to {place.dicom}. Ctrl-C ends it.")
    with contextlib.suppress(KeyboardInterrupt):
        daemon.wait()
