"""ZIP archives from strangers, opened without ever writing a member under its own name.

Everything is judged before anything is read: encrypted, unusual or overlapping members, and archives that would grow beyond reason, are
refused as a whole. A member's size is what its directory entry says: no more is ever read of it.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

from gateway.errors import Rejected

MEMBERS_MOST = 100_000
#: Images of emptiness shrink a hundredfold; bombs shrink a thousandfold.
GROWTH_MOST = 100
GROWTH_ALWAYS_BYTES = 4 << 30
_DIRECTORY_MOST_BYTES = 32 << 20
_PIECE_BYTES = 256 * 1024
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: APPNOTE 4.3.12: how each entry of the table of contents begins.
_ENTRY = b"PK\x01\x02"
_DAMAGED = "The ZIP archive is damaged."
_STATUS = 0xC000


class ZipArchive:
    """An open archive. Raises :class:`Rejected` when it must not be read, :class:`OSError` when the disk does not answer."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        guarded = _Guarded(file)
        try:
            self._archive = zipfile.ZipFile(cast("IO[bytes]", guarded))
            self._members = [info for info in self._archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise Rejected(_DAMAGED, status=_STATUS) from error
        guarded.is_opening = False
        self._check(size_bytes)

    def members(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Each member's name, for people only, and its content in pieces, to be read before the next one."""
        for info in self._members:
            yield info.filename, self._pieces(info)

    def _pieces(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        try:
            with self._archive.open(info) as member:
                while piece := member.read(_PIECE_BYTES):
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error) as error:
            raise Rejected(_DAMAGED, status=_STATUS) from error

    def _check(self, size_bytes: int) -> None:
        if len(self._members) > MEMBERS_MOST:
            raise Rejected(f"The ZIP archive holds more than {MEMBERS_MOST:,} files.", status=_STATUS)
        if any(info.flag_bits & _ENCRYPTED for info in self._members):
            raise Rejected("The ZIP archive is encrypted; put it here without a password.", status=_STATUS)
        if any(info.compress_type not in _METHODS for info in self._members):
            raise Rejected("The ZIP archive uses a compression other than 'deflate'.", status=_STATUS)
        if sum(info.compress_size for info in self._members) > size_bytes:
            raise Rejected("Files of the ZIP archive overlap.", status=_STATUS)
        grown = sum(info.file_size for info in self._members)
        if grown > max(GROWTH_ALWAYS_BYTES, GROWTH_MOST * size_bytes):
            raise Rejected(f"The ZIP archive would grow to {grown:,} bytes; such archives are not opened.", status=_STATUS)


class _Guarded:
    """The file under an archive. While ``is_opening`` is set, only a table of contents of a sane size is read.

    The library reads that whole into memory, from one of several records that tell its size, and makes a large object of each entry.
    So it is judged here, by what is read indeed, not by what one of the records says.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.is_opening = True

    def read(self, size: int = -1) -> bytes:
        if not self.is_opening:
            return self._file.read(size)
        content = self._file.read(_DIRECTORY_MOST_BYTES + 1 if size < 0 else min(size, _DIRECTORY_MOST_BYTES + 1))
        if len(content) > _DIRECTORY_MOST_BYTES or content.count(_ENTRY) > MEMBERS_MOST:
            raise Rejected("The table of contents of the ZIP archive is too large.", status=_STATUS)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True
