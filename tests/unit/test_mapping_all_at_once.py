"""Several mistakes in one file: all are told in one run, each at its own line, and nothing else is.

Behind ``#!`` stands what lint must say of a line; several complaints are parted by ``|``.
"""

# One mistake a line, however long: they are read as a table.
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
  patient: {per: patient, identity: ["${patient.key}"], resourceType: Patient, identifier: [{value: "${patient.id}"}]}
"""

FILES = {
    "a misspelt base and wrong headers hide nothing": """\
extends: bsae  #! there is no mapping 'bsae' (did you mean 'base'?)
match: {Modalty: PT}  #! 'Modalty' is not a DICOM keyword
priority: high  #! 'priority' must be a whole number
shadow: no  #! 'shadow' must be true or false
shadwo: false  #! unknown section 'shadwo'
fields:
  study.uid: {from: StudyInstanceUdi, as: uid, need: always}  #! did you mean 'StudyInstanceUID'? | 'need' is one of
resources:
  study:
    per: study
    identity: ["${study.udi}"]  #! no field 'study.udi' is written (did you mean 'uid'?)
    resourceType: ImagingStudy
    status: availabel  #! is not one of the codes of 'status'
    subject: {reference: "@pateint"}  #! '@pateint' is not a resource of this mapping (did you mean 'patient'?)
""",
    "what a base that nobody knows may have written is not missed": """\
extends: siemens_spect_2019  #! there is no mapping 'siemens_spect_2019'
match: {Modality: PT}
fields:
  study.uid: {from: $frame.StudyInstanceUdi, as: uid}  #! did you mean 'StudyInstanceUID'?
  study.gone: null
  series.x: {from: SeriesDate, as: date, neeed: may}  #! unknown key 'neeed'
  administration.x: {from: {value: $administration.RadionuclideTotalDose, nuclide: administration.there}, as: activity, unit: {in: Bqs, out: MBq}}  #! unknown unit 'Bqs'
resources:
  study:
    per: study
    identity: ["${study.there}"]
    resourceType: ImagingStudy
    status: availabel  #! is not one of the codes of 'status'
    subject: {reference: "@somebody"}
""",
    "an unknown converter, misspelt keys and words of one field": """\
match: {Modality: PT}
let: {tracer: "RadiopharmaceuticalInformationSequence[0]", wrong: RadiopharmaceuticalInfoSequence}  #! 'RadiopharmaceuticalInfoSequence' is not
fields:
  series.a:
    form: RescaleSlop  #! unknown key 'form' (did you mean 'from'?) | did you mean 'RescaleSlope'?
    as: quantty  #! unknown converter 'quantty' (did you mean 'quantity'?)
    unit:
      in: kgs  #! unknown unit 'kgs'
      outt: mci  #! unknown key 'outt' in a unit | unknown unit 'mci'
      pinned: 1  #! 'pinned' is true or false
    range: [5, 1]  #! 'range' is [lowest, highest]
    need: always  #! 'need' is one of
    when: {al: [{of: Modalty, equals: PT}, {of: Units, exists: yes}]}  #! unknown key 'al' in a condition | 'Modalty' is not | 'exists' is true or false
  series.b: {from: $wrong.CodeMeaning, as: xyzzy, codes: lateralty}  #! unknown converter 'xyzzy' | no code table 'lateralty'
  series.c: {from: {date: SeriesDat, tiem: SeriesTim}, as: datetime_of}  #! did you mean 'SeriesDate'? | has no part 'tiem' | did you mean 'SeriesTime'?
  series.d: {from: $trcer.RadionuclideTotalDos, as: text}  #! '$trcer' is not set (did you mean 'tracer'?) | did you mean 'RadionuclideTotalDose'?
  series.e: {from: [{paht: Modalty}, {meta: PatientID}, {sr: [113502], template: true, attribute: X}], as: text}  #! unknown key 'paht' | 'Modalty' is not | is not an element of the file header | '113502' is not a concept name | 'template' is the identifier | 'X' is not a DICOM keyword
  series.f: {from: "ReferencedStudSequence[0].ReferencedSOPClassUdi", as: text}  #! did you mean 'ReferencedStudySequence'? | did you mean 'ReferencedSOPClassUID'?
  sreies.g: {from: Modality, as: code, codes: x}  #! 'sreies' is not a level | 'code' takes no 'codes'
  series.h: {from: {sr: [1 DCM]}, as: number}  #! unknown converter 'number'
""",
    "lists, results and what is ignored": """\
match: {Modality: SR}
for_each: {administraton: {sr: [113502]}}  #! only 'administration' can be repeated | '113502' is not a concept name
fields:
  administration.x: {from: $administration.Modalty, as: code}  #! 'Modalty' is not
  series.list:
    for_each: ProcedureCodSequence[*]  #! did you mean 'ProcedureCodeSequence'?
    fields:
      Name: {from: $item.CodeMeanin, as: text}  #! 'Name' is not a field name | did you mean 'CodeMeaning'?
      two: {from: CodeMeaning, as: udi}  #! unknown converter 'udi'
      three: {from: Modality, as: text, when: {of: $item.two, exists: perhaps}}  #! 'exists' is true or false
results:
  dose:
    kind: organ-absorbed-dos  #! is not a kind of result (did you mean 'organ-absorbed-dose'?)
    of: administration
    whn: {of: Modalty, exists: true}  #! unknown key 'whn' | 'Modalty' is not
    set: {target_definiton: whole-organ}  #! a result has no member 'target_definiton'
    fields:
      value: {from: {sr: [113518 DCM]}, as: quantity, unit: {out: kg}}  #! is published in
      valu: {from: Modalty, as: text}  #! 'Modalty' is not | a result has no member 'valu'
ignore:
  one: {sr: [113900], resn: x}  #! unknown key 'resn' | '113900' is not a concept name
""",
    "templates, normalised DICOM and proof": """\
match: {Modality: PT}
fields:
  study.uid: {from: StudyInstanceUID, as: uid}
  study.weight: {from: PatientWeight, as: quantity, unit: {in: kg, out: kg}, need: x}  #! 'need' is one of
resources:
  study:
    per: studies  #! 'per' is one of
    identity: ["${study.udi}", "${study"]  #! no field 'study.udi' | a hole is not closed
    resourceType: ImageStudy  #! is not a resource type of this gateway
    status: availabel  #! is not one of the codes
    subject: {reference: "@patient"}
    description: ${study.weight}  #! this hole brings a Quantity
    descripton: ${study.uid  #! 'descripton' is not an element | a hole is not closed
    note: [{text: "${s.}"}]  #! is not a path of names
    series:
      - for_each: s of series  #! a loop is written
        uuid: 5  #! 'uuid' is not an element | put 5 in quotes
        modality: {code: PT}
  other:  #! resource 'other' has no identity
    per: study
    resourceType: Observation
    status: finale  #! is not one of the codes of 'status'
    code: {text: "${study.nix}"}  #! no field 'study.nix' is written
dicom:
  charst: utf-8  #! unknown key 'charst'
  elements:
    StationNam: {value: PETCT1, when: {of: Modalty, exists: 1}}  #! did you mean 'StationName'? | 'Modalty' is not | 'exists' is true or false
    PatientWeight: {feld: study.wieght, unit: kgs}  #! unknown key 'feld' | unknown unit 'kgs' | there is no field 'study.wieght'
tests:
  - nme: one  #! unknown key 'nme' | a test needs a 'name'
    givn: {StudyDat: x}  #! unknown key 'givn' | did you mean 'StudyDate'?
    expct: {fields: [], absnt: [study.wieght], outcome: perhaps}  #! unknown key 'expct' | 'fields' must be a mapping | unknown key 'absnt' | no field 'study.wieght' | 'outcome' is one of
""",
    "keys that are given twice": """\
match: {Modality: PT, Modality: CT}  #! 'Modality' is given twice
fields:
  study.uid: {from: StudyInstanceUdi, as: uid}  #! did you mean 'StudyInstanceUID'?
  study.uid: {from: StudyInstanceUID, as: uid}  #! 'study.uid' is given twice
  <<: {study.x: y}  #! merge keys ('<<') are not allowed
""",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_all_mistakes_are_told_in_one_run_each_at_its_own_line(tmp_path: Path, text: str) -> None:
    expected = [
        (number, phrase.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if "#!" in line
        for phrase in line.partition("#!")[2].split(" | ")
    ]
    told = [complaint for complaint in examine(directory(tmp_path, base=BASE, a=text)).complaints if complaint.file == "a.yaml"]
    said = "\n".join(map(str, told))
    assert [one for one in expected if not any(one[0] == c.line and one[1] in c.text for c in told)] == [], said
    assert [str(c) for c in told if not any(line == c.line and phrase in c.text for line, phrase in expected)] == []
    assert len(told) == len(expected), said


def test_a_base_that_is_no_yaml_is_one_complaint_and_its_heirs_are_judged_without_it(tmp_path: Path) -> None:
    heir = "extends: broken\nmatch: {Modality: PT}\nfields:\n  study.x: {from: $v.PatientId, as: text}\n  study.y: null\n"
    told = [str(one) for one in examine(directory(tmp_path, broken="match: {a: [\n", heir=heir)).complaints]
    assert [line.partition(" ")[0] for line in told] == ["broken.yaml:2:1:", "heir.yaml:4:13:"], told


def test_two_mappings_are_not_said_to_contend_while_one_of_them_is_not_read(tmp_path: Path) -> None:
    files = {
        "one": "match: {Modality: PT}\n",
        "two": "match: {Modalty: PT}\n",
        "three": "match: {Modality: PT}\npriority: high\n",
    }
    told = [str(one) for one in examine(directory(tmp_path, **files)).complaints]
    assert [line.partition(":")[0] for line in told] == ["three.yaml", "two.yaml"], told
