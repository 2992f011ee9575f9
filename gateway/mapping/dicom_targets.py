"""Which elements a rule of the section ``dicom`` may write. What an object is, and what its pixels mean, is never a mapping's to change."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.datadict import dictionary_VR, keyword_for_tag

from gateway.dicom.paths import ALL, Path, Step

#: What the object is and to what it belongs; how it is encoded; what proves it and what remembers its past.
_FIXED = frozenset(
    [
        "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SpecificCharacterSet",
        "OriginalAttributesSequence", "ModifiedAttributesSequence", "EncryptedAttributesSequence", "DigitalSignaturesSequence",
        "MACParametersSequence", "DataSetTrailingPadding",
    ]
)  # fmt: skip
#: How the bytes of the pixels are read (PS3.3 C.7.6.3, C.7.6.6).
_PIXELS = frozenset(
    [
        "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
        "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    ]
)  # fmt: skip
#: Without it, stored values mean other quantities; a new value is a change of numbers, and told as one.
_NOT_REMOVED = frozenset(["RescaleSlope", "RescaleIntercept", "RescaleType", "Units"])
_PIXEL_DATA, _FIRST_GROUP = 0x7FE0, 0x0008


def shown(path: Path) -> Path:
    """The same path with keywords wherever a standard tag was written as a number."""
    return Path(".".join(map(_named, path.steps)), path.steps, path.several)


def wrong_target(path: Path) -> str:
    """Why a rule must not write there: a sentence; empty when it may."""
    if any(step.creator is not None or step.tag >> 16 & 1 for step in path.steps):
        return f"'{path.text}' is private: private elements stay as they are"
    if any(step.index == ALL for step in path.steps):
        return f"'{path.text}': a rule writes one place: say which item, as in [0]; for each administration '$administration.'"
    for tag in (step.tag for step in path.steps):
        name = keyword_for_tag(tag) or _tag_text(tag)
        if name in _PIXELS or tag >> 16 == _PIXEL_DATA or tag >> 24 == 0x60:
            return f"{name} says what the pixels are: it is not a mapping's to change"
        if name in _FIXED or tag >> 16 < _FIRST_GROUP or not tag & 0xFFFF:
            return f"{name} is not a mapping's to change"
        if not keyword_for_tag(tag):
            return f"{name} is no element that the DICOM dictionary knows"
    return ""


def wrong_action(path: Path, actions: Iterable[str]) -> str:
    """Why a rule must not do this to its target: a sentence; empty when it may."""
    tag = path.steps[-1].tag
    name = keyword_for_tag(tag)
    if "remove" in actions:
        return f"{name} must stay: without it the stored values mean other quantities" if name in _NOT_REMOVED else ""
    vr = dictionary_VR(tag)
    return f"{name} is {vr}, as the pixels want it: it is not a mapping's to write" if " or " in vr else ""


def _named(step: Step) -> str:
    index = "" if step.index is None else f"[{'*' if step.index == ALL else step.index}]"
    if step.creator is not None:
        return f"({step.tag >> 16:04x},xx{step.tag & 0xFF:02x})[{step.creator}]{index}"
    return f"{keyword_for_tag(step.tag) or _tag_text(step.tag)}{index}"


def _tag_text(tag: int) -> str:
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"
