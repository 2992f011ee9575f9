"""Two mappings for the same objects: of equal rank, nobody can say which one is meant, so the files must say it by ``priority``.

Rank: the higher ``priority``, then the longer line of bases, then the greater number of conditions. Mappings of equal rank are no
conflict when their conditions provably never fit together: by exact texts, by the beginnings and ends of texts with ``*``, or by an
exact text against a regular expression.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydicom.datadict import dictionary_VM

from gateway.mapping.complaints import Complaint
from gateway.mapping.files import Effective, Origin
from gateway.mapping.matching import PRIVATE_CREATOR, MatchRule
from gateway.mapping.patterns import Pattern
from gateway.mapping.rules import Mapping

#: Of one mapping so many others are named; the rest is more of the same.
_NAMED = 3


def could_both_fit(one: Mapping, other: Mapping) -> bool:
    """False only when it is proven that no object fits the conditions of both."""
    rules = {rule.key: rule for rule in other.conditions}
    return not any(rule.key in rules and _never_together(rule, rules[rule.key]) for rule in one.conditions)


def conflicts(effective: Sequence[Effective], mappings: Sequence[Mapping]) -> Iterable[Complaint]:
    """A complaint in the file of each mapping that another one of equal rank may contend with; told of the later one by name."""
    ranked: dict[tuple[int, int, int], list[tuple[Effective, Mapping]]] = defaultdict(list)
    for pair in zip(effective, mappings, strict=True):
        if not pair[1].abstract:
            ranked[pair[1].rank].append(pair)
    for pairs in ranked.values():
        ordered = sorted(pairs, key=lambda pair: pair[1].name)
        for place, (own, mapping) in enumerate(ordered):
            contenders = [other.name for _, other in ordered[:place] if could_both_fit(mapping, other)]
            if contenders:
                yield Origin(own.document, ("match",)).complain(_told(contenders))


def _told(contenders: Sequence[str]) -> str:
    names = ", ".join(f"'{name}'" for name in contenders[:_NAMED]) + (" and others" if len(contenders) > _NAMED else "")
    return f"the same objects are matched by {names}, of equal rank: say which one counts by 'priority'"


def _never_together(one: MatchRule, other: MatchRule) -> bool:
    """True when no value can fit both. Of an element with several values each may fit another pattern, so nothing is proven there."""
    if one.subject == PRIVATE_CREATOR:
        return False
    if isinstance(one.subject, int) and one.index is None and not _single(one.subject):
        return False
    return not any(_may_be_one(mine, theirs) for mine in one.patterns for theirs in other.patterns)


def _may_be_one(one: Pattern, other: Pattern) -> bool:
    """False only when no text fits both patterns."""
    if one.is_exact:
        return other.fits(one.text)
    if other.is_exact:
        return one.fits(other.text)
    if one.is_regex or other.is_regex:
        return True
    mine, theirs = one.text.casefold().split("*"), other.text.casefold().split("*")
    begin = mine[0].startswith(theirs[0]) or theirs[0].startswith(mine[0])
    end = mine[-1].endswith(theirs[-1]) or theirs[-1].endswith(mine[-1])
    return begin and end


@lru_cache(maxsize=1024)
def _single(tag: int) -> bool:
    try:
        return dictionary_VM(tag) == "1"
    except KeyError:
        return False
