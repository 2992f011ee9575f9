"""Members of a result: a column, a word of the adapter, or a line of the report, with its unit, its code table, its format."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import re2

from gateway.mapping.codes import Codes, fold
from gateway.mapping.complaints import did_you_mean
from gateway.mapping.patterns import PatternError, regex
from gateway.nuclear.results import KINDS, WORDS
from gateway.nuclear.units import KNOWN, dimension, misnamed
from gateway.tables import definition
from gateway.tables.compile_read import Where, texts
from gateway.tables.rules import ReadRule, ValueRule
from gateway.tables.units import ucum

_SOURCES = ("column", "value", "filename", "line")
#: What a format of dates may hold: nothing that depends on the language of a machine.
_DATE_SIGNS = frozenset("YmdHMSfzyjIp%")


class Values:
    """Compiles values of one adapter."""

    def __init__(self, codes: Codes, read: ReadRule, sections: list[str]) -> None:
        self._codes = codes
        self._read = read
        self.sections = sections
        self.tables: set[str] = set()  #: code tables that are used

    def members(self, nodes: Any, known: Mapping[str, str], where: Where, kind: str | None = None) -> tuple[ValueRule, ...]:
        """Every member of a section; groups (``software: {name: ...}``) become dotted names."""
        if not isinstance(nodes, dict):
            where.say("must be a mapping of members")
            return ()
        made: list[ValueRule] = []
        groups = {name.partition(".")[0] for name in known if "." in name}
        for name, node in nodes.items():
            here = where.at(name)
            if name in groups and isinstance(node, dict) and not set(node) & set(_SOURCES):
                inner = {key: value for key, value in node.items() if value is not None}
                for key, value in inner.items():
                    made += self._member(f"{name}.{key}", value, known, here.at(key), kind)
            elif node is not None:
                made += self._member(name, node, known, here, kind)
        return tuple(made)

    def _member(self, name: str, node: Any, known: Mapping[str, str], where: Where, kind: str | None) -> list[ValueRule]:
        if name not in known:
            where.say(f"there is no member '{name}'{did_you_mean(name, known)}")
            return []
        if not isinstance(node, dict):
            where.say(f"say where it stands: {{column: NAME}}, or {{value: {node}}} for a fixed word")
            return []
        where.unknown(node, definition.VALUE_KEYS)
        given = [key for key in _SOURCES if key in node]
        if len(given) != 1:
            where.say(f"a value has one source: {', '.join(_SOURCES)}")
            return []
        return [self._rule(name, node, known[name], where, kind)]

    def _rule(self, name: str, node: dict[str, Any], kind_of: str, where: Where, kind: str | None) -> ValueRule:
        unit, unit_column = self._unit(name, node.get("unit"), kind_of, where.at("unit"), kind)
        table = self._table(name, node, kind_of, where)
        section = node.get("section", "")
        if section and section not in self.sections:
            where.at("section").say(f"there is no section '{section}'{did_you_mean(str(section), self.sections)}")
        return ValueRule(
            name=name,
            type=kind_of,
            columns=texts(node.get("column"), where.at("column")),
            section=str(section),
            constant=self._constant(name, node.get("value"), kind_of, where.at("value")),
            from_filename=self._filename(node, where),
            line=self._pattern(node.get("line"), where.at("line")),
            cut=self._cut(node.get("pattern"), where.at("pattern")),
            words=self._words(node.get("map"), where.at("map")),
            table=table,
            unit=unit,
            unit_column=unit_column,
            out=definition.UNITS.get(name),
            formats=self._formats(node, kind_of, where),
            limits=self._limits(node.get("range"), where.at("range")),
            is_list=node.get("list") is True,
            must=where.at("need").one_of(node.get("need"), ("must", "may"), "may") == "must",
        )

    def _constant(self, name: str, node: Any, kind_of: str, where: Where) -> Any:
        if node is None:
            return None
        if name in WORDS and node not in WORDS[name]:
            where.say(f"'{name}' is one of {', '.join(sorted(WORDS[name]))}{did_you_mean(str(node), WORDS[name])}")
        if kind_of in ("Quantity", "decimal", "integer"):
            if isinstance(node, bool) or not isinstance(node, int | Decimal):
                where.say("a fixed number is written without quotes")
            return node
        if not isinstance(node, str):
            where.say("a fixed word is text: put it in quotes")
        return str(node)

    def _filename(self, node: dict[str, Any], where: Where) -> bool:
        if "filename" not in node:
            return False
        if node["filename"] is not True or "pattern" not in node:
            where.say('from the name of the file: {filename: true, pattern: "regular expression with (one group)"}')
        return True

    def _unit(self, name: str, node: Any, kind_of: str, where: Where, kind: str | None) -> tuple[str | None, str | None]:
        if node is None:
            return None, None
        if kind_of != "Quantity":
            where.say(f"'{name}' is no quantity: it has no unit")
            return None, None
        if isinstance(node, dict) and isinstance(node.get("column"), str) and len(node) == 1:
            return None, node["column"]
        unit = ucum(str(node)) if isinstance(node, str | int) and not isinstance(node, bool) else None
        if unit is None:
            told = misnamed(str(node))
            where.say(f"the unit {told}" if told else f"'{node}' is no unit that is known here{did_you_mean(str(node), KNOWN)}")
            return None, None
        wanted = self._dimensions(name, kind)
        if wanted and dimension(unit) not in wanted:
            where.say(f"'{name}' is not measured in {unit}")
        return unit, None

    def _dimensions(self, name: str, kind: str | None) -> set[str | None]:
        if name in definition.UNITS:
            return (
                {dimension(definition.UNITS[name]), dimension("kBq/mL")}
                if name == "activity"
                else {dimension(definition.UNITS[name])}
            )
        if name == "value" and kind:
            return set(KINDS[kind].dimensions)
        return {*KINDS[kind].dimensions, dimension("%")} if name == "uncertainty" and kind and KINDS[kind].dimensions else set()

    def _table(self, name: str, node: dict[str, Any], kind_of: str, where: Where) -> str | None:
        table = node.get("codes", definition.TABLES.get(name) if kind_of == "CodeableConcept" else None)
        if table is None:
            return None
        if kind_of != "CodeableConcept":
            where.at("codes").say(f"'{name}' is no coded value")
            return None
        if table not in self._codes.tables:
            where.at("codes").say(f"there is no code table '{table}'{did_you_mean(str(table), self._codes.tables)}")
            return None
        self.tables.add(table)
        return str(table)

    def _formats(self, node: dict[str, Any], kind_of: str, where: Where) -> tuple[str, ...]:
        formats = texts(node.get("format"), where.at("format"))
        if kind_of != "dateTime":
            if formats:
                where.at("format").say("only dates have a format")
            return ()
        if not formats and "value" not in node:
            where.say(
                "a date needs its 'format', e.g. \"%d/%m/%Y %H:%M\", or 'cell' where the spreadsheet says that it is a date"
            )
        for text in formats:
            signs = {text[index + 1 : index + 2] for index, letter in enumerate(text) if letter == "%"}
            if text != "cell" and (not signs or not signs <= _DATE_SIGNS or not {"d", "m"} <= signs or not signs & {"Y", "y"}):
                where.at("format").say("a format of dates holds %Y, %m and %d, perhaps %H, %M, %S and %z")
        has_time = any("%H" in text or "%I" in text or text == "cell" for text in formats)
        if has_time and self._read.timezone is None and not all("%z" in text for text in formats):
            where.say("a time of day needs 'timezone' in the section 'read' ('site', or e.g. Europe/Brussels)")
        return formats

    def _limits(self, node: Any, where: Where) -> tuple[Decimal, Decimal] | None:
        if node is None:
            return None
        numbers = (
            isinstance(node, list)
            and len(node) == 2
            and all(isinstance(item, int | Decimal) and not isinstance(item, bool) for item in node)
        )
        if not numbers or node[0] > node[1]:
            where.say("'range' is [lowest, highest], in the unit of the table")
            return None
        return Decimal(node[0]), Decimal(node[1])

    def _pattern(self, node: Any, where: Where) -> Any:
        if node is None:
            return None
        try:
            return regex(node)
        except PatternError as error:
            where.say(str(error))
            return None

    def _cut(self, node: Any, where: Where) -> Any:
        if node is None:
            return None
        try:
            regex(node)
            options = re2.Options()
            options.log_errors = False
            compiled = re2.compile(str(node), options)
        except (PatternError, re2.error) as error:
            where.say(str(error))
            return None
        if compiled.groups != 1:
            where.say("a 'pattern' has exactly one group in parentheses: what counts of the text")
        return compiled

    def _words(self, node: Any, where: Where) -> tuple[tuple[str, Any], ...]:
        if node is None:
            return ()
        if not isinstance(node, dict) or not all(isinstance(value, str) for value in node.values()):
            where.say("'map' leads from words of the table to words")
            return ()
        return tuple((fold(str(key)), value) for key, value in node.items())
