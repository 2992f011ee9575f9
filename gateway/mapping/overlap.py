"""Two mappings of equal rank that may fit one object: which of them counts would be chance, so lint asks for a ``priority``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydicom.datadict import dictionary_VM

from gateway.mapping.complaints import Complaint
from gateway.mapping.files import Effective, Origin
from gateway.mapping.matching import PRIVATE_CREATOR, MatchRule
from gateway.mapping.patterns import Pattern
from gateway.mapping.rules import Mapping

#: The plain letters that a regular expression starts with.
_LITERAL = re.compile(r"[A-Za-z0-9 _-]*")


def overlaps(effective: list[Effective], mappings: list[Mapping]) -> Iterable[Complaint]:
    """One complaint for each mapping that is not provably apart from an earlier one of its rank."""
    ranks: dict[tuple[int, ...], list[tuple[str, dict[str, MatchRule]]]] = {}
    for one, mapping in zip(effective, mappings, strict=True):
        if mapping.abstract:
            continue
        rules = {rule.key: rule for rule in mapping.conditions}
        others = ranks.setdefault(mapping.rank, [])
        other = next((name for name, theirs in others if not _apart(rules, theirs)), None)
        if other:
            theirs = next(found for name, found in others if name == other)
            same = _written(rules) == _written(theirs)
            told = f"the same objects are matched by '{other}'" if same else f"some object may fit '{other}' as well"
            yield Origin(one.document, ("match",)).complain(
                f"{told}, and the two rank equally: narrow one of them, or give it a 'priority'"
            )
        others.append((mapping.name, rules))


def _written(rules: dict[str, MatchRule]) -> dict[str, frozenset[Pattern]]:
    return {key: frozenset(rule.patterns) for key, rule in rules.items()}


def _apart(one: dict[str, MatchRule], other: dict[str, MatchRule]) -> bool:
    """True when some key is asked by both, and no value fits both."""
    return any(
        _one_value(rule) and all(_differ(a, b) for a in rule.patterns for b in other[key].patterns)
        for key, rule in one.items()
        if key in other
    )


def _one_value(rule: MatchRule) -> bool:
    """Of several values one is enough to fit: then two patterns that differ may both fit."""
    if rule.index is not None:
        return True
    return rule.subject != PRIVATE_CREATOR if isinstance(rule.subject, str) else dictionary_VM(rule.subject) == "1"


def _differ(a: Pattern, b: Pattern) -> bool:
    if a.is_exact:
        return not b.fits(a.text)
    if b.is_exact:
        return not a.fits(b.text)
    return _ends_differ(_start(a), _start(b)) or _ends_differ(_end(a)[::-1], _end(b)[::-1])


def _ends_differ(a: str, b: str) -> bool:
    return not a.startswith(b) and not b.startswith(a)


def _start(pattern: Pattern) -> str:
    """Letters that every fitting value starts with."""
    text = pattern.text.casefold()
    if not pattern.is_regex:
        return text.partition("*")[0]
    if "|" in text:
        return ""
    found = _LITERAL.match(text)
    literal = found[0] if found else ""
    return literal[:-1] if text[len(literal) : len(literal) + 1] in ("*", "?", "{") else literal


def _end(pattern: Pattern) -> str:
    return "" if pattern.is_regex else pattern.text.casefold().rpartition("*")[2]
