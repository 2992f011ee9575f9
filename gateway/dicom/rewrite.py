"""An encoded data set as a tree whose parts can be replaced one by one. What is not touched keeps its bytes, whatever they are.

Works on what the strict walker found sound, in every uncompressed encoding (PS3.5 sections 7 and A). Knows no meaning: values go in and
come out as bytes. A changed sequence is written with known lengths and without group lengths, which are retired (PS3.5 section 7.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct, pack
from typing import NamedTuple, TypeAlias

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from gateway.dicom.paths import vr_of
from gateway.dicom.walker import Buffer, Walk

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS = 0xFFFE
#: PS3.5 table 7.1-2: VRs with a 16-bit length in explicit encodings.
_SHORT = frozenset(
    ["AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"]
)
_SHORT_MOST_BYTES = 0xFFFE
_LITTLE, _BIG = Struct("<HHI"), Struct(">HHI")

#: Encoded output: bytes, or a stretch of the buffer as (begin, end).
Part: TypeAlias = "bytes | tuple[int, int]"


class Unwritable(ValueError):
    """What is wanted cannot be written in the encoding of the object. The message continues a sentence."""


class TooLong(Unwritable):
    """A value does not fit into the 16-bit length of its VR."""


class Encoding(NamedTuple):
    """How a data set is written."""

    implicit: bool
    big: bool

    @property
    def order(self) -> str:
        return ">" if self.big else "<"

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """Tag, VR and length. Raises :class:`TooLong`."""
        group, number, order = tag >> 16, tag & 0xFFFF, self.order
        if self.implicit:
            return pack(f"{order}HHI", group, number, length)
        if vr not in _SHORT:
            return pack(f"{order}HH2sHI", group, number, vr.encode(), 0, length)
        if length > _SHORT_MOST_BYTES:
            raise TooLong(f"a text is too long for its kind of element ({vr})")
        return pack(f"{order}HH2sH", group, number, vr.encode(), length)


_IMPLICIT_LITTLE = Encoding(implicit=True, big=False)


@dataclass(slots=True, eq=False)
class Node:
    """One element: as it stands in the buffer until :attr:`value` or its items are set."""

    tag: int
    vr: str  #: as written; of implicit VR the dictionary's; ``UN`` where nobody knows
    begin: int = 0  #: of the header, in the buffer
    start: int = 0  #: of the content
    stop: int = 0  #: end of the content
    end: int = 0  #: of the element, a closing delimiter included
    value: bytes | None = None  #: the new content, padded
    encoded: bytes | None = None  #: the whole element, header included, put there as it is
    items: list[DataSet] | None = None  #: once looked into, or set
    written_vr: str = ""  #: of a sequence that came as UN

    @property
    def is_unknown_sequence(self) -> bool:
        """A sequence that is written as UN, of undefined length."""
        return self.written_vr == "UN" and self.end != self.stop

    @property
    def changed(self) -> bool:
        if self.items is not None:
            return self.end == 0 or any(item.changed for item in self.items)
        return self.value is not None or self.encoded is not None


@dataclass(slots=True, eq=False)
class DataSet:
    """The elements of an object or of an item, by tag."""

    buffer: Buffer
    encoding: Encoding
    elements: dict[int, Node] = field(default_factory=dict)
    structure_changed: bool = False  #: an element was added or taken away

    @property
    def changed(self) -> bool:
        return self.structure_changed or any(node.changed for node in self.elements.values())

    def raw(self, tag: int) -> bytes:
        """The content of a plain element as it stands now; empty when it is absent."""
        node = self.elements.get(tag)
        if node is None:
            return b""
        return node.value if node.value is not None else bytes(self.buffer[node.start : node.stop])

    def items(self, tag: int) -> list[DataSet]:
        """The items of a sequence; empty when it is absent or no sequence."""
        node = self.elements.get(tag)
        if node is None:
            return []
        if node.items is None:
            if node.vr != "SQ":
                return []
            # PS3.5 6.2.2: UN of undefined length holds items in implicit VR little endian.
            inner = _IMPLICIT_LITTLE if node.is_unknown_sequence else self.encoding
            node.items = list(_items(self.buffer, node.start, node.stop, inner))
        return node.items

    def put(self, tag: int, vr: str, value: bytes) -> None:
        """Set a plain element; ``value`` is padded to an even length by the caller."""
        node = self.elements.get(tag)
        if node is None or node.vr == "SQ":
            self.elements[tag] = Node(tag, vr, value=value)
            self.structure_changed = True
        else:
            node.vr, node.value = vr, value

    def put_encoded(self, tag: int, encoded: bytes) -> None:
        """Set an element that is encoded already, in this encoding."""
        self.elements[tag] = Node(tag, "UN", encoded=encoded)
        self.structure_changed = True

    def put_items(self, tag: int, items: list[DataSet]) -> None:
        """Set a whole sequence."""
        self.elements[tag] = Node(tag, "SQ", items=items)
        self.structure_changed = True

    def append(self, tag: int, item: DataSet) -> None:
        """One more item; the sequence is made when it is absent.

        A sequence that came as UN holds items in implicit VR (PS3.5 6.2.2): they are spelt anew in this encoding, so that all are read
        alike. Raises :class:`Unwritable` where that cannot be done.
        """
        node, items = self.elements.get(tag), self.items(tag)
        if node is not None and node.vr != "SQ" and node.stop > node.start:
            raise Unwritable("a sequence came as something else, so nothing can be added to it")
        self.put_items(tag, [*(_respelt(one, self.encoding) for one in items), item])

    def remove(self, tag: int) -> None:
        if self.elements.pop(tag, None) is not None:
            self.structure_changed = True

    def new_item(self) -> DataSet:
        """An empty data set in the same encoding."""
        return DataSet(self.buffer, self.encoding)

    def parts(self) -> Iterator[Part]:
        """The encoded data set in ascending order of tags."""
        for tag in sorted(self.elements):
            node = self.elements[tag]
            if node.changed:
                yield from self._encoded(node)
            elif node.end:
                yield node.begin, node.end

    def encoded(self) -> bytes:
        """All of it in memory: for items, never for a whole object."""
        return b"".join(self.bytes_of(part) for part in self.parts())

    def bytes_of(self, part: Part) -> bytes:
        return part if isinstance(part, bytes) else bytes(self.buffer[part[0] : part[1]])

    def former(self, tag: int) -> bytes:
        """An element as it stood in the buffer, header included; with an empty value when it was not there."""
        node = self.elements.get(tag)
        if node is not None and node.end:
            return bytes(self.buffer[node.begin : node.end])
        return self.encoding.header(tag, vr_of(tag), 0)

    def _encoded(self, node: Node) -> Iterator[bytes]:
        if node.encoded is not None:
            yield node.encoded
            return
        if node.items is None:
            value = node.value or b""
            yield self.encoding.header(node.tag, node.vr, len(value)) + value
            return
        content = b"".join(item._as_item() for item in node.items)
        if node.is_unknown_sequence:
            closing = pack("<HHI", _DELIMITERS, _SEQUENCE_END & 0xFFFF, 0)
            yield self.encoding.header(node.tag, "UN", _UNDEFINED) + content + closing
        else:
            yield self.encoding.header(node.tag, node.written_vr or "SQ", len(content)) + content

    def _as_item(self) -> bytes:
        if self.changed:
            for tag in [tag for tag in self.elements if tag & 0xFFFF == 0]:
                del self.elements[tag]
        content = self.encoded()
        return pack(f"{self.encoding.order}HHI", _DELIMITERS, 0xE000, len(content)) + content


def tree(walked: Walk, encoding: Encoding) -> DataSet:
    """The top level of a walked object; sequences are looked into when they are asked for."""
    root = DataSet(walked.buffer, encoding)
    for tag, vr, offset, length in walked.elements.values():
        written, begin = _header_before(walked.buffer, offset, vr, encoding)
        stop = offset + length
        counted = Struct(f"{encoding.order}I").unpack_from(walked.buffer, offset - 4)[0] if written not in _SHORT else length
        end = stop + 8 if counted == _UNDEFINED else stop
        known = _known_vr(root, tag) if vr in ("", "UN") else vr
        root.elements[tag] = Node(tag, known, begin, offset, stop, end, written_vr="UN" if vr == "SQ" and written == "UN" else "")
    return root


def _respelt(item: DataSet, encoding: Encoding) -> DataSet:
    """The same elements in another encoding of the same byte order. What the dictionary does not decide becomes UN, its bytes kept."""
    if item.encoding == encoding:
        return item
    if item.encoding.big != encoding.big:
        raise Unwritable("a sequence came in another byte order, so nothing can be added to it")
    made = DataSet(item.buffer, encoding)
    for tag, node in item.elements.items():
        if node.vr == "SQ":
            made.put_items(tag, [_respelt(one, encoding) for one in item.items(tag)])
        elif tag & 0xFFFF:
            value = item.raw(tag)
            made.elements[tag] = Node(tag, _certain_vr(tag, len(value)), value=value)
    made.structure_changed = True
    return made


def _certain_vr(tag: int, length: int) -> str:
    """The VR of a plain element that came without one; UN where it depends, is private, or has too short a length field."""
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return vr if len(vr) == 2 and (vr not in _SHORT or length <= _SHORT_MOST_BYTES) else "UN"


def _header_before(buffer: Buffer, offset: int, vr: str, encoding: Encoding) -> tuple[str, int]:
    """The VR that is written before a content, and where its header begins."""
    if encoding.implicit:
        return "", offset - 8
    if vr in _SHORT:
        return vr, offset - 8
    return bytes(buffer[offset - 8 : offset - 6]).decode("ascii", "replace"), offset - 12


def _known_vr(dataset: DataSet, tag: int) -> str:
    """The dictionary's VR; of a private element that of its creator's, where known."""
    if not tag >> 16 & 1:
        return "UL" if tag & 0xFFFF == 0 else vr_of(tag)
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    creator = dataset.raw(tag & 0xFFFF0000 | tag >> 8 & 0xFF).decode("ascii", "replace").strip(" \0")
    try:
        known = private_dictionary_VR(tag, creator)[:2]
    except (KeyError, ValueError):
        return "UN"
    return known if known != "SQ" else "UN"


def _items(buffer: Buffer, pos: int, stop: int, encoding: Encoding) -> Iterator[DataSet]:
    while pos + 8 <= stop:
        tag, length = _tag_and_length(buffer, pos, encoding)
        pos += 8
        if tag != _ITEM:
            return
        if length == _UNDEFINED:
            item, pos = _data_set(buffer, pos, stop, encoding)
        else:
            item, _ = _data_set(buffer, pos, pos + length, encoding)
            pos += length
        yield item


def _tag_and_length(buffer: Buffer, pos: int, encoding: Encoding) -> tuple[int, int]:
    group, number, length = (_BIG if encoding.big else _LITTLE).unpack_from(buffer, pos)
    return group << 16 | number, length


def _data_set(buffer: Buffer, pos: int, stop: int, encoding: Encoding) -> tuple[DataSet, int]:
    """One item's data set; the position behind it and its delimiter."""
    encoding = _inner_encoding(buffer, pos, stop, encoding)
    made = DataSet(buffer, encoding)
    while pos + 8 <= stop:
        tag, length = _tag_and_length(buffer, pos, encoding)
        if tag == _ITEM_END:
            return made, pos + 8
        node = _element(made, tag, length, pos, stop)
        made.elements[tag] = node
        pos = node.end
    return made, pos


def _inner_encoding(buffer: Buffer, pos: int, stop: int, encoding: Encoding) -> Encoding:
    """Implicit VR inside explicit VR, as the walker tells it: what was once UN stays implicit."""
    if encoding.implicit or encoding.big or pos + 8 > stop:
        return encoding
    first, second = bytes(buffer[pos + 4 : pos + 6])
    is_vr = 0x41 <= first <= 0x5A and 0x41 <= second <= 0x5A
    group = _LITTLE.unpack_from(buffer, pos)[0]
    return encoding if is_vr or group == _DELIMITERS else _IMPLICIT_LITTLE


def _element(parent: DataSet, tag: int, length: int, pos: int, stop: int) -> Node:
    buffer, encoding = parent.buffer, parent.encoding
    start, written = pos + 8, ""
    if not encoding.implicit:
        written = bytes(buffer[pos + 4 : pos + 6]).decode("ascii", "replace")
        if written in _SHORT:
            length = Struct(f"{encoding.order}H").unpack_from(buffer, pos + 6)[0]
        else:
            start = pos + 12
            length = Struct(f"{encoding.order}I").unpack_from(buffer, pos + 8)[0]
    vr = written if written not in ("", "UN") else _known_vr(parent, tag)
    if length != _UNDEFINED:
        if vr == "SQ" and written == "UN":  # defined length: items in the encoding of what holds them, as the walker reads them
            return Node(tag, "SQ", pos, start, start + length, start + length, written_vr="UN")
        return Node(tag, vr, pos, start, start + length, start + length)
    inner = _IMPLICIT_LITTLE if written == "UN" else encoding
    behind = _behind_sequence(buffer, start, stop, inner)
    return Node(tag, "SQ", pos, start, behind - 8, behind, written_vr="UN" if written == "UN" else "")


def _behind_sequence(buffer: Buffer, pos: int, stop: int, encoding: Encoding) -> int:
    """The position behind a sequence of undefined length and its delimiter."""
    while pos + 8 <= stop:
        tag, length = _tag_and_length(buffer, pos, encoding)
        pos += 8
        if tag == _SEQUENCE_END:
            return pos
        pos = _data_set(buffer, pos, stop, encoding)[1] if length == _UNDEFINED else pos + length
    return pos
