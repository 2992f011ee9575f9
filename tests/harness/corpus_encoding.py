"""Objects whose encoding is wrong (PS3.5 section 7, annex A): cut, with lying lengths, wrong VRs, too deep, too many, bombs, bad pixels."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator

from tests.harness.corpus import (
    BIG,
    DAMAGED,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    JPEG,
    MISMATCH,
    SEQUENCE_END,
    TAKEN,
    UNDEFINED,
    Case,
    deflate,
    element,
    header,
    identity,
    item,
    joined,
    open_item,
    open_sequence,
    pieces,
    place,
    sequence,
    sound,
)

_NAMES = {IMPLICIT: "implicit", EXPLICIT: "explicit", BIG: "big endian"}
_UNITS, _SEQUENCE = 0x00400A30, 0x00081115
_PIXELS = 0x7FE00010
_NAME = element(0x00100010, "PN", b"TEST^INVENTED ")


def cases() -> Iterator[Case]:
    for syntax in _NAMES:
        yield from _cuts(syntax)
        yield from _lengths(syntax)
        yield from _nesting(syntax)
    for family in (_value_types, _sequences, _places, _numbers, _deflated, _pixels, _other_encodings, _stray):
        yield from family()


def _case(name: str, data: bytes, status: int, words: str = "", syntax: str = EXPLICIT) -> Case:
    return Case(name=name, build=lambda: data, status=status, words=words, syntax=syntax)


def _cuts(syntax: str) -> Iterator[Case]:
    """A transfer that stopped, at every kind of place in every element."""
    parts, start = pieces(syntax), 0
    whole = joined(parts)
    for part in parts:
        head, size = len(part.header), len(part.whole)
        places = {"in its tag": 2, "behind its tag": 4, "in its length": head - 1, "in its value": head + len(part.value) // 2}
        places |= {"before its value": head, "one byte before its end": size - 1}
        for words, place_ in places.items():
            name = f"cut/{_NAMES[syntax]}/{part.name}/{words}"
            yield _case(name, whole[: start + place_], DAMAGED, "", syntax)
        start += size
    yield _case(f"cut/{_NAMES[syntax]}/whole", whole, TAKEN, "", syntax)


def _lengths(syntax: str) -> Iterator[Case]:
    """Lengths that lie: what follows is swallowed, or becomes the beginning of a new element."""
    wrong = {"one too long": 1, "two too long": 2, "64 too long": 64, "one short": -1, "two short": -2}
    for part in pieces(syntax):
        if "open" in part.name:
            continue
        for words, by in wrong.items():
            yield from _lying(syntax, part.name, words, len(part.value) + by)
        if syntax == IMPLICIT or part.name in ("PixelData", "RadiopharmaceuticalInformationSequence"):
            for words, length in (("2 GiB", 0x7FFFFFFE), ("4 GiB", 0xFFFFFFFE)):
                yield from _lying(syntax, part.name, words, length)


def _lying(syntax: str, name: str, words: str, length: int) -> Iterator[Case]:
    lying = b""
    for part in pieces(syntax):
        if part.name != name:
            lying += part.whole
            continue
        vr = part.header[4:6].decode("latin-1")
        number = part.header[:4]
        is_long = syntax != IMPLICIT and len(part.header) == 12
        order = ">" if syntax == BIG else "<"
        field = struct.pack(f"{order}I", length) if is_long or syntax == IMPLICIT else struct.pack(f"{order}H", length)
        lying += number + (b"" if syntax == IMPLICIT else vr.encode("latin-1") + bytes(2 * is_long)) + field + part.value
    yield _case(f"length/{_NAMES[syntax]}/{name}/{words}", lying, DAMAGED, "", syntax)


def _nesting(syntax: str) -> Iterator[Case]:
    name = _NAMES[syntax]
    for depth, status in ((31, TAKEN), (32, TAKEN), (33, DAMAGED), (34, DAMAGED), (250, DAMAGED), (1000, DAMAGED)):
        words = "nested more than 32 deep" if status else ""
        closed = opened = element(0x00080100, "SH", b"F-18", syntax)
        for _ in range(depth):
            closed = sequence(_SEQUENCE, item(closed, syntax), syntax=syntax)
            opened = open_sequence(_SEQUENCE, open_item(opened, syntax), syntax=syntax)
            if len(closed) > 60_000 and syntax != IMPLICIT:
                break
        yield _case(f"nested/{name}/{depth} closed", identity(syntax) + closed + place(syntax), status, words, syntax)
        yield _case(f"nested/{name}/{depth} open", identity(syntax) + opened + place(syntax), status, words, syntax)


def _value_types() -> Iterator[Case]:
    """The two letters that say how to read on (PS3.5 6.2)."""
    for label, letters in {
        "zeros": b"\0\0", "small letters": b"pn", "digits": b"12", "blank": b"  ", "one letter": b"P\0", "high bytes": b"\xff\xfe",
        "punctuation": b"??", "swapped case": b"Pn",
    }.items():  # fmt: skip
        wrong = _NAME[:4] + letters + _NAME[6:]
        yield _case(f"vr/{label}", sound(wrong), DAMAGED, "no valid value type")
    yield _case("vr/of the future, long", sound(element(0x00189999, "UN", b"abcd").replace(b"UN", b"ZZ")), TAKEN)
    yield _case("vr/of the future, reserved bytes used", sound(_NAME.replace(b"PN", b"ZZ")), DAMAGED, "no valid value type")
    for vr in ("OB", "UT", "UC"):  # another long form over a short one: the length is read from the value
        yield _case(f"vr/{vr} over a short one", sound(_NAME.replace(b"PN", vr.encode())), DAMAGED)
    yield _case("vr/US over OW", sound(behind=element(_PIXELS, "OW", bytes(64)).replace(b"OW", b"US")), DAMAGED)
    for vr in ("UI", "DS", "US", "SQ"):
        odd = sound(element(0x00100020, vr, b"ABC") if vr != "SQ" else element(0x00100020, "SQ", b"ABC"))
        yield _case(f"vr/odd length of {vr}", odd, DAMAGED if vr == "SQ" else TAKEN)
    for vr in ("UT", "UC", "UR", "OF", "OD", "OL", "OV", "SV", "UV"):
        yield _case(
            f"vr/undefined length of {vr}",
            sound(behind=element(0x00409999, vr, b"abcd", length=UNDEFINED) + header(SEQUENCE_END, "", 0)),
            DAMAGED,
            "missing (undefined)",
        )


def _sequences() -> Iterator[Case]:
    """Items and delimiters in wrong places (PS3.5 7.5)."""
    code = element(0x00080100, "SH", b"F-18")
    end, item_end = header(SEQUENCE_END, "", 0), header(ITEM_END, "", 0)
    wrong = {
        "not closed": element(_UNITS, "SQ", item(code), length=UNDEFINED),
        "item not closed": element(_UNITS, "SQ", item(code, length=UNDEFINED), length=UNDEFINED) + end,
        "closed as an item": element(_UNITS, "SQ", item(code), length=UNDEFINED) + item_end,
        "closed twice": open_sequence(_UNITS, item(code)) + end,
        "item closed twice": element(_UNITS, "SQ", open_item(code) + item_end, length=UNDEFINED) + end,
        "an element for an item": open_sequence(_UNITS, code),
        "item longer than its sequence": element(_UNITS, "SQ", item(code, length=len(code) + 8)),
        "item shorter than its element": element(_UNITS, "SQ", item(code, length=len(code) - 2)),
        "element longer than its item": sequence(_UNITS, item(element(0x00080100, "SH", b"F-18", length=400))),
        "closed before its item ends": element(_UNITS, "SQ", item(code + end), length=UNDEFINED),
        "three bytes for an item": element(_UNITS, "SQ", b"\xfe\xff\x00"),
        "zeros for an item": element(_UNITS, "SQ", bytes(8)),
        "item at the top": item(code),
        "delimiter at the top": end,
        "item delimiter at the top": item_end,
        "delimiter inside an item": sequence(_UNITS, item(end)),
        "closed length, open inside, unclosed": sequence(_UNITS, item(element(_UNITS, "SQ", item(code), length=UNDEFINED))),
        "UN unclosed": element(0x00409010, "UN", item(element(0x00080100, "SH", b"F-18", IMPLICIT)), length=UNDEFINED),
        "UN with something else inside": element(0x00409010, "UN", b"ABCDEFGH", length=UNDEFINED) + end,
        "UN, implicit inside, cut": element(0x00409010, "UN", item(header(0x00080100, "", 400, IMPLICIT)), length=UNDEFINED)
        + end,
    }
    for name, data in wrong.items():
        yield _case(f"sequence/{name}", sound(behind=data), DAMAGED)
    fine = {
        "empty": sequence(_UNITS),
        "empty open": open_sequence(_UNITS),
        "empty item": sequence(_UNITS, item(b"")),
        "empty open item": open_sequence(_UNITS, open_item(b"")),
        "UN with implicit items": element(0x00409010, "UN", item(element(0x00080100, "", b"F-18", IMPLICIT)), length=UNDEFINED)
        + end,
        "implicit items under an explicit head": sequence(_UNITS, item(element(0x00080100, "", b"F-18", IMPLICIT))),
        "delimiter with a length": element(_UNITS, "SQ", item(code), length=UNDEFINED) + header(SEQUENCE_END, "", 4),
    }
    for name, data in fine.items():
        yield _case(f"sequence/{name}", sound(behind=data), TAKEN)


def _places() -> Iterator[Case]:
    """Elements where they do not belong."""
    other = element(0x00100020, "LO", b"OTHER-02")
    yield _case("place/command group inside", element(0x00000002, "UI", b"1.2\0") + sound(), DAMAGED, "not into the object")
    yield _case("place/file header inside", element(0x00020010, "UI", b"1.2\0") + sound(), DAMAGED, "not into the object")
    yield _case("place/file header at the end", sound(behind=element(0x00020010, "UI", b"1.2\0")), DAMAGED, "not into the object")
    mine = element(0x00100020, "LO", b"TEST-0001 ")
    yield _case("place/twice, different", sound(mine + other), DAMAGED, "stands in the object twice")
    yield _case("place/twice, different, far apart", sound(mine, behind=other), DAMAGED, "stands in the object twice")
    yield _case("place/twice, the same", sound(mine + mine), TAKEN)
    yield _case("place/not in order", place() + mine + identity(), TAKEN)
    for claimed in (0, 4, 0xFFFFFFFF):
        lying = element(0x00080000, "UL", struct.pack("<I", claimed))
        yield _case(f"place/group length says {claimed}", lying + sound(), TAKEN)
    yield _case("place/group length of two bytes", element(0x00080000, "UL", b"\4\0") + sound(), TAKEN)
    yield _case("place/trailing padding", sound(behind=element(0xFFFCFFFC, "OB", bytes(64))), TAKEN)
    yield _case("place/group FFFF", sound(behind=element(0xFFFF0010, "LO", b"AB")), TAKEN)
    yield _case("place/group 0001", element(0x00010010, "LO", b"AB") + sound(), TAKEN)
    private = element(0x00091001, "LO", b"AB")
    yield _case("private/no creator", identity() + private + place(), TAKEN)
    yield _case("private/creator empty", identity() + element(0x00090010, "LO", b"") + private + place(), TAKEN)
    yield _case(
        "private/creator behind its block", identity() + private + element(0x00090010, "LO", b"INVENTED") + place(), TAKEN
    )
    twice = element(0x00090010, "LO", b"INVENTED") + element(0x00090011, "LO", b"INVENTED") + private
    yield _case("private/two blocks of one creator", identity() + twice + place(), TAKEN)
    yield _case("private/below the creators", identity() + element(0x00090001, "LO", b"AB") + place(), TAKEN)


def _numbers() -> Iterator[Case]:
    """More than anybody needs: refused by count, before a parser sees it."""
    told: dict[str, tuple[Callable[[], bytes], int, str, str]] = {
        "100,001 elements": (lambda: sound(behind=_empty_elements(100_001)), DAMAGED, "more than 100,000 elements", EXPLICIT),
        "a million items, compressed": (lambda: deflate(sound(behind=_million_items()), 1), DAMAGED, "nested elements", DEFLATED),
        "65,534 bytes in one LO": (lambda: sound(element(0x00100020, "LO", b"A" * 65_534)), TAKEN, "", EXPLICIT),
        "1 MiB in one UT": (lambda: sound(behind=element(0x00409999, "UT", b"A" * (1 << 20))), TAKEN, "", EXPLICIT),
        "2,000 private blocks": (lambda: sound(behind=_blocks(2000)), TAKEN, "", EXPLICIT),
    }
    for name, (build, status, words, syntax) in told.items():
        yield Case(name=f"number/{name}", build=build, status=status, words=words, syntax=syntax)


def _empty_elements(count: int) -> bytes:
    return b"".join(header(0x00611000 + (index // 0x8000 << 17) + index % 0x8000, "LO", 0) for index in range(count))


def _million_items() -> bytes:
    return header(_UNITS, "SQ", 8 * 1_000_001) + item(b"") * 1_000_001


def _blocks(count: int) -> bytes:
    return b"".join(element(0x00610010 + n % 240 + (n // 240 << 17), "LO", b"A ") for n in range(count))


def _deflated() -> Iterator[Case]:
    whole = sound(behind=element(_PIXELS, "OW", bytes(64)))
    good = deflate(whole)
    trailer = struct.pack("<II", zlib.crc32(whole), len(whole))
    told: dict[str, tuple[bytes, int, str]] = {
        "sound": (good, TAKEN, ""),
        "padded": (good + b"\0", TAKEN, ""),
        "gzip's trailer": (good + trailer, TAKEN, ""),
        "gzip's trailer, wrong": (good + trailer[::-1], DAMAGED, "follow the end"),
        "cut": (good[:-4], DAMAGED, "ends too early"),
        "cut to one byte": (good[:1], DAMAGED, ""),
        "nothing": (b"", DAMAGED, ""),
        "not compressed at all": (whole, DAMAGED, ""),
        "zlib's header": (zlib.compress(whole), DAMAGED, ""),
        "gzip's header": (gzip.compress(whole), DAMAGED, ""),
        "something behind": (good + b"more", DAMAGED, "4 bytes follow"),
        "a second stream behind": (good + good, DAMAGED, "follow the end"),
        "object inside is cut": (deflate(whole[:-5]), DAMAGED, "ends in the middle of PixelData"),
        "empty object inside": (deflate(b""), MISMATCH, "has no SOPClassUID"),
        "bits flipped": (bytes(byte ^ 0x55 for byte in good), DAMAGED, ""),
        "ones": (b"\xff" * 64, DAMAGED, ""),
    }
    for name, (data, status, words) in told.items():
        yield _case(f"deflated/{name}", data, status, words, DEFLATED)
    yield _case("deflated/declared 4 GiB", deflate(sound(behind=header(_PIXELS, "OW", 0xFFFFFFFE))), DAMAGED, "", DEFLATED)
    yield Case(name="deflated/bomb of 70 MiB", build=_bomb, status=DAMAGED, words="would grow beyond", syntax=DEFLATED)
    yield Case(name="deflated/bomb in a bomb", build=lambda: deflate(_bomb()), status=DAMAGED, syntax=DEFLATED)


def _bomb() -> bytes:
    return deflate(sound(behind=element(_PIXELS, "OW", bytes(70 << 20))), 1)


def _pixels() -> Iterator[Case]:
    """Encapsulated pixel data (PS3.5 A.4): offset table, fragments, delimiter."""
    end, fragment = header(SEQUENCE_END, "", 0), item(b"\xff\xd8\xff\xd9")
    table = item(b"")

    def pixels(content: bytes, vr: str = "OB") -> bytes:
        return sound(behind=element(_PIXELS, vr, content, length=UNDEFINED))

    wrong = {
        "no delimiter": pixels(table + fragment),
        "half a delimiter": pixels(table + fragment + end[:5]),
        "fragment cut": pixels(table + fragment[:-2]),
        "fragment longer than the object": pixels(table + item(b"\xff\xd8", length=4000) + end),
        "fragment of undefined length": pixels(table + item(b"\xff\xd8\xff\xd9", length=UNDEFINED) + end),
        "item delimiter inside": pixels(table + fragment + header(ITEM_END, "", 0) + end),
        "an element inside": pixels(table + _NAME + end),
        "raw stream without items": pixels(b"\xff\xd8\xff\xd9" * 4 + end),
        "negative fragment": pixels(table + item(b"", length=0xFFFFFFF0) + end),
        "as UT": pixels(table + fragment + end, "UT"),
        "more behind the delimiter": pixels(table + fragment + end + b"\0\0\0"),
        "two delimiters": pixels(table + fragment + end + end),
        "nested sequence for a fragment": pixels(table + sequence(_UNITS, item(b"")) + end),
    }
    for name, data in wrong.items():
        yield _case(f"pixels/{name}", data, DAMAGED, "", JPEG)
    fine = {
        "no offset table": pixels(fragment + end),
        "offsets beyond the fragments": pixels(item(struct.pack("<I", 0xFFFFFF00)) + fragment + end),
        "offset table of three bytes": pixels(item(b"\0\0\0") + fragment + end),
        "no fragment": pixels(table + end),
        "nothing at all": pixels(end),
        "empty fragments": pixels(table + item(b"") * 3 + end),
        "odd fragment": pixels(table + item(b"\xff\xd8\xff") + end),
        "delimiter with a length": pixels(table + fragment + header(SEQUENCE_END, "", 99)),
        "native in a compressed encoding": sound(behind=element(_PIXELS, "OW", bytes(32))),
        "fragments not of the declared codec": pixels(table + item(b"not a picture at all") + end),
    }
    for name, data in fine.items():
        yield _case(f"pixels/{name}", data, TAKEN, "", JPEG)


def _other_encodings() -> Iterator[Case]:
    """Sound, but not in the encoding that was agreed."""
    for actual in _NAMES:
        for declared in (*_NAMES, DEFLATED):
            if actual != declared:
                name = f"encoding/{_NAMES[actual]} sent as {_NAMES.get(declared, 'deflated')}"
                yield _case(name, joined(pieces(actual)), DAMAGED, "", declared)
    whole = joined(pieces(EXPLICIT))
    yield _case("encoding/with its file header", bytes(128) + b"DICM" + whole, DAMAGED)
    for name, data in {
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(200), "HTML": b"<!doctype html><title>no</title>", "zeros": bytes(512),
        "ones": b"\xff" * 512, "JSON": b'{"00080016": {"vr": "UI"}}', "ZIP": b"PK\3\4" + bytes(100), "one byte": b"\0",
        "seven bytes": b"\x08\0\x16\0UI\x1a",
    }.items():  # fmt: skip
        yield _case(f"encoding/{name} for an object", data, DAMAGED)


def _stray() -> Iterator[Case]:
    for count in (1, 2, 4, 7, 8, 16, 512):
        yield _case(f"stray/{count} zeros behind", sound(behind=bytes(count)), DAMAGED)
    for count in (1, 3, 8, 9):
        yield _case(f"stray/{count} ones behind", sound(behind=b"\xff" * count), DAMAGED)
    yield _case("stray/zeros between", identity() + bytes(8) + place(), DAMAGED, "Zeros follow")
