"""The receiver against senders of others, and against a disk that is really full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import builders
from tests.integration.receiving import PET, data_set_of, digest_of, raw_peer, receiving


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Three PET slices, one CT and one NM object as files."""
    folder = tmp_path / "to-send"
    objects = [*builders.pet_series(3), builders.ct(), builders.nm()]
    for index, dataset in enumerate(objects):
        builders.write(dataset, folder / f"{index}.dcm")
    return folder


@pytest.mark.needs("dcmtk")
@pytest.mark.parametrize("nodelay", ["0", "1"])
def test_dcmsend_delivers_a_folder(tmp_path: Path, studies: Path, nodelay: str) -> None:
    with receiving(tmp_path / "spool") as receiver:
        command = ["dcmsend", "-aec", "ISOBRIDGE", "127.0.0.1", str(receiver.port), "+sd", str(studies)]
        subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": nodelay}, timeout=60)
        sent = {digest_of(path.read_bytes()) for path in studies.iterdir()}
        assert {path.stem for path in receiver.stored()} == sent
        assert len(receiver.rows.wait_for(len(sent))) == len(sent)


@pytest.mark.needs("dcmtk")
@pytest.mark.parametrize("syntax", ["-xe", "-xb", "-xi"])
def test_storescu_delivers_in_each_native_encoding(tmp_path: Path, studies: Path, syntax: str) -> None:
    with receiving(tmp_path / "spool") as receiver:
        command = ["storescu", "-aec", "ISOBRIDGE", syntax, "127.0.0.1", str(receiver.port), "+sd", str(studies)]
        subprocess.run(command, check=True, timeout=60)
        assert len(receiver.stored()) == len(list(studies.iterdir()))


@pytest.mark.needs("dcmtk")
def test_echoscu_is_answered(tmp_path: Path) -> None:
    with receiving(tmp_path / "spool") as receiver:
        command = ["echoscu", "-aec", "ISOBRIDGE", "127.0.0.1", str(receiver.port)]
        subprocess.run(command, check=True, timeout=60)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.needs("root")
def test_a_full_disk_is_answered_with_out_of_resources_and_recovers(small_disk: Path) -> None:
    """Small objects fail as a whole, large ones in the middle; both leave nothing, and room makes all well again."""
    dataset = builders.pet()
    uid, small = str(dataset.SOPInstanceUID), data_set_of(builders.part10(dataset))
    ballast = small_disk / "ballast"
    with receiving(small_disk / "spool") as receiver, raw_peer(receiver) as peer:
        peer.associate()
        assert peer.store(PET, uid, bytes(4 << 20)) == (0xA700, "The spool's disk is nearly full.")
        with ballast.open("wb", buffering=0) as file:
            _fill(file.fileno())
        assert peer.store(PET, uid, small) == (0xA700, "The spool's disk is full.")
        assert receiver.incoming == []
        assert receiver.stored() == []
        ballast.unlink()
        assert peer.store(PET, uid, small)[0] == 0x0000


def _fill(descriptor: int) -> None:
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError:
        return
