"""What servers say that lie or babble, one answer at a time: nothing is parked for a person that time will mend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import Retryable
from gateway.publish.fhir_http import Access
from gateway.publish.orthanc import OrthancTarget
from gateway.spool.deliveries import InstanceTicket, Variant
from tests import builders
from tests.harness.faultpeers import Answers, FakeOrthanc, FaultServer, running
from tests.integration.receiving import digest_of


@pytest.fixture
def archive() -> Iterator[tuple[FakeOrthanc, OrthancTarget]]:
    backend = FakeOrthanc()
    server = FaultServer(backend)
    with running(server):
        yield backend, OrthancTarget("archive", Access(url=server.url, connect_timeout_secs=5, timeout_secs=5))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return builders.write(builders.pet(), tmp_path / "object.dcm")


def ticket(file: Path) -> InstanceTicket:
    return InstanceTicket(
        delivery_id=1,
        token=1,
        target="archive",
        attempts=1,
        created_at=0.0,
        partition_key="p",
        variant=Variant.ORIGINAL,
        digest=digest_of(file.read_bytes()),
        day="2026-03-01",
        sop_instance_uid=str(builders.pet().SOPInstanceUID),
    )


def test_an_archive_that_says_success_and_keeps_nothing_is_asked_again_later(
    archive: tuple[FakeOrthanc, OrthancTarget], file: Path
) -> None:
    backend, target = archive
    backend.behaviour.answers = Answers.FORGETS
    with pytest.raises(Retryable, match="does not hold what was sent"):
        target.deliver(ticket(file), file)
    backend.behaviour.answers = Answers.WELL
    target.deliver(ticket(file), file)
    assert [uid for uid, _ in backend.held.values()] == [str(builders.pet().SOPInstanceUID)]
    target.deliver(ticket(file), file)
    assert backend.twice() == []


@pytest.mark.parametrize("greeted", [True, False])
def test_a_page_where_an_archive_should_answer_means_that_it_is_away(
    archive: tuple[FakeOrthanc, OrthancTarget], file: Path, greeted: bool
) -> None:
    """A proxy's log-in page comes with status 200."""
    backend, target = archive
    if greeted:
        target.check()
    backend.behaviour.answers = Answers.GARBAGE
    with pytest.raises(Retryable, match="not what an Orthanc says") as told:
        target.deliver(ticket(file), file)
    assert told.value.peer_down


def test_a_refusal_to_wait_is_obeyed(archive: tuple[FakeOrthanc, OrthancTarget], file: Path) -> None:
    backend, target = archive
    backend.behaviour.answers, backend.behaviour.retry_after_secs = Answers.BUSY, 77
    with pytest.raises(Retryable) as told:
        target.deliver(ticket(file), file)
    assert (told.value.wait_secs, told.value.peer_down, backend.behaviour.requests) == (77, True, 1)
