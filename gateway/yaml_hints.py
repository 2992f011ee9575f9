"""Where a YAML mistake really stands, and what to do about it, in words for people who do not know YAML's own.

The parser names the place at which it gave up, which is often a line or ten below the mistake. Here the lines up to that place
are looked at for what people do write: a quote that is not closed, ``key:value``, ``key = value``, brackets without quotes.
A guess that finds nothing says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: Spaces that look like one and are none to YAML.
ODD_SPACES = "\u00a0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff"
CURLY_QUOTES = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb"
ODD_SPACE = "a space that YAML does not take for one (a non-breaking one, from a text program or a web page): type it again"
CURLY_QUOTE = "a curly quote: write a plain one (\" or ')"
_ODD_SPACE = re.compile(f"[{ODD_SPACES}]")
_ODD_INDENT = re.compile(f"^[ \t]*[{ODD_SPACES}]", re.MULTILINE)
_TIGHT_COLON = re.compile(r"\s*(?:-\s+)?[\w.$]+:(?=[^\s:/])")
_EQUALS = re.compile(r"\s*(?:-\s+)?[\w.]+\s*=(?=[^=])")
_PRIVATE = re.compile(r"\([0-9A-Fa-f]{4},\s*[0-9A-Fa-fxX]{4}\)(?:\[[^\]]*\])?")
_INDEXED = re.compile(r"\$?[A-Za-z][\w.]*\[(?:\d+|\*)\][\w.\[\]*]*")
_HOLE = re.compile(r"\$\{[^}]*\}?")
#: So many lines above the place where the parser gave up are looked at for a missing space or sign.
_LINES_ABOVE = 3


@dataclass(frozen=True, slots=True)
class Found:
    """A likely mistake: line and column from 0, and what to do."""

    line: int
    column: int
    text: str


def odd_indent(text: str) -> int | None:
    """Where a line is indented with a space that is none. Such a line belongs to the value above it, without any complaint."""
    found = _ODD_INDENT.search(text)
    return found.end() - 1 if found else None


def likely_mistake(text: str, line: int, column: int, problem: str) -> Found | None:
    """What is most likely wrong when the parser gave up at a place (from 0)."""
    lines = text.splitlines()
    here = lines[line] if line < len(lines) else ""
    if "\t" in here[: column + 1]:
        return Found(line, column, "a tab: indent with spaces")
    if here[column : column + 1] in ("@", "`", "%") and here[column:]:
        return Found(line, column, f"put a text that begins with {here[column]} in quotes")
    above = range(line, max(line - _LINES_ABOVE, -1), -1)
    for number in above:
        for look in (_odd_space, _tight_colon, _equals, _bare_brackets):
            if number < len(lines) and (found := look(number, lines[number])):
                return found
    return _open_quote(lines[: line + 1]) or _by_problem(line, column, here, problem)


def _odd_space(number: int, line: str) -> Found | None:
    found = _ODD_SPACE.search(line)
    return Found(number, found.start(), ODD_SPACE) if found else None


def _tight_colon(number: int, line: str) -> Found | None:
    found = _TIGHT_COLON.match(line)
    return Found(number, found.end() - 1, "a space belongs behind the colon") if found else None


def _equals(number: int, line: str) -> Found | None:
    found = _EQUALS.match(line)
    return Found(number, found.end() - 1, "write ': ' where '=' stands") if found else None


def _bare_brackets(number: int, line: str) -> Found | None:
    """A path or a hole inside ``{...}`` or ``[...]`` without quotes: its own brackets and commas are taken for YAML's."""
    if "{" not in line and "[" not in line:
        return None
    quoted = [(start, end) for start, end, _ in _quotes(line)]
    for pattern in (_PRIVATE, _HOLE, _INDEXED):
        for found in pattern.finditer(line):
            before = line[: found.start()].rstrip()
            if before[-1:] in (":", ",", "[", "{", "-") and not any(a <= found.start() < b for a, b in quoted):
                return Found(number, found.start(), f"a text with brackets stands in quotes: {_shown(found[0])}")
    return None


def _shown(text: str) -> str:
    return f'"{text}"' if len(text) <= 120 else "..."


def _open_quote(lines: list[str]) -> Found | None:
    """A quote that its line does not close, and that ends further down in the middle of something, or nowhere.

    A text over several lines is legal: behind its end nothing stands but what parts values.
    """
    number = 0
    while number < len(lines):
        opened = next((start for start, _, closed in _quotes(lines[number]) if not closed), None)
        if opened is None:
            number += 1
            continue
        quote = lines[number][opened]
        for below in range(number + 1, len(lines)):
            end = _end_of_quote(f"{quote}{lines[below]}", 0) - 1
            if end <= len(lines[below]):
                break
        else:
            return Found(number, opened, "this quote is not closed")
        behind = lines[below][end:].strip()
        if behind and behind[0] not in ",]}:#":
            return Found(number, opened, "this quote is not closed")
        number = below + 1
    return None


def _quotes(line: str) -> Iterator[tuple[int, int, bool]]:
    """Each quoted text of a line: start, end, closed. A quote opens where a value begins, as for YAML."""
    at, value_begins = 0, True
    while at < len(line):
        letter = line[at]
        if letter == "#" and (at == 0 or line[at - 1].isspace()):
            return
        if letter in "\"'" and value_begins:
            end = _end_of_quote(line, at)
            yield at, end, end <= len(line)
            at, value_begins = end, False
            continue
        value_begins = value_begins if letter.isspace() else letter in "[{,:-?"
        at += 1


def _end_of_quote(line: str, start: int) -> int:
    """Behind the closing quote; beyond the end of the line when there is none."""
    quote, at = line[start], start + 1
    while at < len(line):
        if (quote == '"' and line[at] == "\\") or (line[at] == quote and quote == "'" and line[at + 1 : at + 2] == "'"):
            at += 2
        elif line[at] == quote:
            return at + 1
        else:
            at += 1
    return len(line) + 1


def _by_problem(line: int, column: int, here: str, problem: str) -> Found | None:
    if "alphabetic or numeric" in problem:  # a lone * or &
        return Found(line, column, "put a text that begins with * or & in quotes")
    if "mapping values are not allowed" in problem:
        if here[:column].count(": ") or re.match(r"\s*-?\s*\S+:\s", here[:column]):
            return Found(line, column, "a text that holds ': ' stands in quotes")
        return Found(line, column, "this line is indented too far, or the line above it lacks its colon")
    if "did not find expected key" in problem or "did not find expected '-'" in problem:
        return Found(line, column, "this line does not begin in the column of the lines that it belongs to")
    if "could not find expected ':'" in problem:
        return Found(line, column, "here or just above a 'key: value' lacks its colon")
    return None
