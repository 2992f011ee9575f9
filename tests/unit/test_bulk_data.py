"""A large value is answered from the mapped file, in pieces."""

from __future__ import annotations

import asyncio
import mmap
from pathlib import Path

from gateway.web.dicomweb_files import PIECE_BYTES, PIXEL_DATA, bulk_data, view_pieces
from tests.builders import ct, part10

ROWS, COLUMNS = 1024, 512


def test_pixels_are_not_copied_but_read_piece_by_piece(tmp_path: Path) -> None:
    pixels = bytes(range(256)) * (ROWS * COLUMNS * 2 // 256)
    file = tmp_path / "object.dcm"
    file.write_bytes(part10(ct(Rows=ROWS, Columns=COLUMNS, PixelData=pixels)))
    view = bulk_data(file, PIXEL_DATA)
    assert isinstance(view.obj, mmap.mmap)

    async def told() -> list[bytes]:
        return [piece async for piece in view_pieces(view)]

    pieces = asyncio.run(told())
    assert b"".join(pieces) == pixels
    assert {len(piece) for piece in pieces} == {PIECE_BYTES}
