"""Promise 1 without the kernel's help: the power goes while four associations send; what the disk held then is started from."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from tests import builders
from tests.harness import snapshot
from tests.harness.account import not_kept, settle, settle_account
from tests.harness.chaos import Installation
from tests.harness.heldroles import HeldRoles
from tests.harness.powercut import Disk, standing_still
from tests.harness.waiting import until
from tests.harness.witness import Witness, address_in

pytestmark = pytest.mark.needs("loop")

#: `make soak` asks for many more.
CUTS = int(os.environ.get("ISOBRIDGE_CUTS", "5"))
SETTINGS: dict[str, dict[str, object]] = {
    "spool": {"reserve_megabytes": 1, "journal_megabytes": 4},
    "gather": {"quiet_secs": 1, "quiet_cap_secs": 2},
    "retention": {"scrub": False},
    "work": {"lease_secs": 2, "poll_millisecs": 50},
}
LARGE_BYTES = 1_200_000  #: does not fit into memory, so it streams to its file
DISK_MEGABYTES = 160


def _files(directory: Path, seed: int) -> list[Path]:
    """Small slices of two series, and now and then an object that has no place in the journal."""
    found = []
    for number in range(60):
        study = builders.uid(f"cut-{seed}-{number % 2}")
        dataset = builders.pet(SOPInstanceUID=builders.uid(f"cut-{seed}-object-{number}"), StudyInstanceUID=study)
        if number % 20 == 7:
            dataset.PixelData = bytes(LARGE_BYTES)
        found.append(builders.write(dataset, directory / f"{number}.dcm"))
    return found


@pytest.mark.timeout(120 + 60 * CUTS)
def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}, {CUTS} power cuts")
    totals = [_lives_through_cuts(tmp_path / str(life), seed + life, min(5, CUTS - life)) for life in range(0, CUTS, 5)]
    print(f"{sum(totals)} acknowledged objects looked for after {CUTS} power cuts: none was lost")
    assert sum(totals) > CUTS


def _lives_through_cuts(directory: Path, seed: int, cuts: int) -> int:
    """One daemon, cut several times while it works; each time a daemon on what was on the disk. Returns the objects looked for."""
    files, log, rng = _files(directory / "objects", seed), directory / "witness.jsonl", random.Random(seed)
    log.touch()
    images = [directory / f"cut-{number}.img" for number in range(cuts)]
    known = [directory / f"cut-{number}.jsonl" for number in range(cuts)]
    made = Disk.make(directory / "disk.img", directory / "disk", megabytes=DISK_MEGABYTES)
    with made as disk, Installation(disk.directory / "gateway", settings=SETTINGS) as gateway:
        witness = Witness(log, address_in(gateway.run_file), associations=4)
        sender = threading.Thread(target=witness.send, args=(files,), kwargs={"seed": seed}, name="sender")
        sender.start()
        for number, (image, answers) in enumerate(zip(images, known, strict=True)):
            wanted = len(files) * (number + rng.random()) / cuts
            until(lambda wanted=wanted: log.read_bytes().count(b"\n") >= wanted, every_secs=0.001)  # type: ignore[misc]
            with standing_still(gateway.pid):
                answers.write_bytes(log.read_bytes())
                disk.copy(image)
        sender.join()
    (directory / "disk.img").unlink()
    looked_for = sum(map(_kept_after_the_cut, images[:-1], known))
    return looked_for + _published_after_the_cut(images[-1], known[-1])


def _kept_after_the_cut(image: Path, answers: Path) -> int:
    """A receiver on what was on the disk: once it answers, every acknowledged object has its file and its row."""
    with Disk(image, image.with_suffix("")) as disk:
        gateway = Installation(disk.directory / "gateway", settings=SETTINGS)
        with HeldRoles(gateway) as roles:
            roles.start_and_wait("receive")
            acknowledged, complaints = not_kept(answers, gateway.data)
    image.unlink()
    print(f"{acknowledged} acknowledged, {len(complaints)} complaints")
    assert complaints == []
    return acknowledged


def _published_after_the_cut(image: Path, answers: Path) -> int:
    """The whole daemon, and the whole account."""
    with Disk(image, image.with_suffix("")) as disk, Installation(disk.directory / "gateway", settings=SETTINGS) as gateway:
        assert settle(gateway.data) == []
        account = settle_account(answers, gateway.data, snapshot.fetch(gateway.fhir_url))
    image.unlink()
    print(account.table())
    assert account.balanced, account.table()
    assert account.spooled == account.acknowledged == account.published + account.parked
    return account.acknowledged
