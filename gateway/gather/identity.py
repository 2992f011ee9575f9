"""Ids of facts: minted once, found again by any name, never serving two. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Protocol


class Named(Protocol):
    """A fact with its id and its names, the surest first."""

    @property
    def key(self) -> str: ...

    @property
    def aliases(self) -> tuple[str, ...]: ...


def assign_keys(
    facts: Sequence[tuple[str, ...]], known: Mapping[str, str], mint: Callable[[str], str]
) -> dict[tuple[str, ...], str]:
    """An id for each fact: one minted before, if a name of it has one. No id serves two.

    Of several ids that a fact was known by, the one of its surest name survives (an event UID of a report, of an image, then the
    earliest start): a rule that does not ask what arrived first. An id that several facts know stays with one that has an event
    UID, and of those with the one it was minted for.
    """

    def stays_with(key: str, group: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        return min(group, key=lambda names: (names[0].startswith("fact|"), all(mint(name) != key for name in names), names))

    knowers: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for names in sorted(facts):
        for key in dict.fromkeys(known[name] for name in names if name in known):
            knowers[key].append(names)
    owner = {key: stays_with(key, group) for key, group in knowers.items()}
    keys: dict[tuple[str, ...], str] = {}
    for names in facts:
        own = [known[name] for name in names if name in known and owner[known[name]] == names]
        if own:
            keys[names] = own[0]
    taken = {*keys.values(), *owner}
    for names in sorted(facts):
        if names not in keys:
            fresh = (mint(f"{names[0]}{'|apart' * times}") for times in count())
            keys[names] = next(key for key in fresh if key not in taken)
            taken.add(keys[names])
    return keys


def replacements(facts: Sequence[Named], known: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Every id that was lost, with the id that survives now. One that is in use again is not lost."""
    active = {item.key for item in facts}
    lost = {known[alias]: item.key for item in facts for alias in item.aliases if alias in known}
    chain = {**before, **{old: new for old, new in lost.items() if old != new}}
    return {old: _last(old, chain, active) for old in sorted(chain) if old not in active}


def _last(key: str, chain: Mapping[str, str], active: set[str]) -> str:
    """Follow the chain of replacements to its end."""
    seen: set[str] = set()
    while key in chain and key not in active and key not in seen:
        seen.add(key)
        key = chain[key]
    return key
