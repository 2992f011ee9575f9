"""Numbers and dates of text cells, by what the adapter declares; what could mean two things is refused, never guessed."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

from gateway.dicom import values
from gateway.dicom.values import Invalid, TimeOfDay
from gateway.tables.cells import Cell, CellKind
from gateway.tables.rules import ReadRule

#: What programs write where they have nothing to say.
ABSENT_WORDS = frozenset({"", "-", "--", "n/a", "na", "nan", "none", "null", "nd", "n.a.", "not available", "#n/a"})
_LONGEST = 40
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MOST_POWER = 40
_LIST_ITEM = re.compile(r"(?:np\.float(?:32|64)\()?\s*([+-]?[0-9.]+(?:[eE][+-]?[0-9]{1,3})?)\s*\)?")
_MOST_ITEMS = 10_000


def is_absent(cell: Cell | None) -> bool:
    return cell is None or cell.text.strip().casefold() in ABSENT_WORDS


def number(cell: Cell, read: ReadRule) -> Decimal:
    """Raises :class:`Invalid`, which continues "the cell ..."."""
    if cell.kind is CellKind.FORMULA and read.formulas != "cached":
        raise Invalid("is a formula: what it comes to depends on who opened the file; export values, or say 'formulas: cached'")
    if cell.number is not None:
        return cell.number
    if cell.kind is not CellKind.TEXT:
        raise Invalid("is no number")
    return from_text(cell.text, read)


def from_text(text: str, read: ReadRule) -> Decimal:
    """A number as the adapter's locale writes it."""
    text = text.strip().replace("\u2212", "-").replace("\u00a0", " ").replace("\u202f", " ")
    if len(text) > _LONGEST:
        raise Invalid("is no number")
    if _INTEGER.fullmatch(text):
        return Decimal(text)
    thousands = read.thousands or ""
    if read.decimal is None:
        if re.fullmatch(r"[+-]?[0-9.,' ]+(?:[eE][+-]?[0-9]+)?", text):
            raise Invalid(
                "holds a sign that may separate decimals or thousands: the adapter must say which ('decimal', 'thousands')"
            )
        raise Invalid("is no number")
    point, comma = re.escape(read.decimal), re.escape(thousands)
    whole = f"(?:[0-9]{{1,3}}(?:{comma}[0-9]{{3}})+|[0-9]+)" if thousands else "[0-9]+"
    if not re.fullmatch(rf"[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]{{1,3}})?", text):
        other = "," if read.decimal == "." else "."
        if other in text and not thousands:
            raise Invalid(f"holds '{other}', but decimals are written with '{read.decimal}' here and no sign separates thousands")
        raise Invalid("is no number")
    plain = (text.replace(thousands, "") if thousands else text).replace(read.decimal, ".")
    found = Decimal(plain)
    if abs(found.adjusted()) > _MOST_POWER:
        raise Invalid("is beyond all measure")
    return found


def numbers(cell: Cell) -> list[Decimal]:
    """A list as Python writes it: ``[3.74, np.float64(27.7)]``; decimal points always."""
    text = cell.text.strip()
    if cell.kind is not CellKind.TEXT or not (text.startswith("[") and text.endswith("]")):
        raise Invalid("is no list of numbers in square brackets")
    pieces = [piece.strip() for piece in text[1:-1].split(",")]
    if len(pieces) > _MOST_ITEMS:
        raise Invalid("is a list that is too long")
    found = [_LIST_ITEM.fullmatch(piece) for piece in pieces if piece]
    try:
        return [Decimal(item[1]) if item else _refuse() for item in found]
    except ArithmeticError as error:
        raise Invalid("is no list of numbers in square brackets") from error


def _refuse() -> Decimal:
    raise Invalid("is no list of numbers in square brackets")


def identifier(cell: Cell) -> str:
    """An identifier is text: a number has lost its leading zeros. Raises :class:`Invalid`."""
    if cell.kind is not CellKind.TEXT:
        raise Invalid("is no text: format the column as text and export again; a number loses leading zeros and digits")
    text = values.text(cell.text.strip())
    if re.fullmatch(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]+", text):
        raise Invalid("was turned into a number by a spreadsheet (1.2E+05): its digits are lost; export it as text")
    return text


def moment(cell: Cell, formats: tuple[str, ...], zone: dt.tzinfo) -> tuple[str, str | None]:
    """A FHIR dateTime, and what is to be told about it. Raises :class:`Invalid`."""
    if cell.kind is CellKind.DATE:
        if "cell" not in formats or cell.moment is None:
            raise Invalid("is a date of the spreadsheet, but the adapter does not say 'format: cell'")
        return _placed(cell.moment, zone, has_time=bool(cell.moment.time()))
    if cell.kind is not CellKind.TEXT:
        raise Invalid("is no text and no date")
    text = cell.text.strip()
    if len(text) > _LONGEST:
        raise Invalid("is no date")
    found = {}
    for form in formats:
        try:
            parsed = dt.datetime.strptime(text, form)  # noqa: DTZ007  the zone is the adapter's
        except ValueError:
            continue
        found[parsed] = "%H" in form or "%I" in form
    if not found:
        raise Invalid("is no date in the format that the adapter declares")
    if len(found) > 1:
        raise Invalid("is a date that two declared formats read differently")
    parsed, has_time = next(iter(found.items()))
    if not 1900 <= parsed.year <= 2200:
        raise Invalid("is a date beyond belief")
    return _placed(parsed, zone, has_time=has_time)


def _placed(local: dt.datetime, zone: dt.tzinfo, *, has_time: bool) -> tuple[str, str | None]:
    if not has_time:
        return local.date().isoformat(), None
    placed = values.at(local.date(), TimeOfDay(local.hour, local.minute, local.second), local.tzinfo or zone)
    return placed.text, placed.warning
