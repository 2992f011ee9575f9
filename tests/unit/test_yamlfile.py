"""YAML is read strictly: whatever stands in a file, the answer is data or a complaint with its place, soon."""

from __future__ import annotations

import os
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Misconfigured
from gateway.yamlfile import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse, read

#: More by hand: ISOBRIDGE_FUZZ=20000 python -m pytest tests/unit/test_yamlfile.py
EXAMPLES = int(os.environ.get("ISOBRIDGE_FUZZ", "300"))
LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


def said(content: bytes | str) -> str:
    with pytest.raises(Misconfigured) as caught:
        parse(content, name="f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "place", "phrase"),
    [
        (LAUGHS, "1:4", "anchors and aliases are not allowed"),
        ("a: 1\nb: *a\n", "2:4", "anchors and aliases are not allowed"),
        ("base:\n  x: 1\nderived:\n  <<: {x: 2}\n", "4:3", "merge keys ('<<') are not allowed"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", "2:4", "tags such as '!!' are not allowed"),
        ("a: !!str 5\n", "1:4", "tags such as"),
        ("a: !local x\n", "1:4", "tags such as"),
        ("a: ! x\n", "1:4", "tags such as"),
        ("a:\n\tb: 1\n", "2:1", "a tab: indent with spaces"),
        ("a: 1\nb: 2\na: 3\n", "3:1", "'a' is given twice"),
        ("a: 1\n? [x, y]\n: 2\n", "2:3", "a key must be a plain word"),
        ('a: 1\n"": 2\n', "2:1", "a key must be a plain word"),
        ("a: x\x00y\n", "1:5", "a control character (code 0)"),
        ('a: 1\nb: "x\\0y"\n', "2:4", "a control character is not allowed, not even escaped"),
        (b"a: 1\nb: caf\xe9\n", "2:7", "not UTF-8"),
        ("a: 1\n".encode("utf-16"), "1:1", "not UTF-8"),
        ("a: [1, 2\nb: 3\n", "2:2", "not valid YAML"),
        ("a: @patient\n", "1:4", "put a text that begins with @ in quotes"),
        ("a: 1\n---\nb: 2\n", "2:1", "not valid YAML"),
        ("a: " + "9" * 5000, "1:4", "a number of more than 40 digits"),
        ("a: 1." + "9" * 5000, "1:4", "a number of more than 40 digits"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"1:{MAX_DEPTH + 1}", "nested deeper than 32 levels"),
        ("[" * 500_000, f"1:{MAX_DEPTH + 1}", "nested deeper than 32 levels"),
        ("{a: " * 200_000, f"1:{MAX_DEPTH * 4 + 1}", "nested deeper than 32 levels"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_plain_yaml_is_refused_with_its_place(content: bytes | str, place: str, phrase: str) -> None:
    told = said(content)
    assert told.startswith(f"f.yaml:{place}: "), told
    assert phrase in told


GOOD = """\
fields:
  # the net activity, from the console
  administration.activity:
    from: {value: "(0009,xx38)[GEMS_PETD_01]", nuclide: administration.radionuclide}
    as: activity
    need: should
  administration.volume: null
tests:
  - name: "it is read"
"""


@pytest.mark.parametrize(
    ("right", "wrong", "place", "phrase"),
    [
        ('PETD_01]", nuclide', "PETD_01], nuclide", "4:19", "this quote is not closed"),
        ('"(0009,xx38)[GEMS_PETD_01]"', "(0009,xx38)[GEMS_PETD_01]", "4:19", 'stands in quotes: "(0009,xx38)[GEMS_PETD_01]"'),
        ('"(0009,xx38)[GEMS_PETD_01]"', "A[0].B", "4:19", 'a text with brackets stands in quotes: "A[0].B"'),
        ('"(0009,xx38)[GEMS_PETD_01]"', "${a.b}", "4:19", 'a text with brackets stands in quotes: "${a.b}"'),
        ("as: activity", "as:activity", "5:7", "a space belongs behind the colon"),
        ("need: should", "need = should", "6:10", "write ': ' where '=' stands"),
        ("    as: activity", "\u00a0   as: activity", "5:1", "a non-breaking one"),
        ("    as: activity", "    as:\u00a0activity", "5:8", "a non-breaking one"),
        ('"(0009,xx38)[GEMS_PETD_01]"', "\u201c(0009,xx38)[GEMS_PETD_01]\u201d", "4:19", "a curly quote"),
        ("need: should", "need: \u2018should\u2019", "6:11", "a curly quote"),
        ('"it is read"', "read: as it is", "9:15", "a text that holds ': ' stands in quotes"),
        ("    as: activity", "   as: activity", "5:4", "does not begin in the column"),
        ("    as: activity", "      as: activity", "5:7", "does not begin in the column"),
        ('"(0009,xx38)[GEMS_PETD_01]"', "*GE", "4:19", "put a text that begins with * or & in quotes"),
        ('"(0009,xx38)[GEMS_PETD_01]"', "*", "4:20", "put a text that begins with * or & in quotes"),
        ("radionuclide}", "radionuclide", "5:7", "of the bracket"),
    ],
)
def test_a_slip_of_the_pen_is_told_where_it_stands(right: str, wrong: str, place: str, phrase: str) -> None:
    assert right in GOOD
    parse(GOOD, name="f.yaml")
    told = said(GOOD.replace(right, wrong, 1))
    assert told.startswith(f"f.yaml:{place}: "), told
    assert phrase in told


def test_a_text_over_several_lines_and_quotes_inside_text_are_no_slip() -> None:
    text = "a: \"one\n  two\"\nb: it's 5\" wide # isn't it\nc: 'don''t'\nd: \u201d\n".replace("\u201d", "\u00e9")
    assert parse(text, name="f").data == {"a": "one two", "b": "it's 5\" wide", "c": "don't", "d": "\u00e9"}
    assert "of the bracket that line 6 opens" in said(text + "e: [1\nf: 2\n")


def test_a_file_that_is_too_large_or_holds_too_much_is_refused_soon() -> None:
    started = time.process_time()
    assert "larger than 1024 KiB" in said("a: " + "x" * MAX_BYTES)
    assert "larger than 1024 KiB" in said("".join(f"k{number}: 1\n" for number in range(1_000_000)))
    assert f"more than {MAX_NODES} values" in said("".join(f"{number}:\n" for number in range(120_000)))
    assert f"more than {MAX_NODES} values" in said("[" + "a," * 400_000 + "]")
    assert time.process_time() - started < 10


def test_the_largest_file_that_is_allowed_is_read_soon() -> None:
    content = "".join(f"key{number}: v\n" for number in range(49_000))
    started = time.process_time()
    assert len(parse(content, name="f").data) == 49_000
    assert time.process_time() - started < 10


def test_a_very_long_line_is_only_text() -> None:
    assert parse("a: " + "x" * 900_000, name="f").data == {"a": "x" * 900_000}


def test_plain_values_keep_what_was_written() -> None:
    text = "a: 1.50\nb: 010\nc: 2024-05-13\nd: yes\ne: 12:30:00\nf: true\ng: ~\nh: 1e3\ni: .inf\nj: 1e999999999\nk: -7\nl: on\nm: 0x10\n"
    assert parse(text, name="f").data == {
        "a": Decimal("1.50"),
        "b": "010",
        "c": "2024-05-13",
        "d": "yes",
        "e": "12:30:00",
        "f": True,
        "g": None,
        "h": "1e3",
        "i": ".inf",
        "j": "1e999999999",
        "k": -7,
        "l": "on",
        "m": "0x10",
    }
    assert parse("\ufeffa: é\n".encode(), name="f").data == {"a": "é"}
    assert parse(b"", name="f").data == {}


def test_a_place_knows_its_line_and_column() -> None:
    document = parse("a:\n  - b: 1\n    c: 2\n", name="f")
    assert document.where(("a", 0, "c")) == "f:3:5"
    assert document.where(("a", 0, "c", "nothing", "here")) == "f:3:5"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"x\.yaml: cannot be read"):
        read(tmp_path / "x.yaml")


PIECES = [
    *"abc01-?:,[]{}#&*!|>'\"%@`~ \n\t\\",
    "\n  ",
    "\n- ",
    ": ",
    "<<: ",
    "!!",
    "&a ",
    "*a",
    "---\n",
    "\u2028",
    "\ud800",
    "\x00",
    "é",
    "1e9",
    "0x",
]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_text_is_data_or_a_complaint(content: str) -> None:
    _data_or_complaint(content)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_data_or_a_complaint(content: bytes) -> None:
    _data_or_complaint(content)


def _data_or_complaint(content: bytes | str) -> None:
    told: list[str] = []
    try:
        told.append(parse(content, name="f.yaml").where(()))
    except Misconfigured as error:
        told += error.complaints
    assert told
    assert all(text.startswith("f.yaml") for text in told)
