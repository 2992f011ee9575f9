"""How fast are headers normalised? Isobridge's mappings (reading included, one core) against dicom2fhir, and with 100 site overlays.

Each run is a process of its own, pinned to one core, that has imported everything before the clock starts; runs are interleaved, and
the clock is that of the process, so that whatever else the machine does counts for nobody.
Both read the same slices; dicom2fhir's figure is its whole conversion of the folder, ours is reading, choosing the mapping and
normalising each slice: what stands in the worker for one object.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.convert import DICOM2FHIR_PYTHON
from tests.benchmarks.measure import Sample, machine, ratio, table
from tests.benchmarks.slices import make_slices
from tests.harness.chaos import clean_environment

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = 100
_OURS = str(ROOT / "tests" / "benchmarks" / "peers" / "run_normalise.py")
_THEIRS = str(ROOT / "tests" / "benchmarks" / "peers" / "time_dicom2fhir.py")


@dataclass(frozen=True, slots=True)
class Runner:
    """One way to read the slices; ``command`` prints seconds."""

    name: str
    command: tuple[str, ...]
    present: bool = True

    def rate(self, folder: Path, count: int) -> float:
        """Slices per second."""
        pinned = ("taskset", "-c", "0") if shutil.which("taskset") else ()
        done = subprocess.run(
            [*pinned, *self.command, str(folder)], check=True, capture_output=True, text=True, cwd=ROOT, env=clean_environment()
        )
        return count / float(done.stdout.split()[-1])


def with_overlays(directory: Path, count: int = OVERLAYS) -> Path:
    """A copy of the shipped mappings with ``count`` site overlays: a scanner each, a field each."""
    shutil.copytree(ROOT / "mappings", directory)
    sites = directory / "sites"
    sites.mkdir(exist_ok=True)
    for number in range(count):
        (sites / f"scanner_{number:03d}.yaml").write_text(
            f"extends: pet_image\n"
            f'match: {{Manufacturer: "Maker {number % 7}*", StationName: [PETCT{number:03d}, PET{number:03d}]}}\n'
            f"fields:\n"
            f'  series.lot: {{from: "(0099,xx01)[OUR PRIVATE GROUP {number}]", as: text}}\n'
        )
    return directory


def run(count: int, runs: int) -> int:
    print(
        f"normalise: {count} PET slices of about 58 kB, median (min-max) of {runs} interleaved runs, slices per second of one core"
    )
    print(machine())
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        slices = Path(folder) / "slices"
        make_slices(slices, count)
        overlays = with_overlays(Path(folder) / "mappings")
        runners = (
            Runner("isobridge, shipped mappings", (sys.executable, _OURS, "mappings")),
            Runner(f"isobridge, {OVERLAYS} site overlays", (sys.executable, _OURS, str(overlays))),
            Runner("dicom2fhir 0.1.25", (str(DICOM2FHIR_PYTHON), _THEIRS), DICOM2FHIR_PYTHON.exists()),
        )
        rates: dict[str, list[float]] = {runner.name: [] for runner in runners}
        for _ in range(runs):
            for runner in runners:
                if runner.present:
                    rates[runner.name].append(runner.rate(slices, count))
    samples = {name: Sample(tuple(found)) for name, found in rates.items()}
    ours = samples[runners[0].name]
    rows = [
        [name, str(sample) if sample.rates else "absent: run tests/peers.sh dicom2fhir", ratio(ours, sample)]
        for name, sample in samples.items()
    ]
    print(table(["reader", "slices/s", "shipped mappings are"], rows))
    return 0
