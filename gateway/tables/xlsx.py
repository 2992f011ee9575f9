"""XLSX workbooks, read by openpyxl in its read-only way after the archive was measured.

A workbook is a ZIP of XML (ECMA-376): both can be bombs. Before anything is parsed every member is unpacked once and counted, and
document types, in which entities could be declared, are refused.
"""

from __future__ import annotations

import datetime as dt
import io
import zipfile
import zlib
from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from gateway.errors import Rejected
from gateway.tables.cells import MOST_SHEETS, TOO_LARGE, UNREADABLE, Cell, CellKind, Counter, Sheet, under_header
from gateway.tables.rules import ReadRule
from gateway.tables.text_files import find_header

_MOST_UNPACKED = 128 << 20
_MOST_MEMBERS = 2_000
_PIECE = 1 << 20
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OSError,
    EOFError,
    SyntaxError,
)


def is_workbook(content: bytes) -> bool:
    """A ZIP that holds the parts of a workbook."""
    if not content.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return False


def read_xlsx(content: bytes, rule: ReadRule) -> tuple[Sheet, ...]:
    """The sheets that the adapter wants. Raises :class:`Rejected`."""
    _measure(content)
    import openpyxl  # takes 0.2 s, and few processes ever read a workbook

    try:
        values = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
        formulas = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False)
        names = [name for name in values.sheetnames if fnmatchcase(name.casefold(), rule.sheet.casefold())]
        if len(values.sheetnames) > MOST_SHEETS:
            raise Rejected(f"The workbook has more than {MOST_SHEETS} sheets.", status=TOO_LARGE)
        if not names:
            raise Rejected(f"The workbook has no sheet '{rule.sheet}'.", status=UNREADABLE)
        counter = Counter()
        return tuple(_sheet(name, values[name], formulas[name], rule, counter, alone=len(names) == 1) for name in names)
    except _BROKEN as error:
        raise Rejected(f"The workbook cannot be read ({type(error).__name__}).", status=UNREADABLE) from error


def _measure(content: bytes) -> None:
    """Unpack everything once, counting. What a member claims of its size is not believed."""
    total = 0
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS:
                raise Rejected("The workbook has too many parts.", status=TOO_LARGE)
            for member in members:
                if member.flag_bits & 1:
                    raise Rejected("The workbook is encrypted.", status=UNREADABLE)
                with archive.open(member) as part:
                    tail = b""
                    while piece := part.read(_PIECE):
                        total += len(piece)
                        if total > _MOST_UNPACKED:
                            raise Rejected("The workbook is too large when it is unpacked.", status=TOO_LARGE)
                        if b"<!DOCTYPE" in tail + piece or b"<!ENTITY" in tail + piece:
                            raise Rejected("The workbook declares a document type, which no workbook needs.", status=UNREADABLE)
                        tail = piece[-16:]
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise Rejected(f"The workbook is damaged ({type(error).__name__}).", status=UNREADABLE) from error


def _sheet(name: str, values: Any, formulas: Any, rule: ReadRule, counter: Counter, *, alone: bool) -> Sheet:
    # What a sheet says of its own size is often wrong, and may be meant to hurt.
    values.reset_dimensions()
    formulas.reset_dimensions()
    rows: list[tuple[int, list[Cell]]] = []
    for number, (shown, written) in enumerate(zip(values.iter_rows(), formulas.iter_rows(), strict=False), 1):
        counter.row(shown)
        cells = [
            _cell(one, other, f"{name}!{_letters(index)}{number}")
            for index, (one, other) in enumerate(zip(shown, written, strict=False))
        ]
        if any(not cell.is_empty for cell in cells):
            rows.append((number, cells))
    index = find_header([[cell.text for cell in cells] for _, cells in rows], rule.header)
    header = [cell.text for cell in rows[index][1]]
    width = max(len(cells) for _, cells in rows[index:])
    return under_header("" if alone else name, [*header, *[""] * (width - len(header))], _after(rows, index))


def _after(rows: list[tuple[int, list[Cell]]], index: int) -> Iterator[tuple[int, list[Cell]]]:
    yield from rows[index + 1 :]


def _cell(shown: Any, written: Any, place: str) -> Cell:
    value = shown.value
    is_formula = isinstance(written.value, str) and written.value.startswith("=") and written.data_type == "f"
    if value is None and not is_formula:
        return Cell(text="", place=place)
    if isinstance(value, bool) or shown.data_type == "e":
        return Cell(text=str(value), place=place, kind=CellKind.OTHER)
    if isinstance(value, dt.datetime | dt.date):
        moment = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
        return Cell(text=moment.isoformat(), place=place, kind=CellKind.FORMULA if is_formula else CellKind.DATE, moment=moment)
    if isinstance(value, int | float):
        number = _number(value)
        kind = CellKind.FORMULA if is_formula else CellKind.NUMBER
        return Cell(text=f"{number:f}" if number is not None else "", place=place, kind=kind, number=number)
    text = Counter.text(str(value) if value is not None else "", place)
    return Cell(
        text=text or ("formula" if is_formula else ""), place=place, kind=CellKind.FORMULA if is_formula else CellKind.TEXT
    )


def _number(value: int | float) -> Decimal | None:
    """A double as it was typed: its shortest writing, 4.36 and not 4.3600000000000003."""
    number = Decimal(repr(value))
    return number if number.is_finite() and abs(number.adjusted()) <= 40 else None


def _letters(index: int) -> str:
    """Column letters: 0 is A, 26 is AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
