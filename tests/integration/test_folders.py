"""Promises of watched folders, on a real directory and a real ledger: taken once complete, done once known, never lost, never twice."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.dicom.reading import read_file_meta
from gateway.errors import Retryable
from gateway.folder_settings import FolderSettings
from gateway.receive import zip_files
from gateway.receive.direct import DirectDoor
from gateway.receive.door import Door
from gateway.receive.file_stream import Sender
from gateway.receive.folder import WatchedFolder
from gateway.receive.folder_places import open_file
from gateway.receive.folder_state import FolderMemory, read_states
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.timers import QuietPolicy
from tests.builders import part10, pet, uid


class Place:
    """One watched folder beside one spool."""

    def __init__(self, base: Path, **options: Any) -> None:
        self.data, self.directory = base / "data", base / "in"
        self.directory.mkdir(exist_ok=True)
        self.files = SpoolFiles(self.data / "spool", writer="folders")
        self.ledger = Ledger(f"sqlite:///{self.data / 'ledger.db'}", QuietPolicy(quiet_secs=0, cap_secs=0))
        self.ledger.migrate()
        self.settings = FolderSettings(name="import", directory=self.directory, **options)
        self.start()

    def start(self) -> None:
        """As after a restart: only what is on disk is known."""
        direct = DirectDoor(Door(self.files), self.ledger.intake)
        memory = FolderMemory(self.data, "import")
        self.folder = WatchedFolder(self.settings, direct, Sender(calling_ae="import", called_ae="ISOBRIDGE"), memory)

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.folder.look(lambda: False)

    def put(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def names(self, below: str = "") -> list[str]:
        base = self.directory / below
        return sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())

    def rows(self) -> list[dict[str, Any]]:
        return [item for state in ("received", "conflict", "quarantined") for item in self.ledger.overview.instances(state)]

    def arrivals(self) -> int:
        return int(self.ledger.overview.counts()["arrivals"])


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    made: list[Place] = []

    def place(**options: Any) -> Place:
        made.append(Place(tmp_path, **options))
        return made[-1]

    yield place
    for one in made:
        one.ledger.close()


def digest(content: bytes, syntax: str = "1.2.840.10008.1.2.1") -> str:
    return hashlib.sha256(syntax.encode() + content[read_file_meta(content)[1] :]).hexdigest()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ONE, TWO = part10(pet()), part10(pet(SOPInstanceUID=uid("two")))


def test_a_file_is_taken_when_it_was_the_same_at_two_looks(make: Callable[..., Place]) -> None:
    place = make()
    path = place.put("study/one", ONE[:900])
    place.look(1)
    path.write_bytes(ONE)
    place.look(1)
    assert place.rows() == [], "it had changed"
    place.look(1)
    assert [item["digest"] for item in place.rows()] == [digest(ONE)]
    assert place.names() == ["done/study/one"]
    (found,) = place.ledger.overview.find(pet().SOPInstanceUID)
    assert [(item["door"], item["calling_ae"]) for item in found["arrivals"]] == [("folder", "import")]
    (state,) = read_states(place.data)
    assert (state.waiting, state.done, state.failed, state.problem) == (0, 1, 0, "")


def test_what_is_no_dicom_or_damaged_goes_to_failed_with_its_reason(make: Callable[..., Place]) -> None:
    place = make()
    place.put("doses.csv", b"organ;dose\nliver;1.2\n")
    place.put("cut.dcm", ONE[:-10])
    place.look()
    assert place.names("failed") == ["cut.dcm", "cut.dcm.reason.txt", "doses.csv", "doses.csv.reason.txt"]
    assert "neither a DICOM file" in (place.directory / "failed/doses.csv.reason.txt").read_text()
    assert "quarantine" in (place.directory / "failed/cut.dcm.reason.txt").read_text()
    assert [item["state"] for item in place.rows()] == ["quarantined"]


def test_those_who_put_files_there_can_see_what_became_of_them(make: Callable[..., Place]) -> None:
    place = make()
    place.directory.chmod(0o2775)
    place.put("sub/note.txt", b"hello").chmod(0o664)
    before = os.umask(0o077)
    try:
        place.look()
    finally:
        os.umask(before)
    assert (place.directory / "failed/sub").stat().st_mode & 0o7777 == 0o2775
    assert (place.directory / "failed/sub/note.txt.reason.txt").stat().st_mode & 0o777 == 0o664


def test_headerless_files_are_known_by_their_first_element_and_an_index_is_no_object(make: Callable[..., Place]) -> None:
    place = make()
    place.put("bare", ONE[read_file_meta(ONE)[1] :])
    place.put("DICOMDIR", ONE.replace(b"1.2.840.10008.5.1.4.1.1.128", b"1.2.840.10008.1.3.10\0\0\0\0\0\0\0", 1))
    place.look()
    assert place.names() == ["done/DICOMDIR", "done/bare"]
    assert [item["digest"] for item in place.rows()] == [digest(ONE)]


def test_links_hidden_unfinished_and_empty_files_are_left_alone(make: Callable[..., Place], tmp_path: Path) -> None:
    place = make()
    (tmp_path / "secret.dcm").write_bytes(ONE)
    (place.directory / "link.dcm").symlink_to(tmp_path / "secret.dcm")
    (place.directory / "loop").symlink_to(place.directory)
    for name, content in ((".hidden", ONE), ("a.part", ONE), ("Thumbs.db", b"x"), ("empty.dcm", b"")):
        place.put(name, content)
    place.look(3)
    assert place.rows() == []
    assert not (place.directory / "done").exists()


def test_a_kill_before_the_move_is_found_again_and_changes_nothing(make: Callable[..., Place]) -> None:
    place = make()
    place.put("one.dcm", ONE)
    place.look()
    before = place.ledger.overview.counts()["instances"]
    (place.directory / "done/one.dcm").rename(place.directory / "one.dcm")  # as if the move had not happened
    place.start()
    place.look()
    assert place.ledger.overview.counts()["instances"] == before
    assert place.arrivals() == 2
    assert place.names() == ["done/one.dcm"]


def test_the_same_name_again_replaces_nothing(make: Callable[..., Place]) -> None:
    place = make()
    for content in (ONE, TWO):
        place.put("one.dcm", content)
        place.look()
    assert place.names("done") == ["one.dcm", "one~2.dcm"]
    assert (place.directory / "done/one.dcm").read_bytes() == ONE


@pytest.mark.parametrize("fault", ["ledger", "disk"])
def test_what_cannot_be_taken_now_stays_and_is_taken_later(
    make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def unwritable(*_: object) -> None:
        raise Retryable("The ledger is locked.")

    place = make()
    place.put("one.dcm", ONE)
    with monkeypatch.context() as patch:
        if fault == "ledger":
            patch.setattr(type(place.ledger.intake), "record_arrivals", unwritable)
        else:
            patch.setattr(place.files, "_reserve_bytes", 1 << 60)
        place.look()
    assert place.names() == ["one.dcm"]
    (state,) = read_states(place.data)
    assert state.waiting == 1
    assert state.problem
    place.files.check_space()
    place.look()
    assert place.names() == ["done/one.dcm"]
    assert len(place.rows()) == 1


def test_read_only_folders_are_never_written_and_remembered_over_a_restart(make: Callable[..., Place]) -> None:
    place = make(after="leave")
    place.put("a/one.dcm", ONE)
    place.put("note.txt", b"hello")
    place.look(3)
    assert place.names() == ["a/one.dcm", "note.txt"]
    assert place.arrivals() == 1
    assert "note.txt\t" in (place.data / "folders/import.failed.txt").read_text()
    place.start()
    place.look(3)
    assert place.arrivals() == 1, "known from before"
    place.put("a/one.dcm", TWO)
    place.look()
    assert len(place.rows()) == 2, "another content is another file"


def test_a_folder_that_is_not_there_is_waited_for(make: Callable[..., Place]) -> None:
    place = make()
    place.directory.rmdir()
    place.look()
    (state,) = read_states(place.data)
    assert "cannot be read" in state.problem
    place.directory.mkdir()
    place.put("one.dcm", ONE)
    place.look()
    assert place.names() == ["done/one.dcm"]


def test_an_archive_is_done_when_all_of_its_objects_are_known(make: Callable[..., Place]) -> None:
    place = make()
    index = ONE.replace(b"1.2.840.10008.5.1.4.1.1.128", b"1.2.840.10008.1.3.10\0\0\0\0\0\0\0", 1)
    place.put("export.zip", zipped({"P/S/1.dcm": ONE, "../../../../evil": TWO, "DICOMDIR": index, "P/": b""}))
    place.look()
    assert sorted(item["digest"] for item in place.rows()) == sorted([digest(ONE), digest(TWO)])
    assert place.names() == ["done/export.zip"]
    assert not list(place.data.parent.rglob("evil")), "no member is written under its own name"


def test_an_archive_with_something_else_in_it_is_told_of_but_its_objects_are_taken(make: Callable[..., Place]) -> None:
    place = make()
    place.put("export.zip", zipped({"1.dcm": ONE, "viewer.exe": b"MZ", "inner.zip": zipped({"2.dcm": TWO})}))
    place.look()
    assert [item["digest"] for item in place.rows()] == [digest(ONE)]
    told = (place.directory / "failed/export.zip.reason.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in told] == ["viewer.exe", "inner.zip"]


def encrypted() -> bytes:
    content = bytearray(zipped({"1.dcm": ONE}))
    content[6] |= 1
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def overlapping() -> bytes:
    """Two entries of the table of contents for the same bytes."""
    content = zipped({"1.dcm": ONE})
    at, end = content.rfind(b"PK\x01\x02"), content.rfind(b"PK\x05\x06")
    entry = content[at:end]
    tail = bytearray(content[end:])
    tail[8:12] = (2).to_bytes(2, "little") * 2
    tail[12:16] = (2 * len(entry)).to_bytes(4, "little")
    return content[:end] + entry + bytes(tail)


def damaged() -> bytes:
    content = bytearray(zipped({"1.dcm": ONE}, zipfile.ZIP_STORED))
    content[len(ONE) // 2] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encrypted(), "encrypted"),
        (overlapping(), "overlap"),
        (damaged(), "damaged"),
        (zipped({"1.dcm": ONE})[:-10], "damaged"),
        (zipped({"1.dcm": ONE}, zipfile.ZIP_LZMA), "compression"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
    ],
    ids=["encrypted", "overlapping", "damaged", "cut", "lzma", "nothing"],
)
def test_archives_that_must_not_be_opened_are_refused(make: Callable[..., Place], content: bytes, reason: str) -> None:
    place = make()
    place.put("export.zip", content)
    place.look()
    assert reason in (place.directory / "failed/export.zip.reason.txt").read_text()
    assert place.rows() == []
    assert not list((place.data / "spool").rglob("*.part"))


def test_a_bomb_is_not_opened(make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_files, "GROWTH_ALWAYS_BYTES", 1 << 20)
    place = make()
    place.put("bomb.zip", zipped({"1.dcm": ONE + bytes(8 << 20)}))
    place.look()
    assert "would grow to" in (place.directory / "failed/bomb.zip.reason.txt").read_text()


def test_a_table_of_contents_that_would_fill_the_memory_is_not_read(
    make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_files, "_DIRECTORY_MOST_BYTES", 1000)
    place = make()
    place.put("many.zip", zipped({f"{number}.dcm": b"" for number in range(100)}))
    place.look()
    assert "table of contents" in (place.directory / "failed/many.zip.reason.txt").read_text()


def lying_zip64(count: int) -> bytes:
    """The record that is read says that the table of contents is long, the one at the end says that it has 100 bytes."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    content = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"x"
    offset, length = len(content), len(entry) * count
    content += entry * count
    end = len(content)
    content += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, offset)
    content += struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    return content + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, 100, offset, 0)


@pytest.mark.parametrize(("count", "most_bytes"), [(800_000, 32 << 20), (100_001, 32 << 20), (100, 1000)])
def test_a_table_of_contents_is_judged_by_what_is_read_of_it(
    make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, count: int, most_bytes: int
) -> None:
    monkeypatch.setattr(zip_files, "_DIRECTORY_MOST_BYTES", most_bytes)
    opened: list[object] = []
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", lambda *_: opened.append(None))
    place = make()
    place.put("lie.zip", lying_zip64(count))
    place.look()
    assert "table of contents" in (place.directory / "failed/lie.zip.reason.txt").read_text()
    assert opened == []


def test_nothing_is_written_through_a_link_that_somebody_put_there(make: Callable[..., Place], tmp_path: Path) -> None:
    place, victim, elsewhere = make(), tmp_path / "victim", tmp_path / "elsewhere"
    victim.write_text("precious")
    elsewhere.mkdir()
    (place.directory / "failed").mkdir()
    (place.directory / "failed/x.csv.reason.txt").symlink_to(victim)
    (place.directory / "failed/sub").symlink_to(elsewhere)
    (place.directory / "done").symlink_to(elsewhere)
    place.put("x.csv", b"organ;dose\n")
    place.put("sub/y.csv", b"organ;dose\n")
    place.put("good.dcm", ONE)
    place.look()
    assert victim.read_text() == "precious"
    assert list(elsewhere.iterdir()) == []
    assert (place.directory / "failed/x~2.csv.reason.txt").read_text().startswith("This is neither")
    assert place.names("failed") == ["x.csv.reason.txt", "x~2.csv", "x~2.csv.reason.txt"]
    assert [item["digest"] for item in place.rows()] == [digest(ONE)]
    assert {"good.dcm", "sub/y.csv"} <= set(place.names()), "what cannot be moved stays"
    assert "cannot be moved" in read_states(place.data)[0].problem


def test_nothing_is_read_through_a_folder_that_became_a_link(make: Callable[..., Place], tmp_path: Path) -> None:
    place = make()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "one.dcm").write_bytes(ONE)
    (place.directory / "sub").symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        open_file(place.directory, "sub/one.dcm")


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "a." + "b" * 253, "n" * 251 + ".dcm"])
def test_the_longest_names_are_set_aside_with_their_reason(make: Callable[..., Place], name: str) -> None:
    place = make()
    for _ in range(2):
        place.put(name, b"no DICOM at all, in no way")
        place.look()
    names = place.names("failed")
    assert len(names) == 4
    assert sum(found.endswith(".reason.txt") for found in names) == 2
    assert place.names() == [f"failed/{found}" for found in names]
