"""Radionuclides: how people write their names, and whether a stated half-life fits.

Writings that occur in real headers: ``F-18``, ``18F``, ``F18``, ``^18^Fluorine``, ``F^18^``, ``F^18^[^18^Fluorine]``,
``Fluorine-18``, ``99m Technetium``, ``Technetium Tc^99m^ sestamibi``, ``[18F]FDG``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

#: A stated half-life within this share of the physical one is that nuclide's (senders round: F-18 as 6588 or 6600 s).
HALF_LIFE_TOLERANCE = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nuclide:
    """One radionuclide. ``half_life_s`` in seconds; ``plausible_mbq`` the lowest and highest activity ever administered, in MBq."""

    name: str  #: symbol and mass number, e.g. ``Tc-99m``
    element: str  #: English name of the element
    half_life_s: Decimal | None = None
    plausible_mbq: tuple[Decimal, Decimal] | None = None

    @property
    def symbol(self) -> str:
        return self.name.partition("-")[0]

    @property
    def mass(self) -> str:
        return self.name.partition("-")[2]


@dataclass(frozen=True)
class Nuclides:
    """The known nuclides, and the reading of their names in free text."""

    known: tuple[Nuclide, ...]

    def named(self, name: str) -> Nuclide | None:
        """By canonical name, e.g. ``F-18``."""
        return self._by_name.get(name)

    def mentioned(self, text: str) -> frozenset[str]:
        """The canonical names of all nuclides that a text mentions."""
        return frozenset(name for name, _ in self._mentions(text))

    def recognise(self, text: str) -> str | None:
        """The one nuclide that a text names, or ``None`` when it names none or several."""
        names = self.mentioned(text)
        return next(iter(names)) if len(names) == 1 else None

    def without_mentions(self, text: str) -> str:
        """A text with every nuclide and its element's bare name taken out: what is left of a tracer is its molecule."""
        spans = list(self._mentions(text))
        for _, span in spans:
            text = text.replace(span, " ", 1)
        for name in {name for name, _ in spans}:
            element = self._by_name[name].element
            text = re.sub(rf"(?i)(?<![a-z]){element}(?![a-z])", " ", text)
        return text

    def _mentions(self, text: str) -> Iterable[tuple[str, str]]:
        position = 0
        while found := self._pattern.search(text, position):
            groups = [group for group in found.groups() if group is not None]
            first, second = groups[0].lower(), groups[1].lower()
            element, mass = (second, first) if first[0].isdigit() else (first, second)
            name = self._by_writing.get((element, mass))
            # "DPA-713 C-11": what looked like "713 C" is no nuclide, and the real one begins inside it.
            position = found.end() if name else found.start() + 1
            if name:
                yield name, found.group(0)

    @cached_property
    def _by_name(self) -> dict[str, Nuclide]:
        return {nuclide.name: nuclide for nuclide in self.known}

    @cached_property
    def _by_writing(self) -> dict[tuple[str, str], str]:
        writings: dict[tuple[str, str], str] = {}
        for nuclide in self.known:
            for element in (nuclide.symbol, nuclide.element):
                writings[element.lower(), nuclide.mass.lower()] = nuclide.name
        return writings

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Element then mass, or mass then element, with what people put between; never inside a longer word."""
        elements = "|".join(sorted({e for n in self.known for e in (n.symbol, n.element)}, key=len, reverse=True))
        gap, mass = r"[\s^\-\[\](){}]{0,3}", r"\d{1,3}m?"
        return re.compile(rf"(?i)(?<![a-z0-9])(?:({elements}){gap}({mass})|({mass}){gap}({elements}))\^?(?![a-z0-9])")


def half_life_fits(stated_s: Decimal, nuclide: Nuclide) -> bool:
    """True when a stated half-life (s) is that of the nuclide within 1 %."""
    physical = nuclide.half_life_s
    return physical is not None and abs(stated_s - physical) <= physical * HALF_LIFE_TOLERANCE
