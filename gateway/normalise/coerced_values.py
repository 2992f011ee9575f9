"""What a field of a record says -> what stands in a DICOM element: text of a value representation, or a code item."""

from __future__ import annotations

from decimal import Decimal

from pydicom.datadict import tag_for_keyword

from gateway.dicom.rewrite import DataSet
from gateway.dicom.values import Invalid
from gateway.dicom.writing import decimal_string, text_bytes
from gateway.mapping.codes import Codes
from gateway.model import Json, JsonObject
from gateway.nuclear import units

_GENDERS = {"male": "M", "female": "F", "other": "O"}
_DATES, _NUMBERS = ("DA", "TM", "DT"), ("DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD")
#: PS3.3 table 8.8-1: CodeValue is an SH, what is longer is LongCodeValue.
_CODE_VALUE_MOST = 16


def tag_of(keyword: str) -> int:
    """The tag of a keyword. Raises :class:`LookupError`."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(keyword)
    return int(tag)


CODE_VALUE, LONG_CODE_VALUE, URN_CODE_VALUE = tag_of("CodeValue"), tag_of("LongCodeValue"), tag_of("URNCodeValue")
SCHEME, MEANING = tag_of("CodingSchemeDesignator"), tag_of("CodeMeaning")
#: PS3.3 tables 8.8-1 and 8.8-2: what qualifies one code and says nothing of another.
_OF_THE_OLD_CODE = tuple(
    map(
        tag_of,
        (
            "CodingSchemeVersion", "MappingResource", "ContextGroupVersion", "ContextGroupLocalVersion", "ContextGroupExtensionFlag",
            "ContextGroupExtensionCreatorUID", "ContextIdentifier", "ContextUID", "MappingResourceUID", "MappingResourceName",
            "EquivalentCodeSequence",
        ),
    )
)  # fmt: skip


def text_of(value: Json, vr: str, unit: str = "") -> str:
    """A field's value as text of a VR; ``unit`` (UCUM) for a quantity. Raises :class:`Invalid` with the end of a sentence."""
    if isinstance(value, list):
        return "\\".join(text_of(one, vr, unit) for one in value)
    if isinstance(value, dict):
        return _of_object(value, vr, unit)
    if isinstance(value, bool):
        raise Invalid("is yes or no, which no element holds")
    if unit:
        raise Invalid("has no unit")
    if isinstance(value, int | Decimal):
        return _number(Decimal(value), vr)
    if vr in _DATES:
        return _date_and_time(str(value), vr)
    return str(value)


def number_text(text: str, vr: str) -> str:
    """A number that another element holds, spelt for this VR; what is no number for a numeric VR raises :class:`Invalid`."""
    return _number(Decimal(text), vr) if vr == "DS" and len(text) > _CODE_VALUE_MOST and _is_number(text) else text


def person_name(name: JsonObject) -> str:
    """A name as PN: first given name, the others as middle names; ideographic and phonetic groups behind (PS3.5 section 6.2.1)."""
    groups = [_group(name), _group(name.get("ideographic") or {}), _group(name.get("phonetic") or {})]
    return "=".join(groups).rstrip("=")


def sex(gender: str) -> str:
    """FHIR gender as PatientSex; empty for what DICOM does not know."""
    return _GENDERS.get(gender, "")


def set_code(item: DataSet, concept: JsonObject, codes: Codes) -> bool:
    """Write a concept into a code item. False when the item says so already, or the concept has no code. Raises :class:`Invalid`."""
    designators = {system: designator for designator, system in codes.schemes.systems.items()}
    code, designator = str(concept.get("code") or ""), designators.get(str(concept.get("system") or ""))
    if not code or designator is None:
        return False
    wanted = CODE_VALUE if len(code) <= _CODE_VALUE_MOST else LONG_CODE_VALUE
    if _text(item, wanted) == code and _text(item, SCHEME) == designator:
        return False
    meaning = text_bytes("LO", str(concept.get("text") or code), item.encoding.order)
    for tag in (CODE_VALUE, LONG_CODE_VALUE, URN_CODE_VALUE, *_OF_THE_OLD_CODE):
        item.remove(tag)
    item.put(wanted, "SH" if wanted == CODE_VALUE else "UC", text_bytes("LO", code, item.encoding.order))
    item.put(SCHEME, "SH", text_bytes("SH", designator, item.encoding.order))
    item.put(MEANING, "LO", meaning)
    return True


def shown_code(item: DataSet) -> str:
    """A code item for people: ``(scheme, value, meaning)``."""
    value = _text(item, CODE_VALUE) or _text(item, LONG_CODE_VALUE) or _text(item, URN_CODE_VALUE)
    return f"({_text(item, SCHEME)}, {value}, {_text(item, MEANING)})" if value or _text(item, MEANING) else ""


def _text(item: DataSet, tag: int) -> str:
    return item.raw(tag).decode("utf-8", "replace").strip(" \0")


def _of_object(value: JsonObject, vr: str, unit: str) -> str:
    if "value" in value and "unit" in value:
        if not unit:
            raise Invalid("is a quantity: the rule must name the unit that the element wants")
        try:
            return _number(units.convert(Decimal(value["value"]), str(value["unit"]), unit), vr)
        except ValueError as error:
            raise Invalid(f"is no quantity that can be written in {unit}") from error
    if vr == "PN":
        return person_name(value)
    if "text" in value:
        return str(value["text"])
    raise Invalid("is no text")


def _number(number: Decimal, vr: str) -> str:
    if vr == "DS":
        return decimal_string(number)
    if vr in ("IS", "US", "SS", "UL", "SL", "UV", "SV") and number != number.to_integral_value():
        raise Invalid("is not a whole number")
    return f"{number:f}" if vr in _NUMBERS else str(number)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).isdigit()


def _date_and_time(text: str, vr: str) -> str:
    day, separator, time = text.partition("T")
    if vr == "DA" or (vr == "DT" and not separator):
        return day.replace("-", "")
    if not separator:
        time = day if ":" in day else ""
    clock, offset = time, ""
    for sign in "+-":
        if sign in time:
            clock, _, rest = time.partition(sign)
            offset = sign + rest.replace(":", "")
    clock = clock.removesuffix("Z").replace(":", "")
    if not clock:
        raise Invalid("has no time of day")
    return clock if vr == "TM" else f"{day.replace('-', '')}{clock}{offset or '+0000'}"


def _group(name: JsonObject) -> str:
    given = [str(one) for one in name.get("given") or ()]
    parts = (
        str(name.get("family") or ""),
        given[0] if given else "",
        " ".join(given[1:]),
        " ".join(map(str, name.get("prefix") or ())),
        " ".join(map(str, name.get("suffix") or ())),
    )
    return "^".join(parts).rstrip("^")
