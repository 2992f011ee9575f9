"""Content items of a structured report are found by concept, whatever the position, the nesting and the age of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.dicom import items, sr
from gateway.dicom.budget import Budget
from gateway.dicom.elements import Element
from gateway.dicom.items import Root
from gateway.dicom.paths import parse_path
from gateway.dicom.raw_items import RawItem
from gateway.dicom.reading import header_of, read_header
from gateway.dicom.sr import SrPath
from gateway.dicom.values import Invalid
from gateway.mapping.codes import load_codes
from gateway.mapping.example import encode, merged
from gateway.mapping.language import load
from gateway.model import JsonObject
from gateway.normalise import record
from gateway.normalise.record import SharedCache, normalise
from gateway.workbench.sample_report import administration_report
from tests import builders
from tests.conftest import data_directory
from tests.unit.mapping_files import SHIPPED, SITE, complaints, read, said

CODES = load_codes(SHIPPED / "codes")[0]
MAPPINGS = load(SHIPPED)
REPORT = MAPPINGS.named("dose_report")
ADMINISTRATION = "113502 DCM"


def path(*concepts: str, attribute: str | None = None) -> SrPath:
    pairs = [concept.split() for concept in concepts]
    steps = tuple(CODES.schemes.equals(scheme, code) for code, scheme in pairs)
    return SrPath("sr " + "/".join(concepts), steps, parse_path(attribute) if attribute else None)


def found(items: JsonObject, *concepts: str, attribute: str | None = None) -> Element | None:
    return sr.find(Root(header_of(encode({"SOPInstanceUID": "1.2", "sr": items}))), path(*concepts, attribute=attribute))


def test_a_number_brings_its_unit_along() -> None:
    element = found({ADMINISTRATION: {"items": {"113507 DCM": {"num": "394", "unit": "MBq"}}}}, ADMINISTRATION, "113507 DCM")
    assert element == Element("sr 113502 DCM/113507 DCM", ("394",), (), "MBq")


@pytest.mark.parametrize(
    ("short", "text"),
    [({"text": "iv"}, "iv"), ({"uid": "1.2.3"}, "1.2.3"), ({"datetime": "20260302"}, "20260302"), ({"name": "A^B"}, "A^B")],
)
def test_plain_values_are_read_from_the_attribute_of_their_value_type(short: JsonObject, text: str) -> None:
    element = found({"121106 DCM": short}, "121106 DCM")
    assert element is not None
    assert element.text == text


def test_a_retired_snomed_code_is_found_under_its_current_one_but_not_the_other_way_of_chance() -> None:
    for name in ("F-61FDB SRT", "F-61FDB SNM3", "F-61FDB 99SDM", "349358000 SCT"):
        assert found({name: {"code": "35321007 SCT"}}, "349358000 SCT") is not None
    assert found({"F-61FDB DCM": {"code": "35321007 SCT"}}, "349358000 SCT") is None
    assert found({"349358000 DCM": {"code": "35321007 SCT"}}, "349358000 SCT") is None


def test_only_direct_children_count() -> None:
    nested = {ADMINISTRATION: {"items": {"113517 DCM": {"items": {"113507 DCM": {"num": "1", "unit": "MBq"}}}}}}
    assert found(nested, ADMINISTRATION, "113507 DCM") is None
    assert found(nested, "113507 DCM") is None


def test_several_items_give_several_values_and_units_must_agree() -> None:
    twice = {"113512 DCM": {"text": "LOT-1"}, "113512 DCM #2": {"text": "LOT-2"}}
    element = found(twice, "113512 DCM")
    assert element is not None
    assert element.texts == ("LOT-1", "LOT-2")
    with pytest.raises(Invalid, match="different units"):
        found({"113507 DCM": {"num": "1", "unit": "MBq"}, "113507 DCM #2": {"num": "1", "unit": "mCi"}}, "113507 DCM")


def test_an_attribute_of_the_item_can_be_read() -> None:
    items = {"113508 DCM": {"num": "400", "unit": "MBq", "attributes": {"ObservationDateTime": "20260302"}}}
    element = found(items, "113508 DCM", attribute="ObservationDateTime")
    assert element is not None
    assert (element.text, element.path) == ("20260302", "sr 113508 DCM ObservationDateTime")


def test_a_number_without_measured_value_is_absent_and_one_without_ucum_unit_unusable() -> None:
    item: JsonObject = {"ValueType": "NUM", "ConceptNameCodeSequence": [{"CodeValue": "1", "CodingSchemeDesignator": "DCM"}]}
    root = Root(header_of(encode({"SOPInstanceUID": "1.2", "ContentSequence": [item]})))
    assert sr.find(root, path("1 DCM")) is None
    item["MeasuredValueSequence"] = [{"NumericValue": "5"}]
    root = Root(header_of(encode({"SOPInstanceUID": "1.2", "ContentSequence": [item]})))
    with pytest.raises(Invalid, match="UCUM"):
        sr.find(root, path("1 DCM"))


def test_items_without_name_or_with_a_foreign_value_type_do_no_harm() -> None:
    named = {"ConceptNameCodeSequence": [{"CodeValue": "1", "CodingSchemeDesignator": "DCM"}], "ValueType": "WAVEFORM"}
    root = Root(header_of(encode({"SOPInstanceUID": "1.2", "ContentSequence": [{"RelationshipType": "CONTAINS"}, named]})))
    assert sr.find(root, path("2 DCM")) is None
    with pytest.raises(Invalid, match="value type"):
        sr.find(root, path("1 DCM"))


def test_a_path_has_a_bounded_depth() -> None:
    with pytest.raises(ValueError, match="at most 12"):
        path(*["1 DCM"] * 13)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{sr: [113507]}", "'113507' is not a concept name"),
        ("{sr: [113507 DMC]}", "'DMC' is not a coding scheme (did you mean 'DCM'?)"),
        ("{sr: [F-61FDB SRT]}", "is a retired SNOMED code; write '349358000 SCT'"),
        ("{sr: []}", "'sr' is a list of 1 to 12 concept names"),
        ("{sr: [113507 DCM], atribute: X}", "unknown key 'atribute'"),
        ("{sr: [113507 DCM], attribute: Obs}", "'Obs' is not a DICOM keyword"),
        ("{sr: [$administration, 113507 DCM]}", "only 'administration' fields can read $administration"),
    ],
)
def test_a_mistake_in_an_sr_path_is_told(tmp_path: Path, source: str, complaint: str) -> None:
    told = complaints(tmp_path, a=f"match: everything\nfields:\n  study.x: {{from: {source}, as: text}}\n")
    assert any(complaint in line for line in told), told


def test_a_number_of_a_report_takes_no_unit_from_the_mapping(tmp_path: Path) -> None:
    source = "{from: {sr: [113507 DCM]}, as: quantity, unit: {in: MBq, out: MBq}}"
    (told,) = complaints(tmp_path, a=f"match: everything\nfields:\n  study.x: {source}\n")
    assert "a report's number brings its unit along" in told


@pytest.mark.parametrize("key", ["sr/113507", "sr/1 DCM/113507"])
def test_a_mistake_in_the_short_form_of_a_report_is_told(tmp_path: Path, key: str) -> None:
    text = f"match: everything\ntests: [{{name: x, given: {{{key}: {{num: '1'}}}}, expect: {{outcome: record}}}}]\n"
    assert any("'113507' is not a concept name" in line for line in complaints(tmp_path, a=text))


def test_a_base_that_matches_nothing_is_never_chosen_and_its_holes_are_those_of_its_heirs(tmp_path: Path) -> None:
    rest = "status: available, subject: {reference: '@patient'}, description: '${study.%s}'"
    study = f"{{per: study, identity: ['${{study.x}}'], resourceType: ImagingStudy, {rest}}}"
    base = f"match: nothing\nresources:\n  study: {study}\n"
    heir = "extends: base\nmatch: everything\nfields:\n  study.x: {from: StudyID, as: text}\n"
    (told,) = complaints(tmp_path / "wrong", base=base % "y", heir=heir)
    assert "base.yaml" in told
    assert "no field 'study.y' is written" in told
    assert complaints(tmp_path / "right", base=base % "x", heir=heir) == []
    mappings = load(tmp_path / "right")
    assert mappings.for_header(header_of(encode({"SOPInstanceUID": "1.2"}))).name == "heir"


def test_the_sources_of_a_report_name_the_concepts() -> None:
    sources = read(REPORT, {}).shared.sources
    assert sources["administration.activity"] == "sr 113502 DCM/113507 DCM"
    assert sources["administration.radionuclide"] == "sr 113502 DCM/349358000 SCT/89457008 SCT"


def test_two_reports_that_differ_only_in_their_content_are_told_apart() -> None:
    one, two = (read(REPORT, {"sr/113502 DCM/113507 DCM": {"num": number}}) for number in ("300", "301"))
    assert one.shared.key != two.shared.key


def test_our_own_sample_report_is_understood_word_for_word() -> None:
    header = header_of(builders.part10(administration_report(builders.CASE)))
    mapping = MAPPINGS.for_header(header)
    assert mapping.name == "dose_report"
    (given,) = normalise(header, mapping, SITE, SharedCache(1)).shared.administrations
    assert given["event_uid"] == builders.uid("administration")
    assert given["activity"] == {"value": 350, "unit": "MBq"}
    assert (given["route"]["code"], given["site"]["code"]) == ("47625008", "14975008")
    assert given["stopped_at"] == "2025-03-10T10:00:20+01:00"


def administration_of(name: str) -> dict[str, Any]:
    header = read_header(data_directory() / name)
    record = normalise(header, MAPPINGS.for_header(header), SITE, SharedCache(1))
    assert [text for text in said(record) if "administration" in text] == []
    (given,) = record.shared.administrations
    return given


@pytest.mark.needs("data")
def test_the_dose_report_of_a_real_scanner() -> None:
    given = administration_of("rrdsr/NM-RRDSR-Siemens.dcm")
    assert given["activity"] == {"value": 394, "unit": "MBq"}
    assert given["event_uid"] == "1.3.12.2.1107.5.1.4.11090.20220224104830.0"
    assert given["started_at"] == "2022-02-24T10:40:30+01:00"
    assert "stopped_at" not in given
    assert given["agent"]["code"] == "35321007"
    assert str(given["half_life"]["value"]) == "6586.2"
    assert (given["route"]["code"], given["site"]["text"]) == ("47625008", "Via vein")
    assert "code" in given["site"]


def test_merging_a_short_form_changes_one_word_and_leaves_the_example_alone() -> None:
    example = {"sr": {"1 DCM": {"items": {"2 DCM": {"num": "1", "unit": "MBq"}}}}}
    changed = merged(example, {"sr/1 DCM/2 DCM": {"unit": "mCi"}, "sr/3 DCM": {"text": "x"}})
    assert changed["sr"]["1 DCM"]["items"]["2 DCM"] == {"num": "1", "unit": "mCi"}
    assert example["sr"] == {"1 DCM": {"items": {"2 DCM": {"num": "1", "unit": "MBq"}}}}
    assert "1 DCM" not in merged(example, {"sr/1 DCM": None})["sr"]


def test_a_large_report_is_opened_item_by_item_once_and_stays_far_below_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[object, int]] = []
    read_items, budget = items._sequence, Budget()

    def counted(dataset: Dataset | RawItem, tag: int, *more: Any) -> tuple[items.Item, ...]:
        opened.append((dataset, tag))
        return read_items(dataset, tag, *more)

    monkeypatch.setattr(items, "_sequence", counted)
    monkeypatch.setattr(record, "Budget", lambda: budget)
    dataset = builders.rrdsr()
    (one,) = [item for item in dataset.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "113502"]
    dataset.ContentSequence = [*dataset.ContentSequence, *[one] * 99]
    header = header_of(builders.part10(dataset))
    shared = normalise(header, REPORT, SITE, SharedCache(1)).shared
    assert len(shared.administrations) == 100
    assert len(opened) == len({(id(dataset), tag) for dataset, tag in opened})
    assert (budget.most - budget.left) * 8 < budget.most  # organ doses, persons and devices of 100 administrations
