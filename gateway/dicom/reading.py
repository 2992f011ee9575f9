"""The only way any stage opens a DICOM file: file header, strict walk, and a data set that decodes what is touched.

The walk has already found where every top-level value lies, so the pydicom data set is made of raw slices and pydicom
decodes an element, sequences included, at the moment it is asked for. Pixel data (group 7FE0) never enters it.
Files come from the spool, or from anywhere else (``convert``): without preamble or file header (PS3.10 section 7) they
are still read if their first element leaves no doubt about the encoding.
"""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from struct import Struct

from pydicom.charset import convert_encodings, default_encoding, python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from gateway.dicom.walker import DEFAULT_LIMITS, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Buffer, Limits, Walk, walk
from gateway.errors import Quarantined, Rejected
from gateway.model import Came

#: Larger files are mapped instead of read: their pixel data is then never copied.
_MAP_FROM_BYTES = 128 << 10
_PIXEL_GROUP = 0x7FE0
_SPECIFIC_CHARACTER_SET = 0x00080005
_LONG_VRS = frozenset([b"OB", b"OW", b"UN", b"SQ", b"UT", b"UC", b"UR", b"OD", b"OF", b"OL", b"OV"])
_META_HEADER = Struct("<HH2sH").unpack_from
_META_LONG = Struct("<I").unpack_from

_new = tuple.__new__
_TAGS: dict[int, BaseTag] = {}
_TAGS_MOST = 20_000

TRANSFER_SYNTAX_UID = 0x00020010
SENDING_AE, RECEIVING_AE, SOURCE_AE = 0x00020017, 0x00020018, 0x00020016


class Header:
    """One object, opened: where it came from, how it is encoded, and all of it but the pixels.

    While a Header of a file over 128 KiB lives, that file stays mapped: use it and let it go.
    """

    def __init__(self, file_meta: Mapping[int, bytes], walked: Walk) -> None:
        self.file_meta = file_meta  #: group 0002, tag -> bytes as they stand in the file; may be empty
        self.walk = walked
        self.transfer_syntax_uid = walked.transfer_syntax_uid
        #: What the file alone tells; the ledger knows the door and the time as well.
        self.came = Came(calling_ae=self.sending_ae, called_ae=self.receiving_ae)
        #: The character set in whose place another is declared, or none; empty: the object's own word counts.
        self.assumed_charset = ""

    def assume_charset(self, terms: str, *, instead: bool) -> None:
        """Read text by these terms of (0008,0005) where the object declares none that is known; ``instead``: whatever it declares.

        To be called before anything is read.
        """
        if instead or not is_known_charset(self.walk.value(_SPECIFIC_CHARACTER_SET)):
            self.assumed_charset = terms

    @property
    def sending_ae(self) -> str:
        """Who sent it: Sending, else Source Application Entity Title (PS3.10 table 7.1-1). Empty when unknown."""
        return self._meta_text(SENDING_AE) or self._meta_text(SOURCE_AE)

    @property
    def receiving_ae(self) -> str:
        """The title that was called. Empty when unknown."""
        return self._meta_text(RECEIVING_AE)

    @cached_property
    def dataset(self) -> Dataset:
        """A pydicom data set that decodes an element when it is first touched. Holds no pixel data."""
        walked = self.walk
        buffer, implicit, little = walked.buffer, walked.is_implicit_vr, walked.is_little_endian
        if not isinstance(buffer, bytes | mmap.mmap):
            buffer = bytes(buffer)
        # tuple.__new__ and known tags: this runs for each of some hundred elements of each object of a study.
        raw = {
            (key := _TAGS.get(tag) or _tag(tag)): _new(
                RawDataElement,
                (key, vr or None, length, buffer[offset : offset + length], offset, implicit, little, True, False),
            )
            for tag, vr, offset, length in walked.elements.values()
            if tag >> 16 != _PIXEL_GROUP
        }
        dataset = Dataset(raw)  # type: ignore[arg-type]  # the parameter's type wants DataElement | RawDataElement
        dataset.set_original_encoding(implicit, little, python_encodings(self.raw(_SPECIFIC_CHARACTER_SET)))
        return dataset

    def raw(self, tag: int) -> bytes:
        """The bytes of a top-level value as received; empty when the element is absent."""
        if tag == _SPECIFIC_CHARACTER_SET and self.assumed_charset:
            return self.assumed_charset.encode("ascii")
        return self.walk.value(tag)

    def tags(self) -> Iterable[int]:
        """The tags of the top level."""
        return self.walk.elements

    def vr(self, tag: int) -> str:
        """The VR as it was written; empty when the element is absent, or when the encoding does not tell it."""
        found = self.walk.elements.get(tag)
        return found.vr if found is not None else ""

    def _meta_text(self, tag: int) -> str:
        return self.file_meta.get(tag, b"").decode("ascii", "replace").strip(" \0")


def read_header(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Open the DICOM file at ``path``.

    Raises :class:`Quarantined` with a sentence for people when it is not DICOM or is damaged, and :class:`OSError` when the
    file cannot be opened.
    """
    with path.open("rb", buffering=0) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes < _MAP_FROM_BYTES:
            return header_of(file.readall(), limits=limits)
        return header_of(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), limits=limits)


def header_of(buffer: Buffer, *, limits: Limits = DEFAULT_LIMITS) -> Header:
    """The same for a file that is already in memory, such as one part of a web request. Raises :class:`Quarantined`."""
    file_meta, start = read_file_meta(buffer)
    transfer_syntax_uid = file_meta.get(TRANSFER_SYNTAX_UID, b"").decode("ascii", "replace").strip(" \0")
    try:
        transfer_syntax_uid = transfer_syntax_uid or guess_transfer_syntax(buffer, start)
        walked = walk(buffer, transfer_syntax_uid, limits=limits, start=start)
    except Rejected as error:
        if file_meta:
            raise Quarantined(error.reason) from error
        raise Quarantined("This is not a DICOM file, or it is one without a file header that is damaged.") from error
    if not walked.elements:
        raise Quarantined("The DICOM file holds no data.")
    return Header(file_meta, walked)


def read_file_meta(buffer: Buffer) -> tuple[dict[int, bytes], int]:
    """The file header (PS3.10 7.1: group 0002, explicit VR little endian) and where the data set begins.

    The group length is not trusted: the header ends with the last element of its group. An empty header and 0, or the
    position after an empty preamble, mean that there is none. Raises :class:`Quarantined` when it is cut short.
    """
    pos = 132 if bytes(buffer[128:132]) == b"DICM" else 0
    if pos and bytes(buffer[132:134]) != b"\x02\x00" and bytes(buffer[:4]).strip(b"\0"):
        pos = 0  # the four letters belong to a value of a data set that starts at once
    meta: dict[int, bytes] = {}
    end = len(buffer)
    while pos + 8 <= end:
        group, number, vr, length = _META_HEADER(buffer, pos)
        if group != 0x0002:
            break
        start = pos + 8
        if vr in _LONG_VRS and pos + 12 <= end:
            length, start = _META_LONG(buffer, start)[0], pos + 12
        pos = start + length
        if pos > end:
            raise Quarantined("The file ends within its DICOM file header: it was cut short.")
        meta[group << 16 | number] = bytes(buffer[start:pos])
    return meta, pos


def python_encodings(specific_character_set: bytes) -> list[str]:
    """What (0008,0005) means to Python's codecs; unknown terms fall back to pydicom's default, without a warning."""
    terms = specific_character_set.decode("ascii", "replace").split("\\")
    terms = [term.strip(" \0") for term in terms]
    if len(terms) == 1:
        if not terms[0]:
            return [default_encoding]
        if terms[0] in python_encoding:
            return [python_encoding[terms[0]]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns where it corrects a misspelled term
        return convert_encodings(terms)


def is_known_charset(specific_character_set: bytes) -> bool:
    """Whether a declaration names sets of PS3.3 C.12.1.1.2, spelt as there. None at all is not one."""
    terms = [term.strip(" \0") for term in specific_character_set.decode("ascii", "replace").split("\\")]
    return any(terms) and all(term in python_encoding for term in terms)


def _tag(tag: int) -> BaseTag:
    """pydicom's tag, kept for the next object; hostile objects with ever new tags must not fill the memory."""
    made = BaseTag(tag)
    if len(_TAGS) < _TAGS_MOST:
        _TAGS[tag] = made
    return made


def guess_transfer_syntax(buffer: Buffer, pos: int) -> str:
    """The encoding of a data set without a file header, from its first element; the walk then proves or refutes it."""
    if pos + 8 > len(buffer):
        raise Rejected("There is no data set.", status=0xC000)
    group = _META_HEADER(buffer, pos)[0]
    vr = bytes(buffer[pos + 4 : pos + 6])
    explicit = vr.isalpha() and vr.isupper()
    if explicit and group & 0xFF == 0 and 0 < group >> 8 < 0x80:
        return EXPLICIT_BIG  # group 0008 read with the wrong byte order is 0800
    return EXPLICIT_LITTLE if explicit else IMPLICIT_LITTLE
