"""The command line: one clear line per error, the promised exit codes, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.workbench.sample import generate_cycle
from tests import builders

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def isobridge(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def converted(*words: object) -> Result:
    return isobridge("convert", *words, "--set", f"mappings.directory={ROOT / 'mappings'}")


def test_every_command_explains_itself() -> None:
    for name, command in main.commands.items():
        assert command.hidden or command.help, name
        assert isobridge(name, "--help").exit_code == 0
    assert "First steps" in isobridge("--help").output


def test_convert_gives_bundles_and_ends_with_0(here: Path) -> None:
    file = builders.write(builders.pet(), here / "pet.dcm")
    done = converted(file, "--out", here / "out.json")
    assert done.exit_code == 0, done.output
    bundles = json.loads((here / "out.json").read_text())
    kinds = [[entry["resource"]["resourceType"] for entry in bundle["entry"]] for bundle in bundles]
    assert "ImagingStudy" in kinds[0]
    assert "MedicationAdministration" in kinds[1]


def test_convert_tells_how_headers_and_a_dose_report_became_one_administration(here: Path) -> None:
    files = [path for study in generate_cycle(here / "cycle", slices=2) for path in study.files]
    done = converted(*files, "--out", here / "out.json")
    assert done.exit_code == 0, done.output
    resources = [e["resource"] for bundle in json.loads((here / "out.json").read_text()) for e in bundle["entry"]]
    assert [r["resourceType"] for r in resources].count("MedicationAdministration") == 1
    assert "SR0001.dcm: warning: administration: Image headers and a dose report were taken as one" in done.output


def test_convert_sets_aside_what_it_cannot_understand_and_ends_with_1(here: Path) -> None:
    (here / "in").mkdir()
    builders.write(builders.pet(), here / "in" / "pet.dcm")
    (here / "in" / "notes.txt").write_text("not an image")
    done = converted(here / "in", "--out", here / "out.json", "--issues", here / "issues.json")
    assert done.exit_code == 1
    assert "notes.txt: error: This is not a DICOM file" in done.output
    assert len(json.loads((here / "out.json").read_text())) == 2
    assert any(issue["path"].endswith("notes.txt") for issue in json.loads((here / "issues.json").read_text()))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["config", "check", "--set", "receive.bind=nowhere"], "is not host:port"),
        (["config", "check", "--set", "ledger.url=mysql://x"], "must start with sqlite:///"),
        (["config", "check", "--set", "work.lease_secs=0"], "must be 1 or more"),
        (["config", "check", "--config", "missing.yaml"], "cannot be read"),
        (["config", "check", "--set", "mappings.directory=/nowhere"], "there is no folder /nowhere"),
        (["spool", "list"], "no gateway has worked in data"),
        (["echo", "nonsense"], "nonsense"),
        (["mappings", "test", "--set", "mappings.directory=/nowhere"], "nowhere"),
        (["serve", "--set", "mappings.directory=/nowhere", "--set", "data.directory=/proc/none"], "/proc/none"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(here: Path, words: list[str], told: str) -> None:
    done = isobridge(*words)
    assert done.exit_code == 2, done.output
    assert told in done.output
    assert "Traceback" not in done.output


def test_an_output_that_cannot_be_written_is_told_in_one_line(here: Path) -> None:
    file = builders.write(builders.pet(), here / "pet.dcm")
    done = converted(file, "--out", here / "none" / "out.json")
    assert done.exit_code == 2
    assert "No such file or directory" in done.output


def test_a_password_in_a_setting_is_never_shown() -> None:
    done = isobridge("config", "check", "--set", "store.url=postgresql+psycopg://user:secret@host/db")
    assert done.exit_code == 0
    assert "user:***@host" in done.output
    assert "secret" not in done.output


def test_a_reason_that_many_objects_share_is_told_once(here: Path) -> None:
    for number in range(9):
        builders.write(builders.ct(SOPInstanceUID=builders.uid(f"cli/{number}")), here / f"{number}.dcm")
    done = isobridge("send", here, "--to", "NOBODY@127.0.0.1:1")
    assert done.exit_code == 1
    assert done.output.count("127.0.0.1:1") <= 3


def test_an_empty_ledger_is_never_made_by_looking(here: Path) -> None:
    isobridge("spool", "list")
    assert not (here / "data").exists()
