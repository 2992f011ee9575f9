"""Code tables understand what senders write, by code first and then by words, and do not guess between two meanings."""

from __future__ import annotations

import pytest

from gateway.mapping.codes import Coded, load_codes
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
    assert all(entry.nuclide for entry in CODES.tables[AGENTS].entries)


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
