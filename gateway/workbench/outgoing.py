"""Finds what can be sent: walks files and folders, reads the file meta of each DICOM file, and nothing more.

A file is sent exactly as it lies there. Its data set is not opened: SOP class, SOP instance and transfer syntax come from the
file meta (PS3.10 section 7.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage
from pynetdicom.dsutils import split_dataset

from gateway.workbench.folders import files_in

#: Context IDs are the odd numbers 1 to 255 (PS3.8 9.3.2.2), so one association can negotiate 128.
MAX_CONTEXTS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomFile:
    """A file that can be sent."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    size_bytes: int

    @property
    def context(self) -> tuple[str, str]:
        """The presentation context it needs: abstract and transfer syntax. Never another one, so nothing is transcoded."""
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file that is not sent, and why."""

    path: Path
    reason: str


def find_files(paths: Iterable[Path]) -> tuple[list[DicomFile], list[Skipped]]:
    """All DICOM files among ``paths``, folders included, each once, in a stable order."""
    files: list[DicomFile] = []
    skipped: list[Skipped] = []
    for path in files_in(paths):
        found = inspect(path)
        if isinstance(found, DicomFile):
            files.append(found)
        else:
            skipped.append(found)
    return files, skipped


def inspect(path: Path) -> DicomFile | Skipped:
    """Read the file meta of one file."""
    try:
        meta, _ = split_dataset(path)
        size_bytes = path.stat().st_size
    except OSError as error:
        return Skipped(path=path, reason=f"cannot be read ({error.strerror})")
    except InvalidDicomError:
        return Skipped(path=path, reason="not a DICOM file: no DICM after the preamble")
    except (ValueError, EOFError, NotImplementedError) as error:
        return Skipped(path=path, reason=f"damaged file meta ({type(error).__name__})")
    wanted = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
    missing = [keyword for keyword in wanted if not meta.get(keyword)]
    if missing:
        return Skipped(path=path, reason=f"file meta lacks {', '.join(missing)}")
    if meta.MediaStorageSOPClassUID == MediaStorageDirectoryStorage:
        return Skipped(path=path, reason="a DICOMDIR is an index of a medium, not an object")
    return DicomFile(
        path=path,
        sop_class_uid=str(meta.MediaStorageSOPClassUID),
        sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        transfer_syntax_uid=str(meta.TransferSyntaxUID),
        size_bytes=size_bytes,
    )


def by_association(files: Iterable[DicomFile], associations: int) -> list[list[DicomFile]]:
    """Deal the files to associations: at most 128 contexts each, and ``associations`` of about equal length at a time.

    More lists than ``associations`` come out only when the files need more than 128 contexts.
    """
    contexts: dict[tuple[str, str], list[DicomFile]] = {}
    for file in files:
        contexts.setdefault(file.context, []).append(file)
    keys = list(contexts)
    dealt: list[list[DicomFile]] = []
    for start in range(0, len(keys), MAX_CONTEXTS):
        chosen = set(keys[start : start + MAX_CONTEXTS])
        group = [file for key in keys if key in chosen for file in contexts[key]]
        lanes = max(1, min(associations, len(group)))
        dealt.extend(group[lane::lanes] for lane in range(lanes))
    return dealt
