"""Bad input, seen from both sides: the sender gets the right status, the operator a reason, and the gateway goes on."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from pydicom.filewriter import write_dataset

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.scu import echo
from tests import builders
from tests.harness.account import settle
from tests.harness.chaos import Installation
from tests.harness.rawscu import Lost, RawAssociation
from tests.harness.witness import Address

PET = "1.2.840.10008.5.1.4.1.1.128"
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("bad")) as running:
        yield running


def encoded(dataset: pydicom.Dataset) -> bytes:
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def address_of(installation: Installation) -> Address:
    address = installation.address
    assert address is not None
    return address


def store(installation: Installation, uid: str, data_set: bytes) -> int:
    address = address_of(installation)
    with RawAssociation((address.host, address.port), [(PET, EXPLICIT)], called_ae=address.ae_title) as association:
        return association.store((PET, EXPLICIT), uid, data_set)


def isobridge(installation: Installation, *words: str) -> str:
    command = [sys.executable, "-m", "gateway.cli", *words, "--config", str(installation.config)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def assert_it_goes_on(installation: Installation) -> None:
    address = address_of(installation)
    assert echo(AEAddress(ae_title=address.ae_title, host=address.host, port=address.port)).ok
    fresh = builders.uid(f"after/{time.monotonic_ns()}")
    assert store(installation, fresh, encoded(builders.pet(SOPInstanceUID=fresh))) == 0x0000


def cut_short(uid: str) -> bytes:
    return encoded(builders.pet(SOPInstanceUID=uid))[:-37]


def wrong_vr(uid: str) -> bytes:
    """The VR bytes of PatientName are no letters, so nothing after them can be trusted."""
    whole = encoded(builders.pet(SOPInstanceUID=uid))
    return whole.replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00\x01\xff", 1)


def without_study(uid: str) -> bytes:
    dataset = builders.pet(SOPInstanceUID=uid)
    del dataset.StudyInstanceUID
    return encoded(dataset)


def other_uid(_uid: str) -> bytes:
    return encoded(builders.pet(SOPInstanceUID=builders.uid("somebody else")))


@pytest.mark.parametrize(
    ("name", "spoil", "status", "reason"),
    [
        ("truncated", cut_short, 0xC000, "cut short"),
        ("wrong VR", wrong_vr, 0xC000, "no valid value type"),
        ("no study", without_study, 0xA900, "has no StudyInstanceUID"),
        ("other uid than announced", other_uid, 0xA900, "not the one that was announced"),
    ],
)
def test_a_bad_object_is_refused_kept_and_explained(
    installation: Installation, name: str, spoil: Callable[[str], bytes], status: int, reason: str
) -> None:
    uid = builders.uid(f"bad/{name}")
    before = isobridge(installation, "spool", "list", "--state", "quarantined").splitlines()
    assert store(installation, uid, spoil(uid)) == status
    assert settle(installation.data) == []
    after = isobridge(installation, "spool", "list", "--state", "quarantined").splitlines()
    (line,) = set(after) - set(before)
    assert reason in line
    assert line.endswith("."), "a reason that a nurse could read is a sentence"
    assert_it_goes_on(installation)


def test_an_unknown_sop_class_is_refused_before_anything_is_sent(installation: Installation) -> None:
    address = address_of(installation)
    private = ("1.2.826.0.1.3680043.10.999.1.2", EXPLICIT)
    with RawAssociation((address.host, address.port), [private, (PET, EXPLICIT)], called_ae=address.ae_title) as association:
        assert private not in association.accepted
        assert (PET, EXPLICIT) in association.accepted
    assert_it_goes_on(installation)


def test_half_open_and_foreign_callers_hold_nobody(installation: Installation) -> None:
    address = address_of(installation)
    silent = [socket.create_connection((address.host, address.port)) for _ in range(20)]
    with socket.create_connection((address.host, address.port)) as foreign:
        foreign.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        foreign.settimeout(10)
        answer = foreign.recv(64)  # an A-ABORT or the end of the connection
        assert not answer.startswith(b"HTTP")
    with socket.create_connection((address.host, address.port)) as greedy:
        greedy.sendall(struct.pack(">BxI", 1, 0xFFFFFFFF))
        greedy.settimeout(10)
        assert greedy.recv(64)[:1] in (b"", b"\x07")
    assert_it_goes_on(installation)
    for half_open in silent:
        half_open.close()


def test_an_object_that_stops_halfway_leaves_nothing(installation: Installation) -> None:
    uid = builders.uid("stops halfway")
    address = address_of(installation)
    association = RawAssociation((address.host, address.port), [(PET, EXPLICIT)], called_ae=address.ae_title)
    whole = io.BytesIO(encoded(builders.pet(SOPInstanceUID=uid)))
    context_id = association.accepted[PET, EXPLICIT]
    piece = whole.read(200)
    association._send(struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, context_id, 0) + piece)
    association.close()
    assert_it_goes_on(installation)
    assert (
        "nothing"
        in subprocess.run(
            [sys.executable, "-m", "gateway.cli", "spool", "show", uid, "--config", str(installation.config)],
            capture_output=True,
            text=True,
            check=False,
        ).stderr
    )


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.needs("root")
@pytest.mark.timeout(180)
def test_a_full_disk_is_answered_a700_loses_nothing_and_heals_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 48) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * (24 << 20))
        settings: dict[str, dict[str, Any]] = {
            "data": {"directory": str(disk / "data")},
            "spool": {"reserve_megabytes": 2, "reject_megabytes": 0},
        }
        installation = Installation(disk, settings=settings)
        with installation:
            acknowledged, refused = fill(installation)
            assert refused == 0xA700
            assert 5 < len(acknowledged) < 60
            assert requests.get(installation.fhir_url.replace("/fhir", "/healthz"), timeout=10).ok
            ballast.unlink()
            assert_heals(installation)
            assert settle(installation.data) == []
            answer = requests.get(f"{installation.fhir_url}/ImagingStudy", timeout=10).json()
            published = {
                instance["uid"]
                for entry in answer["entry"]
                for series in entry["resource"]["series"]
                for instance in series["instance"]
            }
            assert set(acknowledged) <= published


def fill(installation: Installation) -> tuple[list[str], int]:
    """Send objects of half a megabyte until one is refused."""
    acknowledged: list[str] = []
    for number in range(100):
        uid = builders.uid(f"full/{number}")
        try:
            status = store(installation, uid, encoded(builders.pet(SOPInstanceUID=uid, PixelData=bytes(500_000))))
        except Lost:
            return acknowledged, 0
        if status != 0x0000:
            return acknowledged, status
        acknowledged.append(uid)
    return acknowledged, 0


def assert_heals(installation: Installation) -> None:
    """With space again, the next objects are taken; the receiver may look at the disk only now and then."""
    deadline = time.monotonic() + 30
    uid = builders.uid("healed")
    while store(installation, uid, encoded(builders.pet(SOPInstanceUID=uid))) != 0x0000:
        assert time.monotonic() < deadline
        time.sleep(0.2)
