"""No overlay takes the check away that keeps a wrong number from being published."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.mapping.lint import lint
from tests.unit.mapping_files import SHIPPED

_HEAD = "extends: ge_pet\nmatch: {StationName: OURS}\nfields:\n"


def complaints(tmp_path: Path, field: str) -> list[str]:
    shutil.copytree(SHIPPED, tmp_path / "m")
    (tmp_path / "m" / "sites" / "ours.yaml").write_text(f"{_HEAD}  {field}\n")
    return [str(complaint) for complaint in lint(tmp_path / "m")]


@pytest.mark.parametrize(
    ("field", "converter"),
    [
        ("administration.activity: {from: $administration.RadionuclideTotalDose, as: quantity, unit: {in: MBq, out: MBq}}", "activity"),
        ("administration.half_life: {from: $administration.RadionuclideHalfLife, as: quantity, unit: {in: min, out: s}}", "half_life"),
        ("administration.started_at: {from: SeriesDate, as: date}", "injection_time"),
    ],
)  # fmt: skip
def test_a_dose_its_half_life_and_its_start_keep_the_converter_that_checks_them(
    tmp_path: Path, field: str, converter: str
) -> None:
    (told,) = complaints(tmp_path, field)
    assert told.startswith("sites/ours.yaml:4:")
    assert f"write 'as: {converter}'" in told


def test_a_field_that_replaces_one_with_a_range_has_a_range(tmp_path: Path) -> None:
    (told,) = complaints(tmp_path, "series.pet.patient_weight: {from: PatientWeight, as: quantity, unit: {in: g, out: kg}}")
    assert "within 'range: [0.3, 400]' (pet_common.yaml:" in told


def test_with_a_range_of_its_own_it_is_accepted(tmp_path: Path) -> None:
    field = "series.pet.patient_weight: {from: PatientWeight, as: quantity, unit: {in: g, out: kg}, range: [1, 300]}"
    assert complaints(tmp_path, field) == []
