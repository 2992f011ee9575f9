"""Converters for dosimetry: the purpose of a procedure, why a number is missing, glucose in either unit."""

from __future__ import annotations

from decimal import Decimal

from gateway.dicom import values
from gateway.dicom.paths import Element
from gateway.dicom.values import Invalid
from gateway.mapping.conversion import Converter, Options, Outcome, Parts, first_clean
from gateway.mapping.converters import concept, one_value, quantity_json, read_coded, simple, stated_in
from gateway.model import Json
from gateway.nuclear.units import convert, dimension

INTENTS_TABLE = "intents"
#: The one purpose of PS3.16 CID 3629 for which an effective dose means something.
_DIAGNOSTIC = "Diagnostic"
#: NumericValueQualifierCodeSequence (0040,A301), CID 42 -> FHIR data-absent-reason.
_QUALIFIERS = {
    "114000": "not-a-number",
    "114001": "negative-infinity",
    "114002": "positive-infinity",
    "114003": "not-a-number",
    "114004": "error",
    "114005": "error",
    "114006": "error",
    "114007": "not-performed",
    "114008": "error",
    "114009": "error",
    "114010": "unknown",
    "114011": "unknown",
}
#: g/mol, of glucose (C6H12O6): 1 mmol/L is 18.0156 mg/dL.
_GLUCOSE = Decimal("180.156")


def use(parts: Parts, options: Options) -> Outcome:
    """``diagnostic`` or ``therapeutic``, from the intent of a procedure (CID 3629); whatever is not purely diagnostic is therapy."""
    found = concept(parts, options)
    if found.value is None or found.notes:
        return Outcome(notes=found.notes, source=found.source)
    return Outcome(value="diagnostic" if found.value["text"] == _DIAGNOSTIC else "therapeutic", source=found.source)


def absent_reason(element: Element) -> Json:
    """Why a report has no number (CID 42, Numeric Value Qualifier), in the words of FHIR's data-absent-reason."""
    coded = read_coded(element.items[0]) if element.items else None
    reason = _QUALIFIERS.get(coded.value) if coded else None
    if reason is None:
        raise Invalid("is no qualifier that PS3.16 CID 42 knows")
    return reason


def glucose(parts: Parts, options: Options) -> Outcome:
    """A concentration of glucose, in mmol/L or in mg/dL, published in ``unit.out``."""

    def read(element: Element) -> Outcome:
        number, unit, out = values.decimal(one_value(element)), element.unit or options.unit_in or "", options.unit_out or ""
        if dimension(unit) == "mass concentration" and dimension(out) == "molar concentration":
            number, unit = convert(number, unit, "mg/L") / _GLUCOSE, "mmol/L"
        elif dimension(unit) is None or dimension(unit) != dimension(out):
            raise Invalid("is in a unit that measures something else")
        return Outcome(
            value=quantity_json(_rounded(number), unit, options), stated=stated_in(element, options), source=element.path
        )

    return first_clean(parts, read)


def _rounded(number: Decimal) -> Decimal:
    """No more digits than the molar mass has."""
    return number if len(number.as_tuple().digits) <= 6 else number.quantize(Decimal("0.001"))


DOSE: tuple[Converter, ...] = (
    Converter(name="use", convert=use, takes_codes=True),
    simple("absent_reason", absent_reason, absent_reason.__doc__ or ""),
    Converter(name="glucose", convert=glucose, takes_unit=True, result="quantity"),
)
