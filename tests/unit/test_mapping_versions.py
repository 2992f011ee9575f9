"""Versions of the mappings as directories that never change."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import Misconfigured
from gateway.fhir.provenance import provenance
from gateway.publish.agreement import agrees
from gateway.r4.bundles import MAPPINGS_EXTENSION, resource_hash
from gateway.r4.validate import validate
from gateway.spool.mapping_versions import MappingVersions, Snapshot, snapshot
from gateway.spool.scanner import Scanner


def folder(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_a_version_is_named_by_names_and_bytes() -> None:
    assert Snapshot({"a.yaml": b"1"}).version == Snapshot({"a.yaml": b"1"}).version
    assert Snapshot({"a.yaml": b"1"}).version != Snapshot({"b.yaml": b"1"}).version
    assert Snapshot({"a.yaml": b"1", "b.yaml": b""}).version != Snapshot({"a.yaml": b"", "b.yaml": b"1"}).version


def test_a_snapshot_takes_mappings_codes_and_sites_and_nothing_hidden(tmp_path: Path) -> None:
    folder(tmp_path, pet="1", codes__agents="2", sites__here="3")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "old.yaml").write_text("4")
    (tmp_path / "notes.txt").write_text("5")
    assert sorted(snapshot(tmp_path).files) == ["codes/agents.yaml", "pet.yaml", "sites/here.yaml"]


def test_changes_say_what_somebody_did(tmp_path: Path) -> None:
    before = snapshot(folder(tmp_path, pet="1", nm="2"))
    folder(tmp_path, pet="changed", sites__here="3")
    (tmp_path / "nm.yaml").unlink()
    assert snapshot(tmp_path).changes(before) == ["nm.yaml (gone)", "pet.yaml (changed)", "sites/here.yaml (new)"]


def test_what_is_kept_is_read_again_and_a_second_time_costs_nothing(tmp_path: Path) -> None:
    versions, taken = MappingVersions(tmp_path / "data"), snapshot(folder(tmp_path / "mappings", pet="1", codes__agents="2"))
    first = versions.keep(taken)
    inode = (first / "pet.yaml").stat().st_ino
    assert versions.read(taken.version).files == taken.files
    assert versions.keep(taken) == first
    assert (first / "pet.yaml").stat().st_ino == inode


def test_a_version_that_somebody_changed_is_refused_and_healed_by_deploying_again(tmp_path: Path) -> None:
    versions, taken = MappingVersions(tmp_path / "data"), snapshot(folder(tmp_path / "mappings", pet="1"))
    path = versions.keep(taken)
    (path / "pet.yaml").write_text("2")
    with pytest.raises(Misconfigured, match="changed the mappings"):
        versions.read(taken.version)
    versions.keep(taken)
    assert versions.read(taken.version).files == taken.files


def test_a_version_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="are gone"):
        MappingVersions(tmp_path).read("0" * 16)


def test_a_torn_deployment_is_no_version(tmp_path: Path) -> None:
    versions, taken = MappingVersions(tmp_path / "data"), snapshot(folder(tmp_path / "mappings", pet="1", nm="2"))
    torn = versions.path(".new-0000")
    torn.mkdir(parents=True)
    (torn / "pet.yaml").write_text("1")
    assert versions.read(versions.keep(taken).name).files == taken.files


def test_of_many_who_keep_the_same_content_at_once_all_succeed(tmp_path: Path) -> None:
    taken = Snapshot({f"f{number}.yaml": b"x" * 100 for number in range(20)})
    for turn in range(10):
        together, versions = threading.Barrier(4), MappingVersions(tmp_path / str(turn))

        def keep(together: threading.Barrier = together, versions: MappingVersions = versions) -> Path:
            together.wait()
            return versions.keep(taken)

        with ThreadPoolExecutor(4) as pool:
            paths = {pool.submit(keep) for _ in range(4)}
        assert {found.result() for found in paths} == {versions.path(taken.version)}
        assert versions.read(taken.version).files == taken.files
        assert [path.name for path in (tmp_path / str(turn) / "mapping-versions").glob(".new-*")] == []


def test_what_a_killed_deployment_left_goes_and_what_vanishes_meanwhile_harms_nobody(tmp_path: Path) -> None:
    versions = MappingVersions(tmp_path)
    versions.keep(Snapshot({"a.yaml": b"1"}))
    old, young = versions.path(".new-old"), versions.path(".new-young")
    for path in (old, young):
        path.mkdir()
    os.utime(old, (0, 0))
    versions.path(".new-gone").symlink_to(tmp_path / "nowhere")  # as one that is there when listed and gone when looked at
    versions.keep(Snapshot({"a.yaml": b"2"}))
    assert not old.exists()
    assert young.exists()


def test_provenance_names_the_deployed_version_outside_its_content() -> None:
    def made(deployed: str | None, *mappings: str) -> dict[str, object]:
        return provenance(
            "p",
            targets=["Patient/1"],
            entities=[],
            mappings=mappings,
            recorded="2026-01-01T00:00:00.000+00:00",
            deployed=deployed,
        )

    old, new = made("1" * 16, "pet@1"), made("2" * 16, "pet@1", "pet@2")
    assert new["agent"][0]["extension"] == [{"url": MAPPINGS_EXTENSION, "valueString": "2" * 16}]  # type: ignore[index]
    entity = [{"role": "source", "what": {"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2"}}}]
    assert list(validate({**new, "entity": entity})) == []
    assert resource_hash(old) == resource_hash(new) == resource_hash(made(None, "pet@1"))
    assert agrees(new, old, exactly=True)
    assert resource_hash(made("1" * 16, "pet@1", "nm@1")) != resource_hash(old)


def test_a_scanner_is_its_serial_number_else_its_station_and_case_does_not_count() -> None:
    def key(**device: str) -> str:
        return Scanner.of({"manufacturer": "GE", "model": "D690", **device}).key

    assert key(serial="1", station="a") == key(serial="1", station="b") == key(serial="1", manufacturer="ge ")
    assert key(serial="1") != key(serial="2")
    assert key(station="a") != key(station="b")
    assert key() != key(station="a")


def test_the_words_of_a_header_cannot_speak_to_a_terminal() -> None:
    scanner = Scanner.of({"manufacturer": "A\x1b[2J\nB", "model": "x" * 500})
    assert scanner.manufacturer == "A [2J B"
    assert len(scanner.model) == 64
