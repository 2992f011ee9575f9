"""Converters for dosimetry: the purpose of a procedure, why a number is missing, glucose in either unit."""

from __future__ import annotations

from decimal import Decimal

from gateway.dicom import values
from gateway.dicom.elements import Element
from gateway.dicom.values import Invalid
from gateway.mapping.conversion import ABSENT, Converter, Options, Outcome, Parts, first_clean
from gateway.mapping.converters import concept, concept_of, one_value, quantity_json, read_coded, simple, stated_in
from gateway.model import Json
from gateway.nuclear.results import SCT
from gateway.nuclear.units import convert, dimension, misnamed, published, spelled
from gateway.r4.units import UCUM_CODES

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
#: Concepts of absorbed and equivalent dose, whatever the statistic; 113518 is that of an organ dose in TID 10023.
_DOSE_KINDS = {
    "organ-absorbed-dose": frozenset({"128513", "128531", "128532", "128533", "128534", "128539", "113518"}),
    "equivalent-dose": frozenset({"128512", "128535", "128536", "128537", "128538", "128540"}),
}
_CONCEPT_NAME = "ConceptNameCodeSequence[0]"
_STATISTICS = {
    code: said
    for codes, said in (
        (("128531", "128535"), ("56851009", "Maximum")),
        (("128532", "128536"), ("255605001", "Minimum")),
        (("128533", "128537"), ("373098007", "Mean")),
        (("128534", "128538"), ("370114008", "Mode")),
        (("128539", "128540"), ("373099004", "Median")),
    )
    for code in codes
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
            raise Invalid(f"is in a unit that {'measures something else' if dimension(unit) else 'this gateway does not know'}")
        return Outcome(
            value=quantity_json(_rounded(number), unit, options), stated=stated_in(element, options), source=element.path
        )

    return first_clean(parts, read)


def dose_kind(element: Element) -> Json:
    """The kind of result that a concept name stands for (PS3.16 CID 10061, 10062, 10070); ``measurement`` for all others."""
    code = read_coded(element.items[0]).value if element.items else ""
    return next((kind for kind, codes in _DOSE_KINDS.items() if code in codes), "measurement")


def derivation(parts: Parts, options: Options) -> Outcome:
    """Which statistic a number is: a Derivation as it stands; of a dose concept (PS3.16 CID 10061, 10062) the one it stands for.

    The name of a measurement that is no such concept counts as absent.
    """

    def read(element: Element) -> Outcome:
        coded = read_coded(element.items[0]) if element.items else None
        found = _STATISTICS.get(coded.value) if coded else None
        if found is None:
            is_name = element.path.endswith(_CONCEPT_NAME)
            return ABSENT if is_name else concept_of(element, options)
        return Outcome(value={"system": SCT, "code": found[0], "text": found[1]}, source=element.path)

    return first_clean(parts, read)


def only_uid(element: Element) -> Json:
    """A UID, where only one is given; of several none counts, in silence: nobody can say which."""
    return values.uid(element.texts[0]) if len(set(element.texts)) == 1 else None


def measured(parts: Parts, options: Options) -> Outcome:
    """A number of whatever quantity, in the unit that a report gives with it, published in one unit for each quantity.

    MBq, mL, g, mm, s, mGy, mSv, mGy.cm, Gy.m2, kV, mA; other units of UCUM as they are told. An unknown unit is withheld.
    """

    def read(element: Element) -> Outcome:
        number, unit = values.decimal(one_value(element)), element.unit or ""
        out = published(unit)
        told = misnamed(unit)
        if told:
            raise Invalid(f"has a unit that {told}")
        if dimension(unit) is None and unit not in UCUM_CODES:
            raise Invalid("is in a unit that this gateway does not know")
        value: Json = {"value": number if unit == out else convert(number, unit, out), "unit": out}
        coded = spelled(unit)
        stated: Json = None if coded == out else {"value": number, "unit": coded}
        return Outcome(value=value, stated=stated, source=element.path)

    return first_clean(parts, read)


def _rounded(number: Decimal) -> Decimal:
    """No more digits than the molar mass has."""
    return number if len(number.as_tuple().digits) <= 6 else number.quantize(Decimal("0.001"))


DOSE: tuple[Converter, ...] = (
    Converter(name="use", convert=use, takes_codes=True),
    simple("absent_reason", absent_reason, absent_reason.__doc__ or ""),
    simple("only_uid", only_uid, only_uid.__doc__ or ""),
    simple("dose_kind", dose_kind, dose_kind.__doc__ or ""),
    Converter(name="derivation", convert=derivation, result="concept"),
    Converter(name="measured", convert=measured, result="quantity"),
    Converter(name="glucose", convert=glucose, takes_unit=True, result="quantity"),
)
