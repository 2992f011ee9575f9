"""Files whose preamble or header is wrong (PS3.10 section 7): what comes by folders, STOW-RS and other archives."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.harness.corpus import BIG, DEFLATED, EXPLICIT, IMPLICIT, INSTANCE, PET, TAKEN, Case, deflate, element, sound, uid

_CLASS = element(0x00020002, "UI", uid(PET))
_INSTANCE = element(0x00020003, "UI", uid(INSTANCE))
_VERSION = element(0x00020001, "OB", b"\0\1")


def _syntax(text: str) -> bytes:
    return element(0x00020010, "UI", uid(text))


def _group_length(value: int) -> bytes:
    return element(0x00020000, "UL", struct.pack("<I", value))


def _file(*meta: bytes, syntax: str = EXPLICIT, preamble: bytes = bytes(128), length: int | None = None) -> bytes:
    content = b"".join(meta)
    data = deflate(sound()) if syntax == DEFLATED else sound(syntax=syntax)
    return preamble + b"DICM" + _group_length(len(content) if length is None else length) + content + data


def cases() -> Iterator[Case]:
    whole = _file(_VERSION, _CLASS, _INSTANCE, _syntax(EXPLICIT))
    end = whole.index(sound())
    not_dicom = "This is not a DICOM file"
    cut = "cut short"
    told: dict[str, tuple[bytes, str]] = {
        "sound": (whole, ""),
        "preamble of a TIFF": (_file(_syntax(EXPLICIT), preamble=b"II*\0" + bytes(124)), ""),
        "preamble of a program": (_file(_syntax(EXPLICIT), preamble=b"MZ" + bytes(126)), ""),
        "no preamble": (whole[128:], not_dicom),
        "no preamble, no four letters": (whole[132:], ""),
        "no header at all, explicit": (sound(), ""),
        "no header at all, implicit": (sound(syntax=IMPLICIT), ""),
        "no header at all, big endian": (sound(syntax=BIG), ""),
        "no header behind the preamble": (bytes(128) + b"DICM" + sound(), ""),
        "group length 0": (_file(_syntax(EXPLICIT), length=0), ""),
        "group length too small": (_file(_CLASS, _syntax(EXPLICIT), length=4), ""),
        "group length too large": (_file(_syntax(EXPLICIT), length=4000), ""),
        "group length 4 GiB": (_file(_syntax(EXPLICIT), length=0xFFFFFFFF), ""),
        "no group length": (bytes(128) + b"DICM" + _syntax(EXPLICIT) + sound(), ""),
        "no transfer syntax": (_file(_CLASS, _INSTANCE), ""),
        "empty transfer syntax": (_file(_syntax("")), ""),
        "transfer syntax of blanks": (_file(_syntax("    ")), ""),
        "unknown transfer syntax": (_file(_syntax("1.2.3.4.5.6.7")), ""),
        "transfer syntax of letters": (_file(_syntax("EXPLICIT")), ""),
        "implicit declared, explicit inside": (_file(_syntax(IMPLICIT)), "ends in the middle of SOPClassUID"),
        "explicit declared, implicit inside": (_file(_syntax(EXPLICIT), syntax=IMPLICIT), "no valid value type"),
        "big endian declared, little inside": (_file(_syntax(BIG)), "ends in the middle"),
        "little declared, big endian inside": (_file(_syntax(EXPLICIT), syntax=BIG), "ends in the middle"),
        "deflated declared, plain inside": (_file(_syntax(DEFLATED)), "(deflated) object is damaged"),
        "plain declared, deflated inside": (_file(_syntax(EXPLICIT), syntax=DEFLATED), "no valid value type"),
        "deflated": (_file(_syntax(DEFLATED), syntax=DEFLATED), ""),
        "cut in the preamble": (whole[:64], not_dicom),
        "cut in the four letters": (whole[:130], not_dicom),
        "cut behind the four letters": (whole[:132], not_dicom),
        "cut in the header": (whole[: end - 5], cut),
        "cut behind the header": (whole[:end], "holds no data"),
        "cut in the object": (whole[:-3], "ends in the middle of SeriesInstanceUID"),
        "header element longer than the file": (_file(element(0x00020016, "AE", b"A ", length=0xFFFF), _syntax(EXPLICIT)), cut),
        "header element of 4 GiB": (_file(element(0x00020102, "OB", b"", length=0xFFFFFFF0), _syntax(EXPLICIT)), cut),
        "header in implicit VR": (
            bytes(128) + b"DICM" + element(0x00020010, "", uid(EXPLICIT), IMPLICIT) + sound(),
            "ends in the middle",
        ),
        "two transfer syntaxes": (_file(_syntax(BIG), _syntax(EXPLICIT)), ""),
        "another instance in the header": (_file(element(0x00020003, "UI", uid("1.9")), _syntax(EXPLICIT)), ""),
        "unknown header elements": (_file(element(0x000200FF, "LO", b"AB"), _syntax(EXPLICIT)), ""),
        "empty file": (b"", not_dicom),
        "one byte": (b"D", not_dicom),
        "four letters only": (b"DICM", not_dicom),
        "zeros": (bytes(1024), not_dicom),
        "a ZIP": (b"PK\3\4" + bytes(400), not_dicom),
        "a PDF": (b"%PDF-1.7\n" + b"1 0 obj\n" * 50, not_dicom),
        "text": (b"Dear colleague, please find enclosed " * 20, not_dicom),
        "a DICOMDIR's class": (_file(element(0x00020002, "UI", uid("1.2.840.10008.1.3.10")), _syntax(EXPLICIT)), ""),
    }
    for name, (data, quarantined) in told.items():
        yield Case(name=f"file/{name}", build=lambda data=data: data, status=TAKEN, quarantined=quarantined)  # type: ignore[misc]
