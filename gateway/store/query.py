"""Reads search parameters (R4 search.html) into a frozen :class:`Query`. Pure: knows the definitions, no database.

What a client gets wrong in a known parameter is an error. What we do not know is ignored and named in ``ignored``, unless the
client asked for ``handling=strict``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.r4.definitions import SearchParameter

DEFAULT_COUNT = 50
MAX_COUNT = 200
MAX_VALUE_CHARS = 4096
MAX_OR_VALUES = 500
MAX_CONDITIONS = 50
MAX_CHAIN = 3
MAX_SORT_KEYS = 3
#: Selections of one search. Each is written and planned, a part of a millisecond, before the limit of time begins to count.
MAX_COST = 500
#: Values of a list that cost as much as a selection.
_LIST = 10

#: Not in this store: a chain that names no type does not ask about them.
ELSEWHERE = frozenset({"AuditEvent"})

#: Parameters about the shape of the answer or the transport, which other layers read.
_SHAPE = frozenset({"_format", "_pretty", "_page", "_summary", "_elements"})

_MODIFIERS: Mapping[str, frozenset[str]] = {
    "token": frozenset({"not", "text"}),
    "reference": frozenset({"identifier"}),
    "string": frozenset({"exact", "contains"}),
    "uri": frozenset({"below", "above"}),
    "date": frozenset(),
    "quantity": frozenset(),
    "number": frozenset(),
    "composite": frozenset(),
}

_UNESCAPED_COMMA = re.compile(r"(?<!\\),")
_ESCAPED = re.compile(r"\\([,|$\\])")


@dataclass(frozen=True, slots=True)
class Condition:
    """``code:modifier=value,value``: any of the values. ``type`` is the resource type it is asked of."""

    type: str
    code: str
    kind: str  #: search type: token, date, ...
    modifier: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """``subject:Patient.name=x``: the reference points to one of ``targets`` for which the inner filter holds."""

    type: str
    code: str
    targets: tuple[tuple[str, Filter], ...]


@dataclass(frozen=True, slots=True)
class Has:
    """``_has:Observation:subject:code=x``: some resource of that type refers to this one, and the inner filter holds for it."""

    type: str
    source: str
    code: str
    inner: Filter


@dataclass(frozen=True, slots=True)
class Compartment:
    """What belongs to a patient: that refers to him by one of the parameters, as (type, code)."""

    id: str
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CareDate:
    """What took place in an interval, by the parameter that tells it for each type; types that have none are kept."""

    parameters: tuple[tuple[str, str], ...]
    value: str


Filter = Condition | Chain | Has | Compartment | CareDate


@dataclass(frozen=True, slots=True)
class SortKey:
    code: str
    kind: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Include:
    """``source:code[:target]``; ``*`` as code means every reference."""

    source: str
    code: str
    target: str | None
    reverse: bool
    iterate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search on one type, or on several."""

    type: str  #: empty when ``types`` says it
    types: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    sort: tuple[SortKey, ...] = ()
    includes: tuple[Include, ...] = ()
    count: int = DEFAULT_COUNT
    total: Literal["accurate", "none"] = "accurate"
    only_count: bool = False
    ignored: tuple[str, ...] = ()
    used: tuple[tuple[str, str], ...] = field(default=())  #: the parameters that took part, as the client wrote them


def parse(kind: str, parameters: Sequence[tuple[str, str]], *, strict: bool = False) -> Query:
    """Raises :class:`Rejected` (400) with a sentence for the client."""
    if kind not in definitions.resource_types():
        raise Rejected(f"resource type '{kind}' is not known here", status=404)
    reader = _Reader(kind)
    for name, value in parameters:
        if "\x00" in value or "\x00" in name:
            raise _bad("a parameter holds a NUL character")
        if len(value) > MAX_VALUE_CHARS:
            raise _bad(f"'{name[:40]}' is longer than {MAX_VALUE_CHARS} characters")
        if value != "":
            reader.read(name, value)
    if strict and reader.ignored:
        raise _bad("unknown parameters: " + ", ".join(reader.ignored))
    check_cost(reader.filters)
    return reader.query()


class _Reader:
    """Gathers what the parameters say, one after the other."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.filters: list[Filter] = []
        self.sort: tuple[SortKey, ...] = ()
        self.includes: list[Include] = []
        self.count = DEFAULT_COUNT
        self.total: Literal["accurate", "none"] = "accurate"
        self.only_count = False
        self.ignored: list[str] = []
        self.used: list[tuple[str, str]] = []

    def read(self, name: str, value: str) -> None:
        special = {
            "_count": self._read_count,
            "_sort": self._read_sort,
            "_total": self._read_total,
            "_summary": self._read_summary,
        }
        head = name.partition(":")[0]
        if name in special:
            special[name](value)
        elif head in ("_include", "_revinclude"):
            self._read_include(name, value)
        elif name not in _SHAPE:
            found = read_filter(self.kind, name, value)
            if found is None:
                self.ignored.append(name[:64])
                return
            self.filters.append(found)
            if len(self.filters) > MAX_CONDITIONS:
                raise _bad(f"more than {MAX_CONDITIONS} conditions")
        if name != "_page":
            self.used.append((name, value))

    def _read_count(self, value: str) -> None:
        if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
            raise _bad("_count must be a whole number")
        self.count = min(int(value), MAX_COUNT)
        self.only_count = self.only_count or self.count == 0

    def _read_total(self, value: str) -> None:
        if value not in ("none", "estimate", "accurate"):
            raise _bad("_total must be none, estimate or accurate")
        self.total = "none" if value == "none" else "accurate"

    def _read_summary(self, value: str) -> None:
        if value not in ("true", "false", "text", "data", "count"):
            raise _bad("_summary must be true, false, text, data or count")
        self.only_count = self.only_count or value == "count"

    def _read_sort(self, value: str) -> None:
        keys = []
        for part in value.split(",")[:MAX_SORT_KEYS]:
            code = part.removeprefix("-")
            parameter = definitions.search_parameters()[self.kind].get(code)
            if parameter is None or parameter.type in ("composite", "special"):
                raise _bad(f"cannot sort by '{code[:64]}'")
            keys.append(SortKey(code, parameter.type, part.startswith("-")))
        self.sort = tuple(keys)

    def _read_include(self, name: str, value: str) -> None:
        head, _, modifier = name.partition(":")
        if modifier not in ("", "iterate", "recurse"):
            raise _bad(f"unknown modifier on {head}")
        source, _, rest = value.partition(":")
        code, _, target = rest.partition(":")
        if value == "*":
            source, code = ("*" if head == "_revinclude" else self.kind), "*"
        parameters = definitions.search_parameters().get(source, {})
        known = code in parameters and parameters[code].type == "reference"
        if not known and not (code == "*" and (parameters or source == "*")):
            raise _bad(f"{head} must be Type:reference-parameter[:Type]")
        if target and target not in definitions.resource_types():
            raise _bad(f"{head}: unknown type after the second colon")
        self.includes.append(Include(source, code, target or None, head == "_revinclude", modifier != ""))

    def query(self) -> Query:
        return Query(
            type=self.kind,
            filters=tuple(self.filters),
            sort=self.sort,
            includes=tuple(self.includes),
            count=self.count,
            total=self.total,
            only_count=self.only_count,
            ignored=tuple(self.ignored),
            used=tuple(self.used),
        )


def read_filter(kind: str, name: str, value: str, *, depth: int = 0) -> Filter | None:
    """One parameter as a filter on ``kind``; ``None`` when there is no such parameter."""
    if depth > MAX_CHAIN:
        raise _bad(f"more than {MAX_CHAIN} links in a chain")
    if name.startswith("_has:"):
        return _read_has(kind, name, value, depth)
    head, dot, rest = name.partition(".")
    code, _, modifier = head.partition(":")
    parameter = definitions.search_parameters()[kind].get(code)
    if parameter is None:
        return None
    if dot:
        return _read_chain(kind, parameter, modifier, rest, value, depth)
    if modifier == "missing":
        if value not in ("true", "false"):
            raise _bad(f"{code}:missing must be true or false")
    elif parameter.type == "reference" and modifier in definitions.resource_types():
        pass
    elif modifier and modifier not in _MODIFIERS[parameter.type]:
        raise _bad(f"the modifier of '{name[:64]}' is not supported")
    values = split_values(value)
    if len(values) > MAX_OR_VALUES:
        raise _bad(f"more than {MAX_OR_VALUES} values for '{code}'")
    return Condition(kind, code, parameter.type, modifier, values)


def _read_chain(kind: str, parameter: SearchParameter, modifier: str, rest: str, value: str, depth: int) -> Chain | None:
    if parameter.type != "reference":
        raise _bad(f"'{parameter.code}' is not a reference, so nothing can be chained to it")
    known = definitions.resource_types()
    if modifier:
        if modifier not in known:
            raise _bad(f"unknown type '{modifier[:64]}' in a chain")
        candidates = [modifier]
    elif parameter.code in ("patient",):
        candidates = ["Patient"]
    else:
        known = known - ELSEWHERE
        candidates = [target for target in parameter.targets if target in known] or sorted(known)
    found = [(target, inner) for target in candidates if (inner := read_filter(target, rest, value, depth=depth + 1))]
    return Chain(kind, parameter.code, tuple(found)) if found else None


def _read_has(kind: str, name: str, value: str, depth: int) -> Has:
    parts = name.split(":", 3)
    if len(parts) != 4 or parts[1] not in definitions.resource_types():
        raise _bad("_has must be _has:Type:reference-parameter:parameter")
    _, source, code, rest = parts
    parameter = definitions.search_parameters()[source].get(code)
    inner = read_filter(source, rest, value, depth=depth + 1)
    if parameter is None or parameter.type != "reference" or inner is None:
        raise _bad("_has names a parameter that is not known")
    return Has(kind, source, code, inner)


def check_cost(filters: Iterable[Filter]) -> None:
    """Raises :class:`Rejected` (400) for what would be planned for long: many values many times, chains over every type."""
    if sum(map(_cost, filters)) > MAX_COST:
        raise _bad(
            "this search asks too much at once: give fewer values, or name the types of its chains, like subject:Patient.name"
        )


def _cost(found: Filter) -> int:
    """Tokens and references are lists, other values are selections of their own."""
    if isinstance(found, Chain):
        return sum(1 + _cost(inner) for _, inner in found.targets)
    if isinstance(found, Has):
        return 1 + _cost(found.inner)
    if isinstance(found, Condition):
        is_list = found.kind in ("token", "reference") and found.modifier != "text"
        return 1 + len(found.values) // _LIST if is_list else len(found.values)
    return 1


def split_values(value: str) -> tuple[str, ...]:
    """At commas that are not escaped. Escapes before ``|`` stay, for the token reader."""
    return tuple(part for part in _UNESCAPED_COMMA.split(value) if part != "")


def split_bars(value: str) -> list[str]:
    """At bars that are not escaped, each part with its escapes resolved."""
    return [unescaped(part) for part in re.split(r"(?<!\\)\|", value)]


def split_dollars(value: str) -> list[str]:
    """At dollars that are not escaped; all other escapes stay, for the readers of the parts."""
    return [part.replace("\\$", "$") for part in re.split(r"(?<!\\)\$", value)]


def unescaped(value: str) -> str:
    return _ESCAPED.sub(r"\1", value)


def _bad(reason: str) -> Rejected:
    return Rejected(reason, status=400)
