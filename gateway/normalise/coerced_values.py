"""What a field of a record says -> what stands in a DICOM element: text of a value representation, or a code item."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from pydicom.datadict import tag_for_keyword

from gateway.dicom import values
from gateway.dicom.rewrite import DataSet
from gateway.dicom.values import Invalid
from gateway.dicom.writing import UNSPLIT, decimal_string, text_bytes
from gateway.mapping.codes import Codes
from gateway.model import Json, JsonObject
from gateway.nuclear import units

_GENDERS = {"male": "M", "female": "F", "other": "O"}
_DATES = ("DA", "TM", "DT")
_WHOLE, _FLOATS = ("IS", "US", "SS", "UL", "SL", "UV", "SV"), ("FL", "FD")
#: PS3.3 table 8.8-1: CodeValue is an SH, what is longer is LongCodeValue. As long as a DS.
_CODE_VALUE_MOST = _DECIMAL_MOST = 16


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


def text_of(value: Json, vr: str, unit: str = "", zone: dt.tzinfo | None = None) -> str:
    """A field's value as text of a VR; ``unit`` (UCUM) for a quantity. Raises :class:`Invalid` with the end of a sentence.

    ``zone`` is that of the object: dates and times of day without an offset count in it.
    """
    if isinstance(value, list):
        return "\\".join(text_of(one, vr, unit, zone) for one in value)
    if isinstance(value, dict):
        return _of_object(value, vr, unit)
    if isinstance(value, bool):
        raise Invalid("is yes or no, which no element holds")
    if unit:
        raise Invalid("has no unit")
    if isinstance(value, int | Decimal):
        return _number(Decimal(value), vr)
    if vr in _DATES:
        return _date_and_time(str(value), vr, zone)
    return str(value)


def copied_text(text: str, vr: str) -> str:
    """One value of another element, for this VR: numbers spelt as it wants them. Raises :class:`Invalid`."""
    if "\\" in text and vr not in UNSPLIT:
        raise Invalid("holds a backslash, which parts values here")
    if vr in _WHOLE or (vr == "DS" and len(text) > _DECIMAL_MOST):
        return _number(values.decimal(text.strip()), vr)
    return text


def person_name(name: JsonObject) -> str:
    """A name as PN: first given name, the others as middle names; ideographic and phonetic groups behind (PS3.5 section 6.2.1)."""
    groups = [_group(name), _group(name.get("ideographic") or {}), _group(name.get("phonetic") or {})]
    return "=".join(groups).rstrip("=")


def sex(gender: str) -> str:
    """FHIR gender as PatientSex; empty for what DICOM does not know."""
    return _GENDERS.get(gender, "")


@dataclass(frozen=True, slots=True)
class Code:
    """A code that can be written into a code item."""

    scheme: str  #: Coding Scheme Designator
    value: str
    meaning: str

    @property
    def tag(self) -> int:
        return CODE_VALUE if len(self.value) <= _CODE_VALUE_MOST else LONG_CODE_VALUE

    def stands_in(self, item: DataSet) -> bool:
        """True when the item says so already, in whatever words."""
        return _text(item, self.tag) == self.value and _text(item, SCHEME) == self.scheme

    def write(self, item: DataSet) -> None:
        """In the place of whatever code the item held. Letters of the meaning come out as UTF-8."""
        order = item.encoding.order
        for tag in (CODE_VALUE, LONG_CODE_VALUE, URN_CODE_VALUE, *_OF_THE_OLD_CODE):
            item.remove(tag)
        item.put(self.tag, "SH" if self.tag == CODE_VALUE else "UC", text_bytes("LO", self.value, order))
        item.put(SCHEME, "SH", text_bytes("SH", self.scheme, order))
        item.put(MEANING, "LO", text_bytes("LO", self.meaning, order))


def code_of(concept: JsonObject, codes: Codes) -> Code | None:
    """A concept as a code; None when it has none, or one of a system that no designator names. Raises :class:`Invalid`."""
    designators = {system: designator for designator, system in codes.schemes.systems.items()}
    value, designator = str(concept.get("code") or ""), designators.get(str(concept.get("system") or ""))
    if not value or designator is None:
        return None
    code = Code(designator, value, str(concept.get("text") or value))
    for vr, text in (("LO", code.value), ("SH", code.scheme), ("LO", code.meaning)):
        text_bytes(vr, text, "<")
        if "\\" in text:
            raise Invalid("holds a backslash, which parts values here")
    return code


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
    if vr in _WHOLE:
        if number != number.to_integral_value():
            raise Invalid("is not a whole number")
        return str(int(number))
    return repr(float(number)) if vr in _FLOATS else str(number)


def _date_and_time(text: str, vr: str, zone: dt.tzinfo | None) -> str:
    """FHIR date, dateTime or time as DA, TM or DT."""
    day, separator, time = text.partition("T")
    if not separator:
        if (vr == "TM") is not (":" in text):
            raise Invalid("is a day without a time" if vr == "TM" else "is a time without a day")
        return text.replace(":", "").replace("-", "")
    moment = values.instant(text)
    if moment is None or moment.tzinfo is None:
        raise Invalid("has no time of day that is known in every zone")
    if vr == "DT":
        clock, sign, offset = time.replace("Z", "+00:00").replace("-", "|-").replace("+", "|+").partition("|")
        return f"{day.replace('-', '')}{clock.replace(':', '')}{offset.replace(':', '') if sign else '+0000'}"
    if zone is None:
        raise Invalid("has a zone of its own, and that of the object is not known")
    local = moment.astimezone(zone)
    if (local.utcoffset() or dt.timedelta()).seconds % 60:
        raise Invalid("is older than time zones")
    if vr == "DA":
        return f"{local:%Y%m%d}"
    second, fraction = time[6:8], time[8:].partition("+")[0].partition("-")[0].removesuffix("Z")
    return f"{local:%H%M}{second}{fraction}"


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
