"""Inline tests: one whose object another mapping would read proves rules that never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mapping.language import load
from gateway.workbench.selftest import run_tests
from tests.unit.mapping_files import directory

BASE = """match: {Modality: PT}
fields:
  series.modality: {from: Modality, as: code}
example: {Modality: PT, Manufacturer: GE}
"""
TESTS = "tests:\n  - name: the modality\n    expect: {fields: {series.modality: PT}}\n"


def reasons(path: Path, **files: str) -> list[str]:
    return [f"{one.mapping}: {reason}" for one in run_tests(load(directory(path, **files))) for reason in one.reasons]


def test_a_test_whose_object_its_own_match_does_not_fit_fails_and_names_who_reads_it(tmp_path: Path) -> None:
    site = "extends: base\nmatch: {StationName: A, manufacturer: SIEMENS*}\n" + TESTS
    assert reasons(tmp_path, base=BASE, sites__own=site) == [
        "own: 'base' would read this object, not 'own', whose 'match' asks for another StationName and Manufacturer"
    ]


def test_a_test_whose_object_nobody_reads_fails(tmp_path: Path) -> None:
    site = "extends: base\nmatch: {StationName: A}\nexample: {Modality: NM}\n" + TESTS.replace("PT", "NM")
    assert reasons(tmp_path, base=BASE, sites__own=site) == [
        "own: no mapping would read this object: the 'match' of 'own' asks for another Modality and StationName"
    ]


def test_a_test_whose_object_another_mapping_takes_first_fails(tmp_path: Path) -> None:
    (told,) = reasons(tmp_path, base=BASE + TESTS, ge="extends: base\nmatch: {Manufacturer: GE}\n")
    assert told == (
        "base: 'ge' (ge.yaml) would read this object, not 'base': both match it, and 'ge' goes first"
        " (priority 0, 2 deep; this one priority 0, 1 deep)"
    )


@pytest.mark.parametrize("given", ["", "    given: {StationName: B}\n"])
def test_a_quarantine_that_is_expected_is_of_the_right_mapping_too(tmp_path: Path, given: str) -> None:
    own = "match: {StationName: A, Modality: NM}\nfields:\n  study.uid: {from: StudyInstanceUID, as: uid, need: must}\n"
    own += "example: {StationName: A, Modality: NM}\n"
    test = f"tests:\n  - name: no study\n{given}    expect: {{outcome: quarantined}}\n"
    assert bool(reasons(tmp_path, base=BASE, own=own + test)) is bool(given)


def test_a_site_may_take_objects_over_and_bases_for_others_are_exempt(tmp_path: Path) -> None:
    other = "match: {Modality: PT}\npriority: 1\nfields:\n  series.modality: {from: Modality, as: code}\n"
    nothing = "match: nothing\nfields:\n  series.modality: {from: Modality, as: code}\nexample: {Modality: PT}\n" + TESTS
    assert reasons(tmp_path, base=BASE + TESTS, sites__own=other, common=nothing) == []
