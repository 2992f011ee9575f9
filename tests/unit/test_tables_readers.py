"""Readers of tables: text in any encoding, workbooks, reports, JSON; bounded, and refusing what could mean two things."""

from __future__ import annotations

import io
import zipfile
from decimal import Decimal

import openpyxl
import pytest

from gateway.dicom.values import Invalid
from gateway.errors import Rejected
from gateway.tables import cells, numbers, xlsx
from gateway.tables.cells import Cell, CellKind
from gateway.tables.json_files import read_json
from gateway.tables.rules import HeaderRule, ReadRule, SectionRule
from gateway.tables.text_files import decode, read_csv, read_report
from gateway.tables.units import in_header, ucum

CSV = ReadRule(format="csv", delimiter=";")


def text_of(value: str) -> Cell:
    return Cell(text=value, place="row 2")


@pytest.mark.parametrize(
    ("content", "encodings"),
    [
        ("Organe;Débit\n".encode("cp1252"), ("cp1252",)),
        ("Organe;Débit\n".encode(), ("utf-8",)),
        (b"\xef\xbb\xbf" + "Organe;Débit\n".encode(), ("cp1252",)),
        ("Organe;Débit\n".encode("utf-16"), ("utf-8",)),
        (b"\xfe\xff" + "Organe;Débit\n".encode("utf-16-be"), ("utf-8",)),
        ("Organe;Débit\n".encode("cp1252"), ("utf-8", "cp1252")),
    ],
)
def test_every_encoding_gives_the_same_text(content: bytes, encodings: tuple[str, ...]) -> None:
    assert decode(content, encodings) == "Organe;Débit\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Débit".encode("cp1252"), "is not utf-8 at byte 2"),
        (b"A;B\x00\x00", "zero bytes"),
        (b"A;\x07B", "control character"),
        ("A;B".encode("utf-32"), "UTF-32"),
        ("A;B".encode("utf-16-le"), "zero bytes"),
    ],
)
def test_what_is_no_text_of_that_encoding_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        decode(content, ("utf-8",))


def test_cells_know_their_line_also_behind_quotes_that_span_lines() -> None:
    (sheet,) = read_csv('A;B\r\n"one\r\ntwo";3\r\n\r\n4;5\r\n', CSV)
    assert [(row.number, row.cells["B"].text) for row in sheet.rows] == [(2, "3"), (5, "5")]
    assert sheet.rows[0].cells["A"].text == "one\ntwo"
    assert sheet.rows[1].cells["B"].place == "row 5"


def test_the_header_is_found_by_its_columns() -> None:
    rule = ReadRule(format="csv", delimiter=";", header=HeaderRule(row=None, contains=("Organ", "Dose")))
    (sheet,) = read_csv("Report of today\n\nOrgan;Dose\nLiver;3\n", rule)
    assert sheet.columns == ("Organ", "Dose")
    with pytest.raises(Rejected, match="there is no header"):
        read_csv("Organ;Mass\nLiver;3\n", rule)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A;A\n1;2\n", "stands twice in the header"),
        ("A;B\n1;2;3\n", "Row 2 has more cells than the header"),
        ('A;B\n"1;2\n', "no CSV"),
    ],
)
def test_a_table_that_could_mean_two_things_is_refused(text: str, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        read_csv(text, CSV)


def test_rows_columns_and_cells_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MOST_ROWS", 3)
    with pytest.raises(Rejected, match="more than 3 rows"):
        read_csv("A\n1\n2\n3\n", CSV)
    monkeypatch.setattr(cells, "MOST_COLUMNS", 2)
    with pytest.raises(Rejected, match="more than 2 columns"):
        read_csv("A;B;C\n", CSV)
    monkeypatch.setattr(cells, "MOST_CELLS", 1)
    with pytest.raises(Rejected, match="more than 1 cells"):
        read_csv("A;B\n", CSV)


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "wanted"),
    [
        ("7200", None, None, "7200"),
        ("7,2", ",", None, "7.2"),
        ("7.200", ".", None, "7.200"),
        ("7.200,5", ",", ".", "7200.5"),
        ("7 200,5", ",", " ", "7200.5"),
        ("1'234.5", ".", "'", "1234.5"),
        ("6.05E-01", ".", None, "0.605"),
        ("\u22123,5", ",", None, "-3.5"),
        ("7\u00a0200", ",", " ", "7200"),
    ],
)
def test_numbers_are_read_by_the_declared_locale(text: str, decimal: str | None, thousands: str | None, wanted: str) -> None:
    assert numbers.from_text(text, ReadRule(format="csv", decimal=decimal, thousands=thousands)) == Decimal(wanted)


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "words"),
    [
        ("7.200", None, None, "the adapter must say which"),
        ("7,2", None, None, "the adapter must say which"),
        ("7.200", ",", None, "holds '.', but decimals are written with ','"),
        ("7,200", ".", None, "holds ',', but decimals are written with '.'"),
        ("7.20", ",", ".", "is no number"),
        ("1.2.3", ".", None, "is no number"),
        ("< 0,5", ",", None, "is no number"),
        ("٣", ",", None, "is no number"),
        ("1e99", ".", None, "beyond all measure"),
    ],
)
def test_numbers_that_could_mean_two_things_are_refused(
    text: str, decimal: str | None, thousands: str | None, words: str
) -> None:
    with pytest.raises(Invalid, match=words.replace("(", r"\(")):
        numbers.from_text(text, ReadRule(format="csv", decimal=decimal, thousands=thousands))


def test_identifiers_are_text_and_nothing_else() -> None:
    assert numbers.identifier(text_of(" 00123 ")) == "00123"
    for cell in (
        Cell(text="123", place="A2", kind=CellKind.NUMBER, number=Decimal(123)),
        text_of("1,23457E+09"),
        text_of("1E+05"),
    ):
        with pytest.raises(Invalid):
            numbers.identifier(cell)


def test_dates_are_read_by_the_declared_format_only() -> None:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Europe/Brussels")
    assert numbers.moment(text_of("02/06/2025 09:30"), ("%d/%m/%Y %H:%M",), zone) == ("2025-06-02T09:30:00+02:00", None)
    assert numbers.moment(text_of("02/06/2025"), ("%d/%m/%Y",), zone) == ("2025-06-02", None)
    text, warning = numbers.moment(text_of("26/10/2025 02:30"), ("%d/%m/%Y %H:%M",), zone)
    assert text == "2025-10-26"
    assert warning is not None
    with pytest.raises(Invalid, match="two declared formats"):
        numbers.moment(text_of("02/06/2025"), ("%d/%m/%Y", "%m/%d/%Y"), zone)
    with pytest.raises(Invalid, match="no date in the format"):
        numbers.moment(text_of("2025-06-02"), ("%d/%m/%Y",), zone)


def test_sections_of_a_report_end_where_they_say() -> None:
    section = SectionRule(
        name="organs", starts="[BEGIN * ORGANS]", ends="[END * ORGANS]", columns=("organ", "mass"), delimiter="|"
    )
    rule = ReadRule(format="report", sections=(section,))
    (sheet,), lines = read_report("Head\n[BEGIN MALE ORGANS]\nLiver|1800\n[END MALE ORGANS]\nTail\n", rule)
    assert [row.cells["mass"].text for row in sheet.rows] == ["1800"]
    assert sheet.rows[0].cells["mass"].place == "line 3"
    assert lines[0] == "Head"
    with pytest.raises(Rejected, match="cut off"):
        read_report("[BEGIN MALE ORGANS]\nLiver|1800\n", rule)
    with pytest.raises(Rejected, match="begins 2 times"):
        read_report("[BEGIN A ORGANS]\n[END A ORGANS]\n[BEGIN B ORGANS]\n[END B ORGANS]\n", rule)


def test_json_is_flattened_below_a_path_and_bounded() -> None:
    (sheet,) = read_json('{"A": {"x": {"y": 1.50, "z": null}}, "B": {"x": {"y": "2"}}}', ("*",))
    first, second = sheet.rows
    assert (first.cells["$1"].text, first.cells["x.y"].number, first.cells["x.z"].text) == ("A", Decimal("1.50"), "")
    assert second.cells["x.y"].kind is CellKind.TEXT
    for text, words in (
        ("[" * 40, "nested deeper"),
        ('{"a": 1, "a": 2}', "not valid JSON"),
        ("{", "not valid JSON"),
        ("1" * 90, "not valid"),
    ):
        with pytest.raises(Rejected, match=words):
            read_json(text, ())


def workbook(*rows: list[object], title: str = "Results") -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = title
    for row in rows:
        book.active.append(row)
    kept = io.BytesIO()
    book.save(kept)
    return kept.getvalue()


def test_a_workbook_knows_what_is_text_number_date_and_formula() -> None:
    import datetime as dt

    content = workbook(["Id", "Dose", "At", "Sum"], ["007", 4.36, dt.datetime(2025, 6, 2, 9, 30), "=B2*2"])  # noqa: DTZ001
    assert xlsx.is_workbook(content)
    (sheet,) = xlsx.read_xlsx(content, ReadRule(format="xlsx"))
    row = sheet.rows[0]
    assert [row.cells[name].kind for name in sheet.columns] == [CellKind.TEXT, CellKind.NUMBER, CellKind.DATE, CellKind.FORMULA]
    assert row.cells["Dose"].number == Decimal("4.36")
    assert row.cells["Dose"].place == "Results!B2"
    with pytest.raises(Invalid, match="is a formula"):
        numbers.number(row.cells["Sum"], ReadRule(format="xlsx"))


def test_a_workbook_that_is_a_bomb_or_declares_entities_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = workbook(["A"], ["1"])
    monkeypatch.setattr(xlsx, "_MOST_UNPACKED", 1000)
    with pytest.raises(Rejected, match="too large when it is unpacked"):
        xlsx.read_xlsx(content, ReadRule(format="xlsx"))
    monkeypatch.undo()
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(kept, "w") as new:
        for name in old.namelist():
            body = old.read(name)
            new.writestr(name, b'<!DOCTYPE a [<!ENTITY b "c">]>' + body if name == "xl/workbook.xml" else body)
    with pytest.raises(Rejected, match="document type"):
        xlsx.read_xlsx(kept.getvalue(), ReadRule(format="xlsx"))
    for cut in (200, len(content) - 30):
        with pytest.raises(Rejected, match=r"damaged|cannot be read"):
            xlsx.read_xlsx(content[:cut], ReadRule(format="xlsx"))
    with pytest.raises(Rejected, match="no sheet"):
        xlsx.read_xlsx(content, ReadRule(format="xlsx", sheet="Doses*"))


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("Gy", "Gy"),
        ("mGy", "mGy"),
        ("MBq*h", "MBq.h"),
        ("MBq·h", "MBq.h"),
        ("µSv/h", "uSv/h"),
        ("minutes", "min"),
        ("kBq/cc", "kBq/mL"),
    ],
)
def test_units_as_people_write_them(written: str, unit: str) -> None:
    assert ucum(written) == unit
    assert in_header(f"AD [{written}]") == (unit, written)


@pytest.mark.parametrize("written", ["MGy", "mgy", "GY", "rem", "", "Gy/MBq/h", "kilograms"])
def test_what_is_no_known_writing_of_a_unit_is_none(written: str) -> None:
    assert ucum(written) is None
