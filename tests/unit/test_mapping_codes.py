"""Code tables understand what senders write, by code first and then by words, and do not guess between two meanings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydicom.sr import _cid_dict, _concepts_dict

from gateway.mapping.codes import Coded, fold, load_codes
from tests.unit.mapping_files import SHIPPED

CODES, COMPLAINTS = load_codes(SHIPPED / "codes")
AGENTS = "radiopharmaceuticals"


def test_the_shipped_tables_have_no_mistake() -> None:
    assert COMPLAINTS == []


@pytest.mark.parametrize(
    ("table", "scheme", "code", "text"),
    [
        (AGENTS, "SCT", "35321007", "Fluorodeoxyglucose F-18"),
        (AGENTS, "SRT", "C-B1031", "Fluorodeoxyglucose F-18"),  # retired SNOMED-RT
        (AGENTS, "SNM3", "C-B1031", "Fluorodeoxyglucose F-18"),  # its older name
        (AGENTS, "99SDM", "C-B1031", "Fluorodeoxyglucose F-18"),  # and how GE and Siemens write it
        (AGENTS, "DCM", "126758", "PSMA-1007 F-18"),
        (AGENTS, "NCIt", "C118961", "PSMA-11 Ga-68"),
        (AGENTS, "UMLS", "C2713594", "Edotreotide Ga-68"),
        (AGENTS, "SRT", "C-B1046", "Germanium Ge-68"),  # Siemens' phantom
        ("radionuclides", "99SDM", "C-163A8", "Tc-99m"),
        ("radionuclides", "SRT", "C-128A2", "Ge-68"),
        ("routes", "SRT", "G-D101", "Intravenous route"),
    ],
)
def test_a_code_is_known(table: str, scheme: str, code: str, text: str) -> None:
    entry = CODES.by_code(table, Coded(scheme=scheme, value=code, meaning=""))
    assert entry is not None
    assert entry.text == text


@pytest.mark.parametrize(
    ("scheme", "code"),
    [("99SDM", "Y-X1743"), ("99HOSP", "35321007"), ("", "35321007"), ("DCM", "C-B1031"), ("SCT", "C-B1031")],
)
def test_a_code_of_another_scheme_is_not_taken_for_it(scheme: str, code: str) -> None:
    assert CODES.by_code(AGENTS, Coded(scheme=scheme, value=code, meaning="")) is None


@pytest.mark.parametrize(
    ("text", "nuclide", "found"),
    [
        ("FDG", None, "Fluorodeoxyglucose F-18"),
        ("fdg", None, "Fluorodeoxyglucose F-18"),
        ("FDG -- fluorodeoxyglucose", None, "Fluorodeoxyglucose F-18"),
        ("Fluorodeoxyglucose F^18^", None, "Fluorodeoxyglucose F-18"),
        ("[18F]FDG", None, "Fluorodeoxyglucose F-18"),
        ("18F-FDG", None, "Fluorodeoxyglucose F-18"),
        ("F-18 FDG", None, "Fluorodeoxyglucose F-18"),
        ("Sestamibi", None, "Sestamibi Tc-99m"),
        ("Technetium Tc^99m^ medronate", None, "Medronate Tc-99m"),
        ("Germanium Ge^68^", None, "Germanium Ge-68"),
        ("PSMA-11", None, "PSMA-11 Ga-68"),
        ("68Ga-DOTATATE", None, "DOTATATE Ga-68"),
        ("177Lu DOTATATE", None, "DOTATATE Lu-177"),
        ("DOTATATE", "Lu-177", "DOTATATE Lu-177"),  # the stated nuclide tells two apart
        ("DOTATATE", None, None),  # and without it nobody can
        ("MIBG", None, None),
        ("MIBG", "I-123", "Iobenguane I-123"),
        ("MIBG", "Tc-99m", None),  # a nuclide that no MIBG has
        ("Choline", "C-11", "Choline C-11"),
        ("11C-FDG", None, None),  # there is no such thing in the table
        ("Solution", None, None),
        ("DPD", None, None),
        ("", None, None),
        ("F-18", None, None),  # a nuclide is not an agent
    ],
)
def test_words_are_known_or_not(text: str, nuclide: str | None, found: str | None) -> None:
    entry = CODES.by_text(AGENTS, text, nuclide=nuclide)
    assert (entry.text if entry else None) == found


def test_the_agents_of_the_reference_imply_their_nuclide() -> None:
    classes = {"Radiopharmaceutical", "Diagnostic radiopharmaceutical", "Therapeutic radiopharmaceutical"}
    assert {entry.text for entry in CODES.tables[AGENTS].entries if not entry.nuclide} == classes


def test_a_known_concept_is_published_in_its_own_words() -> None:
    entry = CODES.by_code(AGENTS, Coded(scheme="SRT", value="C-B1031", meaning="whatever the sender says"))
    assert entry is not None
    assert CODES.concept(entry).as_json() == {
        "system": "http://snomed.info/sct",
        "code": "35321007",
        "text": "Fluorodeoxyglucose F-18",
    }


def test_what_has_no_code_anywhere_is_published_as_text() -> None:
    entry = CODES.by_text(AGENTS, "177Lu-PSMA-617")
    assert entry is not None
    assert CODES.concept(entry).as_json() == {"text": "PSMA-617 Lu-177"}


#: Table -> the context groups of PS3.16 of which it must hold every code.
CONTEXT_GROUPS = {
    "radionuclides": [18, 4020],
    "radiopharmaceuticals": [25, 4021],
    "routes": [11],
    "organs": [10044, 10060],
    "body_parts": [4030, 4031],
    "projections": [26],
    "attenuation_correction": [3112],
    "procedures": [3108],
}


def context_group(number: int) -> dict[tuple[str, str], str]:
    """Scheme and code -> meaning, as pydicom generates them from PS3.16."""
    return {
        (scheme, code): meaning
        for scheme, names in _cid_dict.cid_concepts[number].items()
        for name in names
        for code, (meaning, groups) in _concepts_dict.concepts[scheme][name].items()
        if number in groups
    }


@pytest.mark.parametrize(("table", "group"), [(table, group) for table, groups in CONTEXT_GROUPS.items() for group in groups])
def test_a_table_holds_its_context_groups(table: str, group: int) -> None:
    known = CODES.tables[table].by_code
    assert {pair: meaning for pair, meaning in context_group(group).items() if pair not in known} == {}


#: Codes of our tables whose meaning in PS3.16 is said in other words.
OTHER_WORDS = {
    ("SCT", "51440002"),  # both sides
}


@pytest.mark.parametrize("table", sorted(set(CODES.tables) - {"radionuclides", "radiopharmaceuticals"}))
def test_a_code_means_what_the_standard_says(table: str) -> None:
    """Every code is one of PS3.16, and one of its meanings is a name of our entry."""
    wrong = []
    for entry in CODES.tables[table].entries:
        if entry.code is None or entry.laterality is not None:
            continue
        meanings = {
            fold(meaning)
            for concepts in _concepts_dict.concepts[entry.scheme or ""].values()
            for code, (meaning, _) in concepts.items()
            if code == entry.code
        }
        if not meanings & {fold(text) for text in (entry.text, *entry.aliases)} and (entry.scheme, entry.code) not in OTHER_WORDS:
            wrong.append((entry.text, entry.code, meanings))
    assert wrong == []


@pytest.mark.parametrize("group", [18, 25, 4020, 4021])
def test_the_standards_words_for_a_tracer_are_understood_without_its_code(group: int) -> None:
    """Both ways, by code and by meaning, lead to one entry; where words alone are not enough, to none, never to another."""
    table = "radionuclides" if group in (18, 4020) else AGENTS
    silent = []
    for (scheme, code), meaning in context_group(group).items():
        by_code = CODES.by_code(table, Coded(scheme=scheme, value=code, meaning=""))
        by_text = CODES.by_text(table, meaning)
        assert by_text in (by_code, None)
        if by_text is None:
            silent.append(meaning)
    assert set(silent) <= {"FLB 457 C^11^", "ISO-1 F^18^", "Diagnostic radioisotope", "Therapeutic radioisotope"}


@pytest.mark.parametrize("text", ["F-18", "18F", "^18^Fluorine", "Fluorine-18", "FLUORINE 18", "F18", "[18F]", "F^18^", "18-F"])
def test_a_nuclide_is_known_in_every_writing(text: str) -> None:
    entry = CODES.by_text("radionuclides", text)
    assert entry is not None
    assert entry.text == "F-18"


#: Half-lives in seconds of the reference (standards.md C.3: ICRP 107).
HALF_LIVES = {
    "F-18": "6586.2",
    "Ga-68": "4062.6",
    "Tc-99m": "21654",
    "Lu-177": "574300.8",
    "I-131": "692988.48",
    "Ac-225": "864000",
}


@pytest.mark.parametrize(("name", "seconds"), HALF_LIVES.items())
def test_half_lives_are_those_of_icrp_107(name: str, seconds: str) -> None:
    nuclide = CODES.nuclides.named(name)
    assert nuclide is not None
    assert str(nuclide.half_life_s) == seconds


def test_every_nuclide_has_a_half_life() -> None:
    assert [nuclide.name for nuclide in CODES.nuclides.known if nuclide.half_life_s is None] == []


@pytest.mark.parametrize(
    ("text", "found", "side"),
    [
        ("Urinary bladder wall", "Bladder", None),
        ("Osteogenic cells", "Bone Surface", None),
        ("Red Marrow", "Bone Marrow", None),
        ("Total Body", "Entire body", None),
        ("Heart Wall", "Heart", None),
        ("Left Colon", "Left colon", "Left"),
        ("Kidney R", "Right kidney", "Right"),
        ("LLI Wall", "Lower large intestine", None),
        ("Kidneys", "Kidney", None),
    ],
)
def test_organs_are_known_by_the_names_that_dosimetry_software_prints(text: str, found: str, side: str | None) -> None:
    entry = CODES.by_text("organs", text)
    assert entry is not None
    assert (entry.text, entry.laterality) == (found, side)


def test_the_code_of_a_paired_organ_is_the_organ_and_not_one_side_of_it() -> None:
    entry = CODES.by_code("organs", Coded(scheme="SCT", value="64033007", meaning=""))
    assert entry is not None
    assert entry.text == "Kidney"


def site(directory: Path, **tables: str) -> Path:
    """The shipped tables with those of a site beside them."""
    shutil.copytree(SHIPPED / "codes", directory / "codes")
    (directory / "sites" / "codes").mkdir(parents=True)
    for name, text in tables.items():
        (directory / "sites" / "codes" / f"{name}.yaml").write_text(text)
    return directory / "codes"


def test_a_site_adds_entries_tables_and_schemes_and_has_the_last_word(tmp_path: Path) -> None:
    codes, complaints = load_codes(
        site(
            tmp_path,
            scheme_systems="systems: {99HOSP: https://hospital.example/codes}\n",
            radionuclides="entries:\n  F-18: {element: Fluorine, system: SCT, code: '77004003', plausible_MBq: [50, 600]}\n",
            radiopharmaceuticals="entries:\n  House tracer F-18: {system: 99HOSP, code: T7, nuclide: F-18, plausible_MBq: [100, 300]}\n"
            "  Fludeoxyglucose F-18: {system: SCT, code: '35321007', nuclide: F-18, aliases: [FDG], replaces: Fluorodeoxyglucose F-18}\n",
            rooms="entries:\n  Room one: {aliases: [R1]}\n",
            routes="entries:\n  Nasal route: null\n",
        )
    )
    assert [str(complaint) for complaint in complaints] == []
    nuclide = codes.nuclides.named("F-18")
    assert nuclide is not None
    assert nuclide.plausible_mbq == (50, 600)
    tracer = codes.by_code(AGENTS, Coded(scheme="99HOSP", value="T7", meaning=""))
    assert tracer is not None
    assert tracer.plausible_mbq == (100, 300)
    assert codes.concept(tracer).as_json() == {
        "system": "https://hospital.example/codes",
        "code": "T7",
        "text": "House tracer F-18",
    }
    renamed = codes.by_code(AGENTS, Coded(scheme="SRT", value="C-B1031", meaning=""))
    assert renamed is not None
    assert renamed.text == "Fludeoxyglucose F-18"
    assert codes.by_text("rooms", "r1") is not None
    assert codes.by_text("routes", "Nasal route") is None
    assert codes.tables[AGENTS].digest != CODES.tables[AGENTS].digest  # the mappings that use it get a new version


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("Our FDG: {system: SCT, code: '35321007', nuclide: F-18}", "is the code of 'Fluorodeoxyglucose F-18' already"),
        ("Our FDG: {nuclide: F-18, aliases: [FDG]}", "'fdg' also means 'Fluorodeoxyglucose F-18'"),
        ("Our FDG: {nuclide: F-81}", "'F-81' is not in radionuclides.yaml (did you mean 'F-18'?)"),
        ("Our FDG: {nuclide: F-18, replaces: Fluorodeoxyglucos F-18}", "(did you mean 'Fluorodeoxyglucose F-18'?)"),
        ("Our FDG: {nuclide: F-18, plausible_MBq: [9, 1]}", "a range is [lowest, highest]"),
        ("Our FDG: {system: 99NONE, code: X1}", "coding scheme '99NONE' has no FHIR system"),
    ],
)
def test_a_collision_or_mistake_of_a_site_table_is_told_where_it_stands(tmp_path: Path, entry: str, said: str) -> None:
    _, complaints = load_codes(site(tmp_path, radiopharmaceuticals=f"entries:\n  {entry}\n"))
    assert [said in complaint.text for complaint in complaints] == [True]
    assert str(complaints[0]).startswith("sites/codes/radiopharmaceuticals.yaml:2:")


@pytest.mark.parametrize(
    ("scheme", "uid", "system"),
    [
        ("SCT", "", "http://snomed.info/sct"),
        ("LN", "", "http://loinc.org"),
        ("99HOSP", "2.999.7.1", "urn:oid:2.999.7.1"),  # the sender says whose scheme it is
        ("99HOSP", "", None),  # and if it does not, nobody can say: text only
        ("99HOSP", "not a uid", None),
        ("99HOSP", "1." + "2" * 80, None),
        ("DCM", "2.999.7.1", "http://dicom.nema.org/resources/ontology/DCM"),  # a listed one needs no uid
    ],
)
def test_the_system_of_a_scheme(scheme: str, uid: str, system: str | None) -> None:
    assert CODES.schemes.system_of(Coded(scheme=scheme, value="1", meaning="x", scheme_uid=uid)) == system
