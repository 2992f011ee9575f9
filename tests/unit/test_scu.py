"""What the DICOM client decides before it opens a socket."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from gateway.errors import Misconfigured
from gateway.workbench.ae_address import AEAddress, parse_address
from gateway.workbench.outgoing import DicomFile, Skipped, by_association, find_files, inspect
from gateway.workbench.scu import status_meaning
from tests import builders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ISOBRIDGE@127.0.0.1:11112", AEAddress(ae_title="ISOBRIDGE", host="127.0.0.1", port=11112)),
        ("PACS MAIN@pacs.example:104", AEAddress(ae_title="PACS MAIN", host="pacs.example", port=104)),  # blanks inside are legal
        ("A@[::1]:104", AEAddress(ae_title="A", host="::1", port=104)),
    ],
)
def test_an_address_is_read_and_written_the_same_way(text: str, expected: AEAddress) -> None:
    assert parse_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("127.0.0.1:104", "write AET@host:port"),  # no title
        ("A@host", "write AET@host:port"),  # no port
        ("A@host:dicom", "write AET@host:port"),
        ("A@host:0", "between 1 and 65535"),
        ("A@host:65536", "between 1 and 65535"),
        ("A@@host:104", "write AET@host:port"),
        ("SEVENTEEN-LETTERS@host:104", "1 to 16 ASCII characters"),
        ("A\\B@host:104", "no backslash"),
        (" @host:104", "write AET@host:port"),
        ("ÉCHO@host:104", "1 to 16 ASCII characters"),
    ],
)
def test_a_wrong_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason):
        parse_address(text)


def test_folders_are_searched_and_every_file_is_found_once(tmp_path: Path) -> None:
    first = builders.write(builders.pet(), tmp_path / "a" / "1.dcm")
    second = builders.write(builders.ct(), tmp_path / "b" / "without-suffix")
    files, skipped = find_files([tmp_path, first])
    assert [file.path for file in files] == [first, second]
    assert not skipped


def test_what_is_not_dicom_is_skipped_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not an image")
    (tmp_path / "empty.dcm").touch()
    cut = builders.part10(builders.ct())[:150]
    (tmp_path / "cut.dcm").write_bytes(cut)
    files, skipped = find_files([tmp_path, tmp_path / "missing.dcm"])
    assert not files
    assert {item.path.name for item in skipped} == {"note.txt", "empty.dcm", "cut.dcm", "missing.dcm"}
    assert all(item.reason for item in skipped)


def test_a_dicomdir_is_not_sent(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(builders.uid("dicomdir"))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(tmp_path / "DICOMDIR", dataset, enforce_file_format=True)
    found = inspect(tmp_path / "DICOMDIR")
    assert isinstance(found, Skipped)
    assert "index" in found.reason


def test_the_transfer_syntax_of_the_file_is_the_one_that_is_offered(tmp_path: Path) -> None:
    path = builders.write(builders.ct(), tmp_path / "1.dcm", transfer_syntax_uid=ImplicitVRLittleEndian)
    found = inspect(path)
    assert isinstance(found, DicomFile)
    assert found.transfer_syntax_uid == ImplicitVRLittleEndian


def _files(contexts: int, each: int) -> list[DicomFile]:
    return [
        DicomFile(
            path=Path(f"{context}-{number}"),
            sop_class_uid=f"1.2.{context}",
            sop_instance_uid=f"1.3.{context}.{number}",
            transfer_syntax_uid="1.2.840.10008.1.2",
            size_bytes=1,
        )
        for context in range(contexts)
        for number in range(each)
    ]


@pytest.mark.parametrize(
    ("contexts", "each", "associations", "lanes"),
    [
        (1, 10, 1, 1),
        (1, 10, 4, 4),
        (1, 2, 4, 2),  # never an association without a file
        (128, 1, 1, 1),  # the most that one association can negotiate
        (129, 1, 1, 2),
        (300, 2, 2, 6),
    ],
)
def test_files_are_dealt_so_that_no_association_needs_more_than_128_contexts(
    contexts: int, each: int, associations: int, lanes: int
) -> None:
    files = _files(contexts, each)
    dealt = by_association(files, associations)
    assert len(dealt) == lanes
    assert sorted(file.path for lane in dealt for file in lane) == sorted(file.path for file in files)
    assert all(len({file.context for file in lane}) <= 128 for lane in dealt)


def test_a_status_is_told_in_the_words_of_the_standard() -> None:
    assert status_meaning(0xA700) == "Failure: Refused: Out of Resources"
    assert status_meaning(0xB000) == "Warning: Coercion of Data Elements"
    assert status_meaning(0xC123) == "Failure: Cannot Understand"
    assert status_meaning(0x1234).startswith("Unknown")
