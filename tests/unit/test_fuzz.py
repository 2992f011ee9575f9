"""Fuzzers of the PDU reader and of the walker: no input may lead to anything but an answer, an A-ABORT, a walk or a reason.

What may not happen: another exception, an internal fault, a file left behind, a hang, a walk whose elements lie outside the object.
"""

from __future__ import annotations

import functools
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.dicom.reading import header_of
from gateway.dicom.walker import Limits, walk
from gateway.errors import Quarantined, Rejected
from tests.harness import corpus, corpus_wire
from tests.harness.fuzz import MINUTES, fuzz
from tests.harness.lines import Quiet, Talk

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # pydicom warns of what is made here
    pytest.mark.timeout(300 + 120 * MINUTES),
]
_SYNTAXES = (corpus.IMPLICIT, corpus.EXPLICIT, corpus.BIG, corpus.DEFLATED, corpus.JPEG)
#: Bombs are looked at in the corpus; here they only would take the time of other inputs.
_LIMITS = Limits(elements=2000, nested_elements=5000, inflate_always_bytes=1 << 20)
_MOST_SECS = 5.0
#: Bytes and lengths at which code goes wrong.
_EDGES = [b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\xfe\xff\x0d\xe0", b"\x80\0\0\0",
    b"SQ\0\0", b"UN\0\0", b"OB\0\0"]  # fmt: skip


@functools.cache
def _objects() -> list[tuple[bytes, str]]:
    small = [
        case
        for case in corpus.cases()
        if case.name.startswith(("cut/", "sequence/", "pixels/", "private/", "deflated/s", "nested/explicit/31"))
    ]
    return [(case.build(), case.syntax) for case in small]


@functools.cache
def _talks() -> list[bytes]:
    return [case.sent for case in corpus_wire.cases() if len(case.sent) < 8000]


Change = tuple[int, float, int, bytes]
#: What is done to a sound input: kind, where (as a share of its length), how much, with what.
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 4), st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.sampled_from(_EDGES) | st.binary(max_size=12)
    ),
    max_size=6,
)


def draw_changes(of: random.Random) -> list[Change]:
    """The same by a plain generator."""
    return [(of.randrange(5), of.random(), of.randrange(41), _piece(of)) for _ in range(of.randrange(7))]


def _piece(of: random.Random) -> bytes:
    return of.choice(_EDGES) if of.random() < 0.6 else of.randbytes(of.randrange(13))


def changed(data: bytes, changes: list[Change]) -> bytes:
    """Overwrite, insert, remove, repeat or cut."""
    for kind, share, count, piece in changes:
        at = int(share * (len(data) + 1))
        data = (
            data[:at] + piece + data[at + len(piece) :],
            data[:at] + piece + data[at:],
            data[:at] + data[at + count :],
            data[:at] + data[at : at + count] * 2 + data[at + count :],
            data[:at],
        )[kind]
    return data


@fuzz(
    st.tuples(st.integers(0, 10_000), CHANGES, st.sampled_from(_SYNTAXES) | st.none()),
    lambda of: (of.randrange(10_000), draw_changes(of), of.choice([*_SYNTAXES, None, None, None, None])),
    share=0.4,
    examples=700,
)
def test_the_walker(given: tuple[int, list[Change], str | None]) -> None:
    number, changes, other = given
    data, syntax = _objects()[number % len(_objects())]
    _walk(changed(data, changes), other or syntax)


@fuzz(
    st.tuples(st.binary(max_size=400), st.sampled_from(_SYNTAXES)),
    lambda of: (of.randbytes(of.randrange(400)), of.choice(_SYNTAXES)),
    share=0.1,
    examples=200,
)
def test_the_walker_on_any_bytes(given: tuple[bytes, str]) -> None:
    _walk(*given)
    if given[1] == corpus.DEFLATED:
        _walk(corpus.deflate(given[0]), corpus.DEFLATED)


def _walk(data: bytes, syntax: str) -> None:
    started = time.thread_time()
    try:
        walked = walk(data, syntax, limits=_LIMITS)
    except Rejected as error:
        told = (error.status, error.reason[-1:])
        assert told == (0xC000, ".")  # not walked is as good as walked
    else:
        size = len(walked.buffer)
        assert all(0 <= each.offset <= each.offset + each.length <= size for each in walked.elements.values())
        assert size <= max(_LIMITS.inflate_always_bytes, _LIMITS.inflate_ratio * len(data), len(data))
    assert time.thread_time() - started < _MOST_SECS


@fuzz(st.tuples(st.integers(0, 10_000), CHANGES), lambda of: (of.randrange(10_000), draw_changes(of)), share=0.1, examples=150)
def test_the_reader_of_files(given: tuple[int, list[Change]]) -> None:
    """File header and all: what is no object is told, what is one can be read as a data set."""
    files = _files()
    try:
        header = header_of(changed(files[given[0] % len(files)], given[1]), limits=_LIMITS)
    except Quarantined as error:
        assert error.reason.endswith(".")  # noqa: PT017  # not read is as good as read
    else:
        assert header.walk.elements


@functools.cache
def _files() -> list[bytes]:
    return [case.build() for case in corpus.file_cases()]


def _said(of: random.Random) -> tuple[list[int], list[Change], int, bool]:
    numbers = [of.randrange(10_000) for _ in range(of.randint(1, 4))]
    return numbers, draw_changes(of), of.randint(1, 2000), of.random() < 0.7


_SAID = st.tuples(st.lists(st.integers(0, 10_000), min_size=1, max_size=4), CHANGES, st.integers(1, 2000), st.booleans())


@fuzz(_SAID, _said, share=0.4, examples=250)
def test_the_line(given: tuple[list[int], list[Change], int, bool]) -> None:
    """Right words, in a wrong order, damaged, cut anywhere."""
    numbers, changes, step, associated = given
    said = changed(b"".join(_talks()[number % len(_talks())] for number in numbers), changes)
    with tempfile.TemporaryDirectory(dir=_memory()) as directory, capture_logs() as told:
        host = Quiet(Path(directory))
        talk = Talk(host)
        if associated:
            talk.say(corpus_wire.request())
        talk.say(said, step=step)
        assert talk.outcome() is not None  # and all that was said are whole PDUs
        talk.association.forget()
        assert [path for path in Path(directory).rglob("*") if path.is_file()] == []
    assert [line for line in told if line["event"] == "internal_fault"] == []


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def test_a_fuzzer_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the checks: a walker that lets one kind of damage through is caught."""

    def lenient(data: bytes, _syntax: str, **_: object) -> object:
        raise ZeroDivisionError if b"SQ" in data else Rejected("Nothing.", status=0xC000)

    monkeypatch.setattr("tests.unit.test_fuzz.walk", lenient)
    look: Callable[[], None] = test_the_walker
    with pytest.raises(ZeroDivisionError):
        look()
