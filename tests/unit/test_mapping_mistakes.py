"""Planted mistakes, one at a time, in a mapping that is right without them: lint finds each, with its line and in plain words."""

# One case a line, however long: they are read as a table.
# ruff: noqa: E501

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mapping.language import examine
from tests.unit.mapping_files import directory

BASE = """\
match: nothing
fields:
  patient.id: {from: PatientID, as: text}
resources:
  patient:
    per: patient
    identity: ["${patient.key}"]
    resourceType: Patient
    identifier: [{value: "${patient.id}"}]
"""

#: Line 1 is the first. A mistake replaces one of these lines.
GOOD = """\
extends: base
match:
  Modality: PT
  ManufacturerModelName: {regex: "Discovery (MI|IQ).*"}
  private_creator: GEMS_PETD_01
priority: 2
shadow: false
let: {frame: "SharedFunctionalGroupsSequence[0]"}
for_each: {administration: RadiopharmaceuticalInformationSequence}
fields:
  study.uid: {from: StudyInstanceUID, as: uid, need: must}
  study.started: {from: {date: StudyDate, time: StudyTime}, as: datetime_of}
  study.weight: {from: PatientWeight, as: quantity, unit: {in: kg, out: kg}, range: [0.3, 400]}
  study.procedure: {from: "ProcedureCodeSequence[0]", as: concept}
  series.uid: {from: SeriesInstanceUID, as: uid}
  series.number: {from: SeriesNumber, as: count}
  series.modality: {from: Modality, as: code, when: {all: [{of: Units, exists: true}, {not: {of: Modality, equals: CT}}]}}
  series.side: {from: "$frame.FrameAnatomySequence[0].FrameLaterality", as: known_concept, codes: laterality}
  series.duration: {from: {frame: "FrameContentSequence[0].FrameAcquisitionDuration"}, as: quantity, unit: {in: ms, out: s}}
  series.sender: {from: {meta: SourceApplicationEntityTitle}, as: text}
  series.caller: {from: {arrival: calling_ae}, as: text}
  series.words: {from: [{path: SeriesDescription, when: {of: PatientWeight, above: 3}}, ProtocolName], as: text}
  series.steps: {for_each: "ProcedureCodeSequence[*]", fields: {name: {from: $item.CodeMeaning, as: text}}}
  administration.activity:
    from:
      value:
        - $administration.RadionuclideTotalDose
        - "(0009,xx38)[GEMS_PETD_01]"
    as: activity
    unit: {in: Bq, out: MBq, pinned: true}
  administration.given: {from: {value: {sr: [113502 DCM, 113507 DCM]}}, as: quantity, unit: {out: MBq}}
resources:
  study:
    per: study
    identity: ["${study.uid}"]
    resourceType: ImagingStudy
    status: available
    subject: {reference: "@patient"}
    started: ${study.started}
    numberOfSeries: ${study.number_of_series}
    description: weight ${study.weight.value}
    procedureCode: ["${study.procedure}"]
    series:
      - for_each: s in series
        uid: ${s.uid}
        number: ${s.number}
        modality: {system: "http://dicom.nema.org/resources/ontology/DCM", code: "${s.modality}"}
        description: {if: s.words, is: "${s.words}"}
  dose:
    per: administration
    identity: ["${administration.key}"]
    resourceType: Observation
    meta: {profile: ["http://hl7.org/fhir/StructureDefinition/Observation"]}
    status: preliminary
    code: {text: Administered activity}
    subject: {reference: "@patient"}
    valueQuantity: ${administration.activity}
    effectiveDateTime: "2024-05-13"
    component: [{code: {text: Given}, valueQuantity: "${administration.given}"}]
dicom:
  charset: utf-8
  elements:
    StationName: {value: PETCT1, when: {of: Modality, in: [PT, NM]}}
    PatientWeight: {field: study.weight, unit: kg}
example:
  Modality: PT
  StudyInstanceUID: "2.25.1"
tests:
  - name: the study keeps its UID
    given: {StudyDate: "20240513"}
    expect: {fields: {study.uid: "2.25.1"}, absent: [study.weight]}
"""

#: A text of the good mapping, what is written instead, and a phrase of the complaint.
MISTAKES = [
    # sections, extends, match, priority
    ("extends: base", "extends: bsae", "there is no mapping 'bsae' (did you mean 'base'?)"),
    ("extends: base", "extends: a", "'a' extends itself"),
    ("priority: 2", "priority: high", "'priority' must be a whole number"),
    ("shadow: false", "shadow: no", "'shadow' must be true or false"),
    ("shadow: false", "shadwo: false", "unknown section 'shadwo' (did you mean 'shadow'?)"),
    ("  Modality: PT\n  M", "  Modalty: PT\n  M", "'Modalty' is not a DICOM keyword (did you mean 'Modality'?)"),
    ("  Modality: PT\n  M", "  SOPClassUID: PositronEmissionImageStorage\n  M", "'PositronEmissionImageStorage' is not a SOP class"),
    ("  Modality: PT\n  M", "  Modality: []\n  M", "is matched by a text"),
    ('{regex: "Discovery (MI|IQ).*"}', '{regex: "Discovery (MI"}', "not a regular expression of RE2"),
    ('{regex: "Discovery (MI|IQ).*"}', r'{regex: "(D)\\1"}', "not a regular expression of RE2"),
    ("  private_creator: G", "  privat_creator: G", "did you mean 'private_creator'?"),
    # reading
    ("from: StudyInstanceUID", "from: StudyInstanceUdi", "did you mean 'StudyInstanceUID'?"),
    ("as: uid, need: must", "as: udi, need: must", "unknown converter 'udi' (did you mean 'uid'?)"),
    ("need: must", "need: always", "'need' is one of must, should, may"),
    ("need: must", "neeed: must", "unknown key 'neeed' (did you mean 'need'?)"),
    ("{date: StudyDate, time", "{day: StudyDate, time", "'datetime_of' has no part 'day'"),
    ("{date: StudyDate, time: StudyTime}", "{time: StudyTime}", "'datetime_of' needs the part 'date'"),
    ("$frame.Frame", "$farme.Frame", "'$farme' is not set (did you mean 'frame'?)"),
    ("codes: laterality", "codes: lateralty", "there is no code table 'lateralty' (did you mean 'laterality'?)"),
    ("as: known_concept, codes: laterality", "as: known_concept", "'known_concept' needs 'codes'"),
    ("{meta: SourceApplicationEntityTitle}", "{meta: PatientID}", "is not an element of the file header"),
    ("{arrival: calling_ae}", "{arrival: caling_ae}", "did you mean 'calling_ae'?"),
    ('{frame: "Frame', '{frame: "SharedFunctionalGroupsSequence[0].Frame', "leave their own sequence out"),
    ("{from: $item.CodeMeaning", "{from: $items.CodeMeaning", "'$items' is not set"),
    ("fields: {name: {from: $item.CodeMeaning, as: text}}", "as: text", "a field with 'for_each' makes a list"),
    ("{administration: RadiopharmaceuticalInformationSequence}", "{administration: PatientID}", "'PatientID' is not a sequence"),
    ("[113502 DCM, 113507 DCM]", "[113502, 113507 DCM]", "'113502' is not a concept name"),
    ("series.caller:", "sreies.caller:", "'sreies' is not a level (did you mean 'series'?)"),
    ("        - $administration.Rad", "        - $administration.Rda", "did you mean 'RadionuclideTotalDose'?"),
    ('"(0009,xx38)[GEMS_PETD_01]"', '"(0009,xx38)"', "(0009,xx38)"),
    # conditions
    ("{of: Units, exists: true}", "{of: Untis, exists: true}", "'Untis' is not a DICOM keyword (did you mean 'Units'?)"),
    ("{of: Units, exists: true}", "{of: Units, exist: true}", "unknown key 'exist' in a condition (did you mean 'exists'?)"),
    ("{of: Units, exists: true}", "{of: Units, exists: yes}", "'exists' is true or false"),
    ("above: 3", "above: heavy", "'above' is a number"),
    ("{all: [{of: Units, exists: true}, {not: {of: Modality, equals: CT}}]}", "{all: []}", "'all' is a list of conditions"),
    ("{not: {of: Modality, equals: CT}}", "{not: {equals: CT}}", "a condition names 'of'"),
    # converting
    ("unit: {in: kg, out: kg}", "unit: {in: kgs, out: kg}", "unknown unit 'kgs' (did you mean 'kg'?)"),
    ("unit: {in: kg, out: kg}", "unit: {in: Bq, out: kg}", "Bq cannot become kg"),
    ("unit: {in: kg, out: kg}, ", "", "'quantity' needs 'unit: {in: ..., out: ...}'"),
    ("range: [0.3, 400]", "range: [400, 0.3]", "'range' is [lowest, highest]"),
    ("as: count}", "as: text, range: [1, 2]}", "makes no number that a 'range' could be asked of"),
    ("pinned: true", "pinned: 1", "'pinned' is true or false"),
    ("unit: {in: kg, out: kg}", "unit: {in: kg, outt: kg}", "unknown key 'outt' in a unit (did you mean 'out'?)"),
    ("out: MBq, pinned: true}", "out: MBq, pined: true}", "unknown key 'pined' in a unit (did you mean 'pinned'?)"),
    # FHIR
    ("resourceType: ImagingStudy", "resourceType: ImageStudy", "is not a resource type of this gateway (did you mean 'ImagingStudy'?)"),
    ("    description: weight", "    descripton: weight", "'descripton' is not an element of ImagingStudy (did you mean 'description'?)"),
    ("        uid: ${s.uid}\n", "        uuid: ${s.uid}\n", "'uuid' is not an element of ImagingStudy.series (did you mean 'uid'?)"),
    ("    status: available\n", "", "ImagingStudy needs 'status', and no line fills it"),
    ("status: available", "status: availabel", "is not one of the codes of 'status'"),
    ("status: preliminary", "status: [preliminary]", "'status' occurs once in FHIR"),
    ('procedureCode: ["${study.procedure}"]', "procedureCode: ${study.procedure}", "FHIR has a list in 'procedureCode'"),
    ("numberOfSeries: ${study.number_of_series}", "numberOfSeries: three", "'numberOfSeries' is a unsignedInt in FHIR"),
    ("description: weight ${study.weight.value}", "description: ${study.weight}", "'description' is a string in FHIR, and this hole brings a Quantity"),
    ("    started: ${study.started}", "    started: ${study.weight.value}", "'started' is a dateTime in FHIR, and this hole brings a decimal"),
    ("    code: {text: Administered activity}", "    code: Administered activity", "'code' is a CodeableConcept in FHIR"),
    ("code: {text: Administered activity}", "code: {text: 5}", "'text' is a string in FHIR: put 5 in quotes"),
    ('    valueQuantity: ${administration.activity}', '    value: ${administration.activity}', "'value' of Observation is a choice: write valueQuantity"),
    ('    effectiveDateTime: "2024-05-13"', '    valueString: x', "Observation has one 'value[x]', and here stand valueQuantity and valueString"),
    ('"2024-05-13"', '"13/05/2024"', "this is not a dateTime of FHIR"),
    ('    subject: {reference: "@patient"}\n    started', '    subject: {reference: "@dose"}\n    started', "'subject' refers to Device, Group or Patient, not to Observation"),
    ('    subject: {reference: "@patient"}\n    started', '    subject: "@patient"\n    started', 'write {reference: "@patient"}'),
    ('    subject: {reference: "@patient"}\n    started', '    subject: {reference: "@pateint"}\n    started', "'@pateint' is not a resource of this mapping"),
    ("${study.started}", "${study.startd}", "no field 'study.startd' is written (did you mean 'started'?)"),
    ("${s.number}", "${s.number", "a hole is not closed"),
    ("for_each: s in series", "for_each: s of series", "a loop is written"),
    ("    per: administration", "    per: administrations", "'per' is one of"),
    # normalised DICOM
    ("charset: utf-8", "charset: latin1", "'charset' can only be 'utf-8'"),
    ("    StationName: {v", "    StationNmae: {v", "did you mean 'StationName'?"),
    ("{value: PETCT1,", "{value: PETCT1, copy: ProtocolName,", "exactly one of value, copy, field, remove"),
    ("{field: study.weight,", "{field: study.wieght,", "there is no field 'study.wieght' (did you mean 'study.weight'?)"),
    ("    StationName: {v", "    SOPInstanceUID: {v", "SOPInstanceUID is not a mapping's to change"),
    # proof
    ('  StudyInstanceUID: "2.25.1"', '  StudyInstanceUdi: "2.25.1"', "'StudyInstanceUdi' is not a DICOM keyword"),
    ("absent: [study.weight]", "absent: [study.wieght]", "no field 'study.wieght' is written (did you mean 'study.weight'?)"),
    ('expect: {fields: {study.uid: "2.25.1"}, absent: [study.weight]}', "expect: {}", "a test that expects nothing proves nothing"),
    ("    given: {Study", "    givn: {Study", "unknown key 'givn' (did you mean 'given'?)"),
    # YAML
    ("    subject: {reference: \"@patient\"}\n    started", "    subject: {reference: @patient}\n    started", "put a text that begins with @ in quotes"),
    ("    status: available", "    status: available\n    status: available", "'status' is given twice"),
    ("    status: available", "\tstatus: available", "a tab: indent with spaces"),
    ("  charset: utf-8", "  charset: &c utf-8", "anchors and aliases are not allowed"),
    ("  charset: utf-8", "  <<: {charset: utf-8}", "merge keys ('<<') are not allowed"),
    ("  charset: utf-8", "  charset: !!python/name:os.system x", "tags such as '!!' are not allowed"),
]  # fmt: skip


def expected_line(old: str, new: str, phrase: str) -> int:
    """The line that differs; of a line that is missing, that of the element which lacks it."""
    before = GOOD[: GOOD.index(old)]
    same = next((index for index, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    line = before.count("\n") + old[:same].count("\n") + 1
    if phrase.startswith("ImagingStudy needs"):
        return GOOD[: GOOD.index("  study:\n")].count("\n") + 1
    return line + new[same:].rstrip("\n").count("\n") if "twice" in phrase else line


def test_without_a_mistake_nothing_is_told(tmp_path: Path) -> None:
    found = examine(directory(tmp_path, base=BASE, a=GOOD))
    assert [str(complaint) for complaint in (*found.complaints, *found.warnings) if complaint.file.endswith("a.yaml")] == []
    assert found.mappings is not None


def test_there_are_at_least_forty() -> None:
    assert len({(old, new) for old, new, _ in MISTAKES}) >= 40


@pytest.mark.parametrize(("old", "new", "phrase"), MISTAKES, ids=[phrase[:50] for _, _, phrase in MISTAKES])
def test_a_planted_mistake_is_found_with_its_line(tmp_path: Path, old: str, new: str, phrase: str) -> None:
    assert old in GOOD
    found = examine(directory(tmp_path, base=BASE, a=GOOD.replace(old, new, 1)))
    assert found.mappings is None
    told = [complaint for complaint in found.complaints if phrase in complaint.text]
    assert told, "\n".join(map(str, found.complaints))
    assert (told[0].file, told[0].line) == ("a.yaml", expected_line(old, new, phrase)), str(told[0])
