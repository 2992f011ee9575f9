"""Text that is not what it says: character sets that do not fit, letters that do harm elsewhere (PS3.5 6.1, PS3.3 C.12.1.1.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.harness.corpus import TAKEN, Case, element, encoded, pet
from tests.harness.corpus_content import pet_case


def cases() -> Iterator[Case]:
    yield from _charsets()
    yield from _texts()


def _charsets() -> Iterator[Case]:
    """Terms that stand in real files, and bytes that do not fit the declared set (PS3.3 C.12.1.1.2, PS3.5 6.1)."""
    umlaut, utf8, cyrillic = "Müller^Jörg".encode("latin-1"), "Müller^Jörg".encode(), "Иванов".encode("cp1251")
    good: dict[str, tuple[bytes, bytes]] = {
        "ISO IR 192, blanks": (b"ISO IR 192", utf8), "iso_ir 100": (b"ISO-IR 100", umlaut),
        "IR 6 before 100": (b"ISO 2022 IR 6\\ISO 2022 IR 100", b"M\x1b-A\xfcller^J\xf6rg"),
    }  # fmt: skip
    good["a name of Windows"] = (b"windows-1252", umlaut)
    for name, (term, value) in good.items():
        yield _named(f"charset/{name}", term, value, read="Jörg Müller")
    wrong: dict[str, tuple[bytes | None, bytes]] = {
        "Latin-1 declared as UTF-8": (b"ISO_IR 192", umlaut), "UTF-8 cut in a letter": (b"ISO_IR 192", utf8[:2]),
        "UTF-8, overlong": (b"ISO_IR 192", b"A\xc0\xaf"), "UTF-8, half a surrogate": (b"ISO_IR 192", b"A\xed\xa0\x80"),
        "none declared, Latin-1": (None, umlaut), "none declared, UTF-8": (None, utf8), "none declared, CP1251": (None, cyrillic),
        "empty, Latin-1": (b"", umlaut), "IR 6, Latin-1": (b"ISO_IR 6", umlaut), "Not Supplied": (b"Not Supplied", umlaut),
        "unknown term": (b"ISO_IR 999", umlaut), "ISO_IR192": (b"ISO_IR192", utf8), "a hundred terms": (b"\\ISO 2022 IR 87" * 100, umlaut),
        "Japanese, escape unfinished": (b"\\ISO 2022 IR 87", b"A\x1b$"), "Japanese, odd byte": (b"\\ISO 2022 IR 87", b"\x1b$B\x3b"),
        "escape of a set not declared": (b"\\ISO 2022 IR 87", b"\x1b$)C\xfb\xf3"), "GB18030 cut": (b"GB18030", b"\x81\x30\x81"),
        "markup": (b"<script>", umlaut), "empty and Japanese, Latin-1": (b"\\ISO 2022 IR 87", umlaut),
    }  # fmt: skip
    for name, (declared, value) in wrong.items():
        yield _named(f"charset/{name}", declared, value, withheld="patient.name")
    damaged = "The character set that the sender declared is damaged."
    yield _named("charset/NUL", b"ISO_IR\x00100", umlaut, quarantined=damaged)
    yield _named("charset/Greek declared Latin-1", b"ISO_IR 100", "Διονυσιος".encode("iso8859-7"))  # legal: nobody can know
    yield _named("charset/plain letters under an unknown term", b"ISO_IR 999", b"DOE^JANE")


def _named(
    name: str, term: bytes | None, value: bytes, *, withheld: str = "", quarantined: str = "", read: str | None = None
) -> Case:
    def build() -> bytes:
        dataset = pet()
        if term is None:
            del dataset.SpecificCharacterSet
        plain = encoded(dataset)
        # pydicom would decode and encode anew, so both values are put in behind it.
        plain = _replaced(plain, 0x00100010, "PN", value)
        return plain if term is None else _replaced(plain, 0x00080005, "CS", term)

    told: dict[str, object] = {"patient.name.text": read} if read else {}
    return Case(name=name, build=build, status=TAKEN, withheld=withheld, quarantined=quarantined, read=told)


def _replaced(data: bytes, tag: int, vr: str, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    at = data.index(head)
    (length,) = struct.unpack_from("<H", data, at + 6)
    even = value + b" " * (len(value) % 2)
    return data[:at] + element(tag, vr, even) + data[at + 8 + length :]


def _texts() -> Iterator[Case]:
    values = {
        "NUL inside": b"AB\0CD", "an escape": b"\x1b[2Jgone", "a bell": b"AB\x07", "line ends": b"AB\r\nCD",
        "markup": b"<script>alert(1)</script>",
        "a quote": b"\"'`;--", "a template": b"{{7*7}}${7*7}", "10,000 letters": b"A" * 10_000, "a path": b"../../../etc/passwd",
        "backslashes": b"\\\\\\\\", "DEL": b"A\x7fB", "tabs": b"\t\t", "a format": b"%s%n%x", "blanks": b"          ",
        "C1 controls": b"A\x9bB",
    }  # fmt: skip
    for name, value in values.items():
        yield pet_case(f"text/PatientID, {name}", "PatientID", value)
        yield pet_case(f"text/PatientName, {name}", "PatientName", value)
        yield pet_case(f"text/SeriesDescription, {name}", "SeriesDescription", value)
    for name, value in {
        "six groups": b"A=B=C=D=E=F",
        "nine parts": b"A^B^C^D^E^F^G^H^I",
        "carets": b"^^^^",
        "equals": b"==",
    }.items():
        yield pet_case(f"name/{name}", "PatientName", value)
    for name, value in {"O with a stroke": b"\xd8", "two": b"M\\F", "word": b"male", "digit": b"1"}.items():
        yield pet_case(f"sex/{name}", "PatientSex", value)
