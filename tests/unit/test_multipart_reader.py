"""Reading multipart messages: however the bytes are cut into pieces, the parts are the same."""

from __future__ import annotations

import random

import pytest

from gateway.errors import Rejected
from gateway.web.multipart_reader import MultipartReader, media_type

BODY = (
    b"to be ignored\r\n--edge  \r\nContent-Type: application/dicom\r\nX-Empty:\r\n\r\nfirst\r\n--edgeless\r\n--edg\r\n\r\n"
    b"--edge\r\n\r\n\r\n--edge\r\ncontent-TYPE : a/b; c=d\r\n\r\n"
    + bytes(range(256)) * 20
    + b"\r\n--edge--\r\nafter\r\n--edge\r\n"
)
PARTS = [
    ({"content-type": "application/dicom", "x-empty": ""}, b"first\r\n--edgeless\r\n--edg\r\n"),
    ({}, b""),
    ({"content-type": "a/b; c=d"}, bytes(range(256)) * 20),
]


class Kept:
    def __init__(self) -> None:
        self.parts: list[tuple[dict[str, str], bytes]] = []
        self._open: tuple[dict[str, str], bytearray] | None = None

    def begin(self, headers: dict[str, str]) -> None:
        assert self._open is None
        self._open = (headers, bytearray())

    def write(self, piece: memoryview) -> None:
        assert self._open is not None
        self._open[1].extend(piece)

    def end(self) -> None:
        assert self._open is not None
        self.parts.append((self._open[0], bytes(self._open[1])))
        self._open = None


def read(pieces: list[bytes]) -> list[tuple[dict[str, str], bytes]]:
    kept = Kept()
    reader = MultipartReader("edge", kept)
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return kept.parts


def test_parts_do_not_depend_on_how_the_bytes_arrive() -> None:
    assert read([BODY]) == PARTS
    assert read([BODY[at : at + 1] for at in range(len(BODY))]) == PARTS
    for seed in range(300):
        rng, pieces, at = random.Random(seed), [], 0
        while at < len(BODY):
            size = rng.choice((1, 2, 3, 7, 60, 900))
            pieces.append(BODY[at : at + size])
            at += size
        assert read(pieces) == PARTS, seed


def test_a_body_without_a_preamble_and_without_a_last_line_end() -> None:
    assert read([b"--edge\r\n\r\nx\r\n--edge--"]) == [({}, b"x")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing of the kind",
        BODY[:-40],
        b"--edge\r\n\r\nx",
        b"--edge\r\nno colon\r\n\r\nx\r\n--edge--",
        b"--edge\r\n" + b"a" * 20_000,
        b"--edge\r\na: " + b"a" * 20_000 + b"\r\n\r\nx\r\n--edge--",
    ],
    ids=["empty", "other", "cut", "open", "colon", "endless", "long"],
)
def test_what_is_no_multipart_message_is_told(body: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        read([body])
    assert caught.value.status == 400


@pytest.mark.parametrize("boundary", ["", "x" * 201, "ü"])
def test_a_boundary_must_be_one(boundary: str) -> None:
    with pytest.raises(Rejected):
        MultipartReader(boundary, Kept())


def test_content_types_are_read_with_and_without_quotes() -> None:
    text = 'Multipart/Related; TYPE="application/dicom+json"; boundary="a\\"b;c" ; start=x'
    assert media_type(text) == ("multipart/related", {"type": "application/dicom+json", "boundary": 'a"b;c', "start": "x"})
