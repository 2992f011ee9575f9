"""The section ``folders:``: named by people, and everything that is wrong told at once, with file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway import config
from gateway.errors import Misconfigured
from gateway.folder_settings import FolderSettings


def complaints(text: str, tmp_path: Path, *, check: bool = False) -> list[str]:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    (tmp_path / "mappings").mkdir(exist_ok=True)
    with pytest.raises(Misconfigured) as caught:
        config.load(path, overrides=[f"mappings.directory={tmp_path / 'mappings'}"], needs_mappings=check)
    return caught.value.complaints


def test_folders_are_read_with_their_origins(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("folders:\n  cd_import:\n    directory: /srv/in\n    after: leave\n")
    loaded = config.load(path, environment={"ISOBRIDGE_FOLDERS__CD_IMPORT__POLL_SECS": "3"})
    assert loaded.settings.folders == (FolderSettings(name="cd_import", directory=Path("/srv/in"), after="leave", poll_secs=3),)
    assert loaded.origins["folders.cd_import.after"].endswith("gateway.yaml:4:5")
    assert loaded.shown("folders.cd_import.poll_secs") == "3"
    assert config.load(None).settings.folders == ()


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = f"""\
data: {{directory: {tmp_path}/data}}
folders:
  one: {{directory: {tmp_path}/a, poll_secs: 0}}
  Two: {{directory: {tmp_path}/b, afterwards: move}}
  three: {{after: delete}}
  four: /srv/in
"""
    told = complaints(text, tmp_path)
    assert [line.partition(": ")[0].rpartition("gateway.yaml:")[2].partition(":")[0] for line in told] == [
        "4",
        "6",
        "3",
        "4",
        "5",
        "5",
    ]
    assert "did you mean 'after'" in told[0]
    assert "'directory:'" in told[1]
    assert "poll_secs must be 1 or more" in told[2]
    assert "small letters" in told[3]
    assert "one of move, leave" in told[4]
    assert "directory is missing" in told[5]


@pytest.mark.parametrize("other", ["a/below", "a", "data/spool", "."])
def test_a_file_belongs_to_one_folder_and_never_to_the_gateway(tmp_path: Path, other: str) -> None:
    text = f"data: {{directory: {tmp_path}/data}}\nfolders:\n  one: {{directory: {tmp_path}/a}}\n  two: {{directory: {tmp_path}/{other}}}\n"
    told = complaints(text, tmp_path)
    assert all("must not lie in one another" in line and "gateway.yaml:4" in line for line in told)


def test_config_check_complains_of_what_the_gateway_would_wait_for(tmp_path: Path) -> None:
    text = f"data: {{directory: {tmp_path}/data}}\nfolders:\n  one: {{directory: {tmp_path}/absent}}\n"
    assert "there is no folder" in complaints(text, tmp_path, check=True)[0]
    assert config.load(tmp_path / "gateway.yaml").settings.folders[0].name == "one"


def test_config_check_complains_of_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "share").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    text = f"data: {{directory: {tmp_path}/data}}\nfolders:\n  one: {{directory: {tmp_path}/share}}\n"
    assert "after: leave" in complaints(text, tmp_path, check=True)[0]


def test_who_may_store_must_be_known(tmp_path: Path) -> None:
    told = complaints("web: {stow_senders: [pacs]}\n", tmp_path)
    assert told == [
        f"{tmp_path}/gateway.yaml:1:7: web.stow_senders: 'pacs' is neither in web.users nor in web.tokens nor in clients"
    ]
