"""A real Orthanc as target: byte for byte, read back, never overwritten, told of withdrawals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.errors import Quarantined, Retryable
from gateway.publish.fhir_http import Access
from gateway.publish.orthanc import MARK, OrthancTarget, digest_of
from gateway.publish.target import Verdict, classify
from gateway.spool.deliveries import InstanceTicket, Variant
from tests import builders
from tests.harness.peers import Orthanc

pytestmark = pytest.mark.needs("orthanc")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    server = Orthanc(tmp_path_factory.mktemp("orthanc"), user="isobridge", password="secret")
    with server:
        yield server


@pytest.fixture
def web(orthanc: Orthanc) -> Iterator[requests.Session]:
    """Another client of the same Orthanc, which begins empty."""
    with requests.Session() as session:
        session.auth = ("isobridge", "secret")
        for identifier in session.get(f"{orthanc.url}/instances").json():
            session.delete(f"{orthanc.url}/instances/{identifier}")
        yield session


@pytest.fixture
def target(orthanc: Orthanc) -> OrthancTarget:
    return OrthancTarget("archive", Access(url=orthanc.url, username="isobridge", password="secret"))


def ticket(file: Path, *, variant: Variant = Variant.ORIGINAL, name: str = "one") -> InstanceTicket:
    return InstanceTicket(
        delivery_id=1, token=1, target="archive", attempts=1, created_at=0.0, partition_key="p", variant=variant,
        digest=digest_of(file.read_bytes()), day="2026-11-23", sop_instance_uid=builders.uid(name),
    )  # fmt: skip


def written(directory: Path, *, name: str = "one", **changes: Any) -> Path:
    return builders.write(
        builders.pet(SOPInstanceUID=builders.uid(name), **changes), directory / f"{len(list(directory.iterdir()))}.dcm"
    )


def stored(web: requests.Session, orthanc: Orthanc) -> list[bytes]:
    found = web.get(f"{orthanc.url}/instances").json()
    return [web.get(f"{orthanc.url}/instances/{identifier}/file").content for identifier in found]


def mark(web: requests.Session, orthanc: Orthanc) -> str | None:
    (identifier,) = web.get(f"{orthanc.url}/instances").json()
    answer = web.get(f"{orthanc.url}/instances/{identifier}/metadata/{MARK}")
    return answer.text if answer.ok else None


def test_what_is_stored_is_the_file_byte_for_byte(
    orthanc: Orthanc, web: requests.Session, target: OrthancTarget, tmp_path: Path
) -> None:
    file = written(tmp_path)
    target.deliver(ticket(file), file)
    target.deliver(ticket(file), file)
    assert stored(web, orthanc) == [file.read_bytes()]


def test_the_same_data_set_under_another_file_header_is_already_there(
    orthanc: Orthanc, web: requests.Session, target: OrthancTarget, tmp_path: Path
) -> None:
    file = written(tmp_path)
    content = bytearray(file.read_bytes())
    content[:16] = b"another preamble"
    assert web.post(f"{orthanc.url}/instances", data=bytes(content)).ok
    target.deliver(ticket(file), file)
    (kept,) = stored(web, orthanc)
    assert kept != file.read_bytes()
    assert digest_of(kept) == digest_of(file.read_bytes())


def test_it_is_asked_back_whether_it_still_holds_an_object(
    orthanc: Orthanc, web: requests.Session, target: OrthancTarget, tmp_path: Path
) -> None:
    file = written(tmp_path)
    one = ticket(file)

    def holds(copy: Path = file, digest: str = one.digest) -> bool:
        return target.holds(one.sop_instance_uid, digest, copy)

    assert not holds()
    target.deliver(one, file)
    assert holds()
    assert holds(tmp_path / "gone"), "without our copy it is downloaded"
    assert not holds(tmp_path / "gone", "00" * 32)
    (identifier,) = web.get(f"{orthanc.url}/instances").json()
    web.delete(f"{orthanc.url}/instances/{identifier}")
    assert not holds()
    with pytest.raises(Retryable):
        OrthancTarget("archive", Access(url="http://127.0.0.1:1")).holds(one.sop_instance_uid, one.digest, file)


@pytest.mark.parametrize(
    "changes", [{"SeriesDescription": "other"}, {"PatientID": "ANOTHER"}], ids=["same-place", "other-patient"]
)
def test_another_object_under_the_same_uid_is_told_and_never_overwritten(
    orthanc: Orthanc, web: requests.Session, target: OrthancTarget, tmp_path: Path, changes: dict[str, Any]
) -> None:
    other, file = written(tmp_path, **changes), written(tmp_path)
    assert web.post(f"{orthanc.url}/instances", data=other.read_bytes()).ok
    with pytest.raises(Quarantined, match="another object under this SOP Instance UID") as caught:
        target.deliver(ticket(file), file)
    assert classify(caught.value) is Verdict.PARK
    assert stored(web, orthanc) == [other.read_bytes()]


def test_an_orthanc_that_overwrites_is_kept_from_it(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc", OverwriteInstances=True) as server:
        (tmp_path / "files").mkdir()
        other, file = written(tmp_path / "files", SeriesDescription="other"), written(tmp_path / "files")
        assert requests.post(f"{server.url}/instances", data=other.read_bytes(), timeout=10).ok
        with pytest.raises(Quarantined):
            OrthancTarget("archive", Access(url=server.url)).deliver(ticket(file), file)
        assert isinstance(server, Orthanc)
        assert list(server.held().values()) == [[digest_of(other.read_bytes())]]


def test_a_withdrawn_object_is_marked_once_and_unmarked_when_it_is_accepted_again(
    orthanc: Orthanc, web: requests.Session, target: OrthancTarget, tmp_path: Path
) -> None:
    file = written(tmp_path)
    target.deliver(ticket(file), file)
    for _ in range(2):
        target.deliver(ticket(file, variant=Variant.WITHDRAWN), file)
        assert mark(web, orthanc) == "isobridge: withdrawn, do not use"
    target.deliver(ticket(file, variant=Variant.REASSIGNED), file)
    assert "another patient" in str(mark(web, orthanc))
    target.deliver(ticket(file), file)
    assert mark(web, orthanc) is None
    assert stored(web, orthanc) == [file.read_bytes()]


def test_the_other_content_of_a_uid_needs_the_withdrawn_one_gone(
    orthanc: Orthanc, web: requests.Session, target: OrthancTarget, tmp_path: Path
) -> None:
    old, new = written(tmp_path, SeriesDescription="old"), written(tmp_path)
    target.deliver(ticket(old), old)
    target.deliver(ticket(old, variant=Variant.WITHDRAWN), old)
    with pytest.raises(Quarantined, match="still holds the withdrawn object"):
        target.deliver(ticket(new), new)
    assert stored(web, orthanc) == [old.read_bytes()]


def test_a_withdrawn_object_can_be_deleted_instead_but_only_if_it_is_ours(
    orthanc: Orthanc, web: requests.Session, tmp_path: Path
) -> None:
    target = OrthancTarget("archive", Access(url=orthanc.url, username="isobridge", password="secret"), on_withdrawal="delete")
    others, file = written(tmp_path, PatientID="ANOTHER"), written(tmp_path)
    target.deliver(ticket(file), file)
    assert web.post(f"{orthanc.url}/instances", data=others.read_bytes()).ok
    for _ in range(2):
        target.deliver(ticket(file, variant=Variant.WITHDRAWN), file)
        assert stored(web, orthanc) == [others.read_bytes()]


def test_what_orthanc_cannot_store_is_for_a_person(target: OrthancTarget, web: requests.Session, tmp_path: Path) -> None:
    cut, empty = tmp_path / "cut.dcm", written(tmp_path)
    cut.write_bytes(empty.read_bytes()[:600])
    with pytest.raises(Quarantined, match="cannot read this as DICOM"):
        target.deliver(ticket(empty), cut)


def test_wrong_credentials_and_a_dead_orthanc_leave_the_queue_alone(orthanc: Orthanc, tmp_path: Path) -> None:
    file = written(tmp_path)
    for access in (
        Access(url=orthanc.url, username="isobridge", password="wrong"),
        Access(url="http://127.0.0.1:9"),
        Access(url=orthanc.url + "/nowhere", username="isobridge", password="secret"),
    ):
        with pytest.raises(Retryable) as caught:
            OrthancTarget("archive", access).deliver(ticket(file), file)
        assert classify(caught.value) is Verdict.DOWN
        assert "secret" not in caught.value.reason
