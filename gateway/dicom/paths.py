"""Paths to DICOM elements: how they are written and what they mean. Reading what stands there: ``items``.

A path is keywords with item indexes, as ``RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose``; ``[*]`` stands for
all items; a value index picks one of several values, as ``ImageType[2]``; a private element is named through its creator,
wherever its block lies (PS3.5 section 7.8), at the top or inside sequences: ``(7053,xx00)[Philips PET Private Group]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VR, keyword_for_tag, private_dictionary_VR, tag_for_keyword

from gateway.dicom.charset import CHARSET_VRS

_STEP = re.compile(
    r"(?:(?P<keyword>[A-Za-z]\w*)|\((?P<group>[0-9A-Fa-f]{4}),(?P<element>xx[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4})\)"
    r"(?:\[(?P<creator>(?!\*\])[^\]]*[^\]\d][^\]]*)\])?)(?:\[(?P<index>\d{1,3}|\*)\])?(?:\.|$)"
)
_BARE_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-fx]{4})\)?")
_LONGEST = 512
#: The index of ``[*]``.
ALL = -1
TEXT_VRS = CHARSET_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}


class PathError(ValueError):
    """A path that cannot be right, with the reason."""

    def __init__(self, reason: str, keyword: str | None = None) -> None:
        super().__init__(reason)
        self.keyword = keyword  #: the unknown word, for a suggestion


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a standard tag, or the last two digits of a private one with its creator."""

    tag: int
    creator: str | None = None
    index: int | None = None  #: of an item or a value; ``ALL`` for ``[*]``


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path. ``text`` is how it was written."""

    text: str
    steps: tuple[Step, ...]
    several: bool = False  #: it may lead to several places, by ``[*]``


def parse_path(text: str) -> Path:
    """Parse and check every segment. Raises :class:`PathError`."""
    steps: list[Step] = []
    position = 0
    if len(text) > _LONGEST:
        raise PathError(f"a path has at most {_LONGEST} letters")
    while position < len(text):
        found = _STEP.match(text, position)
        if not found:
            bare = _BARE_TAG.fullmatch(text)
            tag = (
                (f"{bare[1]},xx{bare[2][-2:]})[Private Creator]" if int(bare[1], 16) % 2 else f"{bare[1]},{bare[2]})")
                if bare
                else ""
            )
            hint = f"; an element by its tag is written ({tag}" if tag else ""
            raise PathError(f"'{text}' is not a path: it goes wrong at '{text[position:]}'{hint}")
        steps.append(_step(found, text))
        position = found.end()
    if not steps or text.endswith("."):
        raise PathError(f"'{text}' is not a path")
    for step in steps[:-1]:
        if step.creator is None and vr_of(step.tag) != "SQ":
            raise PathError(f"'{text}': {keyword_for_tag(step.tag)} is not a sequence, nothing can stand inside it")
        if step.index is None:
            name = keyword_for_tag(step.tag) or "Sequence"
            raise PathError(f"'{text}': say which item, as in {name}[0], or [*] for all")
    return Path(text, tuple(steps), any(step.index == ALL for step in steps))


def _step(found: re.Match[str], text: str) -> Step:
    index = None if not found["index"] else ALL if found["index"] == "*" else int(found["index"])
    if found["keyword"]:
        tag = tag_for_keyword(found["keyword"])
        if tag is None:
            raise PathError(f"'{found['keyword']}' is not a DICOM keyword", found["keyword"])
        return Step(int(tag), None, index)
    group, element = int(found["group"], 16), found["element"]
    if group % 2 == 0:
        if element.startswith("xx"):
            raise PathError(f"'{text}': only a private element has 'xx'")
        return Step(group << 16 | int(element, 16), None, index)
    if not found["creator"] or not element.startswith("xx"):
        wanted = f"({found['group']},xx{element[-2:]})[{found['creator'] or 'Private Creator'}]"
        block = "" if element.startswith("xx") else ": the block differs from file to file"
        raise PathError(f"'{text}': a private element is written {wanted}{block}")
    return Step(group << 16 | int(element[2:], 16), found["creator"].strip(), index)


def _groups_path(keyword: str) -> Path:
    return Path(keyword, (Step(int(tag_for_keyword(keyword) or 0)),))


#: Multi-frame functional groups (PS3.3 C.7.6.16.1).
SHARED_GROUPS, FRAME_GROUPS = _groups_path("SharedFunctionalGroupsSequence"), _groups_path("PerFrameFunctionalGroupsSequence")
FRAME_PATHS = (SHARED_GROUPS, FRAME_GROUPS)


def is_sequence(path: Path) -> bool:
    """True when the path leads to a standard sequence as a whole (or to all its items)."""
    last = path.steps[-1]
    return last.creator is None and last.index in (None, ALL) and vr_of(last.tag) == "SQ"


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """The dictionary's VR of a standard tag; of a choice ("US or SS") the first."""
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return "UN"


def private_vr(tag: int, creator: str) -> str:
    """What pydicom's private dictionary knows of an element; ``UN`` when it knows nothing."""
    try:
        return private_dictionary_VR(tag, creator)[:2]
    except KeyError:
        return "UN"
