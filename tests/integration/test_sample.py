"""The sample studies are clean DICOM in the eyes of an independent checker."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateway.workbench.sample import generate_cycle, generate_samples


@pytest.mark.needs("dicom3tools")
def test_dciodvfy_finds_no_error_in_any_sample_file(tmp_path: Path) -> None:
    studies = (*generate_samples(tmp_path, slices=8), *generate_cycle(tmp_path / "cycle", slices=8))
    files = [path for study in studies for path in study.files]
    complaints = []
    for path in files:
        checked = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        complaints += [f"{path.name}: {line}" for line in checked.stderr.splitlines() if line.startswith("Error")]
    assert complaints == []
    assert len(files) == 2 * (2 * 8 + 1) + 5
