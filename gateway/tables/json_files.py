"""JSON as a table: a path leads to the objects that are rows; what stands inside them is reached by dotted names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from gateway.errors import Rejected
from gateway.tables.cells import UNREADABLE, Cell, CellKind, Counter, Row, Sheet

_DEEPEST = 16
_MOST_DIGITS = 40


def read_json(text: str, path: tuple[str, ...]) -> tuple[Sheet, ...]:
    """One sheet: a row for each thing that ``path`` leads to; ``*`` is every member, whose name is then column ``$1``, ``$2``...

    Raises :class:`Rejected`.
    """
    _check_depth(text)
    try:
        tree = json.loads(text, parse_float=_decimal, parse_int=_decimal, parse_constant=_no_number, object_pairs_hook=_once)
    except ValueError as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Rejected(f"The file is not valid JSON{where}.", status=UNREADABLE) from error
    counter = Counter()
    rows = []
    for number, (names, node) in enumerate(_walk(tree, path, ()), 1):
        cells = {f"${index}": Cell(text=name, place=f"entry {number}") for index, name in enumerate(names, 1)}
        cells |= dict(_cells(node, "", f"entry {number}", counter))
        counter.row(list(cells))
        rows.append(Row(number=number, cells=cells, ordered=tuple(cells.values())))
    columns = dict.fromkeys(name for row in rows for name in row.cells)
    return (Sheet(name="", columns=tuple(columns), rows=tuple(rows)),)


def _walk(node: Any, path: tuple[str, ...], names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not path:
        yield names, node
        return
    first, rest = path[0], path[1:]
    if first == "*":
        members = node.items() if isinstance(node, dict) else enumerate(node, 1) if isinstance(node, list) else ()
        for name, member in members:
            yield from _walk(member, rest, (*names, str(name)))
    elif isinstance(node, dict) and first in node:
        yield from _walk(node[first], rest, names)


def _cells(node: Any, prefix: str, place: str, counter: Counter) -> Iterator[tuple[str, Cell]]:
    if isinstance(node, dict):
        for name, member in node.items():
            yield from _cells(member, f"{prefix}.{name}" if prefix else str(name), place, counter)
    elif isinstance(node, list) and not all(isinstance(item, Decimal) for item in node):
        for index, member in enumerate(node, 1):
            yield from _cells(member, f"{prefix}.{index}" if prefix else str(index), place, counter)
    else:
        yield prefix or "value", _cell(node, f"{place}, {prefix or 'value'}", counter)


def _cell(node: Any, place: str, counter: Counter) -> Cell:
    if isinstance(node, Decimal):
        return Cell(text=f"{node:f}", place=place, kind=CellKind.NUMBER, number=node)
    if isinstance(node, list):
        return Cell(text="[" + ", ".join(f"{item:f}" for item in node) + "]", place=place)
    if node is None:
        return Cell(text="", place=place)
    if isinstance(node, bool):
        return Cell(text=str(node).lower(), place=place, kind=CellKind.OTHER)
    return Cell(text=counter.text(str(node), place), place=place)


def _decimal(text: str) -> Decimal:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number with too many digits")
    number = Decimal(text)
    if abs(number.adjusted()) > _MOST_DIGITS:
        raise ValueError("a number beyond all measure")
    return number


def _no_number(_text: str) -> None:
    """NaN and Infinity: nothing was measured."""
    return


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return made


def _check_depth(text: str) -> None:
    depth, quoted, escaped = 0, False, False
    for letter in text:
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = letter == "\\", letter != '"'
        elif letter == '"':
            quoted = True
        elif letter in "[{":
            depth += 1
            if depth > _DEEPEST:
                raise Rejected(f"The file is nested deeper than {_DEEPEST} levels.", status=UNREADABLE)
        elif letter in "]}":
            depth -= 1
