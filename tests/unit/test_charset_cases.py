"""Names in every character set of DICOM come out exactly: the examples of PS3.5 annexes H, I, J and K, and real files, read to the record.

The expected names are those that the standard prints, typed in here; nothing is taken from our own output.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydicom.data import get_charset_files

from gateway.dicom.items import Root
from gateway.dicom.paths import parse_path
from gateway.dicom.reading import read_header
from gateway.dicom.values import person_name
from gateway.mapping.language import load
from gateway.mapping.rules import Mapping, Need
from gateway.model import JsonObject
from gateway.normalise.record import SharedCache, SiteContext, normalise
from tests.conftest import data_directory
from tests.unit.mapping_files import SHIPPED

MAPPINGS = load(SHIPPED)
SITE = SiteContext(timezone=ZoneInfo("Europe/Brussels"))

#: File -> alphabetic, ideographic and phonetic group of PatientName.
NAMES: dict[str, tuple[str, ...]] = {
    "chrArab": ("قباني^لنزار",),
    "chrFren": ("Buc^Jérôme",),
    "chrFrenMulti": ("Buc^Jérôme",),
    "chrGerm": ("Äneas^Rüdiger",),
    "chrGreek": ("Διονυσιος",),
    "chrH31": ("Yamada^Tarou", "山田^太郎", "やまだ^たろう"),
    "chrH32": ("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎", "やまだ^たろう"),
    "chrHbrw": ("שרון^דבורה",),
    "chrI2": ("Hong^Gildong", "洪^吉洞", "홍^길동"),
    "chrJapMulti": ("やまだ^たろう",),
    "chrJapMultiExplicitIR6": ("やまだ^たろう",),
    "chrKoreanMulti": ("김희중",),
    "chrRuss": ("Люкceмбypг",),
    "chrX1": ("Wang^XiaoDong", "王^小東"),
    "chrX2": ("Wang^XiaoDong", "王^小东"),
}
#: The character set stands inside the sequence item.
IN_A_SEQUENCE = {
    "chrSQEncoding": ("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎", "やまだ^たろう"),
    "chrSQEncoding1": ("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎", "やまだ^たろう"),
}


def file_named(name: str) -> Path:
    return Path(next(path for path in get_charset_files("*.dcm") if Path(path).stem == name))


def lenient(mapping: Mapping) -> Mapping:
    """Some of these files are fragments without a study: names are what counts here."""
    fields = tuple(dataclasses.replace(rule, need=Need.MAY) for rule in mapping.fields)
    return dataclasses.replace(mapping, fields=fields)


def patient_of(path: Path) -> JsonObject:
    header = read_header(path)
    return normalise(header, lenient(MAPPINGS.for_header(header)), SITE, SharedCache(1)).shared.patient


def expected(groups: tuple[str, ...]) -> JsonObject:
    return person_name("=".join(groups))


def test_every_charset_file_has_an_expected_name() -> None:
    assert {Path(path).stem for path in get_charset_files("*.dcm")} == {*NAMES, *IN_A_SEQUENCE}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_decoded_exactly(name: str) -> None:
    assert patient_of(file_named(name))["name"] == expected(NAMES[name])


@pytest.mark.parametrize("name", IN_A_SEQUENCE)
def test_a_character_set_inside_a_sequence_counts_there(name: str) -> None:
    found = Root(read_header(file_named(name))).find(parse_path("RequestedProcedureCodeSequence[0].PatientName"))
    assert found is not None
    assert person_name(found.text) == expected(IN_A_SEQUENCE[name])


def test_the_groups_of_a_name_stay_apart() -> None:
    assert patient_of(file_named("chrI2"))["name"] == {
        "family": "Hong",
        "given": ["Gildong"],
        "text": "Gildong Hong",
        "ideographic": {"family": "洪", "given": ["吉洞"], "text": "吉洞 洪"},
        "phonetic": {"family": "홍", "given": ["길동"], "text": "길동 홍"},
    }


@pytest.mark.needs("data")
def test_the_odd_files_are_decoded_as_well() -> None:
    folder = data_directory() / "odd"
    files = sorted((folder / "charset").glob("chr*.dcm"))
    assert len(files) == 7
    for path in files:
        if path.stem in NAMES:
            assert patient_of(path)["name"] == expected(NAMES[path.stem])
    header = read_header(folder / "encoding_iso8859-1.dcm")
    record = normalise(header, lenient(MAPPINGS.for_header(header)), SITE, SharedCache(1))
    assert record.shared.device["model"] == "Õncêntrå MæstørPlàñ"
