"""``when``: conditions as data. Compiled once; deciding one costs at most its own size, and the length of the values it looks at.

::

    when: {of: ImageType[2], in: [RECON TOMO, RECON GATED TOMO]}
    when: {all: [{of: Manufacturer, matches: "ge .*"}, {not: {of: administration.activity, exists: true}}]}

Texts are compared whole and in any case, as in ``match``, numbers as numbers; one fitting value of several is enough.
``matches`` is an RE2 pattern (linear time) for the whole value. ``above`` and ``below`` compare numbers; of a quantity that of its
published unit. Of a coded value code and words are both compared. What is absent or unreadable fits nothing; ``exists`` asks only
whether something stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway.dicom import values
from gateway.dicom.elements import Element
from gateway.dicom.items import Item
from gateway.dicom.paths import parse_path
from gateway.dicom.values import Invalid
from gateway.mapping.complaints import Complaint, as_meant, did_you_mean
from gateway.mapping.files import Origin
from gateway.mapping.patterns import Pattern, PatternError, regex
from gateway.mapping.sources import Guarded, Plain, Source, plain
from gateway.model import Json

OPERATORS = ("equals", "in", "matches", "exists", "above", "below")
COMBINED = ("all", "any", "not")
_KEYS = ("of", *OPERATORS, *COMBINED)
Below = tuple[str | int, ...]
#: How deep and how large a condition may be: more is no condition that a person can read.
DEEPEST, LARGEST = 8, 64
#: Of a value with more letters than this nothing is compared.
_LONGEST = 65536
_CODE_VALUES = tuple(map(parse_path, ("CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning")))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a condition sees at a source: whether anything is there, and the texts to compare."""

    there: bool
    texts: tuple[str, ...] = ()


NOTHING = Seen(False)
#: Looks at a source.
Look = Callable[[Source], Seen]


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison."""

    __test__ = False

    of: Source
    operator: str
    wanted: frozenset[str | Decimal | None] | Decimal | bool | Pattern

    def holds(self, look: Look) -> bool:
        seen = look(self.of)
        if isinstance(self.wanted, bool):
            return seen.there is self.wanted
        return any(self._fits(text) for text in seen.texts if len(text) <= _LONGEST)

    def _fits(self, text: str) -> bool:
        if isinstance(self.wanted, Pattern):
            return self.wanted.fits(text)
        if isinstance(self.wanted, Decimal):
            number = _number(text)
            if number is None:
                return False
            return number > self.wanted if self.operator == "above" else number < self.wanted
        assert isinstance(self.wanted, frozenset)  # noqa: S101
        return text.strip().casefold() in self.wanted or _number(text) in self.wanted


@dataclass(frozen=True, slots=True)
class Combined:
    """``all``, ``any`` or ``not`` (of one)."""

    operator: str
    parts: tuple[Condition, ...]

    def holds(self, look: Look) -> bool:
        if self.operator == "all":
            return all(part.holds(look) for part in self.parts)
        if self.operator == "any":
            return any(part.holds(look) for part in self.parts)
        return not self.parts[0].holds(look)


Condition = Test | Combined


def deciding(source: Source) -> Iterator[Plain]:
    """Everything that decides what a source gives: itself, and what its own condition looks at."""
    yield plain(source)
    if isinstance(source, Guarded):
        yield from sources_of(source.when)


def sources_of(condition: Condition) -> Iterator[Plain]:
    """Everything that a condition looks at, the conditions inside it included."""
    if isinstance(condition, Test):
        yield from deciding(condition.of)
    else:
        for part in condition.parts:
            yield from sources_of(part)


def seen_in(element: Element | None) -> Seen:
    """What a condition sees of an element: its values, or codes and words of its coded items."""
    if element is None:
        return NOTHING
    return Seen(True, (*(text for text in element.texts if text), *(text for item in element.items for text in _codes(item))))


def seen_value(value: Json) -> Seen:
    """What a condition sees of another field."""
    if value is None:
        return NOTHING
    if isinstance(value, dict):
        told = [value[key] for key in ("code", "text", "value") if key in value]
        return Seen(True, tuple(_written(one) for one in told))
    if isinstance(value, list):
        return Seen(True, tuple(text for one in value for text in seen_value(one).texts))
    return Seen(True, (_written(value),))


def compile_condition(
    node: Any, source: Callable[[Any, Origin], Source | None], origin: Origin, *below: str | int
) -> tuple[Condition | None, list[Complaint]]:
    """A condition of a mapping file. ``source`` compiles what stands behind ``of``, at its own place (and complains for itself)."""
    compiler = _Compiler(source, origin)
    made = compiler.condition(node, below, 1)
    return (None if compiler.complaints else made), compiler.complaints


class _Compiler:
    def __init__(self, source: Callable[[Any, Origin], Source | None], origin: Origin) -> None:
        self._source = source
        self._origin = origin
        self._size = 0
        self.complaints: list[Complaint] = []

    def condition(self, node: Any, below: tuple[str | int, ...], depth: int) -> Condition | None:
        self._size += 1
        if depth > DEEPEST or self._size > LARGEST:
            self._wrong(f"a condition has at most {LARGEST} parts, {DEEPEST} deep", below)
            return None
        if not isinstance(node, dict):
            self._wrong("a condition is {of: ..., equals: ...}, or {all: [...]}, {any: [...]}, {not: ...}", below)
            return None
        unknown = [key for key in node if key not in _KEYS]
        for key in unknown:
            self._wrong(f"unknown key '{key}' in a condition{did_you_mean(key, _KEYS)}", (*below, key))
        written = as_meant(node, _KEYS)
        said = {key: (node[written.get(key, key)], (*below, written.get(key, key))) for key in _KEYS if key in {*node, *written}}
        combined = [key for key in COMBINED if key in said]
        if combined:
            if len(said) > 1:
                self._wrong(f"'{combined[0]}' stands alone in a condition", below)
            parts = [self._combined(operator, *said[operator], depth) for operator in combined]
            return parts[0] if len(said) == 1 else None
        return self._test(said, below, excused=len(unknown) > len(written))

    def _combined(self, operator: str, inner: Any, below: Below, depth: int) -> Condition | None:
        if operator == "not":
            part = self.condition(inner, below, depth + 1)
            return Combined(operator, (part,)) if part else None
        if not isinstance(inner, list) or not inner:
            self._wrong(f"'{operator}' is a list of conditions", below)
            return None
        parts = [self.condition(one, (*below, index), depth + 1) for index, one in enumerate(inner)]
        return Combined(operator, tuple(part for part in parts if part))

    def _test(self, said: dict[str, tuple[Any, Below]], below: Below, *, excused: bool) -> Condition | None:
        """A comparison; ``excused`` where a key that nobody knows may have been meant for one that is missing."""
        operators = [key for key in said if key in OPERATORS]
        if ("of" not in said or not operators) and not excused:
            self._wrong(f"a condition names 'of' and one of {', '.join(OPERATORS)}", below)
        node, place = said.get("of", (None, below))
        source = self._source(node, self._origin.below(*place)) if "of" in said else None
        tests = []
        for operator in operators:
            wanted = self._wanted(operator, *said[operator])
            if source is not None and wanted is not None:
                tests.append(Test(source, operator, wanted))
        if not tests or len(tests) < len(operators):
            return None
        return tests[0] if len(tests) == 1 else Combined("all", tuple(tests))

    def _wanted(
        self, operator: str, value: Any, below: tuple[str | int, ...]
    ) -> frozenset[str | Decimal | None] | Decimal | bool | Pattern | None:
        if operator == "exists":
            if isinstance(value, bool):
                return value
            self._wrong("'exists' is true or false", below)
            return None
        if operator in ("above", "below"):
            fits = isinstance(value, int | Decimal) and not isinstance(value, bool)
            if fits:
                return Decimal(value)
            self._wrong(f"'{operator}' is a number", below)
            return None
        if operator == "matches":
            return self._regex(value, below)
        wanted = value if operator == "in" else [value]
        if not isinstance(wanted, list) or not wanted or not all(isinstance(one, str | int | Decimal) for one in wanted):
            self._wrong(f"'{operator}' is a {'list of texts or numbers' if operator == 'in' else 'text or a number'}", below)
            return None
        texts = (_written(one) if isinstance(one, bool) else one for one in wanted)
        return frozenset(one.strip().casefold() if isinstance(one, str) else Decimal(one) for one in texts)

    def _regex(self, value: Any, below: tuple[str | int, ...]) -> Pattern | None:
        try:
            return regex(value)
        except PatternError as error:
            self._wrong(str(error), below)
            return None

    def _wrong(self, text: str, below: tuple[str | int, ...]) -> None:
        self.complaints.append(self._origin.complain(text, *below))


def _codes(item: Item) -> Iterator[str]:
    for path in _CODE_VALUES:
        found = item.find(path)
        if found is not None and found.texts:
            yield found.text


def _number(text: str) -> Decimal | None:
    try:
        return values.decimal(text)
    except Invalid:
        return None


def _written(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
