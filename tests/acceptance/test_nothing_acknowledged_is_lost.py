"""Promises 1 and 2: whatever is killed, whenever, nothing acknowledged is lost and nothing is published twice.

The daemon is sent the same studies three times in random order, and more often while blows remain; each of the three brings objects
that it has not seen, so that its studies grow. Meanwhile it is killed with SIGKILL at random moments, the whole tree or one role.
Then the account must balance, and the store must hold exactly what a fresh installation with the same key holds after receiving
everything once, undisturbed.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from gateway.workbench.sample import generate_samples
from tests import builders
from tests.harness import snapshot
from tests.harness.account import settle, settle_account
from tests.harness.chaos import REPOSITORY, Installation, Killer
from tests.harness.witness import Witness, address_in, read_log

SENDS = 3
#: `make soak` asks for many more.
KILLS_PER_SEND = int(os.environ.get("ISOBRIDGE_KILLS", "9")) // SENDS
SAMPLE_SLICES = 12
BULK = 600  #: small objects, enough that new ones arrive at every blow


def _files(directory: Path) -> list[Path]:
    """Two PET/CT studies with their dose reports, a bone scan, and one long PET series of small slices."""
    files = [path for study in generate_samples(directory / "samples", slices=SAMPLE_SLICES) for path in study.files]
    bulk = builders.pet_series(BULK, StudyInstanceUID=builders.uid("bulk-study"), SeriesInstanceUID=builders.uid("bulk-series"))
    files += [builders.write(one, directory / "bulk" / f"{number}.dcm") for number, one in enumerate(bulk)]
    files.append(builders.write(builders.nm(), directory / "nm.dcm"))
    return files


@pytest.mark.timeout(900 + 60 * KILLS_PER_SEND)
def test_nothing_acknowledged_is_lost_and_nothing_is_published_twice(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    files = _files(tmp_path)
    random.Random(seed).shuffle(files)
    # Both installations read the same mappings, even while somebody edits those of the checkout.
    mappings = shutil.copytree(REPOSITORY / "mappings", tmp_path / "mappings")
    beaten = Installation(tmp_path / "beaten", settings={"mappings": {"directory": str(mappings)}})
    log = tmp_path / "witness.jsonl"
    with beaten:
        for send in range(SENDS):
            known_and_new = files[: len(files) * (send + 1) // SENDS]
            _send_under_fire(beaten, known_and_new, log, seed=seed + send)
        assert settle(beaten.data) == []
        under_fire = snapshot.fetch(beaten.fhir_url)
    account = settle_account(log, beaten.data, under_fire)
    print(account.table())
    assert account.balanced, account.table()
    assert account.acknowledged == len(files)
    assert account.published + account.parked == len(files)

    once = _sent_once(tmp_path / "once", files, key_file=beaten.key_file, mappings=mappings)
    found = snapshot.differences(*map(snapshot.in_use, (under_fire, once)))
    assert not found, "\n".join(found)


def _send_under_fire(installation: Installation, files: list[Path], log: Path, *, seed: int) -> None:
    """Send everything, again and again while the killer is at work; at the end each file has had its success."""
    witness = Witness(log, address_in(installation.run_file), associations=4, timeout_secs=10)
    with Killer(installation, blows=KILLS_PER_SEND, seed=seed, longest_secs=0.8) as killer:
        rounds = 0
        while killer.running or rounds == 0:
            assert witness.send(files, seed=seed + rounds) == []
            rounds += 1
    assert len(killer.dealt) == KILLS_PER_SEND
    refused = [answer for answer in read_log(log) if answer.status not in (0x0000, 0xA700)]
    assert refused == []
    print(f"{rounds} rounds, {witness.connections} connections, {witness.unanswered} objects without an answer")


def _sent_once(directory: Path, files: list[Path], *, key_file: Path, mappings: Path) -> snapshot.Snapshot:
    """The same studies to a fresh installation with the same key, once and in peace."""
    directory.mkdir()
    key = shutil.copy(key_file, directory / "installation.key")
    settings = {"mappings": {"directory": str(mappings)}}
    with Installation(directory, key_file=Path(key), settings=settings) as peaceful:
        assert Witness(directory / "witness.jsonl", address_in(peaceful.run_file), associations=1).send(files) == []
        assert settle(peaceful.data) == []
        return snapshot.fetch(peaceful.fhir_url)
