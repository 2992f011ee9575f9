"""Text tables: character encodings, CSV and its relatives, text reports with sections.

RFC 4180 for quotes; the delimiter, the encoding and the row of the header are the adapter's. A byte order mark decides the encoding.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from gateway.errors import Rejected
from gateway.tables.cells import UNREADABLE, Cell, Counter, Sheet, under_header
from gateway.tables.rules import HeaderRule, ReadRule, SectionRule

#: UTF-32 first: its mark begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, ""),
    (codecs.BOM_UTF32_BE, ""),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: What a text may hold besides printable letters.
_BLANKS = frozenset("\t\n\r\f\x1a")
_HEADER_WITHIN = 200


def decode(content: bytes, encodings: Sequence[str]) -> str:
    """The text of a file; the first encoding that fits without a loss. Raises :class:`Rejected`."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            if not name:
                raise Rejected("The file is UTF-32; save it as UTF-8.", status=UNREADABLE)
            return _printable(_strict(content[len(mark) :], name))
    for name in encodings[:-1]:
        try:
            return _printable(content.decode(name))
        except UnicodeDecodeError:
            continue
    return _printable(_strict(content, encodings[-1]))


def _strict(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        reason = f"The file is not {encoding} at byte {error.start + 1}; see 'encoding' of the adapter."
        raise Rejected(reason, status=UNREADABLE) from error


def _printable(text: str) -> str:
    if "\0" in text:
        raise Rejected(
            "The file holds zero bytes: it is no text, or its encoding is not the one of the adapter.", status=UNREADABLE
        )
    odd = next((letter for letter in text if letter < " " and letter not in _BLANKS), None)
    if odd is not None:
        raise Rejected(f"The file holds a control character (code {ord(odd)}).", status=UNREADABLE)
    return text


def split_lines(text: str) -> list[str]:
    """Lines whatever ends them; never at the exotic separators of ``str.splitlines``."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_csv(text: str, rule: ReadRule) -> tuple[Sheet, ...]:
    """One sheet. Raises :class:`Rejected`."""
    rows = list(_records(text.replace("\r\n", "\n").replace("\r", "\n"), rule.delimiter))
    index = find_header([row for _, row in rows], rule.header)
    header = rows[index][1]
    body = ((number, [Cell(text=value, place=f"row {number}") for value in row]) for number, row in rows[index + 1 :])
    return (under_header("", header, body),)


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line on which each begins."""
    counter = Counter()
    lines = text.split("\n")
    if delimiter == "whitespace":
        for number, line in enumerate(lines, 1):
            if line.strip():
                counter.row(line.split())
                yield number, line.split()
        return
    csv.field_size_limit(1 << 20)
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    before = 0
    try:
        for row in reader:
            number, before = before + 1, reader.line_num
            if any(value.strip() for value in row):
                counter.row(row)
                yield number, [counter.text(value, f"row {number}").strip("\n") for value in row]
    except csv.Error as error:
        raise Rejected(f"Line {reader.line_num} is no CSV: {error}.", status=UNREADABLE) from error


def find_header(rows: Sequence[Sequence[str]], rule: HeaderRule) -> int:
    """Index of the header row among the rows that hold anything. Raises :class:`Rejected`."""
    if rule.row is not None:
        if len(rows) < rule.row:
            raise Rejected(f"The table has no row {rule.row}, where its header should be.", status=UNREADABLE)
        return rule.row - 1
    wanted = set(rule.contains)
    for index, row in enumerate(rows[:_HEADER_WITHIN]):
        if wanted <= {value.strip() for value in row}:
            return index
    raise Rejected(f"No row holds the columns {', '.join(rule.contains)}: there is no header.", status=UNREADABLE)


def read_report(text: str, rule: ReadRule) -> tuple[tuple[Sheet, ...], tuple[str, ...]]:
    """The sections of a text report, and all its lines. Sections that are not there are not given. Raises :class:`Rejected`."""
    lines = split_lines(text)
    counter = Counter()
    for line in lines:
        counter.row([line])
    sheets = [sheet for section in rule.sections if (sheet := _section(lines, section, rule, counter)) is not None]
    return tuple(sheets), tuple(lines)


def _section(lines: Sequence[str], section: SectionRule, rule: ReadRule, counter: Counter) -> Sheet | None:
    starts = [index for index, line in enumerate(lines) if _is(line, section.starts)]
    if not starts:
        return None
    if len(starts) > 1:
        raise Rejected(f"The section '{section.name}' begins {len(starts)} times.", status=UNREADABLE)
    delimiter = section.delimiter or rule.delimiter
    first = starts[0]
    body = _until_end(lines, first + 1, section)
    header = list(section.columns) or _cut(lines[first], delimiter)
    rows: list[tuple[int, list[Cell]]] = []
    for index in body:
        values = _cut(lines[index], delimiter)
        counter.row(values)
        rows.append((index + 1, [Cell(text=value, place=f"line {index + 1}") for value in values]))
    width = max((len(cells) for _, cells in rows), default=0)
    return under_header(section.name, [*header, *[""] * (width - len(header))], iter(rows))


def _until_end(lines: Sequence[str], first: int, section: SectionRule) -> range:
    for index in range(first, len(lines)):
        if section.ends and _is(lines[index], section.ends):
            return range(first, index)
        if not section.ends and not lines[index].strip():
            return range(first, index)
    if section.ends:
        raise Rejected(f"The section '{section.name}' does not end: the report is cut off.", status=UNREADABLE)
    return range(first, len(lines))


def _cut(line: str, delimiter: str) -> list[str]:
    if delimiter == "whitespace":
        return line.split()
    try:
        return [value.strip() for value in next(csv.reader([line], delimiter=delimiter, strict=True), [])]
    except csv.Error:
        return [value.strip() for value in line.split(delimiter)]


def _is(line: str, pattern: str) -> bool:
    """A line begins like a pattern in which ``*`` stands for anything."""
    return fnmatchcase(line.strip(), f"{_literal(pattern)}*")


def _literal(pattern: str) -> str:
    return pattern.replace("[", "[[]").replace("?", "[?]")
