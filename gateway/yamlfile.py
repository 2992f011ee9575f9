"""YAML read strictly and with line numbers: the one door for settings and mapping files.

``yaml.safe_load`` forgets where a value stood, builds alias bombs and lets a repeated key win silently. Here every complaint can
name ``file:line:column``; aliases, merge keys, tags and repeated keys are refused; size, depth and number of values are capped, before
anything is built from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path as FilePath
from typing import Any

import yaml

from gateway.errors import Misconfigured
from gateway.yaml_hints import CURLY_QUOTE, CURLY_QUOTES, ODD_SPACE, likely_mistake, odd_indent

#: libyaml where the wheel has it: mapping folders are read at every start, and it is ten times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 100_000
MAX_DIGITS = 40

#: Of the control characters a file may hold tab, newline and carriage return.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ESCAPED_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CURLY_QUOTES = frozenset(CURLY_QUOTES)
_DECIMAL_INTEGER = re.compile("[+-]?(0|[1-9][0-9]*)")

#: A place in the tree: keys of mappings and indexes of lists, outermost first.
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain data, and for each place in it the line and column where it stands."""

    name: str
    data: Any
    positions: dict[Place, tuple[int, int]]

    def where(self, place: Place) -> str:
        """``file:line:column`` of a place, or of the nearest one above it."""
        while place and place not in self.positions:
            place = place[:-1]
        line, column = self.positions.get(place, (1, 1))
        return f"{self.name}:{line}:{column}"


def read(path: FilePath, *, name: str | None = None, problems: list[str] | None = None) -> Document:
    """Read one file. Raises :class:`Misconfigured` when it is missing, too large or not plain YAML; see :func:`parse`."""
    shown = name or str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{shown}: cannot be read ({error.strerror})") from error
    return parse(content, name=shown, problems=problems)


def parse(content: bytes | str, *, name: str, problems: list[str] | None = None) -> Document:
    """Parse YAML text; ``name`` is what complaints call the file.

    Raises :class:`Misconfigured`. A key that is given twice, or a merge key, does not stop the reading: who gives a list for
    ``problems`` gets the document without them (the first value stays), and what is wrong in the list.
    """
    text = _decoded(content, name)
    try:
        _screen(text, name)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise Misconfigured(_told(error, text, name)) from error
    positions: dict[Place, tuple[int, int]] = {}
    found: list[str] = []
    data = _build(node, (), positions, name, found) if node is not None else {}
    if found and problems is None:
        raise Misconfigured(found)
    if problems is not None:
        problems += found
    return Document(name, data, positions)


def _decoded(content: bytes | str, name: str) -> str:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(raw) > MAX_BYTES:
        raise Misconfigured(f"{name}: larger than {MAX_BYTES // 1024} KiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise Misconfigured(f"{name}:{line}:{column}: not UTF-8: save the file as UTF-8") from error
    odd = _CONTROL.search(text)
    if odd:
        line, column = _position(text, odd.start())
        raise Misconfigured(f"{name}:{line}:{column}: a control character (code {ord(odd[0])}) is not allowed")
    indent = odd_indent(text)
    if indent is not None:
        line, column = _position(text, indent)
        raise Misconfigured(f"{name}:{line}:{column}: {ODD_SPACE}")
    return text


def _position(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _screen(text: str, name: str) -> None:
    """Everything that must not even be built, found in one pass over the events, which needs no memory of its own."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        mark = event.start_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Misconfigured(f"{where}: anchors and aliases are not allowed: put a text that begins with * or & in quotes")
        if isinstance(event, yaml.ScalarEvent) and not event.style and event.value[:1] in _CURLY_QUOTES:
            raise Misconfigured(f"{where}: {CURLY_QUOTE}")
        if getattr(event, "tag", None) is not None:
            raise Misconfigured(f"{where}: tags such as '!!' are not allowed; write the plain value")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise Misconfigured(f"{where}: nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > MAX_NODES:
            raise Misconfigured(f"{where}: more than {MAX_NODES} values")


def _told(error: yaml.YAMLError, text: str, name: str) -> str:
    """What is wrong and where, in words for people who do not know YAML's own."""
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read")
    if mark is None:
        return f"{name}: not valid YAML: {problem}"
    found = likely_mistake(text, mark.line, mark.column, problem)
    line, column = (found.line, found.column) if found else (mark.line, mark.column)
    opened = getattr(error, "context_mark", None)
    if found:
        problem = found.text
    elif opened is not None and opened.line < mark.line and "did not find expected ','" in problem:
        problem += f" (of the bracket that line {opened.line + 1} opens)"
    return f"{name}:{line + 1}:{column + 1}: not valid YAML: {problem}"


def _build(node: yaml.Node, place: Place, positions: dict[Place, tuple[int, int]], name: str, problems: list[str]) -> Any:
    positions[place] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, place, positions, name, problems)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*place, index), positions, name, problems) for index, item in enumerate(node.value)]
    return _scalar(node, name)


def _build_mapping(
    node: yaml.MappingNode, place: Place, positions: dict[Place, tuple[int, int]], name: str, problems: list[str]
) -> Any:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        where = _where(key_node, name)
        if not isinstance(key_node, yaml.ScalarNode) or not key_node.value:
            raise Misconfigured(f"{where}: a key must be a plain word")
        key = str(key_node.value)
        if key_node.tag == "tag:yaml.org,2002:merge":
            problems.append(f"{where}: merge keys ('<<') are not allowed; use 'extends', or write the values out")
            continue
        if key in built:
            problems.append(f"{where}: '{key}' is given twice")
            continue
        built[key] = _build(value_node, (*place, key), positions, name, problems)
        positions[(*place, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
    return built


def _where(node: yaml.Node, name: str) -> str:
    return f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _scalar(node: yaml.Node, name: str) -> Any:
    """Plain scalars as YAML 1.1 types; decimals exact. A date, octal or sexagesimal stays the text that was written."""
    if not isinstance(node, yaml.ScalarNode):
        raise Misconfigured(f"{_where(node, name)}: only mappings, lists and scalars are allowed")
    text: str = node.value
    if _ESCAPED_CONTROL.search(text):
        raise Misconfigured(f"{_where(node, name)}: a control character is not allowed, not even escaped")
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "null":
            return None
        case "bool":
            return text.lower() == "true" if text.lower() in ("true", "false") else text
        case "int" if _DECIMAL_INTEGER.fullmatch(text):
            return int(_digits(text, node, name))
        case "float":
            return _decimal(_digits(text, node, name))
        case _:
            return text


def _digits(text: str, node: yaml.Node, name: str) -> str:
    if len(text) > MAX_DIGITS:
        raise Misconfigured(f"{_where(node, name)}: a number of more than {MAX_DIGITS} digits; put it in quotes if it is text")
    return text


def _decimal(text: str) -> Decimal | str:
    try:
        number = Decimal(text)
    except InvalidOperation:  # .inf, .nan, sexagesimal
        return text
    return number if number.is_finite() and abs(number.adjusted()) <= MAX_DIGITS else text
