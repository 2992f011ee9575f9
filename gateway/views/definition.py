"""Compiles a ViewDefinition (SQL on FHIR v2) into a function from one resource to its rows.

Supported: ``where``, ``constant``, ``column`` (with ``collection``), nested ``select``, ``forEach``, ``forEachOrNull``, ``repeat``,
``unionAll``, ``%rowIndex``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.views.path import Environment, Found, Path, Resolver, compile_path, single
from gateway.views.syntax import UnknownPath

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
MAX_ROWS_OF_ONE = 100_000
MAX_REPEAT_DEPTH = 64

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``type`` is FHIR's (``decimal``, ``dateTime`` ...), empty when the definition names none."""

    name: str
    type: str = ""
    description: str = ""
    collection: bool = False


@dataclass(frozen=True, slots=True)
class _Cell:
    column: Column
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class _Select:
    """One ``select``: its cells, what is selected beside them and, instead of the node itself, for each of what."""

    cells: tuple[_Cell, ...]
    beside: tuple[_Select, ...]
    union: tuple[_Select, ...]
    for_each: Path | None
    or_null: bool
    repeat: tuple[Path, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A compiled definition."""

    name: str
    title: str
    resource: str
    columns: tuple[Column, ...]
    constants: Mapping[str, Any]
    _where: tuple[Path, ...]
    _select: tuple[_Select, ...]

    def rows(
        self, resource: Mapping[str, Any], *, constants: Mapping[str, Any] | None = None, resolve: Resolver | None = None
    ) -> list[Row]:
        """The rows of one resource. Raises :class:`Rejected` (422) when a path does not fit what is there."""
        if resource.get("resourceType") != self.resource:
            return []
        known = {**self.constants, **{key: value for key, value in (constants or {}).items() if key in self.constants}}
        env = Environment(known, 0, resource, 0, resolve, resource)
        try:
            if not all(_holds(test, resource, env) for test in self._where):
                return []
            return list(_product(self._select, resource, env))
        except UnknownPath as error:
            raise Rejected(f"view {self.name}: {error}", status=422) from error


def _holds(test: Path, resource: Mapping[str, Any], env: Environment) -> bool:
    """Of a ``where``. What is neither true nor false is a slip of the pen: ``name.family`` for ``name.family.exists()``."""
    value = single(test([resource], env))
    if value is not None and not isinstance(value, bool):
        raise UnknownPath("a where must be true or false")
    return value is True


def read_view(tree: Any) -> View:
    """Compile a definition. Raises :class:`Rejected` (400) that says what is wrong."""
    try:
        return _read(tree)
    except UnknownPath as error:
        raise Rejected(f"ViewDefinition: {error}", status=400) from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Rejected(f"ViewDefinition: it does not have the shape of one ({type(error).__name__})", status=400) from error


def _read(tree: Mapping[str, Any]) -> View:
    resource = tree["resource"]
    if resource not in definitions.resource_types():
        raise UnknownPath(f"resource type '{str(resource)[:40]}' is not known here")
    selects = tuple(_read_select(item) for item in tree["select"])
    columns = tuple(column for item in selects for column in item.columns)
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UnknownPath("columns that stand there twice: " + ", ".join(twice))
    where = tuple(compile_path(item["path"]) for item in tree.get("where", ()))
    constants = dict(_constant(item) for item in tree.get("constant", ()))
    name, title = str(tree.get("name") or "view"), str(tree.get("title") or "")
    return View(name, title, resource, columns, constants, where, selects)


def _constant(item: Mapping[str, Any]) -> tuple[str, Any]:
    values = [value for key, value in item.items() if key.startswith("value")]
    if len(values) != 1:
        raise UnknownPath("a constant needs exactly one value")
    return str(item["name"]), values[0]


def _read_select(item: Mapping[str, Any]) -> _Select:
    if len({"forEach", "forEachOrNull", "repeat"} & item.keys()) > 1:
        raise UnknownPath("a select has one of forEach, forEachOrNull and repeat")
    if not isinstance(item.get("repeat", []), list):
        raise UnknownPath("repeat is a list of paths")
    cells = tuple(_read_cell(cell) for cell in item.get("column", ()))
    beside = tuple(_read_select(child) for child in item.get("select", ()))
    union = tuple(_read_select(child) for child in item.get("unionAll", ()))
    if len({tuple(column.name for column in child.columns) for child in union}) > 1:
        raise UnknownPath("the parts of a unionAll need the same columns in the same order")
    each = item.get("forEach") or item.get("forEachOrNull")
    columns = (
        *(cell.column for cell in cells),
        *(column for child in beside for column in child.columns),
        *(union[0].columns if union else ()),
    )
    repeat = tuple(compile_path(path) for path in item.get("repeat", ()))
    return _Select(cells, beside, union, compile_path(each) if each else None, "forEachOrNull" in item, repeat, columns)


def _read_cell(item: Mapping[str, Any]) -> _Cell:
    if not _NAME.fullmatch(item["name"]):
        raise UnknownPath("a column name is a letter, then letters, digits and underscores")
    collection = item.get("collection") is True
    column = Column(item["name"], str(item.get("type") or ""), str(item.get("description") or ""), collection)
    return _Cell(column, compile_path(item["path"]), item["path"])


def _product(selects: Sequence[_Select], node: Any, env: Environment) -> Iterator[Row]:
    """Every row of the first with every row of the others."""
    rows: list[Row] = [{}]
    for item in selects:
        fresh = list(_rows(item, node, env))
        if len(rows) * len(fresh) > MAX_ROWS_OF_ONE:
            raise UnknownPath(f"more than {MAX_ROWS_OF_ONE} rows from one resource")
        rows = [{**left, **right} for left in rows for right in fresh]
    yield from rows


def _rows(item: _Select, node: Any, env: Environment) -> Iterator[Row]:
    found: Found
    if item.repeat:
        found = list(_below(item.repeat, node, env, 1))
    elif item.for_each is not None:
        found = item.for_each([node], env)
    else:
        yield from _rows_at(item, node, env)
        return
    for number, child in enumerate(found):
        yield from _rows_at(item, child, env.row(child, number))
    if not found and item.or_null:
        nothing: Row = {column.name: None for column in item.columns}
        yield nothing | {cell.column.name: _value(cell, {}, env.row({}, 0)) for cell in item.cells}


def _below(paths: Sequence[Path], node: Any, env: Environment, depth: int) -> Iterator[Any]:
    """What the paths find, each followed by what they find in it."""
    if depth > MAX_REPEAT_DEPTH:
        raise UnknownPath(f"repeat goes deeper than {MAX_REPEAT_DEPTH} levels")
    for path in paths:
        for child in path([node], env):
            yield child
            yield from _below(paths, child, env, depth + 1)


def _rows_at(item: _Select, node: Any, env: Environment) -> Iterator[Row]:
    own = {cell.column.name: _value(cell, node, env) for cell in item.cells}
    others = _product(item.beside, node, env)
    union = [row for child in item.union for row in _rows(child, node, env)] if item.union else [{}]
    for other in others:
        for more in union:
            yield {**own, **other, **more}


def _value(cell: _Cell, node: Any, env: Environment) -> Any:
    found = cell.path([node], env)
    if cell.column.collection:
        return found
    try:
        return single(found)
    except UnknownPath as error:
        raise UnknownPath(
            f"column {cell.column.name} has several values ({cell.text[:80]}); name one, or set collection"
        ) from error
