"""A mapping can never crash or stall the daemon: hostile mappings and hostile headers cost a field, at worst the object."""

from __future__ import annotations

import dataclasses
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.dicom.budget import Budget
from gateway.dicom.reading import Header, header_of
from gateway.errors import Quarantined
from gateway.mapping.example import opened
from gateway.mapping.language import Mapping, load
from gateway.mapping.registry import CONVERTERS
from gateway.normalise import record as record_module
from gateway.normalise.record import MOST_ITEMS, SharedCache, normalise
from tests.unit.mapping_files import SHIPPED, SITE, complaints, said
from tests.unit.test_mapping_sources import ITEM, mapping, record

HOSTILE_PATTERN = '{of: StudyDescription, matches: "(a+)+$|(a|a)*b|(.*a){20}"}'
#: Far more than any of these takes here, far less than a worker's lease.
MOST_SECS = 20
SHIPPED_MAPPINGS = load(SHIPPED)


@contextmanager
def bounded() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < MOST_SECS


@pytest.mark.parametrize("name", ["pet_image", "nm_image", "dose_report", "image"])
@pytest.mark.parametrize("text", ["a" * 1_000_000, "F-18 " * 200_000, "\\" * 1_000_000, "9" * 1_000_000, "\x1b$B" * 300_000])
def test_a_text_of_a_megabyte_costs_neither_the_object_nor_the_time(name: str, text: str) -> None:
    made = SHIPPED_MAPPINGS.named(name)
    header = header_of(implicit(text))
    with bounded():
        _answered(made, header)


def implicit(text: str) -> bytes:
    """An object with a text everywhere: in implicit VR any element may be as long as it likes."""

    def element(tag: int, value: bytes) -> bytes:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value

    def item(*elements: bytes) -> bytes:
        return element(0xFFFEE000, b"".join(elements))

    long = (text + " " * (len(text) % 2)).encode()
    code = item(element(0x00080100, long), element(0x00080102, b"SCT "), element(0x00080104, long))
    drug = [element(0x00180031, long), element(0x00181074, long), element(0x00181078, long), element(0x00540300, code)]
    uids = [element(tag, b"1.2.3\0") for tag in (0x00080016, 0x00080018)]
    tops = [element(tag, long) for tag in (0x00080020, 0x00080030, 0x00080060, 0x0008103E, 0x00100010, 0x00100020, 0x00181030)]
    rest = [element(0x0020000D, b"1.2.3\0"), element(0x0020000E, b"1.2.3\0"), element(0x00540016, item(*drug))]
    return b"\0" * 128 + b"DICM" + b"".join([*uids, *tops, *rest])


def _answered(made: Mapping, header: Header) -> None:
    """Read, or quarantined with a sentence."""
    try:
        read = normalise(header, made, SITE, SharedCache(1))
        told = "; ".join(said(read))
    except Quarantined as quarantined:
        told = quarantined.reason
    assert told
    assert len(told) < 10_000


def test_a_pattern_that_explodes_elsewhere_is_linear_here(tmp_path: Path) -> None:
    made = mapping(tmp_path, f"  study.x: {{from: StudyID, as: text, when: {HOSTILE_PATTERN}}}\n")
    with bounded():
        assert record(made, {"StudyID": "S", "StudyDescription": "a" * 60_000 + "!"}).shared.study == {}


def test_ten_thousand_items_are_not_believed_and_told(tmp_path: Path) -> None:
    fields = """
  study.list: {for_each: ProcedureCodeSequence, fields: {code: {from: $item.CodeValue, as: code}}}
  study.all: {from: "ProcedureCodeSequence[*].CodeValue", as: list}
"""
    items = [{"CodeValue": str(n)} for n in range(10_000)]
    with bounded():
        read = record(mapping(tmp_path, fields), {"ProcedureCodeSequence": items})
    assert said(read) == [f"study.list has 10,000 items; more than {MOST_ITEMS:,} are not believed"]
    assert len(read.shared.study["all"]) == 10_000
    with bounded():
        many = record(SHIPPED_MAPPINGS.named("pet_image"), {ITEM: [{"RadionuclideTotalDose": "1"}] * 10_000})
    assert many.shared.administrations == ()
    assert f"administration has 10,000 items; more than {MOST_ITEMS:,} are not believed" in said(many)


def test_more_steps_than_the_budget_quarantine_the_object_with_a_clear_text(tmp_path: Path) -> None:
    fields = "".join(f'  study.f{n}: {{from: "ProcedureCodeSequence[*].CodeValue", as: list}}\n' for n in range(60))
    with bounded(), pytest.raises(Quarantined, match="takes more than 500,000 steps; it is not read further"):
        record(mapping(tmp_path, fields), {"ProcedureCodeSequence": [{"CodeValue": str(n)} for n in range(10_000)]})


def test_the_budget_counts_and_does_not_look_at_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = mapping(tmp_path, '  study.x: {from: "ProcedureCodeSequence[*].CodeValue", as: list}\n')
    spent: list[Budget] = []

    class Kept(Budget):
        def __init__(self) -> None:
            super().__init__(100)
            spent.append(self)

    monkeypatch.setattr(record_module, "Budget", Kept)
    for _ in range(2):
        record(made, {"ProcedureCodeSequence": [{"CodeValue": str(n)} for n in range(20)]})
    assert spent[0].left == spent[1].left > 0
    with pytest.raises(Quarantined):
        record(made, {"ProcedureCodeSequence": [{"CodeValue": str(n)} for n in range(60)]})


def test_a_report_of_ten_thousand_items_is_read_in_a_bounded_time() -> None:
    sr = {f"113507 DCM #{n}": {"num": str(n), "unit": "MBq"} for n in range(1, 10_000)}
    header = opened({"Modality": "SR", "sr": {"113502 DCM": {"items": sr}}})
    with bounded():
        _answered(SHIPPED_MAPPINGS.named("dose_report"), header)


def test_thirty_sequences_in_each_other_are_read(tmp_path: Path) -> None:
    path, tree = "StudyID", {"StudyID": "deep"}
    for _ in range(28):
        path, tree = f"ConceptNameCodeSequence[0].{path}", {"ConceptNameCodeSequence": [tree]}  # type: ignore[dict-item]
    with bounded():
        found = complaints(tmp_path, a=f'match: everything\nfields:\n  study.x: {{from: "{path}", as: text}}\n')
    assert any("at most 512 letters" in text for text in found)
    (tmp_path / "short").mkdir()
    made = mapping(
        tmp_path / "short", "  study.x: {from: 'ConceptNameCodeSequence[0].ConceptNameCodeSequence[0].StudyID', as: text}\n"
    )
    assert record(made, tree).shared.study == {}


def test_a_converter_that_fails_costs_its_field_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(parts: object, options: object) -> Any:
        raise ZeroDivisionError("SECRET")

    monkeypatch.setitem(CONVERTERS, "uid", dataclasses.replace(CONVERTERS["uid"], convert=broken))
    made = mapping(tmp_path, "  study.x: {from: StudyID, as: uid}\n  study.y: {from: StudyID, as: text}\n")
    read = record(made, {"StudyID": "S"})
    assert read.shared.study == {"y": "S"}
    assert said(read) == ["study.x could not be converted: 'uid' failed (ZeroDivisionError)"]


@pytest.mark.parametrize(
    ("text", "said_of_it"),
    [
        ("extends: m1\nmatch: nothing\n", "there is no mapping 'm1'"),
        ("extends: [a, a, a, a, a, a, a, a, a]\nmatch: nothing\n", "a list of 1 to 8 names"),
        ("extends: [a]\nmatch: nothing\n", "'a' extends itself"),
        ("match: nothing\npriority: high\n", "'priority' must be a whole number"),
    ],
)
def test_bases_without_end_are_told(tmp_path: Path, text: str, said_of_it: str) -> None:
    assert any(said_of_it in told for told in complaints(tmp_path, a=text))


def test_lists_of_lists_end_somewhere(tmp_path: Path) -> None:
    field = "{from: $item.CodeValue, as: code}"
    for _ in range(5):
        field = f"{{for_each: $item.ConceptNameCodeSequence, fields: {{x: {field}}}}}"
    field = field.replace("$item.ConceptNameCodeSequence", "ConceptNameCodeSequence", 1)
    assert any(
        "lists are at most 3 deep" in told for told in complaints(tmp_path, a=f"match: nothing\nfields:\n  study.x: {field}\n")
    )


def test_a_line_of_bases_has_an_end(tmp_path: Path) -> None:
    files = {f"m{n}": f"extends: m{n + 1}\nmatch: nothing\n" for n in range(40)} | {"m40": "match: nothing\n"}
    assert any("mappings extend each other" in told for told in complaints(tmp_path, **files))
