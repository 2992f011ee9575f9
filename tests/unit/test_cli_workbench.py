"""The workbench at a shell: what goes to stdout and stderr, exit codes, JSON that a program can read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from tests.builders import pet, write
from tests.unit.mapping_files import SHIPPED


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(pet(), tmp_path / "files" / "pet.dcm")


def mappings(command: str, *words: object, directory: Path = SHIPPED) -> Result:
    return CliRunner().invoke(main, ["mappings", command, *map(str, words), "--set", f"mappings.directory={directory}"])


def test_explain_narrows_and_says_what_is_near(file: Path) -> None:
    told = mappings("explain", file, "--element", "RadionuclideTotalDose")
    assert told.exit_code == 0
    assert "MedicationAdministration.dosage.dose.value = 350" in told.stdout
    assert "from   RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = 350000000" in told.stdout
    missed = mappings("explain", file, "--element", "RadionuclideTotalDos")
    assert missed.exit_code == 1
    assert "did you mean RadionuclideTotalDose" in missed.stderr
    found = json.loads(mappings("explain", file, "--json").stdout)
    assert {"path", "mapping", "fields", "written", "issues", "dicom"} == found.keys()


def test_explain_of_something_else_is_one_line_and_no_trace(file: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("no DICOM")
    told = mappings("explain", tmp_path / "words.txt")
    assert (told.exit_code, told.stderr.count("\n")) == (1, 1)


def test_preview_ends_with_one_when_something_is_set_aside(file: Path) -> None:
    assert mappings("preview", file).exit_code == 0
    (file.parent / "words.txt").write_text("no DICOM")
    told = mappings("preview", file.parent, "--json")
    assert told.exit_code == 1
    assert [bool(one["set_aside"]) for one in json.loads(told.stdout)["files"]] == [False, True]


def test_diff_says_plainly_that_nothing_changes(file: Path, tmp_path: Path) -> None:
    same = mappings("diff", SHIPPED, SHIPPED, "--on", file)
    assert (same.exit_code, same.stdout) == (0, "nothing changes (1 objects compared)\n")
    new = shutil.copytree(SHIPPED, tmp_path / "new")
    (new / "image.yaml").write_text((new / "image.yaml").read_text().replace("from: SeriesDescription", "from: Modality"))
    told = mappings("diff", SHIPPED, new, "--on", file, file)
    assert told.exit_code == 1
    assert f"description: {pet().SeriesDescription} -> PT" in told.stdout
    assert json.loads(mappings("diff", SHIPPED, new, "--on", file, "--json").stdout)[0]["new"] == "PT"
    (new / "image.yaml").write_text("nonsense: 1\n")
    assert mappings("diff", SHIPPED, new, "--on", file).exit_code == 2


def test_new_writes_once_and_never_over_something(file: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(SHIPPED, tmp_path / "mappings")
    out = copy / "sites" / "ours.yaml"
    assert mappings("new", file, "--out", out, directory=copy).exit_code == 0
    first = out.read_text()
    assert mappings("new", file, "--out", out, directory=copy).exit_code == 2
    assert out.read_text() == first
    assert mappings("lint", directory=copy).exit_code == 0
    assert mappings("explain", file, directory=copy).stdout.startswith(f"{file}: mapping ours@")


PROVEN = """\
match: everything
fields:
  study.id: {from: StudyID, as: text}
example: {StudyID: S1}
tests: [{name: the id is read, given: {}, expect: {fields: {study.id: S1}}}]
"""


def test_coverage_and_prove_speak_json(file: Path, tmp_path: Path) -> None:
    found = json.loads(mappings("coverage", file, "--json").stdout)
    assert {one["path"] for one in found["unread"]} >= {"Rows", "PixelSpacing"}
    shutil.copytree(SHIPPED / "codes", tmp_path / "m" / "codes")
    (tmp_path / "m" / "one.yaml").write_text(PROVEN)
    proven = mappings("test", "--prove", "--json", directory=tmp_path / "m")
    assert proven.exit_code == 0
    assert json.loads(proven.stdout)["unproven"] == []


def test_prove_ends_with_one_where_a_rule_has_no_test(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "codes", tmp_path / "m" / "codes")
    (tmp_path / "m" / "one.yaml").write_text("match: everything\nfields:\n  study.id: {from: StudyID, as: text}\n")
    told = mappings("test", "--prove", directory=tmp_path / "m")
    assert told.exit_code == 1
    assert told.stderr == "one.yaml:3: field study.id: no test fails without it\n"
