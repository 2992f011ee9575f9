"""What commands print is their answer: no log line stands in it, so that programs can read it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import pet
from tests.conftest import ROOT
from tests.integration.test_tables import table
from tests.web_site import Site


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site that knows one patient. Commands find other mappings than those that it last knew, which is worth a log line."""
    directory = tmp_path_factory.mktemp("site")
    site = Site(directory / "data")
    site.put(pet())
    site.work()
    site.close()
    file = directory / "gateway.yaml"
    file.write_text(f"data: {{directory: {directory / 'data'}}}\nmappings: {{directory: {ROOT / 'mappings'}}}\n")
    return file


def stdout_of(file: Path, *words: str) -> str:
    command = [sys.executable, "-m", "gateway.cli", *words, "--config", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dose_history_is_nothing_but_json(settings_file: Path) -> None:
    told = json.loads(stdout_of(settings_file, "dose", "history", "--patient", pet().PatientID, "--json"))
    assert told["administrations"]


def test_a_table_is_taken_listed_and_shown_without_a_word_of_the_log(settings_file: Path) -> None:
    table_file = settings_file.parent / "cycle1.csv"
    table_file.write_bytes(table().encode("cp1252"))
    (taken,) = stdout_of(settings_file, "import", str(table_file)).splitlines()
    assert "cycle1.csv" in taken
    assert taken.startswith("cycle1.csv: ") or "cycle1.csv" in taken
    listed = stdout_of(settings_file, "assign", "list", "--all")
    shown = stdout_of(settings_file, "assign", "show", "1")
    assert "cycle1.csv" in listed
    assert "cycle1.csv" in shown
    assert "mappings_in_force" not in listed + shown
