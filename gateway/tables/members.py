"""One member of a result from the rows of its group: found, converted, explained. What cannot be used is an issue and no value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from gateway.dicom import values
from gateway.dicom.values import Invalid
from gateway.mapping.codes import Codes, fold
from gateway.model import Json, JsonObject, Severity
from gateway.nuclear.plausible import implausible
from gateway.nuclear.results import KINDS
from gateway.nuclear.units import convert, misnamed, plain
from gateway.tables import numbers
from gateway.tables.cells import Cell, Row, Source
from gateway.tables.lesions import numbered_lesion
from gateway.tables.rules import ReadRule, ValueRule
from gateway.tables.units import in_header, ucum

_encoder = msgspec.json.Encoder(decimal_format="number", order="deterministic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A value, where it stands, the source's own number and unit where they differ, and what is to be told."""

    value: Json
    place: str
    stated: JsonObject | None = None
    notes: tuple[tuple[str, Severity], ...] = ()
    implied: JsonObject = field(
        default_factory=dict
    )  #: other members that a code says: the side of an organ, the nuclide of an agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the members of one file are read with."""

    source: Source
    read: ReadRule
    codes: Codes
    zone: dt.tzinfo


def found_in(rule: ValueRule, rows: Sequence[Row], context: Context, kind: str | None) -> Found | None:
    """The one value that the rows of a group give. Raises :class:`Invalid` when it cannot be used, or when they differ."""
    cells = [found for row in rows for found in _cells(rule, row, context)] or list(_apart(rule, context))
    told: dict[bytes, Found] = {}
    for cell, column, row in cells:
        try:
            outcome = _convert(rule, cell, column, row, context, kind)
        except Invalid as error:
            raise Invalid(f"{error} ({_place(cell, column)})") from error
        if outcome is not None:
            told.setdefault(canonical(outcome.value), outcome)
    if len(told) > 1:
        raise Invalid("differs between the rows of one group")
    return next(iter(told.values()), None)


def lists_in(rule: ValueRule, row: Row, context: Context, kind: str) -> list[Found]:
    """The values of a cell that holds a list."""
    for cell, column, own in _cells(rule, row, context):
        unit = _unit(rule, column, own)
        return [_quantity(rule, number, unit, cell.place, kind) for number in numbers.numbers(cell)]
    return []


def _cells(rule: ValueRule, row: Row, context: Context) -> list[tuple[Cell, str, Row]]:
    """The first column of a row, of the alternatives, that holds anything."""
    if rule.section:
        return []
    for name in rule.columns:
        cell = row.cell(name)
        if cell is not None and not numbers.is_absent(cell):
            return [(cell, name, row)]
    return []


def _apart(rule: ValueRule, context: Context) -> list[tuple[Cell, str, Row]]:
    """What does not stand in the rows: a fixed word, the name of the file, a line of a report, another section."""
    nowhere = Row(number=0, cells={}, ordered=())
    if rule.constant is not None:
        return [(Cell(text=str(rule.constant), place="the adapter"), "", nowhere)]
    if rule.from_filename:
        return [(Cell(text=context.source.filename, place="the name of the file"), "", nowhere)]
    if rule.line is not None:
        for number, line in enumerate(context.source.lines, 1):
            if rule.line.fits(line):
                return [(Cell(text=line, place=f"line {number}"), "", nowhere)]
    sheet = context.source.sheet(rule.section) if rule.section else None
    for row in sheet.rows if sheet else ():
        for name in rule.columns:
            cell = row.cell(name)
            if cell is not None and not numbers.is_absent(cell):
                return [(cell, name, row)]
    return []


def _convert(rule: ValueRule, cell: Cell, column: str, row: Row, context: Context, kind: str | None) -> Found | None:
    place = _place(cell, column)
    cell = _cut(rule, cell)
    if numbers.is_absent(cell):
        return None
    if rule.type == "Quantity":
        number = Decimal(rule.constant) if rule.constant is not None else numbers.number(cell, context.read)
        return _quantity(rule, number, _unit(rule, column, row), place, kind)
    if rule.type in ("decimal", "integer"):
        return _number(rule, cell, context.read, place)
    if rule.type == "dateTime":
        text, warning = numbers.moment(cell, rule.formats, context.zone)
        return Found(value=text, place=place, notes=((warning, Severity.WARNING),) if warning else ())
    if rule.type == "CodeableConcept":
        return _concept(rule, cell, context.codes, place)
    if rule.type == "identifier":
        return Found(value=numbers.identifier(cell), place=place)
    if rule.type == "list":
        return Found(value=[values.text(cell.text)], place=place)
    return Found(value=values.text(cell.text), place=place)


def _cut(rule: ValueRule, cell: Cell) -> Cell:
    """``pattern`` and ``map`` apply to texts, before anything else."""
    if rule.cut is not None:
        found = rule.cut.search(cell.text)
        if found is None or found[1] is None:
            return Cell(text="", place=cell.place)
        cell = Cell(text=str(found[1]), place=cell.place)
    if rule.words:
        wanted = dict(rule.words)
        if fold(cell.text) not in wanted:
            raise Invalid("is a word that the 'map' of the adapter does not know")
        cell = Cell(text=wanted[fold(cell.text)], place=cell.place)
    return cell


def _number(rule: ValueRule, cell: Cell, read: ReadRule, place: str) -> Found:
    number = Decimal(rule.constant) if rule.constant is not None else numbers.number(cell, read)
    _within(rule, number)
    if rule.type == "integer":
        if number != number.to_integral_value() or abs(number) > 10**9:
            raise Invalid("is no whole number")
        return Found(value=int(number), place=place)
    return Found(value=plain(number), place=place)


def _unit(rule: ValueRule, column: str, row: Row) -> str:
    """The unit of a quantity: of its own column, of the header, of the adapter. Raises :class:`Invalid` when there is none."""
    in_name, written = in_header(column)
    if rule.unit_column is not None:
        cell = row.cell(rule.unit_column)
        unit = ucum(cell.text) if cell is not None and cell.text.strip() else None
        if unit is None:
            told = misnamed(cell.text) if cell is not None else None
            raise Invalid(f"has no unit that is known here in its column '{rule.unit_column}'{f': it {told}' if told else ''}")
        return unit
    if rule.unit is not None:
        if in_name is not None and in_name != rule.unit:
            raise Invalid(f"is in {written} by its header, but in {rule.unit} by the adapter")
        return rule.unit
    if in_name is not None:
        return in_name
    told = misnamed(written) if written is not None else None
    if told:
        raise Invalid(f"has a unit in its header that {told}; say 'unit' in the adapter")
    if written is not None:
        raise Invalid(f"has the unit '{written}' in its header, which is not known here; say 'unit' in the adapter")
    raise Invalid("has no unit, neither in its header nor in the adapter: the column is not read")


def _quantity(rule: ValueRule, number: Decimal, unit: str, place: str, kind: str | None) -> Found:
    out = rule.out
    if rule.name in ("value", "uncertainty") and kind is not None:
        out = KINDS[kind].unit_for(unit)
        if out is None and rule.name == "uncertainty" and unit == "%":
            out = unit
        if out is None:
            raise Invalid(f"is in {unit}, which is no unit of this kind of fact")
    if number < 0:
        raise Invalid("is below zero")
    _within(rule, number)
    stated = {"value": number, "unit": unit}
    _believable(rule, stated, kind)
    if out is None or out == unit:
        return Found(value={"value": plain(number) if "E" in str(number) else number, "unit": unit}, place=place)
    try:
        return Found(value={"value": convert(number, unit, out), "unit": out}, place=place, stated=stated)
    except ValueError:
        if rule.name == "activity" and kind is not None:  # a concentration stays one
            return Found(value=stated, place=place)
        raise Invalid(f"is in {unit}, where {out} belongs") from None


def _believable(rule: ValueRule, quantity: JsonObject, kind: str | None) -> None:
    """Raises :class:`Invalid` for what cannot be true; the adapter's own range counts first."""
    member = "" if rule.name == "value" else rule.name
    reason = implausible(quantity, kind=kind, member=member) if rule.limits is None else None
    if reason:
        raise Invalid(f"{reason}; check the unit, or say 'range' in the adapter if it is true")


def _within(rule: ValueRule, number: Decimal) -> None:
    if rule.limits is not None and not rule.limits[0] <= number <= rule.limits[1]:
        raise Invalid(f"lies outside the range from {rule.limits[0]:f} to {rule.limits[1]:f} that the adapter allows")


def _concept(rule: ValueRule, cell: Cell, codes: Codes, place: str) -> Found:
    text = values.text(cell.text.strip())
    if rule.table is None:
        return Found(value={"text": text}, place=place)
    entry = codes.by_text(rule.table, text)
    implied: JsonObject = {}
    numbered = numbered_lesion(text, codes, rule.table) if entry is None and rule.name == "region" else None
    if numbered is not None:
        return Found(value={**codes.concept(numbered).as_json(), "text": text}, place=place, implied={"lesion": text})
    if entry is None:
        mentioned = codes.nuclides.recognise(text) if rule.name == "agent" else None
        if mentioned:
            implied["radionuclide"] = mentioned
        note = (f"is in no entry of codes/{rule.table}.yaml: only its words are kept", Severity.WARNING)
        return Found(value={"text": text}, place=place, notes=(note,), implied=implied)
    if entry.laterality:
        implied["laterality"] = entry.laterality
    if entry.nuclide:
        implied["radionuclide"] = entry.nuclide
    return Found(value=codes.concept(entry).as_json(), place=place, implied=implied)


def _place(cell: Cell, column: str) -> str:
    return f"{cell.place}, column {column}" if column and "!" not in cell.place else cell.place


def canonical(value: Json) -> bytes:
    """Equal values, equal bytes."""
    return _encoder.encode(value)


def put(tree: JsonObject, name: str, value: Any) -> None:
    """``software.name`` into the object ``software``."""
    *groups, last = name.split(".")
    for group in groups:
        tree = tree.setdefault(group, {})
    tree[last] = value
