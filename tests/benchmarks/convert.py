"""How fast do files become FHIR? The command ``isobridge convert`` against dicom2fhir, one table.

Both are whole processes. The start of each (interpreter, imports, mappings) is measured with a single slice and shown apart.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measure import Sample, machine, ratio, table
from tests.benchmarks.slices import make_slices
from tests.harness.chaos import clean_environment

ROOT = Path(__file__).resolve().parents[2]
DICOM2FHIR_PYTHON = ROOT / ".peers" / "dicom2fhir" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Converter:
    name: str
    present: bool
    command: tuple[str, ...]  #: followed by the folder and, after ``out``, the target file
    out: tuple[str, ...]

    def run(self, folder: Path, target: Path) -> float:
        """Seconds of the whole process. Raises ``CalledProcessError``, ``AssertionError`` when nothing was written."""
        target.unlink(missing_ok=True)
        started = time.monotonic()
        subprocess.run(
            [*self.command, str(folder), *self.out, str(target)],
            check=True,
            capture_output=True,
            cwd=ROOT,
            env=clean_environment(),
        )
        seconds = time.monotonic() - started
        assert target.stat().st_size > 100
        return seconds


ISOBRIDGE = Converter("isobridge convert", True, (sys.executable, "-m", "gateway.cli", "convert"), ("--out",))
DICOM2FHIR = Converter(
    "dicom2fhir 0.1.25", DICOM2FHIR_PYTHON.exists(), (str(DICOM2FHIR_PYTHON), "tests/benchmarks/peers/run_dicom2fhir.py"), ()
)
CONVERTERS = (ISOBRIDGE, DICOM2FHIR)


def run(count: int, runs: int) -> int:
    print(f"convert: {count} PET slices of about 58 kB, one folder, median (min-max) of {runs} interleaved runs, slices/s")
    print(machine())
    whole: dict[str, list[float]] = {converter.name: [] for converter in CONVERTERS}
    without_start: dict[str, list[float]] = {converter.name: [] for converter in CONVERTERS}
    starts: dict[str, list[float]] = {converter.name: [] for converter in CONVERTERS}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        many, one, target = Path(folder) / "many", Path(folder) / "one", Path(folder) / "out.json"
        make_slices(many, count)
        make_slices(one, 1)
        for _ in range(runs):
            for converter in CONVERTERS:
                if converter.present:
                    start, seconds = converter.run(one, target), converter.run(many, target)
                    starts[converter.name].append(start)
                    whole[converter.name].append(count / seconds)
                    without_start[converter.name].append((count - 1) / max(seconds - start, 1e-9))
    print(_table(whole, without_start, starts))
    return 0


def _table(whole: dict[str, list[float]], without_start: dict[str, list[float]], starts: dict[str, list[float]]) -> str:
    header = ["converter", "start with 1 slice", "whole process", "Isobridge is", "start taken off", "Isobridge is"]
    rows = []
    for converter in CONVERTERS:
        if not converter.present:
            rows.append([converter.name, "absent: run tests/peers.sh dicom2fhir", "-", "-", "-", "-"])
            continue
        cells = [converter.name, f"{sorted(starts[converter.name])[len(starts[converter.name]) // 2]:.2f} s"]
        for rates in (whole, without_start):
            theirs = Sample(tuple(rate for rate in rates[converter.name] if rate > 0))
            cells += [str(theirs), "" if converter is ISOBRIDGE else ratio(Sample(tuple(rates[ISOBRIDGE.name])), theirs)]
        rows.append(cells)
    return table(header, rows)
