"""``match``: for which objects a mapping is, compiled; and the choice among all mappings, in a time that does not grow with their number.

::

    match:
      SOPClassUID: PositronEmissionTomographyImageStorage
      manufacturer: GE*                   # short for Manufacturer; so are model, serial, station, software
      model: {regex: "discovery (st|mi).*"}
      ImageType[2]: [RECON TOMO, RECON GATED TOMO]
      private_creator: GEMS_PETD_01       # some private creator of this name stands at the top level
      calling_ae: PETCT1

Every key must fit; of several patterns one, on one of the element's values. Whole values, any case, ``*`` for anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from pydicom.datadict import dictionary_VM

from gateway.dicom.charset import CHARSET_TAG, decode, encodings_of
from gateway.dicom.headers import HeaderLike
from gateway.dicom.paths import ALL, vr_of
from gateway.dicom.values import Invalid
from gateway.mapping.patterns import Pattern

#: Short words for what tells scanners apart (PS3.3 C.7.5.1).
ALIASES: Mapping[str, str] = {
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "serial": "DeviceSerialNumber",
    "station": "StationName",
    "software": "SoftwareVersions",
}
CALLING_AE, CALLED_AE, PRIVATE_CREATOR = "calling_ae", "called_ae", "private_creator"
#: Words of ``match`` that are no DICOM keywords.
WORDS = (*ALIASES, CALLING_AE, CALLED_AE, PRIVATE_CREATOR)
#: A value longer than this fits nothing.
_LONGEST = 65536
#: Longer values are remembered by their digest.
_REMEMBERED_AS_IT_IS = 256
_REMEMBERED = 1024

#: What a rule asks of a header: an element by its tag, or one of the words above.
Subject = int | str


@dataclass(frozen=True, slots=True)
class MatchRule:
    """One key of ``match``: of what, which of its values, and the patterns of which one must fit."""

    key: str  #: as it is written, aliases resolved, e.g. ``ImageType[2]``
    subject: Subject
    index: int | None
    patterns: tuple[Pattern, ...]

    def fits(self, raw: bytes, charset: bytes = b"") -> bool:
        """Whether the bytes that stand there fit. ``charset`` is that of (0008,0005)."""
        if len(raw) > _LONGEST:
            return False
        values = [value.strip(" \0") for value in self._text(raw, charset).split("\\")]
        if self.index is not None and self.index != ALL:
            values = values[self.index : self.index + 1]
        return any(pattern.fits(value) for value in values for pattern in self.patterns)

    def _text(self, raw: bytes, charset: bytes) -> str:
        if raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii")
        try:
            return decode(raw, vr_of(self.subject) if isinstance(self.subject, int) else "LO", encodings_of(charset))
        except Invalid:
            return raw.decode("latin-1")


def fits(rule: MatchRule, header: HeaderLike) -> bool:
    """Whether a header fits one rule. :class:`Chooser` asks many at once."""
    subject = rule.subject
    raw = header.raw(subject) if isinstance(subject, int) else _word_of(header, subject)
    return rule.fits(raw, header.raw(CHARSET_TAG))


class Chooser:
    """Chooses among mappings, given the most preferred first.

    For each thing that any mapping asks for it remembers which mappings a value leaves in the race, as a bit mask. So a header whose
    values were met before costs one look-up, one with a new value only the rules that ask for that value; never all mappings.
    """

    def __init__(self, rules: Sequence[tuple[MatchRule, ...]]) -> None:
        self._all = (1 << len(rules)) - 1
        asking: dict[Subject, list[tuple[int, MatchRule]]] = {}
        for number, own in enumerate(rules):
            for rule in own:
                asking.setdefault(rule.subject, []).append((number, rule))
        self._asking = tuple(asking.items())
        self._tags = tuple(subject for subject in asking if isinstance(subject, int))
        self._words = tuple(subject for subject in asking if isinstance(subject, str))
        self._masks: tuple[OrderedDict[tuple[bytes, bytes], int], ...] = tuple(OrderedDict() for _ in asking)
        self._chosen: OrderedDict[tuple[bytes, ...], int] = OrderedDict()
        self._order = {subject: place for place, subject in enumerate((*self._tags, *self._words))}

    def choose(self, header: HeaderLike) -> int | None:
        """The number of the first mapping whose rules all fit, or ``None``."""
        raw = [header.raw(tag) for tag in self._tags]
        raw += [_word_of(header, word) for word in self._words]
        charset = header.raw(CHARSET_TAG)
        key = tuple(_short(value) for value in (*raw, charset))
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = self._race(raw, charset)
            _remember(self._chosen, key, chosen)
        return chosen if chosen >= 0 else None

    def _race(self, raw: Sequence[bytes], charset: bytes) -> int:
        left = self._all
        for (subject, rules), masks in zip(self._asking, self._masks, strict=True):
            value = raw[self._order[subject]]
            key = (_short(value), b"" if value.isascii() and b"\x1b" not in value else _short(charset))
            mask = masks.get(key)
            if mask is None:
                out = {number for number, rule in rules if not rule.fits(value, charset)}
                mask = self._all & ~sum(1 << number for number in out)
                _remember(masks, key, mask)
            left &= mask
        return (left & -left).bit_length() - 1


def _remember(memory: OrderedDict[Any, int], key: Any, value: int) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _word_of(header: HeaderLike, word: str) -> bytes:
    """What a header says of one of :data:`WORDS`; several private creators with backslashes between, as values are."""
    if word == CALLING_AE:
        return header.came.calling_ae.encode()
    if word == CALLED_AE:
        return header.came.called_ae.encode()
    return b"\\".join(header.raw(tag).strip(b" \0") for tag in creator_tags(header.tags()))


def creator_tags(tags: Iterable[int]) -> list[int]:
    """Where private creators stand (PS3.5 section 7.8.1): odd groups, elements 0010 to 00FF."""
    return sorted(tag for tag in tags if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF)


def _short(value: bytes) -> bytes:
    """The value itself, or a digest that stands for it: hostile headers must not fill the memory."""
    return value if len(value) <= _REMEMBERED_AS_IT_IS else blake2b(value, digest_size=32).digest()


def never_together(one: MatchRule, other: MatchRule) -> bool:
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
