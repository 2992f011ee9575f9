"""Is a file of the spool still what was received? Its digest is computed anew, by reading: a mapped file on a dying disk would end us."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gateway.dicom.reading import TRANSFER_SYNTAX_UID, read_file_meta

#: File meta information is a few hundred bytes (PS3.10 7.1); one element of ours is never larger than this.
_HEAD_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20


def digest_of_file(path: Path) -> str:
    """SHA-256 of transfer syntax and data set of a Part 10 file.

    Raises :class:`~gateway.errors.Quarantined` when it is none, :class:`OSError` when it cannot be read.
    """
    with path.open("rb") as file:
        meta, start = read_file_meta(file.read(_HEAD_BYTES))
        digest = hashlib.sha256(meta.get(TRANSFER_SYNTAX_UID, b"").rstrip(b" \0"))
        file.seek(start)
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
