"""Structured reports: finding content items by the codes of their concept names (PS3.3 C.17.3, content tree by value).

An SR path is a list of concept names, each a direct child of the one before: 113502 DCM (administration) -> 113507 DCM
(administered activity). A concept may have several equal codes, because senders still write retired SNOMED-RT. What is found
becomes an :class:`~gateway.dicom.elements.Element` like any other: texts, or items for codes and containers; a number brings
its unit along. Where a template leaves the place open, a step may be any child or any depth, and what an item lacks may be looked
for around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary, ref

from gateway.dicom.elements import Element
from gateway.dicom.items import Content, Item, Root
from gateway.dicom.paths import Path, parse_path
from gateway.dicom.values import Invalid

#: A concept name: coding scheme designator and code value, with all its equals.
Names = frozenset[tuple[str, str]]

#: A step to every child whatever its name, and one to the place itself and all that stands below it.
ANY: Names = frozenset({("", "*")})
BELOW: Names = frozenset({("", "**")})

#: No template of PS3.16 nests deeper than half of that.
DEEPEST = 12
UCUM = "UCUM"

CONTENT = parse_path("ContentSequence")
_CONCEPT = parse_path("ConceptNameCodeSequence[0]")
_VALUE_TYPE = parse_path("ValueType")
_SCHEME = parse_path("CodingSchemeDesignator")
_CODES = tuple(map(parse_path, ("CodeValue", "LongCodeValue", "URNCodeValue")))
_MEASURED, _NUMBER = parse_path("MeasuredValueSequence"), parse_path("NumericValue")
_UNITS = parse_path("MeasurementUnitsCodeSequence[0]")
_CODED = parse_path("ConceptCodeSequence")
#: Value types that hold one plain value, and the attribute that holds it (PS3.3 table C.17.3-1).
_PLAIN = {
    value_type: parse_path(keyword)
    for value_type, keyword in {
        "TEXT": "TextValue",
        "UIDREF": "UID",
        "DATETIME": "DateTime",
        "DATE": "Date",
        "TIME": "Time",
        "PNAME": "PersonName",
    }.items()
}

_RELATIONSHIP = parse_path("RelationshipType")
_TEMPLATE = parse_path("ContentTemplateSequence[0].TemplateIdentifier")
#: How a content item belongs to the one above it (PS3.3 table C.17.3-8).
RELATIONSHIPS = (
    "CONTAINS",
    "HAS OBS CONTEXT",
    "HAS CONCEPT MOD",
    "HAS PROPERTIES",
    "HAS ACQ CONTEXT",
    "INFERRED FROM",
    "SELECTED FROM",
)

#: What a content item may be (PS3.3 table C.17.3-7).
VALUE_TYPES = (*_PLAIN, "CONTAINER", "CODE", "NUM", "IMAGE", "COMPOSITE", "WAVEFORM", "SCOORD", "SCOORD3D", "TCOORD", "TABLE")

#: What a content item that was read stands in. Weak, because the container holds the item.
_AROUND: WeakKeyDictionary[Item, ref[Root | Item]] = WeakKeyDictionary()
#: Codes by the bytes of their sequence; what is longer than a code is not kept.
_CODES_READ: dict[tuple[str, tuple[object, ...]] | None, tuple[str, str] | None] = {}
_CODES_MOST = 4096


@dataclass(frozen=True, slots=True)
class SrPath:
    """Concept names from the root, or from an item of ``for_each``, downwards. ``text`` is how it was written.

    Without names it is the item itself.
    """

    text: str
    steps: tuple[Names, ...]
    attribute: Path | None = None  #: an attribute of the item instead of its value, e.g. ObservationDateTime
    relationship: frozenset[str] = frozenset()  #: of the last item to the one above it; empty: whichever
    template: str = ""  #: identifier of the template that the report, or an item on the way, declares; empty: whichever
    value_types: frozenset[str] = frozenset()  #: of the last item; empty: whichever
    without: Names = frozenset()  #: names that the last item must not have
    nearest: bool = False  #: when nothing stands there, the same is asked of the item around the start, and so on to the root
    within: Names = frozenset()  #: with ``nearest``: what is around an item of this name is not asked any more

    def __post_init__(self) -> None:
        if len(self.steps) > DEEPEST:
            raise ValueError(f"an SR path has at most {DEEPEST} concept names")


def find(start: Root | Item, path: SrPath) -> Element | None:
    """What stands at a path: of several items all values, or all coded items.

    Gives ``None`` when no item has these names, or none has a value. Raises :class:`Invalid` when one is unreadable.
    """
    found = [element for item in _places(start, path) if (element := _value(item, path))]
    if len(found) <= 1:
        return found[0] if found else None
    if len({element.unit for element in found}) > 1:
        raise Invalid("is given several times in different units")
    texts = tuple(text for element in found for text in element.texts)
    items = tuple(item for element in found for item in element.items)
    return Element(path.text, texts, items, found[0].unit)


def find_items(start: Root | Item, path: SrPath) -> Element | None:
    """The content items themselves that stand at a path, whatever their value type: what a ``for_each`` goes through."""
    found = tuple(_places(start, path))
    return Element(path.text, (), found) if found else None


def without_number(start: Root | Item, path: SrPath) -> bool:
    """True when numbers stand at a path and none of them has a measured value: they are not known (PS3.3 C.18.1)."""
    found = [item for item in _places(start, path) if _text_at(item, _VALUE_TYPE) == "NUM"]
    return bool(found) and all(_no_number(item) for item in found)


def _no_number(item: Item) -> bool:
    measured = item.find(_MEASURED)
    number = measured.items[0].find(_NUMBER) if measured and measured.items else None
    return number is None or not number.text


def _places(start: Root | Item, path: SrPath) -> list[Item]:
    place: Root | Item | None = start
    while place is not None:
        found = _under(place, path)
        if found or not path.nearest or isinstance(place, Root) or name_of(place) in path.within:
            return found
        around = _AROUND.get(place)
        place = around() if around else None
    return []


def _under(start: Root | Item, path: SrPath) -> list[Item]:
    """What stands at a path below the start: each with whether it, or something on the way, follows the template."""
    places = [(start, not path.template or _declares(start, path.template))]
    for names in path.steps:
        places = [
            (item, declared or _declares(item, path.template)) for place, declared in places for item in _step(place, names)
        ]
    if path.steps and path.steps[-1] == BELOW:
        places = [one for one in places if one[0] is not start]
    if path.relationship:
        places = [one for one in places if _text_at(one[0], _RELATIONSHIP) in path.relationship]
    if path.value_types:
        places = [one for one in places if _text_at(one[0], _VALUE_TYPE) in path.value_types]
    found = [place for place, declared in places if declared and isinstance(place, Item)]
    return [item for item in found if name_of(item) not in path.without] if path.without else found


def _step(place: Root | Item, names: Names) -> Iterator[Root | Item]:
    if names != BELOW:
        yield from children(place) if names == ANY else _children(place, names)
        return
    yield place
    for child in children(place):
        yield from _step(child, names)


def _declares(place: Root | Item, template: str) -> bool:
    return _text_at(place, _TEMPLATE) == template


def _text_at(place: Root | Item, path: Path) -> str:
    found = place.find(path)
    return found.text if found else ""


def _children(place: Root | Item, names: Names) -> list[Item]:
    """The direct children with one of these names, in the order of the report."""
    content = _content(place)
    found = [numbered for name in names for numbered in content.get(name, ())]
    place.budget.spend(1 + len(found))
    return [item for _, item in sorted(found, key=lambda numbered: numbered[0])]


def children(place: Root | Item) -> list[Item]:
    """All direct children, those without a concept name among them, in the order of the report."""
    found = [numbered for named in _content(place).values() for numbered in named]
    place.budget.spend(1 + len(found))
    return [item for _, item in sorted(found, key=lambda numbered: numbered[0])]


def _content(place: Root | Item) -> Content:
    """The children of a container by their names: a mapping asks the same container once for every field."""
    content = place.content
    if content is None:
        content = place.content = _read_children(place)
    return content


def _read_children(place: Root | Item) -> Content:
    found = place.find(CONTENT)
    content: Content = {}
    for number, item in enumerate(found.items if found else ()):
        _AROUND[item] = ref(place)
        content.setdefault(name_of(item), []).append((number, item))
    return content


def name_of(item: Item) -> tuple[str, str]:
    """Scheme and code of a content item's concept name; two empty texts for one that has none (by reference, or a part of another)."""
    return _code_at(item, _CONCEPT) or ("", "")


def _code_at(item: Item, path: Path) -> tuple[str, str] | None:
    """Scheme and value of a coded item. Reports name few concepts again and again, so the same bytes are read once."""
    encoded = item.encoded(path.steps[0].tag)
    key = (path.text, encoded) if encoded else None
    if key in _CODES_READ:
        item.budget.spend(1)
        return _CODES_READ[key]
    found = item.find(path)
    code = _code(found.items[0]) if found and found.items else None
    if key is not None:
        if len(_CODES_READ) >= _CODES_MOST:
            _CODES_READ.clear()
        _CODES_READ[key] = code
    return code


def _code(coded: Item) -> tuple[str, str]:
    scheme = coded.find(_SCHEME)
    value = next((found for path in _CODES if (found := coded.find(path))), None)
    return (scheme.text if scheme else "", value.text if value else "")


def _value(item: Item, path: SrPath) -> Element | None:
    if path.attribute is not None:
        found = item.find(path.attribute)
        return Element(f"{path.text} {path.attribute.text}", found.texts, found.items) if found else None
    kind = item.find(_VALUE_TYPE)
    value_type = kind.text if kind else ""
    if value_type == "CONTAINER":
        return Element(path.text, (), (item,))
    if value_type == "CODE":
        coded = item.find(_CODED)
        return Element(path.text, (), coded.items[:1]) if coded else None
    if value_type == "NUM":
        return _number(item, path)
    if value_type not in _PLAIN:
        raise Invalid("is of a value type that holds no value here")
    found = item.find(_PLAIN[value_type])
    return Element(path.text, found.texts) if found else None


def _number(item: Item, path: SrPath) -> Element | None:
    """A measured value and its unit; no measured value at all means that it is not known (PS3.3 C.18.1)."""
    measured = item.find(_MEASURED)
    number = measured.items[0].find(_NUMBER) if measured else None
    if measured is None or number is None:
        return None
    scheme, unit = _code_at(measured.items[0], _UNITS) or ("", "")
    if scheme != UCUM or not unit:
        raise Invalid("is a number whose unit is not a code of UCUM")
    return Element(path.text, number.texts, (), unit)
