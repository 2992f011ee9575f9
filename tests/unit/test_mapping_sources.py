"""Reading: all items, private elements anywhere, functional groups, the file header, the arrival, lists."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.dicom.reading import Header, header_of
from gateway.mapping.example import merged, opened
from gateway.mapping.language import Mapping, load
from gateway.model import Json, Record
from gateway.normalise.record import SharedCache, normalise
from tests import builders
from tests.unit.mapping_files import SITE, complaints, directory, said

ITEM = "RadiopharmaceuticalInformationSequence"


def mapping(path: Path, fields: str, head: str = "match: everything") -> Mapping:
    return load(directory(path, one=f"{head}\nfields:\n{fields}")).named("one")


def record(made: Mapping, given: dict[str, Any], cache: SharedCache | None = None) -> Record:
    return normalise(opened({"Modality": "PT", **merged(made.example, given)}), made, SITE, cache or SharedCache(1))


def value(path: Path, source: str, given: dict[str, Any], how: str = "as: list") -> Json:
    return record(mapping(path, f"  study.x: {{from: {source}, {how}}}\n"), given).shared.study.get("x")


@pytest.mark.parametrize(
    ("source", "given", "expected"),
    [
        (
            f'"{ITEM}[*].Radiopharmaceutical"',
            {ITEM: [{"Radiopharmaceutical": "A"}, {}, {"Radiopharmaceutical": "B"}]},
            ["A", "B"],
        ),
        (f'"{ITEM}[*].Radiopharmaceutical"', {ITEM: []}, None),
        (
            '"ProcedureCodeSequence[*].ConceptNameCodeSequence[*].CodeMeaning"',
            {"ProcedureCodeSequence": [{"ConceptNameCodeSequence": [{"CodeMeaning": "1"}, {"CodeMeaning": "2"}]}, {}]},
            ["1", "2"],
        ),
        (
            f'"{ITEM}[1].(7053,xx00)[Philips PET Private Group]"',
            {ITEM: [{}, {"(7053,xx01)[OTHER]": "no", "(7053,xx00)[Philips PET Private Group]": "0.000551"}]},
            ["0.000551"],
        ),
        (
            '"(0029,xx10)[SIEMENS X][0].(0029,xx01)[SIEMENS X]"',
            {"(0029,xx10)[SIEMENS X]": [{"(0029,xx01)[SIEMENS X]": "deep"}]},
            ["deep"],
        ),
        ("{meta: SourceApplicationEntityTitle}", {"arrival": {"calling_ae": "PETCT1"}}, ["PETCT1"]),
        ("{meta: ImplementationVersionName}", {"meta": {"ImplementationVersionName": "V1"}}, ["V1"]),
        ("{arrival: calling_ae}", {"arrival": {"calling_ae": "PETCT1"}}, ["PETCT1"]),
        ("{arrival: called_ae}", {"arrival": {"called_ae": "ISO"}}, ["ISO"]),
        ("{arrival: door}", {"arrival": {"door": "dimse"}}, ["dimse"]),
        ("{arrival: door}", {}, None),
        (
            '{frame: "PixelMeasuresSequence[0].SliceThickness"}',
            {"SharedFunctionalGroupsSequence": [{"PixelMeasuresSequence": [{"SliceThickness": "2"}]}]},
            ["2"],
        ),
        (
            '{frame: "PixelMeasuresSequence[0].SliceThickness"}',
            {
                "PerFrameFunctionalGroupsSequence": [
                    {"PixelMeasuresSequence": [{"SliceThickness": one}]} for one in ("2", "3", "2")
                ]
                + [{}]
            },
            ["2", "3"],
        ),
    ],
)
def test_every_kind_of_source_is_read(tmp_path: Path, source: str, given: dict[str, Any], expected: Json) -> None:
    assert value(tmp_path, source, given) == expected


def test_equal_codes_of_frames_are_one_and_different_ones_several(tmp_path: Path) -> None:
    codes = [{"CodeValue": code, "CodingSchemeDesignator": "SCT", "CodeMeaning": code} for code in ("1", "2", "1")]
    groups = [{"FrameAnatomySequence": [{"AnatomicRegionSequence": [code]}]} for code in codes]
    source = '{frame: "FrameAnatomySequence[0].AnatomicRegionSequence[0]"}'
    found = value(tmp_path, source, {"PerFrameFunctionalGroupsSequence": groups}, "as: concepts")
    assert [one["code"] for one in found] == ["1", "2"]


def test_the_time_of_arrival_is_a_moment_of_the_instance_only(tmp_path: Path) -> None:
    made = mapping(tmp_path, "  instance.received: {from: {arrival: received_at}, as: datetime}\n")
    given = {"arrival": {"received_at": "20240513101530.250000+0000"}}
    assert record(made, given).instance == {"received": "2024-05-13T10:15:30.25+00:00"}
    assert record(made, {}).instance == {}


@pytest.mark.parametrize(
    "change",
    [
        {"arrival": {"calling_ae": "OTHER"}},
        {"meta": {"ImplementationVersionName": "V2"}},
        {"PerFrameFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness": "3"},
        {"SharedFunctionalGroupsSequence": [{"PixelMeasuresSequence": [{"SliceThickness": "9"}]}]},
        {"StationName": "Q"},
        {f"{ITEM}[0].Radiopharmaceutical": "B"},
    ],
)
def test_whatever_decides_a_shared_field_makes_a_new_reading(tmp_path: Path, change: dict[str, Any]) -> None:
    fields = """
  study.a: {from: {arrival: calling_ae}, as: text}
  study.b: {from: {meta: ImplementationVersionName}, as: text}
  study.c: {from: {frame: "PixelMeasuresSequence[0].SliceThickness"}, as: text}
  study.d: {from: StudyID, as: text, when: {of: StationName, equals: P}}
  study.e: {for_each: RadiopharmaceuticalInformationSequence, fields: {agent: {from: $item.Radiopharmaceutical, as: text}}}
"""
    base = {
        "arrival": {"calling_ae": "A"},
        "meta": {"ImplementationVersionName": "V1"},
        "PerFrameFunctionalGroupsSequence": [{"PixelMeasuresSequence": [{"SliceThickness": "2"}]}],
        "StationName": "P",
        "StudyID": "S",
        ITEM: [{"Radiopharmaceutical": "A"}],
    }
    made, cache = mapping(tmp_path, fields), SharedCache(8)
    before = record(made, base, cache)
    assert before.shared.study == {"a": "A", "b": "V1", "c": "2", "d": "S", "e": [{"agent": "A"}]}
    changed = merged(base, change)
    assert record(made, changed, cache) == record(made, changed, SharedCache(1)) != before


def test_a_list_has_one_object_for_each_item_and_says_where_each_value_stands(tmp_path: Path) -> None:
    fields = """
  series.tracers:
    for_each: RadiopharmaceuticalInformationSequence
    fields:
      name: {from: $item.Radiopharmaceutical, as: text, need: should}
      dose.given: {from: $item.RadionuclideTotalDose, as: quantity, unit: {in: Bq, out: MBq}, range: [1, 1000]}
      nuclide:
        for_each: $item.RadionuclideCodeSequence
        fields: {code: {from: $item.CodeValue, as: code}}
      station: {from: StationName, as: text, when: {of: $item.name, equals: a}}
"""
    given = {
        "StationName": "P1",
        ITEM: [
            {
                "Radiopharmaceutical": "A",
                "RadionuclideTotalDose": "2000000",
                "RadionuclideCodeSequence": [{"CodeValue": "x"}, {"CodeValue": "y"}],
            },
            {"RadionuclideTotalDose": "9e12"},
        ],
    }
    read = record(mapping(tmp_path, fields), given)
    (entry,) = read.shared.series["tracers"]
    assert entry == {
        "name": "A",
        "dose": {"given": {"value": Decimal(2), "unit": "MBq"}},
        "nuclide": [{"code": "x"}, {"code": "y"}],
        "station": "P1",
    }
    assert read.shared.sources["series.tracers[0].nuclide[1].code"] == "CodeValue"
    assert said(read) == [
        "series.tracers[1].name is missing",
        "series.tracers[1].dose.given lies outside the range from 1 to 1000 MBq that the mapping allows",
    ]


def test_templates_loop_over_a_list_and_are_checked(tmp_path: Path) -> None:
    text = """match: everything
fields:
  study.uid: {from: StudyInstanceUID, as: uid}
  series.parts:
    for_each: ProcedureCodeSequence
    fields: {label: {from: $item.CodeMeaning, as: text}}
resources:
  study:
    per: study
    identity: ["${study.uid}"]
    resourceType: ImagingStudy
    note:
      - {for_each: s in series, extension: [{for_each: p in s.parts, url: "http://x", valueString: "${p.%s}"}]}
"""
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    assert not [told for told in complaints(tmp_path / "good", a=text % "label") if "is written" in told]
    assert any("no field 'series.parts[].lable' is written" in told for told in complaints(tmp_path / "bad", a=text % "lable"))


def test_a_relationship_and_a_template_narrow_a_report(tmp_path: Path) -> None:
    fields = """
  study.observer: {from: {sr: [121008 DCM], relationship: HAS OBS CONTEXT}, as: text}
  study.other: {from: {sr: [121008 DCM], template: 10021}, as: text}
  study.any: {from: {sr: [121008 DCM], relationship: [CONTAINS, HAS OBS CONTEXT]}, as: list}
"""
    sr = {
        "121008 DCM": {"text": "context", "attributes": {"RelationshipType": "HAS OBS CONTEXT"}},
        "121008 DCM #2": {"text": "content"},
    }
    made = mapping(tmp_path, fields)
    assert record(made, {"sr": sr}).shared.study == {"observer": "context", "any": ["context", "content"]}
    follows = {"sr": sr, "ContentTemplateSequence": [{"TemplateIdentifier": "10021"}]}
    assert record(made, follows).shared.study["other"] == "context\\content"


def test_an_instance_field_may_ask_for_fields_that_were_read_for_the_series(tmp_path: Path) -> None:
    fields = """
  series.modality: {from: Modality, as: code}
  patient.note: {from: PatientComments, as: text, when: {of: series.modality, equals: PT}}
  instance.title: {from: InstanceNumber, as: text, when: {of: series.modality, in: [PT, NM]}}
"""
    made, cache = mapping(tmp_path, fields), SharedCache(4)
    for number in ("1", "2"):  # the second from memory
        read = record(made, {"Modality": "PT", "InstanceNumber": number, "PatientComments": "n"}, cache)
        assert (read.instance, read.shared.patient) == ({"title": number}, {"note": "n"})
    other = record(made, {"Modality": "CT", "InstanceNumber": "1", "PatientComments": "n"}, cache)
    assert (other.instance, other.shared.patient) == ({}, {})


@pytest.mark.parametrize(
    ("field", "said_of_it"),
    [
        ("study.x: {from: {frame: PerFrameFunctionalGroupsSequence}, as: text}", "leave their own sequence out"),
        ("study.x: {from: {meta: PatientName}, as: text}", "is not an element of the file header"),
        ("study.x: {from: {arrival: caling_ae}, as: text}", "did you mean 'calling_ae'?"),
        ("study.x: {from: {arrival: received_at}, as: datetime}", "only 'instance' fields can read it"),
        ("study.x: {from: {path: StudyID, sr: [113507 DCM]}, as: text}", "a source is a path, or has one of"),
        ("study.x: {from: {path: StudyID, wen: 1}, as: text}", "unknown key 'wen' (did you mean 'when'?)"),
        ("study.x: {from: $item.StudyID, as: text}", "$item stands only in the 'fields' of a field with 'for_each'"),
        ("study.x: {from: [], as: text}", "1 to 32 alternatives can stand here"),
        ("study.x: {for_each: ProcedureCodeSequence}", "'study.x' has no 'fields'"),
        ("study.x: {for_each: ProcedureCodeSequence, fields: {}}", "at least one"),
        (
            "study.x: {for_each: ProcedureCodeSequence, fields: {a: {from: $item.CodeValue, as: code}}, as: text}",
            "belongs to one of its 'fields'",
        ),
        ("study.x: {from: StudyID, as: text, range: [1, 2]}", "makes no number"),
        ("study.x: {from: PatientWeight, as: decimal, range: [2, 1]}", "'range' is [lowest, highest]"),
        ("study.x: {from: {sr: [121008 DCM], relationship: HAS CONTEXT}, as: text}", "is not a relationship of content items"),
        ("study.x: {from: PatientWeight, as: quantity, unit: {in: kg, out: kg, pinned: maybe}}", "'pinned' is true or false"),
        ("study.x: {from: '%s', as: text}" % ("A" * 600), "a path has at most 512 letters"),
    ],
)
def test_a_source_that_cannot_be_right_is_told(tmp_path: Path, field: str, said_of_it: str) -> None:
    told = complaints(tmp_path, a=f"match: everything\nfields:\n  {field}\n")
    assert any(said_of_it in text and text.startswith("a.yaml:3:") for text in told), told


def test_the_example_knows_arrival_and_file_header_only_by_their_words(tmp_path: Path) -> None:
    text = "match: everything\nexample:\n  arrival: {calling: A}\n  meta: {PatientName: B}\n"
    told = complaints(tmp_path, a=text)
    assert "a.yaml:3:3: 'calling' is none of calling_ae, called_ae, received_at, door (did you mean 'calling_ae'?)" in told
    assert "a.yaml:4:3: 'PatientName' is not an element of the file header (group 0002)" in told


NESTED = "when: {of: {path: PatientWeight, when: {of: SeriesDescription, equals: good}}, exists: true}"


def test_a_condition_inside_a_condition_decides_the_shared_fields(tmp_path: Path) -> None:
    made, cache = mapping(tmp_path, f"  study.x: {{from: StudyDescription, as: text, {NESTED}}}\n"), SharedCache(8)
    given = {"StudyDescription": "S", "PatientWeight": "70", "SeriesDescription": "good"}
    assert record(made, given, cache).shared.study == {"x": "S"}
    assert record(made, given | {"SeriesDescription": "bad"}, cache).shared.study == {}


def test_a_field_is_read_after_those_that_a_condition_inside_a_condition_looks_at(tmp_path: Path) -> None:
    nested = NESTED.replace("SeriesDescription, equals: good", "study.z, exists: true")
    fields = f"  study.a: {{from: StudyDescription, as: text, {nested}}}\n  study.z: {{from: SeriesDescription, as: text}}\n"
    given = {"StudyDescription": "S", "PatientWeight": "70", "SeriesDescription": "z"}
    assert record(mapping(tmp_path, fields), given).shared.study == {"a": "S", "z": "z"}


@pytest.mark.parametrize("source", ["'(0019,xx10)[ACME]'", "SmallestImagePixelValue"])
def test_the_same_bytes_under_another_written_type_are_read_anew(tmp_path: Path, source: str) -> None:
    made, cache = mapping(tmp_path, f"  study.x: {{from: {source}, as: text}}\n"), SharedCache(8)

    def header(vr: str, value: object) -> Header:
        dataset = builders.pet()
        dataset.add_new(0x00190010, "LO", "ACME")
        dataset.add_new(0x00280106 if source[0] == "S" else 0x00191010, vr, value)
        return header_of(builders.part10(dataset))

    for one in (header("US", 0xF131), header("SS", 0xF131 - 0x10000)):
        assert normalise(one, made, SITE, cache).shared == normalise(one, made, SITE, SharedCache(1)).shared


def test_other_rules_or_tables_never_share_what_is_remembered(tmp_path: Path) -> None:
    """Folders that differ remember apart, whatever their versions say; and coding schemes are part of the version."""
    source = "match: everything\nfields:\n  study.x: {from: 'ProcedureCodeSequence[0]', as: concept}\n"
    first, second = directory(tmp_path / "a", one=source), directory(tmp_path / "b", one=source)
    schemes = second / "codes" / "scheme_systems.yaml"
    schemes.write_text(schemes.read_text().replace("http://loinc.org", "http://example.org/other"))
    cache, coded = SharedCache(8), {"CodeValue": "1234-5", "CodingSchemeDesignator": "LN", "CodeMeaning": "x"}
    versions = set()
    for folder, system in ((first, "http://loinc.org"), (second, "http://example.org/other")):
        made = load(folder).named("one")
        shared = record(made, {"ProcedureCodeSequence": [coded]}, cache).shared
        assert shared.study["x"]["system"] == system
        versions.add(made.version)
    assert len(versions) == 2
    assert load(first).named("one").token != load(second).named("one").token
