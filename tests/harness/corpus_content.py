"""Objects whose encoding is sound and whose content is not: identifiers, numbers, dates, codes.

The door takes all but those without legal identifiers; what cannot be believed is withheld with an issue, never guessed, never published.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from functools import partial

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tests import builders
from tests.harness.corpus import (
    INSTANCE,
    MISMATCH,
    PET,
    TAKEN,
    Case,
    element,
    encoded,
    identity,
    item,
    pet,
    place,
    sequence,
    uid,
)

_ADMINISTRATION = "RadiopharmaceuticalInformationSequence[0]."
_STEP = re.compile(r"(\w+)(?:\[(\d+)\])?")


def cases() -> Iterator[Case]:
    for family in (_identifiers, _announcements, _doses, _other_numbers, _dates, _codes, _structure):
        yield from family()


def raw(dataset: Dataset, path: str, value: bytes, vr: str | None = None) -> Dataset:
    """Put bytes where a value belongs, as no writer would, at a path like ``RadionuclideCodeSequence[0].CodeValue``."""
    *parents, last = path.split(".")
    place_ = dataset
    for step in parents:
        found = _STEP.fullmatch(step)
        assert found is not None, path
        place_ = place_[found[1]].value[int(found[2] or 0)]
    tag = Tag(tag_for_keyword(last) or 0)
    even = value + b" " * (len(value) % 2)
    place_._dict[tag] = RawDataElement(tag, vr or dictionary_VR(tag), len(even), even, 0, False, True)
    return dataset


def pet_case(
    name: str, path: str, value: bytes, *, withheld: str = "", unknown: str = "", vr: str | None = None, **read: object
) -> Case:
    """A PET slice with one value spoilt. ``read`` names fields with ``__`` for the dot."""

    def build() -> bytes:
        return encoded(raw(pet(), path, value, vr))

    return Case(name=name, build=build, status=TAKEN, withheld=withheld, unknown=unknown, read=_dotted(read))


def _changed(
    name: str, change: Callable[[Dataset], object], *, withheld: str = "", quarantined: str = "", **read: object
) -> Case:
    def build() -> bytes:
        dataset = pet()
        change(dataset)
        return encoded(dataset)

    return Case(name=name, build=build, status=TAKEN, withheld=withheld, quarantined=quarantined, read=_dotted(read))


def _dotted(read: dict[str, object]) -> dict[str, object]:
    return {key.replace("__", "."): value for key, value in read.items()}


def _identifiers() -> Iterator[Case]:
    """PS3.5 9.1: digits and dots, 64 at most."""
    wrong = {
        "empty": "", "letters": "1.2.ABC", "65 characters": "1." + "2" * 63, "1,000 characters": "1." * 499 + "22", "dot first": ".1.2",
        "dot last": "1.2.", "two dots": "1..2", "a path": "../../etc/passwd", "a full path": "/etc/passwd", "two values": "1.2\\1.3",
        "blank inside": "1.2 .3", "a line end": "1.2\n3", "a NUL inside": "1.2\x003", "an escape": "1.2\x1b[31m", "markup": "<script>",
        "minus": "1.-2", "comma": "1,2", "high letters": "1.2\xe9", "blanks only": "    ", "SQL": "1' OR '1'='1",
    }  # fmt: skip
    tags = {
        "SOPClassUID": 0x00080016,
        "SOPInstanceUID": 0x00080018,
        "StudyInstanceUID": 0x0020000D,
        "SeriesInstanceUID": 0x0020000E,
    }
    right = {0x00080016: PET, 0x00080018: INSTANCE, 0x0020000D: "1.2.3.4", 0x0020000E: "1.2.3.4.5"}
    for keyword, tag in tags.items():
        for name, value in wrong.items():
            yield _identified(f"identifier/{keyword}/{name}", {**right, tag: value}, keyword)
        yield _identified(f"identifier/{keyword}/missing", {key: value for key, value in right.items() if key != tag}, keyword)
    yield Case(
        name="identifier/none at all", build=lambda: element(0x00100020, "LO", b"AB"), status=MISMATCH, words="has no SOPClassUID"
    )
    yield Case(name="identifier/empty object", build=lambda: b"", status=MISMATCH, words="has no SOPClassUID")
    leading = {**right, 0x0020000D: "1.02.003"}
    yield Case(name="identifier/leading zeros", build=lambda: _uids(leading), status=TAKEN)
    blank = {**right, 0x0020000D: "1.2.3.4 "}
    yield Case(name="identifier/padded with a blank", build=lambda: _uids(blank), status=TAKEN)
    as_lo = identity() + element(0x0020000D, "LO", b"1.2.3.4 ") + element(0x0020000E, "UI", b"1.2.3.4.5\0")
    yield Case(name="identifier/StudyInstanceUID as LO", build=lambda: as_lo, status=TAKEN)
    hidden = identity() + sequence(0x00081115, item(place()))
    yield Case(name="identifier/in an item only", build=lambda: hidden, status=MISMATCH, words="has no StudyInstanceUID")


def _identified(name: str, values: dict[int, str], keyword: str) -> Case:
    return Case(name=name, build=lambda: _uids(values), status=MISMATCH, words=keyword)


def _uids(values: dict[int, str]) -> bytes:
    return b"".join(element(tag, "UI", uid(value)) for tag, value in values.items())


def _announcements() -> Iterator[Case]:
    """The command, or the file header, said something else (PS3.7 9.1.1)."""
    whole = identity() + place()
    ct = "1.2.840.10008.5.1.4.1.1.2"
    told: dict[str, tuple[dict[str, str], str]] = {
        "another instance": ({"announced_instance": "1.2.3.9"}, "not the one that was announced"),
        "the instance in capitals of nothing": ({"announced_instance": f"{INSTANCE}.0"}, "not the one that was announced"),
        "another class": ({"announced_class": ct, "negotiated_class": ct}, "not the one that was announced"),
        "a class that was not negotiated": ({"negotiated_class": ct}, "not the one that was negotiated"),
    }
    for name, (fields, words) in told.items():
        yield Case(name=f"announced/{name}", build=lambda: whole, status=MISMATCH, words=words, **fields)  # type: ignore[arg-type]


def _doses() -> Iterator[Case]:
    """RadionuclideTotalDose: a number that reaches a patient's record. Written in Bq for PET (PS3.3 C.8.9.2)."""
    path = f"{_ADMINISTRATION}RadionuclideTotalDose"
    for name, value in {
        "negative": b"-350000000", "zero": b"0", "minus zero": b"-0", "NaN": b"NaN", "nan": b"nan", "Infinity": b"Infinity",
        "inf": b"-inf", "1e999": b"1e999", "1e-300": b"1e-300", "comma": b"350,5", "thousands": b"350.000.000", "with a unit": b"350 MBq",
        "words": b"unknown", "hexadecimal": b"0x14DC9380", "two values": b"350000000\\1", "two equal values": b"350000000\\350000000",
        "a backslash": b"\\", "NUL inside": b"3500\x000000", "an escape": b"\x1b[31m350", "full-width digits": "３５０".encode(),
        "Arabic digits": "٣٥٠".encode(), "superscript": "3⁵".encode(), "underscores": b"350_000_000", "two signs": b"--350000000",
        "17 digits": b"1" * 17, "10,000 digits": b"9" * 10_000, "too much for anybody": b"99999999999",
        "too little for anybody": b"0.00001",
        "a formula": b"=350*10^6", "exponent alone": b"E8", "dot alone": b".", "percent": b"350%", "a date": b"2025-03-10",
    }.items():  # fmt: skip
        yield pet_case(f"dose/{name}", path, value, withheld="administration.activity")
    whole = {"administration__activity__value": "350", "administration__activity__unit": "MBq"}
    for name, value in {
        "exponent": b"3.5E8", "plus": b"+350000000", "blanks around": b"  350000000  ", "leading zeros": b"000350000000",
        "NUL behind": b"350000000\0", "in MBq": b"350", "dot behind": b"350000000.",
    }.items():  # fmt: skip
        yield pet_case(f"dose/{name}", path, value, **whole)
    yield pet_case("dose/empty", path, b"", withheld="administration.activity")
    yield pet_case("dose/blanks", path, b"    ", withheld="administration.activity")
    for vr, value in (
        ("FD", b"\0\0\0\0\0\0\xf8\x7f"),
        ("FD", b"\0\0\0\0\0\0\xf0\x7f"),
        ("FD", b"\1\2\3"),
        ("FL", b"\0\0\xc0\x7f"),
        ("OB", b"\1\2\3\4"),
        ("SQ", b""),
    ):
        yield pet_case(f"dose/{value.hex() or 'nothing'} as {vr}", path, value, withheld="administration.activity", vr=vr)


def _other_numbers() -> Iterator[Case]:
    spoilt = {"negative": b"-5", "NaN": b"NaN", "1e999": b"1e999", "comma": b"75,5", "words": b"heavy", "two values": b"75\\80"}
    for name, value in spoilt.items():
        yield pet_case(f"weight/{name}", "PatientWeight", value, withheld="series.pet.patient_weight")
        yield pet_case(f"height/{name}", "PatientSize", value, withheld="series.pet.patient_size")
        yield pet_case(f"half-life/{name}", f"{_ADMINISTRATION}RadionuclideHalfLife", value, withheld="administration.half_life")
        yield pet_case(f"volume/{name}", f"{_ADMINISTRATION}RadiopharmaceuticalVolume", value, withheld="administration.volume")
    yield pet_case("weight/zero", "PatientWeight", b"0", unknown="series.pet.patient_weight")
    yield pet_case("height/zero", "PatientSize", b"0", unknown="series.pet.patient_size")
    yield pet_case("volume/zero", f"{_ADMINISTRATION}RadiopharmaceuticalVolume", b"0", unknown="administration.volume")
    yield pet_case("half-life/zero", f"{_ADMINISTRATION}RadionuclideHalfLife", b"0", withheld="administration.half_life")
    for name, value in {"grams": b"75000", "far too heavy": b"2000"}.items():
        yield pet_case(f"weight/{name}", "PatientWeight", value, withheld="series.pet.patient_weight")
    yield pet_case("height/far too tall", "PatientSize", b"17.5", withheld="series.pet.patient_size")
    yield pet_case(
        "half-life/of another nuclide", f"{_ADMINISTRATION}RadionuclideHalfLife", b"21624", withheld="administration.half_life"
    )
    half_life = {"administration__half_life__value": "6586.2"}  # that of the nuclide, with an issue
    yield pet_case("half-life/of one second", f"{_ADMINISTRATION}RadionuclideHalfLife", b"1", **half_life)
    for name, value in {"NaN": b"NaN", "letters": b"one", "too large": b"99999999999", "decimal": b"1.5", "empty": b""}.items():
        yield pet_case(f"instance number/{name}", "InstanceNumber", value)
        yield pet_case(f"series number/{name}", "SeriesNumber", value)


def _dates() -> Iterator[Case]:
    wrong = {
        "30 February": b"20250230", "month 13": b"20251301", "day 0": b"20250300", "nines": b"99999999", "zeros": b"00000000",
        "words": b"yesterday", "7 digits": b"2025031", "two values": b"20250310\\20250311", "a range": b"20250301-20250310",
        "29 February of no leap year": b"20250229",
    }  # fmt: skip
    for name, value in wrong.items():
        yield pet_case(f"date/study, {name}", "StudyDate", value, withheld="study.started")
        yield pet_case(f"date/birth, {name}", "PatientBirthDate", value, withheld="patient.birth_date")
    times = {
        "24:00:00": b"240000",
        "25 hours": b"250000",
        "61 minutes": b"106100",
        "words": b"noon",
        "minus": b"-100000",
        "five digits": b"10000",
        "7 decimals": b"100000.0000001",
    }
    for name, value in times.items():
        yield pet_case(f"time/study, {name}", "StudyTime", value)
    start = f"{_ADMINISTRATION}RadiopharmaceuticalStartDateTime"
    for name, value in {
        **wrong,
        "offset +99": b"20250310100000+9900",
        "offset in words": b"20250310100000CET",
        "hour 25": b"20250310250000",
    }.items():
        if name not in ("a range", "nines"):
            yield pet_case(f"date/start of the administration, {name}", start, value)
    yield _changed("date/administration a day after the scan", lambda ds: _started(ds, "20250311100000+0100"))
    yield _changed("date/administration a century ago", lambda ds: _started(ds, "19250310100000+0100"))
    yield _changed("date/before midnight, scan after it", lambda ds: _started(ds, "20250309235900+0100"))
    for name, value in {"too large": b"+2500", "words": b"CET", "no sign": b"0100", "minutes 99": b"+0199", "empty": b""}.items():
        yield pet_case(f"offset/{name}", "TimezoneOffsetFromUTC", value)


def _started(dataset: Dataset, value: str) -> None:
    dataset.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = value


def _drop(keyword: str, dataset: Dataset) -> None:
    delattr(dataset, keyword)


def _empty(keyword: str, dataset: Dataset) -> None:
    setattr(dataset, keyword, None)


def _codes() -> Iterator[Case]:
    nuclide = f"{_ADMINISTRATION}RadionuclideCodeSequence[0]."
    for name, value in {
        "unknown": b"0000000",
        "empty": b"",
        "markup": b"<b>",
        "two": b"77004003\\1",
        "another element": b"C-122A1",
    }.items():
        yield pet_case(f"nuclide/{name}", f"{nuclide}CodeValue", value)
    yield pet_case("nuclide/scheme unknown", f"{nuclide}CodingSchemeDesignator", b"INVENTED")
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyDate", "Modality", "SeriesNumber", "Manufacturer"):
        yield _changed(f"absent/{keyword}", partial(_drop, keyword))
        yield _changed(f"empty/{keyword}", partial(_empty, keyword))
    yield _changed("nuclide/no item", lambda ds: _item(ds).__setattr__("RadionuclideCodeSequence", []))
    yield _changed("nuclide/two items", lambda ds: _item(ds).RadionuclideCodeSequence.append(builders.TC99M.item()))
    yield _changed("agent/no item", lambda ds: _item(ds).__setattr__("RadiopharmaceuticalCodeSequence", []))
    yield _changed("administration/no item", lambda ds: ds.__setattr__("RadiopharmaceuticalInformationSequence", []))
    yield _changed("administration/absent", lambda ds: ds.__delattr__("RadiopharmaceuticalInformationSequence"))
    yield _changed("administration/empty item", lambda ds: ds.__setattr__("RadiopharmaceuticalInformationSequence", [Dataset()]))
    yield _changed(
        "administration/the same twice", lambda ds: ds.RadiopharmaceuticalInformationSequence.append(copy.deepcopy(_item(ds)))
    )
    yield _changed(
        "administration/2,001 items", lambda ds: ds.__setattr__("RadiopharmaceuticalInformationSequence", [Dataset()] * 2001)
    )


def _item(dataset: Dataset) -> Dataset:
    found: Dataset = dataset.RadiopharmaceuticalInformationSequence[0]
    return found


def _structure() -> Iterator[Case]:
    """Elements of another kind than the dictionary says, where a reader expects something."""
    for vr, value in (
        ("OB", b"\1\2\3\4"),
        ("US", b"\1\0"),
        ("FD", bytes(8)),
        ("UN", b"350000000 "),
        ("SQ", b""),
        ("AT", b"\1\0\2\0"),
    ):
        yield pet_case(f"kind/PatientName as {vr}", "PatientName", value, vr=vr)
        yield pet_case(f"kind/StudyDate as {vr}", "StudyDate", value, vr=vr)
        yield pet_case(f"kind/PatientWeight as {vr}", "PatientWeight", value, vr=vr)
    text = element(0x00540016, "LO", b"no sequence at all")
    yield Case(name="kind/a sequence as LO", build=lambda: identity() + place() + text, status=TAKEN)
    yield pet_case("pixels/frames that are not there", "NumberOfFrames", b"99999999")
    yield pet_case("pixels/negative frames", "NumberOfFrames", b"-1")
    for keyword, value in (
        ("Rows", b"\xff\xff"),
        ("Columns", b"\0\0"),
        ("BitsAllocated", b"\7\0"),
        ("SamplesPerPixel", b"\xff\xff"),
    ):
        yield pet_case(f"pixels/{keyword} {value.hex()}", keyword, value)
    yield _changed("pixels/none", lambda ds: ds.__delattr__("PixelData"))
    yield _changed("pixels/empty", lambda ds: ds.__setattr__("PixelData", b""))
