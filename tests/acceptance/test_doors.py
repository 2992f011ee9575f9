"""The other doors lead to the same place: what comes by STOW-RS or through a folder is what would have come from the scanner.

Real clients, a real Orthanc's export, real samples; and nothing that a door acknowledged is lost when the daemon is killed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import requests

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.sample import generate_sample
from gateway.workbench.scu import send
from tests import builders
from tests.conftest import ROOT
from tests.harness import snapshot
from tests.harness.account import settle, settle_account
from tests.harness.chaos import Installation, Killer
from tests.harness.peers import Orthanc
from tests.harness.webwitness import WebWitness
from tests.harness.witness import Outgoing
from tests.web_site import wait_until

#: A few show that the harness works and that nothing plain is lost; many are for `make soak`.
KILLS = int(os.environ.get("ISOBRIDGE_KILLS", "3"))
BULK = 60

DICOMWEB_CLIENT = """
import sys
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
client = DICOMwebClient(url=sys.argv[1])
told = client.store_instances([dcmread(path) for path in sys.argv[2:]])
print(len(told.ReferencedSOPSequence), 'FailedSOPSequence' in told)
"""

Row = tuple[str, str, str]


def rows(data: Path) -> list[Row]:
    """SOP Instance UID, digest, state."""
    with closing(sqlite3.connect(f"file:{data / 'ledger.db'}?mode=ro", uri=True)) as ledger:
        found = ledger.execute("SELECT sop_instance_uid, digest, state FROM instance").fetchall()
    return sorted((uid, digest.hex(), state) for uid, digest, state in found)


def doors(data: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{data / 'ledger.db'}?mode=ro", uri=True)) as ledger:
        return {door for (door,) in ledger.execute("SELECT DISTINCT door FROM arrival")}


def versions(data: Path) -> int:
    with closing(sqlite3.connect(f"file:{data / 'ledger.db'}?mode=ro", uri=True)) as ledger:
        return int(ledger.execute("SELECT COUNT(*) FROM subject_version").fetchone()[0])


def url(running: Installation) -> str:
    return str(json.loads(running.run_file.read_text())["http"]["url"])


def by_c_store(running: Installation, paths: Sequence[Path]) -> list[Path]:
    """Returns the files that an SCU can send at all."""
    address = running.address
    assert address is not None
    report = send(paths, AEAddress(ae_title=address.ae_title, host=address.host, port=address.port))
    assert settle(running.data) == []
    return [outcome.file.path for outcome in report.outcomes]


def by_curl(running: Installation, paths: Sequence[Path], body: Path) -> int:
    """One message, as a shell script would send it. Returns the HTTP status."""
    with body.open("wb") as file:
        for path in paths:
            file.write(b"--doors\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n")
        file.write(b"--doors--\r\n")
    kind = 'Content-Type: multipart/related; type="application/dicom"; boundary=doors'
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", kind, "--data-binary", f"@{body}"]
    told = subprocess.run(
        [*command, f"{url(running)}/dicom-web/studies"], capture_output=True, text=True, check=True, timeout=120
    )
    assert settle(running.data) == []
    return int(told.stdout)


def by_folder(running: Installation, folder: Path, paths: Sequence[Path]) -> None:
    for number, path in enumerate(paths):
        shutil.copy(path, folder / f"{number:05d}.dcm")
    wait_until(lambda: not list(folder.glob("*.dcm")), secs=120)
    assert settle(running.data) == []


def with_folder(directory: Path) -> tuple[Installation, Path]:
    folder = directory / "in"
    folder.mkdir(parents=True)
    return Installation(directory, settings={"folders": {"import": {"directory": str(folder), "poll_secs": 1}}}), folder


@pytest.mark.needs("data")
@pytest.mark.timeout(300)
def test_all_samples_come_to_the_same_through_every_door(tmp_path: Path, data: Path) -> None:
    with Installation(tmp_path / "scanner") as scanner:
        sent = by_c_store(scanner, [data])
        expected = rows(scanner.data)
    assert len(sent) > 100
    with Installation(tmp_path / "web") as web:
        assert by_curl(web, sent, tmp_path / "body") == 202, "some samples are damaged"
        assert rows(web.data) == expected
        assert doors(web.data) == {"stow"}
    running, folder = with_folder(tmp_path / "folder")
    with running:
        by_folder(running, folder, sent)
        assert rows(running.data) == expected
        assert doors(running.data) == {"folder"}


@pytest.mark.timeout(240)
def test_what_comes_again_through_another_door_makes_no_second_version(tmp_path: Path) -> None:
    study = generate_sample(tmp_path / "sample", slices=4)
    running, folder = with_folder(tmp_path / "gateway")
    with running:
        by_c_store(running, [study.directory])
        before, sealed = rows(running.data), versions(running.data)
        assert by_curl(running, study.files, tmp_path / "body") == 200
        by_folder(running, folder, study.files)
        assert (rows(running.data), versions(running.data)) == (before, sealed)
        assert doors(running.data) == {"dimse", "stow", "folder"}
        listed = subprocess.run(
            [ROOT / ".venv/bin/isobridge", "spool", "list", "--config", running.config],
            capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
        ).stdout  # fmt: skip
        page = requests.get(url(running), timeout=30).text
    count = len(study.files)
    assert [f"by {door} {count}" in " ".join(listed.split()) for door in ("dimse", "stow", "folder")] == [True] * 3
    assert f"folder import: 0 waiting, {count} done, 0 failed" in listed
    assert f"{count} by STOW-RS" in page
    assert f"0 waiting, {count} done, 0 failed" in page


@pytest.mark.needs("dicomweb-client")
@pytest.mark.timeout(240)
def test_dicomweb_client_stores(tmp_path: Path) -> None:
    study = generate_sample(tmp_path / "sample", slices=4)
    with Installation(tmp_path / "gateway") as running:
        told = subprocess.run(
            [ROOT / ".peers/dicomweb-client/bin/python", "-c", DICOMWEB_CLIENT, f"{url(running)}/dicom-web", *study.files],
            capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip
        assert told.split() == [str(len(study.files)), "False"]
        assert settle(running.data) == []
        assert Counter(state for _, _, state in rows(running.data)) == {"normalised": len(study.files)}


@pytest.mark.needs("orthanc")
@pytest.mark.timeout(240)
def test_an_archive_that_orthanc_exports_comes_in_through_a_folder(tmp_path: Path) -> None:
    study = generate_sample(tmp_path / "sample", slices=4)
    orthanc = Orthanc(tmp_path / "orthanc")
    orthanc.start()
    try:
        for path in study.files:
            requests.post(f"{orthanc.url}/instances", data=path.read_bytes(), timeout=60).raise_for_status()
        (identifier,) = requests.get(f"{orthanc.url}/studies", timeout=60).json()
        archive, medium = (
            requests.get(f"{orthanc.url}/studies/{identifier}/{kind}", timeout=60).content for kind in ("archive", "media")
        )
    finally:
        orthanc.stop()
    running, folder = with_folder(tmp_path / "gateway")
    with running:
        (folder / "archive.zip").write_bytes(archive)
        (folder / "medium.zip").write_bytes(medium)  # the same with a DICOMDIR
        wait_until(lambda: len(list((folder / "done").glob("*.zip"))) == 2, secs=60)
        assert settle(running.data) == []
        assert {(uid, digest) for uid, digest, _ in rows(running.data)} == {
            (item.sop_instance_uid, item.digest) for item in map(Outgoing.read, study.files)
        }


@pytest.mark.timeout(600 + 60 * KILLS)
def test_a_kill_anywhere_loses_nothing_that_a_door_acknowledged(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    files = list(generate_sample(tmp_path / "sample", slices=8).files)
    bulk = builders.pet_series(BULK, StudyInstanceUID=builders.uid("bulk-study"), SeriesInstanceUID=builders.uid("bulk-series"))
    files += [builders.write(one, tmp_path / "bulk" / f"{number}.dcm") for number, one in enumerate(bulk)]
    by_web, by_file = files[::2], files[1::2]
    beaten, folder = with_folder(tmp_path / "beaten")
    log = tmp_path / "witness.jsonl"
    with beaten:
        witness = WebWitness(log, beaten.run_file)
        with Killer(beaten, blows=KILLS, seed=seed, shortest_secs=0.2, longest_secs=1.2, one_role_share=0.5) as killer:
            for number, path in enumerate(by_file):
                shutil.copy(path, folder / f"{number:05d}.dcm")
            rounds = 0
            while killer.running or rounds == 0:
                assert witness.send(by_web, seed=seed + rounds) == []
                rounds += 1
        assert set(witness.refused) <= {503}
        wait_until(lambda: not list(folder.glob("*.dcm")), secs=120)
        assert settle(beaten.data) == []
        found = snapshot.fetch(beaten.fhir_url)
    done = [Outgoing.read(path) for path in sorted((folder / "done").iterdir())]
    with log.open("a", encoding="utf-8") as file:  # a file in done/ is a promise as well
        for item in done:
            line = {"sop_instance_uid": item.sop_instance_uid, "digest": item.digest, "status": 0, "path": str(item.path)}
            print(json.dumps({**line, "attempt": 1}), file=file)
    account = settle_account(log, beaten.data, found)
    print(account.table(), f"{rounds} rounds, {witness.unanswered} messages without an answer", sep="\n")
    assert account.balanced, account.table()
    assert account.acknowledged == len(files)
    assert len(done) == len(by_file)
