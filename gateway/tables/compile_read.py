"""The sections ``match``, ``read`` and ``skip`` of an adapter, and conditions on rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.mapping.codes import fold
from gateway.mapping.complaints import Complaint, complain, did_you_mean
from gateway.mapping.patterns import Pattern, PatternError, regex, starred
from gateway.tables import definition
from gateway.tables.rules import Condition, HeaderRule, MatchRule, ReadRule, SectionRule
from gateway.yamlfile import Document, Place

_MOST_WORDS = 500


@dataclass(frozen=True)
class Where:
    """A place in a file, and the list of what is wrong."""

    document: Document
    complaints: list[Complaint]
    place: Place = field(default=())

    def at(self, key: str | int) -> Where:
        return Where(self.document, self.complaints, (*self.place, key))

    def say(self, text: str) -> None:
        self.complaints.append(complain(self.document, self.place, text))

    def unknown(self, node: dict[str, Any], known: Iterable[str]) -> None:
        for key in node:
            if key not in known:
                self.at(key).say(f"unknown key '{key}'{did_you_mean(key, known)}")

    def one_of(self, node: Any, known: Iterable[str], default: str) -> str:
        if node is None:
            return default
        if node not in known:
            self.say(f"must be one of {', '.join(repr(word) for word in known)}, not '{node}'{did_you_mean(str(node), known)}")
            return default
        return str(node)


def texts(node: Any, where: Where) -> tuple[str, ...]:
    """One text or a list of texts."""
    listed = node if isinstance(node, list) else [] if node is None else [node]
    if not all(isinstance(item, str) and item for item in listed) or len(listed) > _MOST_WORDS:
        where.say("must be a text or a list of texts; put numbers in quotes")
        return ()
    return tuple(listed)


def compile_match(node: dict[str, Any], where: Where) -> MatchRule:
    where.unknown(node, definition.MATCH_KEYS)
    patterns: list[Pattern] = []
    for text in texts(node.get("filename"), where.at("filename")):
        try:
            patterns.append(starred(text))
        except PatternError as error:
            where.at("filename").say(str(error))
    rule = MatchRule(
        filenames=tuple(patterns),
        columns=texts(node.get("columns"), where.at("columns")),
        contains=texts(node.get("contains"), where.at("contains")),
    )
    if not rule.weight:
        where.say("say which files this adapter is for: 'columns', 'contains' or 'filename'")
    return rule


def compile_read(node: dict[str, Any], where: Where) -> ReadRule:
    where.unknown(node, definition.READ_KEYS)
    if "format" not in node:
        where.say(f"'format' is missing: one of {', '.join(definition.FORMATS)}")
    form = where.at("format").one_of(node.get("format"), definition.FORMATS, "csv")
    encodings = texts(node.get("encoding", "utf-8"), where.at("encoding")) or ("utf-8",)
    for name in encodings:
        where.at("encoding").one_of(name, definition.ENCODINGS, "utf-8")
    known = tuple(name for name in encodings if name in definition.ENCODINGS) or ("utf-8",)
    delimiter = where.at("delimiter").one_of(node.get("delimiter"), definition.DELIMITERS, ",")
    if form == "csv" and "delimiter" not in node:
        where.say("a CSV file needs its 'delimiter': ';', ',', 'tab', '|' or 'whitespace'")
    thousands = node.get("thousands")
    decimal = node.get("decimal")
    if decimal is not None and decimal not in (".", ","):
        where.at("decimal").say("'decimal' is '.' or ','")
    if thousands is not None and thousands not in definition.THOUSANDS:
        where.at("thousands").say(f"'thousands' is one of {', '.join(repr(word) for word in definition.THOUSANDS)}")
    if thousands is not None and thousands == decimal:
        where.at("thousands").say("one sign cannot separate thousands and decimals")
    return ReadRule(
        format=form,
        encodings=known,
        delimiter=definition.DELIMITERS[delimiter],
        sheet=str(node.get("sheet", "*")),
        header=_header(node.get("header"), where.at("header")),
        sections=tuple(_sections(node.get("sections") or {}, form, where.at("sections"))),
        path=texts(node.get("path"), where.at("path")),
        formulas=where.at("formulas").one_of(node.get("formulas"), ("refuse", "cached"), "refuse"),
        decimal=decimal if decimal in (".", ",") else None,
        thousands=definition.THOUSANDS.get(str(thousands)) if thousands is not None else None,
        timezone=_zone(node.get("timezone"), where.at("timezone")),
    )


def _zone(node: Any, where: Where) -> str | None:
    if node is None:
        return None
    if node == "site":
        return "site"
    try:
        return ZoneInfo(str(node)).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        where.say("'timezone' is 'site' or the name of a zone, e.g. Europe/Brussels")
        return None


def _header(node: Any, where: Where) -> HeaderRule:
    if node is None:
        return HeaderRule()
    if isinstance(node, int) and not isinstance(node, bool) and 1 <= node <= 1000:
        return HeaderRule(row=node)
    if isinstance(node, dict) and set(node) == {"contains"}:
        names = texts(node["contains"], where.at("contains"))
        if names:
            return HeaderRule(row=None, contains=names)
    where.say("'header' is the number of a row, or {contains: [names of columns]}")
    return HeaderRule()


def _sections(node: Any, form: str, where: Where) -> Iterable[SectionRule]:
    if not isinstance(node, dict):
        where.say("'sections' is a mapping of names")
        return
    if (form == "report") != bool(node):
        where.say("a report needs 'sections', other formats have none")
    for name, rule in node.items():
        here = where.at(name)
        if not isinstance(rule, dict) or not isinstance(rule.get("starts"), str) or not rule["starts"]:
            here.say("a section needs 'starts': how its first line begins")
            continue
        here.unknown(rule, ("starts", "ends", "columns", "delimiter"))
        delimiter = here.at("delimiter").one_of(rule.get("delimiter"), definition.DELIMITERS, "")
        yield SectionRule(
            name=name,
            starts=rule["starts"],
            ends=str(rule.get("ends") or ""),
            columns=texts(rule.get("columns"), here.at("columns")),
            delimiter=definition.DELIMITERS.get(delimiter, ""),
        )


def conditions(node: Any, where: Where) -> tuple[Condition, ...]:
    """A condition, or a list of them."""
    if node is None:
        return ()
    listed = node if isinstance(node, list) else [node]
    return tuple(made for index, item in enumerate(listed) if (made := _condition(item, where.at(index))) is not None)


def _condition(node: Any, where: Where) -> Condition | None:
    if not isinstance(node, dict) or not isinstance(node.get("column"), str):
        where.say("a condition is {column: NAME, equals|in|not_in|matches|exists: ...}")
        return None
    where.unknown(node, definition.CONDITION_KEYS)
    if len(node) != 2:
        where.say("a condition compares one column in one way")
        return None
    pattern = None
    if "matches" in node:
        try:
            pattern = regex(node["matches"])
        except PatternError as error:
            where.at("matches").say(str(error))
    wanted = node.get("in", node.get("equals"))
    if "exists" in node and not isinstance(node["exists"], bool):
        where.at("exists").say("'exists' is true or false")
    return Condition(
        column=node["column"],
        words=frozenset(map(fold, texts(wanted, where))) if wanted is not None else None,
        without=frozenset(map(fold, texts(node["not_in"], where))) if "not_in" in node else None,
        pattern=pattern,
        exists=node.get("exists"),
    )
