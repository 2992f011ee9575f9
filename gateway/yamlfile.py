"""YAML read strictly and with line numbers: the one door for settings and mapping files.

``yaml.safe_load`` forgets where a value stood, builds alias bombs and lets a repeated key win silently. Here every complaint can
name ``file:line:column``, aliases and repeated keys are refused, and size and depth are capped.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path as FilePath
from typing import Any

import yaml

from gateway.errors import Misconfigured

#: libyaml where the wheel has it: mapping folders are read at every start, and it is ten times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32

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


def read(path: FilePath, *, name: str | None = None) -> Document:
    """Read one file. Raises :class:`Misconfigured` when it is missing, too large or not plain YAML."""
    shown = name or str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{shown}: cannot be read ({error.strerror})") from error
    return parse(content, name=shown)


def parse(content: bytes | str, *, name: str) -> Document:
    """Parse YAML text; ``name`` is what complaints call the file."""
    if len(content) > MAX_BYTES:
        raise Misconfigured(f"{name}: larger than {MAX_BYTES // 1024} KiB")
    try:
        _refuse_aliases(content, name)
        node = yaml.compose(content, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise Misconfigured(f"{where}: not valid YAML: {getattr(error, 'problem', error)}") from error
    positions: dict[Place, tuple[int, int]] = {}
    data = _build(node, (), positions, name) if node is not None else {}
    return Document(name, data, positions)


def _refuse_aliases(content: bytes | str, name: str) -> None:
    for event in yaml.parse(content, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise Misconfigured(f"{name}:{line}: anchors and aliases are not allowed; write the value out")


def _build(node: yaml.Node, place: Place, positions: dict[Place, tuple[int, int]], name: str) -> Any:
    positions[place] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if len(place) > MAX_DEPTH:
        raise Misconfigured(f"{name}:{node.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, place, positions, name)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*place, index), positions, name) for index, item in enumerate(node.value)]
    return _scalar(node, name)


def _build_mapping(node: yaml.MappingNode, place: Place, positions: dict[Place, tuple[int, int]], name: str) -> Any:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        where = f"{name}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise Misconfigured(f"{where}: a key must be a plain word")
        if key in built:
            raise Misconfigured(f"{where}: '{key}' is given twice")
        built[key] = _build(value_node, (*place, key), positions, name)
        positions[(*place, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
    return built


def _scalar(node: yaml.Node, name: str) -> Any:
    """Plain scalars as YAML 1.1 types; decimals exact. A date, octal or sexagesimal stays the text that was written."""
    if not isinstance(node, yaml.ScalarNode):
        raise Misconfigured(f"{name}:{node.start_mark.line + 1}: only mappings, lists and scalars are allowed")
    text: str = node.value
    tag = node.tag
    if tag == "tag:yaml.org,2002:null":
        return None
    if tag == "tag:yaml.org,2002:bool":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        return text
    if tag == "tag:yaml.org,2002:int":
        return int(text) if text.lstrip("+-").isdigit() and (text in ("0", "-0", "+0") or text.lstrip("+-")[0] != "0") else text
    if tag == "tag:yaml.org,2002:float":
        try:
            return Decimal(text)
        except InvalidOperation:
            return text
    return text
