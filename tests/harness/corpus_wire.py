"""What a broken or hostile peer says on the line: PDUs (PS3.8 9.3), association requests, commands (PS3.7). Each with what must follow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tests.harness.corpus import EXPLICIT, IMPLICIT, INSTANCE, PET, sound, uid

VERIFICATION = "1.2.840.10008.1.1"
APPLICATION = "1.2.840.10008.3.1.1.1"
#: What becomes of the association: broken off, not begun, ended in peace, still waiting for a request, open; or the last status.
ABORTED, REJECTED, RELEASED, WAITING, OPEN = "aborted", "rejected", "released", "waiting", "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireCase:
    """``sent`` on a new connection, or on an agreed association with PET as context 1 and verification as context 3."""

    name: str
    sent: bytes
    outcome: str | int
    associated: bool = True


def cases() -> Iterator[WireCase]:
    yield from _before()
    yield from _requests()
    yield from _values()
    yield from _states()
    yield from _commands()


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def item(kind: int, value: bytes, *, length: int | None = None) -> bytes:
    return struct.pack(">BxH", kind, len(value) if length is None else length) + value


def context(number: int, abstract: str, *transfers: str) -> bytes:
    syntaxes = b"".join(item(0x40, transfer.encode()) for transfer in transfers)
    return item(0x20, struct.pack(">B3x", number) + item(0x30, abstract.encode()) + syntaxes)


def user(*items: bytes) -> bytes:
    return item(0x50, b"".join(items) or item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3"))


def request(
    *items: bytes, version: int = 1, called: bytes = b"ISOBRIDGE", calling: bytes = b"CORPUS", application: str = APPLICATION
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 table 9-11)."""
    parts = items or (context(1, PET, EXPLICIT), context(3, VERIFICATION, IMPLICIT), user())
    head = struct.pack(">HH", version, 0) + called.ljust(16)[:16] + calling.ljust(16)[:16] + bytes(32)
    return pdu(1, head + item(0x10, application.encode()) + b"".join(parts))


def pdv(number: int, control: int, fragment: bytes, *, length: int | None = None) -> bytes:
    return struct.pack(">IBB", len(fragment) + 2 if length is None else length, number, control) + fragment


def data(*values: bytes) -> bytes:
    return pdu(4, b"".join(values))


def command(*elements: tuple[int, bytes], group_length: int | None = None) -> bytes:
    body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body) if group_length is None else group_length) + body


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def store(instance: str = INSTANCE, abstract: str = PET, *, more: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    return command(
        (0x0002, uid(abstract)), (0x0100, _us(1)), (0x0110, _us(7)), (0x0700, _us(0)), (0x0800, _us(1)), (0x1000, uid(instance)), *more
    )  # fmt: skip


def echo(*, with_id: bool = True, field: int = 0x0030, data_set: int = 0x0101) -> bytes:
    identifier = ((0x0110, _us(9)),) if with_id else ()
    return command((0x0002, uid(VERIFICATION)), (0x0100, _us(field)), *identifier, (0x0800, _us(data_set)))


ECHO = data(pdv(3, 3, echo()))


def _before() -> Iterator[WireCase]:
    """Before anything is agreed."""
    told: dict[str, tuple[bytes, str]] = {
        "silence": (b"", WAITING),
        "half a head": (b"\1\0\0", WAITING),
        "a head and no body": (pdu(1, b"", length=200), WAITING),
        "half a request": (request()[:-20], WAITING),
        "type 0": (pdu(0, b""), ABORTED),
        "type 8": (pdu(8, b""), ABORTED),
        "type 255": (pdu(255, bytes(10)), ABORTED),
        "a request of 4 GiB": (pdu(1, bytes(20), length=0xFFFFFFFF), ABORTED),
        "a request of 256 KiB and a byte": (pdu(1, bytes(20), length=(256 << 10) + 1), ABORTED),
        "an empty request": (pdu(1, b""), ABORTED),
        "a request of 67 bytes": (pdu(1, bytes(67)), ABORTED),
        "data": (ECHO, ABORTED),
        "an acceptance": (pdu(2, bytes(68)), ABORTED),
        "a rejection": (pdu(3, bytes(4)), ABORTED),
        "a release": (pdu(5, bytes(4)), ABORTED),
        "an answer to a release": (pdu(6, bytes(4)), ABORTED),
        "an abort": (pdu(7, bytes(4)), ABORTED),
        "an abort of 1 MiB": (pdu(7, bytes(4), length=1 << 20), ABORTED),
        "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ABORTED),
        "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), ABORTED),
        "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", ABORTED),
        "HL7": (b"\x0bMSH|^~\\&|A|B|C|D\r\x1c\r", ABORTED),
        "PROXY": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", ABORTED),
        "zeros": (bytes(64), ABORTED),
        "ones": (b"\xff" * 64, ABORTED),
        "a DICOM file": (bytes(128) + b"DICM" + sound(), ABORTED),
    }
    for name, (sent, outcome) in told.items():
        yield WireCase(name=f"before/{name}", sent=sent, outcome=outcome, associated=False)


def _requests() -> Iterator[WireCase]:
    pet, verify = context(1, PET, EXPLICIT), context(3, VERIFICATION, IMPLICIT)
    many = [context(2 * number + 1, PET, EXPLICIT) for number in range(128)]
    told: dict[str, tuple[bytes, str | int]] = {
        "sound": (request(), OPEN),
        "no context": (request(user()), OPEN),
        "128 contexts": (request(*many, user()), OPEN),
        "an even context id": (request(context(2, PET, EXPLICIT), user()), OPEN),
        "one context id twice": (request(pet, pet, user()), ABORTED),
        "no abstract syntax": (request(item(0x20, struct.pack(">B3x", 1) + item(0x40, EXPLICIT.encode())), user()), OPEN),
        "no transfer syntax": (request(context(1, PET), user()), OPEN),
        "an unknown abstract syntax": (request(context(1, "1.2.3", EXPLICIT), user()), OPEN),
        "an unknown transfer syntax": (request(context(1, PET, "1.2.3"), user()), OPEN),
        "100 transfer syntaxes": (request(context(1, PET, *[f"1.2.{n}" for n in range(100)], EXPLICIT), user()), OPEN),
        "UID with letters": (request(context(1, "PET Image Storage", EXPLICIT), user()), OPEN),
        "UID of 1,000 letters": (request(context(1, "1." * 500, EXPLICIT), user()), ABORTED),
        "no user information": (request(pet, verify), OPEN),
        "a version name of 60 KB": (request(pet, item(0x50, item(0x51, bytes(4)) + item(0x55, b"A" * 60_000))), ABORTED),
        "maximum length 0": (request(pet, user(item(0x51, bytes(4)))), OPEN),
        "maximum length 1": (request(pet, user(item(0x51, struct.pack(">I", 1)))), OPEN),
        "maximum length of two bytes": (request(pet, user(item(0x51, b"\0\0"))), ABORTED),
        "an unknown item": (request(item(0x99, b"????"), pet, user()), ABORTED),
        "an item longer than the request": (request(pet, item(0x50, b"", length=4000)), ABORTED),
        "a context of two bytes": (request(item(0x20, b"\1\0"), user()), OPEN),
        "version 0": (request(version=0), REJECTED),
        "version 3": (request(version=3), OPEN),
        "another application": (request(application="1.2.3"), REJECTED),
        "no application": (pdu(1, struct.pack(">HH", 1, 0) + b" " * 32 + bytes(32) + pet + user()), REJECTED),
        "blank titles": (request(called=b"", calling=b""), OPEN),
        "titles of NUL": (request(called=bytes(16), calling=bytes(16)), OPEN),
        "titles in high letters": (request(called=b"\xe9" * 16, calling=b"\xff" * 16), OPEN),
        "titles with escapes": (request(calling=b"\x1b[31mRED\r\n"), OPEN),
        "titles in small letters": (request(calling=b"scanner"), OPEN),
        "two requests": (request() + request(), ABORTED),
        "a request and zeros": (request() + bytes(6), ABORTED),
        "a request and an echo at once": (request() + ECHO, 0x0000),
    }
    for name, (sent, outcome) in told.items():
        yield WireCase(name=f"request/{name}", sent=sent, outcome=outcome, associated=False)


def _values() -> Iterator[WireCase]:
    """Presentation data values (PS3.8 9.3.5.1, annex E)."""
    half = len(echo()) // 2
    told: dict[str, tuple[bytes, str | int]] = {
        "length 0": (data(pdv(3, 3, b"", length=0)), ABORTED),
        "length 1": (data(pdv(3, 3, b"", length=1)), ABORTED),
        "beyond the PDU": (data(pdv(3, 3, echo(), length=4000)), ABORTED),
        "4 GiB": (data(pdv(3, 3, echo(), length=0xFFFFFFFF)), ABORTED),
        "five bytes left": (data(pdv(3, 3, echo()), bytes(5)), ABORTED),
        "a context that nobody agreed": (data(pdv(5, 3, echo())), ABORTED),
        "context 0": (data(pdv(0, 3, echo())), ABORTED),
        "context 255": (data(pdv(255, 3, echo())), ABORTED),
        "control bits of nobody": (data(pdv(3, 0xFF, echo())), ABORTED),
        "control bit 2": (data(pdv(3, 4, echo())), ABORTED),
        "a data set without command": (data(pdv(1, 2, sound())), ABORTED),
        "a data set in another context": (data(pdv(1, 3, store()), pdv(3, 2, sound())), ABORTED),
        "a command within a data set": (data(pdv(1, 3, store()), pdv(1, 0, sound()[:40]), pdv(3, 3, echo())), ABORTED),
        "nothing": (pdu(4, b""), OPEN),
        "a hundred times nothing": (pdu(4, b"") * 100, OPEN),
        "an empty last fragment": (data(pdv(3, 1, echo()), pdv(3, 3, b"")), 0x0000),
        "a command in two PDUs": (data(pdv(3, 1, echo()[:half])) + data(pdv(3, 3, echo()[half:])), 0x0000),
        "a command of 64 KiB": (data(pdv(3, 1, bytes(65_536))), ABORTED),
        "a PDU longer than agreed": (pdu(4, b"", length=(128 << 10) + 7), ABORTED),
        "a PDU of 4 GiB": (pdu(4, b"", length=0xFFFFFFFF), ABORTED),
        "an object in one PDU": (data(pdv(1, 3, store()), pdv(1, 2, sound())), 0x0000),
        "an object byte by byte": (_slowly(sound()), 0x0000),
        "an empty object": (data(pdv(1, 3, store()), pdv(1, 2, b"")), 0xA900),
        "the next message before the answer": (data(pdv(1, 3, store()), pdv(1, 2, sound()), pdv(3, 3, echo())), ABORTED),
    }  # fmt: skip
    for name, (sent, outcome) in told.items():
        yield WireCase(name=f"value/{name}", sent=sent, outcome=outcome)


def _slowly(content: bytes) -> bytes:
    fragments = b"".join(data(pdv(1, 0, content[at : at + 1])) for at in range(len(content)))
    return data(pdv(1, 3, store())) + fragments + data(pdv(1, 2, b""))


def _states() -> Iterator[WireCase]:
    """Right PDUs at wrong times (PS3.8 table 9-10)."""
    begun = data(pdv(1, 3, store()), pdv(1, 0, sound()[:60]))
    told: dict[str, tuple[bytes, str | int]] = {
        "a second request": (request(), ABORTED),
        "an acceptance": (pdu(2, bytes(68)), ABORTED),
        "a rejection": (pdu(3, bytes(4)), ABORTED),
        "an answer to no release": (pdu(6, bytes(4)), ABORTED),
        "an unknown type": (pdu(99, b""), ABORTED),
        "a release": (pdu(5, bytes(4)), RELEASED),
        "a release of 60 bytes": (pdu(5, bytes(60)), RELEASED),
        "a release of 1 KiB": (pdu(5, bytes(1024)), ABORTED),
        "a release and more": (pdu(5, bytes(4)) + ECHO, RELEASED),
        "an abort": (pdu(7, bytes(4)), ABORTED),
        "an abort within an object": (begun + pdu(7, bytes(4)), ABORTED),
        "a release within an object": (begun + pdu(5, bytes(4)), RELEASED),
        "a second request within an object": (begun + request(), ABORTED),
        "half an object": (begun, OPEN),
        "HTTP within an object": (begun + b"GET / HTTP/1.1\r\n\r\n", ABORTED),
    }
    for name, (sent, outcome) in told.items():
        yield WireCase(name=f"state/{name}", sent=sent, outcome=outcome)


def _commands() -> Iterator[WireCase]:
    lying = command((0x0100, _us(0x30)), (0x0110, _us(1)), (0x0800, _us(0x0101)), group_length=9)
    said = {name: data(pdv(3, 3, encoded)) for name, encoded in _bad_commands().items()}
    for name, sent in said.items():
        yield WireCase(name=f"command/{name}", sent=sent, outcome=ABORTED)
    told: dict[str, tuple[bytes, str | int]] = {
        "echo": (ECHO, 0x0000),
        "echo with a wrong group length": (data(pdv(3, 3, lying)), 0x0000),
        "echo without group length": (data(pdv(3, 3, echo()[12:])), 0x0000),
        "echo with a data set": (data(pdv(3, 3, echo(data_set=1)), pdv(3, 2, sound())), 0x0000),
        "echo in the context of PET": (data(pdv(1, 3, echo())), 0x0000),
        "cancel": (data(pdv(3, 3, command((0x0100, _us(0x0FFF)), (0x0120, _us(1)), (0x0800, _us(0x0101))))), OPEN),
        "store without an object": (data(pdv(1, 3, echo(field=1))), 0xC000),
        "store with a UID of letters": (data(pdv(1, 3, store("no-uid")), pdv(1, 2, sound())), 0xA900),
        "store with a UID of 200 digits": (data(pdv(1, 3, store("1" * 200)), pdv(1, 2, sound())), 0xA900),
        "store with a path": (data(pdv(1, 3, store("../../x")), pdv(1, 2, sound())), 0xA900),
        "store of another class": (data(pdv(1, 3, store(abstract="1.2.3")), pdv(1, 2, sound())), 0xA900),
        "store in the context of verification": (data(pdv(3, 3, store()), pdv(3, 2, sound(syntax=IMPLICIT))), 0xA900),
        "store with an unknown priority": (data(pdv(1, 3, store(more=((0x0700, _us(9)),))), pdv(1, 2, sound())), 0x0000),
        "store with unknown elements": (data(pdv(1, 3, store(more=((0x5555, b"AB"),))), pdv(1, 2, sound())), 0x0000),
        "store of a cut object": (data(pdv(1, 3, store()), pdv(1, 2, sound()[:-3])), 0xC000),
    }  # fmt: skip
    for number, name in ((0x0020, "find"), (0x0010, "get"), (0x0021, "move"), (0x0140, "create"), (0x7777, "nobody's")):
        told[f"{name}"] = (data(pdv(3, 3, echo(field=number))), 0x0211)
        told[f"{name} with a data set"] = (data(pdv(3, 3, echo(field=number, data_set=1)), pdv(3, 2, sound())), 0x0211)
    for name, (sent, outcome) in told.items():
        yield WireCase(name=f"command/{name}", sent=sent, outcome=outcome)


def _bad_commands() -> dict[str, bytes]:
    """Those that cannot even be answered: no message to name."""
    return {
        "nothing": b"",
        "three bytes": b"\0\0\0",
        "no field": command((0x0110, _us(1)), (0x0800, _us(0x0101))),
        "no message id": echo(with_id=False),
        "no data set type": command((0x0100, _us(0x30)), (0x0110, _us(1))),
        "field of four bytes": command((0x0100, bytes(4)), (0x0110, _us(1)), (0x0800, _us(0x0101))),
        "an element longer than the command": echo() + struct.pack("<HHI", 0, 0x0900, 400),
        "an element of 4 GiB": echo() + struct.pack("<HHI", 0, 0x0900, 0xFFFFFFFF),
        "another group": echo() + struct.pack("<HHI", 8, 0x0016, 2) + b"1\0",
        "in explicit VR": struct.pack("<HH2sHH", 0, 0x0100, b"US", 2, 0x30),
        "in big endian": struct.pack(">HHIH", 0, 0x0100, 2, 0x30),
        "an answer that nobody asked for": command(
            (0x0100, _us(0x8030)), (0x0120, _us(1)), (0x0800, _us(0x0101)), (0x0900, _us(0))
        ),
        "an object for a command": sound(),
    }
