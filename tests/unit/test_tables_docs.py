"""docs/tables.md, tried as it is written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "tables.md").read_text()


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w*\n(.*?)```", TEXT, flags=re.DOTALL)
    assert found is not None, name
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "mappings", tmp_path / "mappings")
    (tmp_path / "kidneys.csv").write_text(example("kidneys.csv"), encoding="cp1252")
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, str]:
    settings = ["--set", f"mappings.directory={folder / 'mappings'}", "--set", f"data.directory={folder / 'data'}"]
    result = CliRunner().invoke(main, [*words, *settings])
    return result.exit_code, result.output


def test_the_first_table_of_the_guide(folder: Path) -> None:
    code, told = run(folder, "tables", "preview", str(folder / "kidneys.csv"))
    assert (code, told) == (1, "No adapter reads this table. See 'isobridge tables list' and docs/tables.md.\n")
    (folder / "mappings" / "sites" / "tables").mkdir()
    (folder / "mappings" / "sites" / "tables" / "our_station.yaml").write_text(example("our_station.yaml"))
    printed = run(folder, "tables", "lint")[1] + run(folder, "tables", "test", "our_station")[1]
    printed += run(folder, "tables", "preview", str(folder / "kidneys.csv"))[1].split("\n", 1)[1]
    assert printed == "".join(line + "\n" for line in example("preview").splitlines() if not line.startswith("$"))


def test_every_adapter_that_is_there_is_named(folder: Path) -> None:
    listed = {line.split("  ")[0] for line in run(folder, "tables", "list")[1].splitlines()}
    table = TEXT[TEXT.index("## Adapters that are there") : TEXT.index("## The adapter language")]
    assert listed == set(re.findall(r"`((?:example|olinda|pytheranostics|pmod)_\w+)`", table)) - {"example_"}


def test_every_word_of_the_language_is_told() -> None:
    from gateway.tables import definition

    told = TEXT[TEXT.index("## The adapter language") :]
    words = {
        *definition.SECTIONS,
        *definition.READ_KEYS,
        *definition.MATCH_KEYS,
        *definition.CONDITION_KEYS,
        *definition.VALUE_KEYS,
    }
    words |= {*definition.CHECKS, *definition.ADMINISTRATION_MEMBERS, *definition.DEVICE_MEMBERS, *definition.EXPECT_KEYS}
    words |= {name.partition(".")[0] for name in definition.RESULT_MEMBERS} - {
        "absent",
        "segment",
        "mass_method",
        "event_uid",
        "about",
        "dvh",
        "grid",
        "ended_at",
        "scope",
        "scope_uid",
    }
    assert {word for word in words if not re.search(rf"\b{word}\b", told)} == set()
