"""Some of the shipped mappings, for tests of their life: deploying proves every mapping, and a third of them does for that."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import ROOT

#: PET and its dose report with all they extend, CT, and what takes objects that are no images of a tracer.
FEW = (
    *("image", "administration", "dosimetry", "report", "dose_report", "pet_common", "pet_image"),
    *("vital_signs", "report_common", "xray_dose_common", "ct_image", "secondary_capture", "raw_data", "table"),
)


def few_mappings(directory: Path, *also: str) -> Path:
    """Copy :data:`FEW` (and ``also``) with all code tables into a new ``directory``."""
    shutil.copytree(ROOT / "mappings" / "codes", directory / "codes")
    (directory / "sites").mkdir()
    for name in (*FEW, *also):
        shutil.copy(ROOT / "mappings" / f"{name}.yaml", directory)
    return directory
