"""What the page of one study tells beside its facts: its images in the archives, what was decided, and only the decisions that can work."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from gateway.gather.patient import PatientKeys
from gateway.spool.decisions import By
from gateway.web.decisions import PageDecisions
from gateway.workbench.inspect import list_lines
from tests.builders import pet, pet_series, uid
from tests.web_site import Site

STUDY = str(pet().StudyInstanceUID)
REFUSED = "The archive refused this object."


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path, decisions=PageDecisions(PatientKeys(system="urn:site:pid")))
    yield running
    running.close()


def archived(site: Site, *, wait: str = "", park: str = "") -> None:
    """The images of the study are told to an archive: one is parked or waits with a reason, the others are verified."""
    now = time.time()
    with site.ledger.database.write() as connection:
        ids = [item["id"] for item in site.ledger.overview.instances("normalised")]
        site.ledger.deliveries.enqueue_instances(connection, ids, ["orthanc"], "original", now)
    first, *others = site.ledger.deliveries.lease_instances("orthanc", limit=100, now=now + 1, lease_secs=600)
    site.ledger.deliveries.verified_instances(others, now=now)
    if park:
        site.ledger.deliveries.park(first, park, now=now)
    if wait:
        site.ledger.deliveries.retry(first, wait, at=now + 9)


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_images_that_an_archive_refused_are_told_and_tried_again(site: Site) -> None:
    site.put(*pet_series(3))
    site.work()
    archived(site, park=REFUSED)
    session = requests.Session()
    page = session.get(f"{site.url}/studies/{STUDY}", timeout=10).text
    assert "2 verified" in words(page)
    assert f"1 parked: {REFUSED}" in words(page)
    held = site.get("/held").text
    (parked,) = site.ledger.overview.deliveries("parked")
    assert parked["subject_key"] in held
    assert f"/studies/{STUDY}" in held
    form = page[page.index('class="plain images"') :]
    fields = dict(re.findall(r'name="(form_token|back|study|target)" value="([^"]*)"', form[: form.index("</form>")]))
    assert session.post(f"{site.url}/actions/retry", data=fields, timeout=10, allow_redirects=False).status_code == 303
    assert site.ledger.overview.deliveries("parked") == []


def test_a_dead_target_says_since_when_and_why(site: Site) -> None:
    site.put(pet())
    site.work()
    archived(site, wait="connection refused")
    assert re.search(r"1 waiting since 20\d\d-.{14}: connection refused", words(site.get("/").text))
    (line,) = list_lines(site.ledger.overview, "pending", 10)
    assert "connection refused" in line
    assert "since 20" in line


def summaries(site: Site) -> list[str]:
    page = site.get(f"/studies/{STUDY}").text
    return re.findall(r"<summary>([^<]+)</summary>", page[page.index('id="held"') : page.index('id="values"')])


def test_only_decisions_that_can_work_are_offered_and_what_was_decided_is_told(site: Site) -> None:
    site.put(*pet_series(2))
    site.work()
    assert summaries(site) == ["Give the study to another patient", "Withdraw the study"]
    site.put(pet(SOPInstanceUID=uid("other"), PatientID="OTHER"))
    site.work()
    assert "Accept what is held for its patient id" in summaries(site)
    site.ledger.decisions.withdraw(STUDY, By(name="Ana", reason="wrong scanner", at=time.time()))
    site.work()
    offered = summaries(site)
    assert "Undo the latest decision" in offered
    assert "Withdraw the study" not in offered
    told = words(site.get(f"/studies/{STUDY}").text)
    assert re.search(r"Decided Withdrawn decision 1 by Ana at [^:]+:\d\d:\d\d: wrong scanner", told)
    assert "decision of Ana: Study withdrawn. Reason: wrong scanner" in told


def test_of_several_contents_the_page_says_which_is_in_force(site: Site) -> None:
    site.put(pet())
    site.work()
    site.put(pet(PatientWeight="80", SeriesDescription="another content"))
    site.work()
    assert "Choose between contents of one object" not in summaries(site), "they are not compared yet"
    assert site.worker.compare_one()
    page = site.get(f"/studies/{STUDY}").text
    options = re.findall(r"<option[^>]*?( disabled)?>[0-9a-f]{12} · ([^·]+) · [\d.]+ \w+</option>", page)
    assert sorted(options) == [("", "conflict"), (" disabled", "in force")]
    assert "Accept what is held" not in page


def test_a_withheld_activity_says_why_and_versions_that_arrived_are_one_row(site: Site) -> None:
    scan, later = pet(), pet(SOPInstanceUID=uid("later"), InstanceNumber=2)
    scan.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = "10"
    later.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = "10"
    site.put(scan)
    site.work()
    site.put(later)
    site.work()
    page = site.get(f"/studies/{STUDY}").text
    assert re.search(r'title="The activity [^"]+">withheld<', page)
    assert page.count('<td data-label="What">study, ') == 1
    assert "study, versions 1, 2" in words(page)
