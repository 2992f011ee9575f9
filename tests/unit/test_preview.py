"""``mappings preview``: a line for every file, whatever it is; nothing out of range; what would go out can be looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pydicom
import pytest

from gateway.dicom.reading import read_header
from gateway.errors import Quarantined
from gateway.mapping.language import load
from gateway.mapping.tracer import nuclide_of
from gateway.model import Json
from gateway.workbench.folders import files_in
from gateway.workbench.preview import NOT_DICOM, preview, preview_lines
from tests.builders import pet, pet_series, rrdsr, write
from tests.unit.mapping_files import SHIPPED
from tests.unit.workbench_site import site

MAPPINGS = load(SHIPPED)
NOW = 1_750_000_000.0


def test_files_of_all_sorts_each_have_a_line(tmp_path: Path) -> None:
    for number, dataset in enumerate(pet_series(2)):
        write(dataset, tmp_path / f"pet{number}.dcm")
    write(rrdsr(), tmp_path / "report.dcm")
    (tmp_path / "table.csv").write_text("organ;dose\nliver;1.5\n")
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "pet0.dcm").read_bytes()[:900])
    found = preview([tmp_path], site(MAPPINGS), now=NOW)
    state = {file.path.name: bool(file.set_aside) for file in found.files}
    assert state == {"pet0.dcm": False, "pet1.dcm": False, "report.dcm": False, "table.csv": True, "cut.dcm": True}
    assert {row.kind: (row.mapped, row.set_aside) for row in found.summary()}[NOT_DICOM] == (0, 2)
    lines = list(preview_lines(found))
    assert all(any(line.startswith(f"{file.path}: ") for line in lines) for file in found.files)
    assert not found.complete


def test_another_content_of_one_uid_is_set_aside(tmp_path: Path) -> None:
    write(pet(), tmp_path / "a.dcm")
    write(pet(SeriesDescription="another"), tmp_path / "b.dcm")
    found = preview([tmp_path], site(MAPPINGS), now=NOW)
    assert [bool(file.set_aside) for file in found.files] == [False, True]


def test_what_would_go_out_is_written_where_told(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write(pet(SpecificCharacterSet="ISO_IR 100", PatientName="M\u00fcller^Erfunden"), source / "a" / "pet.dcm")
    write(next(pet_series(1, SpecificCharacterSet="ISO_IR 100")), source / "b" / "pet.dcm")
    found = preview([source], site(MAPPINGS), now=NOW, out=out)
    assert sorted(path.name for path in (out / "dicom").iterdir()) == ["pet.dcm", "pet_1.dcm"]
    written, received = pydicom.dcmread(out / "dicom" / "pet.dcm"), pydicom.dcmread(source / "a" / "pet.dcm")
    assert written.SpecificCharacterSet == "ISO_IR 192"
    assert str(written.PatientName) == "M\u00fcller^Erfunden"
    assert written.PixelData == received.PixelData
    bundles = json.loads((out / "bundle.json").read_text())
    assert len(bundles) == len(found.bundles)
    assert {bundle["type"] for bundle in bundles} == {"transaction"}


@pytest.mark.needs("data")
def test_no_real_file_crashes_it_and_every_one_is_told() -> None:
    from tests.conftest import data_directory

    found = preview([data_directory()], site(MAPPINGS), now=NOW)
    assert [file.path for file in found.files] == list(files_in([data_directory()]))
    assert sum(row.files for row in found.summary()) == len(found.files)
    lines = {line.partition(": ")[0] for line in preview_lines(found)}
    assert {str(file.path) for file in found.files} <= lines
    mapped = [file for file in found.files if not file.set_aside]
    assert len(mapped) > 120
    assert all(file.mapping for file in mapped)


@pytest.mark.needs("data")
def test_no_value_of_a_real_file_lies_outside_its_declared_range() -> None:
    from tests.conftest import data_directory

    checked = 0
    for path in files_in([data_directory()]):
        try:
            header = read_header(path)
            mapping = MAPPINGS.for_header(header)
            record = site(MAPPINGS).understand(header)
        except Quarantined:
            continue
        tops = {
            **{level: getattr(record.shared, level) for level in ("patient", "study", "series", "device")},
            "instance": record.instance,
        }
        for rule in mapping.fields:
            trees = [tops[rule.level]] if rule.level in tops else list(record.shared.administrations)
            for number in (number for tree in trees for number in _numbers(_at(tree, rule.keys))):
                assert number.is_finite(), (path, rule.name)
                if rule.range is not None:
                    checked += 1
                    assert rule.range[0] <= number <= rule.range[1], (path, rule.name, number)
        for fact in record.shared.administrations:
            nuclide = nuclide_of(fact.get("radionuclide"), MAPPINGS.codes)
            if nuclide and nuclide.plausible_mbq and "activity" in fact:
                checked += 1
                low, high = nuclide.plausible_mbq
                assert low <= fact["activity"]["value"] <= high, (path, fact["activity"])
    assert checked > 60


def _at(tree: Json, keys: tuple[str, ...]) -> Json:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _numbers(value: Json) -> Iterator[Decimal]:
    """The numbers that are published of a field: itself, its quantity's, those of its list."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        yield Decimal(value)
    elif isinstance(value, dict):
        yield from _numbers(value.get("value"))
    elif isinstance(value, list):
        yield from (number for item in value for number in _numbers(item))
