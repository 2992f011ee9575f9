"""ZIP archives from strangers, opened without ever writing a member under its own name.

Everything is judged before anything is read: encrypted, unusual or overlapping members, and archives that would grow beyond reason, are
refused as a whole. A member's size is what its directory entry says: no more is ever read of it.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from gateway.errors import Rejected

MEMBERS_MOST = 100_000
#: Images of emptiness shrink a hundredfold; bombs shrink a thousandfold.
GROWTH_MOST = 100
GROWTH_ALWAYS_BYTES = 4 << 30
_DIRECTORY_MOST_BYTES = 32 << 20
_PIECE_BYTES = 256 * 1024
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: APPNOTE 4.3.16: end of central directory: size of the directory.
_END = struct.Struct("<4s4H2LH")
_END_MOST_BYTES = 65_536 + _END.size
_DAMAGED = "The ZIP archive is damaged."
_STATUS = 0xC000


class ZipArchive:
    """An open archive. Raises :class:`Rejected` when it must not be read, :class:`OSError` when the disk does not answer."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        _check_directory_size(file, size_bytes)
        try:
            self._archive = zipfile.ZipFile(file)
            self._members = [info for info in self._archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise Rejected(_DAMAGED, status=_STATUS) from error
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


def _check_directory_size(file: IO[bytes], size_bytes: int) -> None:
    """The table of contents is read whole into memory: not before its size is known.

    In ZIP64 archives the size stands elsewhere; but an honest archive of so many files is far larger than its directory.
    """
    file.seek(max(0, size_bytes - _END_MOST_BYTES))
    tail = file.read(_END_MOST_BYTES)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END.size:
        raise Rejected(_DAMAGED, status=_STATUS)
    directory_bytes, offset = _END.unpack_from(tail, at)[5:7]
    if 0xFFFFFFFF in (directory_bytes, offset):
        locator = tail.rfind(b"PK\x06\x06", 0, at)  # the ZIP64 record stands just before
        directory_bytes = int.from_bytes(tail[locator + 40 : locator + 48], "little") if locator >= 0 else size_bytes
    if directory_bytes > _DIRECTORY_MOST_BYTES:
        raise Rejected("The table of contents of the ZIP archive is too large.", status=_STATUS)
    file.seek(0)
