"""What every reader of tables gives: sheets of cells, each cell with its text, its type and its place in the file.

A cell is text unless the file itself says otherwise (XLSX, JSON). What a text means is the adapter's affair: no reader guesses a
number, a date or a unit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from gateway.errors import Rejected

#: Larger files are no tables of dosimetry. PyTheranostics and OLINDA write kilobytes; a blood sampler writes thousands of rows.
MOST_BYTES = 16 << 20
MOST_ROWS = 100_000
MOST_COLUMNS = 1_000
MOST_CELLS = 500_000
MOST_CELL_CHARACTERS = 32_767  #: what a cell of a spreadsheet can hold
MOST_SHEETS = 100

TOO_LARGE, UNREADABLE = 413, 422


class CellKind(StrEnum):
    TEXT = "text"
    NUMBER = "number"  #: the file says that it is a number; ``number`` holds it
    DATE = "date"  #: the file says that it is a moment, without a zone; ``moment`` holds it
    FORMULA = "formula"  #: computed by a spreadsheet: what stands there is what some program computed last
    OTHER = "other"  #: a truth value or an error of a spreadsheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell. ``place`` is how people find it: ``row 3``, ``Sheet1!D3``, ``line 12``."""

    text: str
    place: str
    kind: CellKind = CellKind.TEXT
    number: Decimal | None = None
    moment: dt.datetime | None = None

    @property
    def is_empty(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The cells of one row by the name of their column, and by number from 1."""

    number: int
    sheet: str = ""
    cells: dict[str, Cell]
    ordered: tuple[Cell, ...]

    def cell(self, name: str) -> Cell | None:
        """By the column's name, or by ``#3`` for its number."""
        if name.startswith("#") and name[1:].isdigit():
            index = int(name[1:]) - 1
            return self.ordered[index] if 0 <= index < len(self.ordered) else None
        return self.cells.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Rows under one header: a sheet, a CSV file, a section of a report, the objects of a JSON file."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file as the adapter sees it: its sheets, and its lines where it is text."""

    filename: str
    sheets: tuple[Sheet, ...]
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  #: what the reader noticed

    def sheet(self, name: str) -> Sheet | None:
        return next((sheet for sheet in self.sheets if sheet.name == name), None)


@dataclass(slots=True)
class Counter:
    """Keeps a table within bounds while it is read. Raises :class:`Rejected` (413)."""

    rows: int = 0
    cells: int = 0
    _told: list[str] = field(default_factory=list)

    def row(self, values: Sequence[object]) -> None:
        self.rows += 1
        self.cells += len(values)
        if self.rows > MOST_ROWS:
            raise Rejected(f"The table has more than {MOST_ROWS:,} rows.", status=TOO_LARGE)
        if len(values) > MOST_COLUMNS:
            raise Rejected(f"Row {self.rows} of the table has more than {MOST_COLUMNS:,} columns.", status=TOO_LARGE)
        if self.cells > MOST_CELLS:
            raise Rejected(f"The table has more than {MOST_CELLS:,} cells.", status=TOO_LARGE)

    @staticmethod
    def text(value: str, place: str) -> str:
        if len(value) > MOST_CELL_CHARACTERS:
            raise Rejected(f"The cell at {place} has more than {MOST_CELL_CHARACTERS:,} characters.", status=TOO_LARGE)
        return value


def unique_names(header: Sequence[str]) -> tuple[str, ...]:
    """Names of columns, trimmed. A name that stands twice is refused: nobody could say which is meant.

    Columns without a name are reached by their number only.
    """
    names = tuple(name.strip() for name in header)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise Rejected(f"The column '{twice[0]}' stands twice in the header.", status=UNREADABLE)
    return names


def under_header(name: str, header: Sequence[str], rows: Iterator[tuple[int, Sequence[Cell]]]) -> Sheet:
    """Rows by the names of a header. Rows without any text are left out. Raises :class:`Rejected`."""
    columns = unique_names(header)
    made = []
    for number, cells in rows:
        if all(cell.is_empty for cell in cells):
            continue
        if len(cells) > len(columns) and not all(cell.is_empty for cell in cells[len(columns) :]):
            raise Rejected(f"Row {number} has more cells than the header has columns.", status=UNREADABLE)
        named = {column: cell for column, cell in zip(columns, cells, strict=False) if column}
        made.append(Row(number=number, sheet=name, cells=named, ordered=tuple(cells)))
    return Sheet(name=name, columns=columns, rows=tuple(made))
