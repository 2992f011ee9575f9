"""Two mappings for the same objects: of equal rank, nobody can say which one is meant, so the files must say it by ``priority``.

Rank: the higher ``priority``, then the longer line of bases, then the greater number of conditions. Mappings of equal rank are no
conflict when their conditions provably never fit together: by exact texts, by the beginnings and ends of texts with ``*``, or by an
exact text against a regular expression.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from gateway.mapping.complaints import Complaint
from gateway.mapping.files import FOLDERS, Effective, Origin
from gateway.mapping.matching import never_together
from gateway.mapping.rules import Mapping

#: Of one mapping so many others are named; the rest is more of the same.
_NAMED = 3


def could_both_fit(one: Mapping, other: Mapping) -> bool:
    """False only when it is proven that no object fits the conditions of both."""
    return not any(
        mine.key == theirs.key and never_together(mine, theirs) for mine in one.conditions for theirs in other.conditions
    )


def conflicts(effective: Sequence[Effective], mappings: Sequence[Mapping]) -> Iterable[Complaint]:
    """A complaint in the file of each mapping that another one of equal rank may contend with.

    Each pair is told once: in the site's file, whose writer can change it, rather than in one of a vendor or of the product; of two in
    one folder in the later by name.
    """
    ranked: dict[tuple[int, int, int], list[tuple[Effective, Mapping]]] = defaultdict(list)
    for pair in zip(effective, mappings, strict=True):
        if not pair[1].abstract and _is_whole(*pair):
            ranked[pair[1].rank].append(pair)
    for pairs in ranked.values():
        ordered = sorted(pairs, key=lambda pair: (_folder(pair[0]), pair[1].name))
        for place, (own, mapping) in enumerate(ordered):
            contenders = [other.name for _, other in ordered[:place] if could_both_fit(mapping, other)]
            if contenders:
                yield Origin(own.document, ("match",)).complain(_told(contenders))


def _is_whole(one: Effective, mapping: Mapping) -> bool:
    """False where what it matches, or its rank, has a mistake of its own: more is not to be said of it then."""
    known = {rule.key for rule in mapping.conditions}
    return one.left_out.isdisjoint(("extends", "match", "priority")) and known.issuperset(one.match)


def _folder(effective: Effective) -> int:
    """How near a file is to those who work with it: shipped, vendors, sites."""
    folder, slash, _ = effective.document.name.rpartition("/")
    return FOLDERS.index(folder) if slash and folder in FOLDERS else 0


def _told(contenders: Sequence[str]) -> str:
    names = ", ".join(f"'{name}'" for name in contenders[:_NAMED]) + (" and others" if len(contenders) > _NAMED else "")
    return (
        f"the same objects are matched by {names}, of equal rank: if this one counts, write 'priority: 1' here;"
        " else match fewer objects here, by more keys or narrower values"
    )
