"""What a store request may not do: come as slowly as it likes, or make its numbers and its parts cost more than their bytes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from typing import Any, cast

import pytest
from starlette.requests import Request

from gateway.errors import Rejected
from gateway.web import stow
from gateway.web.stow_bulk import BulkParts, Source

SETTINGS = stow.StowSettings(senders=None, ae_title="ISOBRIDGE", pace_secs=0.2, least_bytes_per_sec=10_000)


class Client:
    """A body that comes in pieces, each after a pause."""

    def __init__(self, pieces: Iterable[tuple[float, int]]) -> None:
        self._pieces = pieces

    async def stream(self) -> AsyncIterator[bytes]:
        for pause_secs, size in self._pieces:
            await asyncio.sleep(pause_secs)
            yield bytes(size)


def taken(pieces: Iterable[tuple[float, int]], *, disk_secs: float = 0.0) -> int:
    async def take() -> int:
        total = 0
        async for portion in stow._portions(cast("Request", Client(pieces)), SETTINGS):
            total += len(portion)
            await asyncio.sleep(disk_secs)
        return total

    return asyncio.run(take())


def test_a_fast_beginning_earns_no_right_to_dawdle() -> None:
    with pytest.raises(Rejected) as caught:
        taken([(0.0, 8 << 20), *[(0.05, 1)] * 100])
    assert caught.value.status == 408


def test_who_keeps_the_pace_is_taken_however_long_our_disk_takes() -> None:
    assert taken([(0.05, 1000)] * 12) == 12_000
    assert taken([(0.01, 300_000)] * 4, disk_secs=0.3) == 1_200_000


def source(frames: Any, parts: int) -> Source:
    bulk = BulkParts()
    with tempfile.TemporaryFile() as file:
        for _ in range(parts):
            bulk.begin("x", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50")
            bulk.grow(4)
        dataset = {"7FE00010": {"vr": "OB", "BulkDataURI": "x"}, "00280008": {"vr": "IS", "Value": [frames]}}
        return Source(file.fileno(), bulk, dataset)


def test_frames_are_counted() -> None:
    assert source(2, 2).find("x", is_image=True) is not None
    assert source("2", 2).transfer_syntax_uid.endswith(".4.50")
    with pytest.raises(Rejected, match="each frame is a part of its own"):
        source(3, 2)


@pytest.mark.parametrize("frames", [Decimal("1e5000000"), "1e5000000", [0, [1], 5000000], {}, True, "two"])
def test_a_number_of_frames_that_is_none_is_refused_at_once(frames: Any) -> None:
    """The integer of the first one has five million digits: hours of work, for ten letters."""
    with pytest.raises(Rejected, match="no number"):
        source(frames, 2)


def test_an_icon_gets_its_own_pixels_and_not_those_of_the_image() -> None:
    found = source(2, 2).find("x", is_image=False)
    assert found is not None
    assert (found.fragments, found.size_bytes) == ([], 4)
