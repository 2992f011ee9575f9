"""The pages, looked at with a real browser: nothing foreign runs, they fit a phone, the buttons work; and what stands in them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from gateway.errors import Rejected
from gateway.spool.feeds import Counts, Feed
from gateway.spool.ledger import Ledger
from tests.browser import Browser, browser
from tests.builders import ct, nm, pet, pet_series, uid
from tests.web_site import Site, wait_until

STUDY = str(pet().StudyInstanceUID)
CANARY = "<img src=x onerror=\"document.title='RAN'\"><script>document.title='RAN'</script>"
#: A person name has a meaning for the sign = (PS3.5 6.2.1), so its canary does without.
NAME = "<script>document.write('RAN')</script>"
#: Elements hold 16 or 64 characters; these still break out of an attribute or a text that is not escaped.
SHORT = "\"'><script>1"


class Recorder:
    """Stands where the decisions of people are taken, and remembers what the page asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def accept(self, ledger: Ledger, study_uid: str, **words: Any) -> str:
        self.asked.append(("accept", {"study": study_uid, **words}))
        return "What was held is accepted."

    def reassign(self, ledger: Ledger, study_uid: str, **words: Any) -> str:
        self.asked.append(("reassign", {"study": study_uid, **words}))
        raise Rejected("There is no such patient.", status=404)

    def withdraw(self, ledger: Ledger, study_uid: str, **words: Any) -> str:
        self.asked.append(("withdraw", {"study": study_uid, **words}))
        return "The study is withdrawn."

    def undo(self, ledger: Ledger, study_uid: str, **words: Any) -> str:
        self.asked.append(("undo", {"study": study_uid, **words}))
        return "The decision holds no longer."


@pytest.fixture(scope="module")
def decisions() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, decisions: Recorder) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("site"), decisions=decisions)
    words = {"PatientName": f"{SHORT}^{NAME}", "StudyDescription": CANARY, "SeriesDescription": CANARY, "PatientID": SHORT}
    running.put(*pet_series(6, **words), calling_ae=SHORT)
    running.put(ct(**words), calling_ae=SHORT)
    running.put(ct(**{**words, "ImageComments": "another content"}), calling_ae=SHORT)
    running.put(nm(PatientName=NAME, StudyInstanceUID=uid("nm-study")), calling_ae=SHORT)
    running.put(pet(SOPInstanceUID=uid("bad"), Modality=None, StudyInstanceUID=uid("bad-study"), StudyDescription=CANARY))
    # A UID that is none never becomes an address, but its object is kept and told.
    running.put(pet(SOPInstanceUID=uid("odd"), StudyInstanceUID=CANARY))
    running.work()
    yield running
    running.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


# pydicom warns of what no header should hold; that is what these objects are for.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PAGES = ["/", "/held", "/studies", f"/studies/{STUDY}", f"/studies/{uid('nm-study')}", f"/studies/{uid('bad-study')}", "/nowhere"]


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("path", PAGES)
def test_no_text_from_a_header_runs_and_no_page_is_wider_than_a_phone(site: Site, chromium: Browser, path: str) -> None:
    chromium.viewport(375, 700, mobile=True)
    chromium.go(f"{site.url}{path}")
    assert chromium.evaluate("document.title") != "RAN"
    assert not chromium.evaluate("document.body.textContent.trim()").startswith("RAN")
    assert chromium.evaluate("document.querySelectorAll('script, [onerror], [onload], [onclick], iframe, object').length") == 0
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 375
    assert [line for line in chromium.complaints() if "404" not in line] == []


@pytest.mark.needs("chromium")
def test_the_canary_is_shown_as_the_text_it_is(site: Site, chromium: Browser) -> None:
    chromium.go(f"{site.url}/studies/{STUDY}")
    assert CANARY in chromium.evaluate("document.body.textContent")
    assert SHORT in chromium.evaluate("document.body.textContent")


@pytest.mark.needs("chromium")
def test_even_a_script_that_got_in_would_not_run(site: Site, chromium: Browser) -> None:
    chromium.go(f"{site.url}/")
    chromium.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: \"document.title='RAN'\"}))"
    )
    assert chromium.evaluate("document.title") != "RAN"
    assert any("Content Security Policy" in line for line in chromium.complaints())


@pytest.mark.needs("chromium")
def test_try_again_takes_the_object_out_of_quarantine(site: Site, chromium: Browser) -> None:
    chromium.viewport(1200, 900)
    before = site.ledger.overview.counts()["instances"]
    chromium.go(f"{site.url}/held")
    chromium.click(".quarantined form button")
    assert "will be tried again" in chromium.evaluate("document.querySelector('[role=status]').textContent")
    after = site.ledger.overview.counts()["instances"]
    assert after["received"] > before["received"]
    chromium.go(f"{site.url}/held")
    assert chromium.evaluate("document.querySelector('[role=status]')") is None, "a note is shown once"
    site.work()
    wait_until(lambda: site.ledger.overview.counts()["instances"] == before)


@pytest.mark.needs("chromium")
def test_a_decision_needs_a_reason_and_reaches_those_who_take_it(site: Site, chromium: Browser, decisions: Recorder) -> None:
    chromium.go(f"{site.url}/studies/{STUDY}")
    form = "form[action='/actions/withdraw']"
    assert chromium.evaluate(f'document.querySelector("{form}").checkValidity()') is False
    chromium.evaluate(f"document.querySelector(\"{form} [name=reason]\").value = 'wrong scanner'")
    chromium.click(f"{form} button")
    assert chromium.evaluate("document.querySelector('[role=status]').textContent") == "The study is withdrawn."
    asked, words = decisions.asked[-1]
    assert (asked, words["study"], words["reason"], words["by"]) == ("withdraw", STUDY, "wrong scanner", "web")
    reassign = "form[action='/actions/reassign']"
    chromium.evaluate(f"document.querySelector(\"{reassign} [name=reason]\").value = 'mixed up'")
    chromium.evaluate(f"document.querySelector(\"{reassign} [name=patient_id]\").value = 'P-2'")
    chromium.click(f"{reassign} button")
    assert chromium.evaluate("document.querySelector('.note.bad').textContent") == "There is no such patient."
    assert decisions.asked[-1][1]["patient_id"] == "P-2"


def form_of(session: requests.Session, site: Site, path: str = "/held") -> dict[str, str]:
    page = session.get(f"{site.url}{path}", timeout=10).text
    return dict(re.findall(r'name="(form_token|back|object)" value="([^"]*)"', page))


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"Origin": "http://elsewhere.example"}},
        {"headers": {"Sec-Fetch-Site": "cross-site"}},
        {"headers": {"Origin": "null"}},
        {"data": {"form_token": "x" * 43}},
        {"data": {"form_token": ""}},
        {"cookies": {"isobridge_form": ""}},
    ],
)
def test_a_form_from_elsewhere_changes_nothing(site: Site, change: dict[str, dict[str, str]]) -> None:
    session = requests.Session()
    form = {**form_of(session, site), **change.get("data", {})}
    session.cookies.update(change.get("cookies", {}))
    before = site.ledger.overview.counts()
    answer = session.post(
        f"{site.url}/actions/retry", data=form, headers=change.get("headers"), timeout=10, allow_redirects=False
    )
    assert answer.status_code == 403
    assert site.ledger.overview.counts() == before


def test_a_followed_source_shows_how_far_it_has_come(site: Site) -> None:
    feeds = site.ledger.feeds
    number, place = feeds.ask(Feed(source="old_archive", modalities=("NM", "PT")), now=1.0)
    feeds.advance(number, replace(place, cursor=1200), Counts(objects=800, gone=2), {"a": "refused"}, newest=1500, now=2.0)
    feeds.tell_problem(number, "The source cannot be reached.")
    page = site.get("/").text.replace("\u202f", "")
    assert "change 1200 of 1500; 800 objects, 2 gone before, 1 failed" in page
    assert "The source cannot be reached." in page


def test_a_form_never_leads_to_another_site(site: Site) -> None:
    session = requests.Session()
    form = {**form_of(session, site), "back": "//elsewhere.example/", "object": "999999"}
    answer = session.post(f"{site.url}/actions/retry", data=form, timeout=10, allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/?note=")


def test_the_study_page_shows_the_header_beside_the_fhir_element(site: Site) -> None:
    page = site.get(f"/studies/{STUDY}").text
    row = page[page.index("<code>activity</code>") :][:1200]
    text = re.sub(r"<[^>]+>", "", row)
    assert "350000000" in text
    assert "RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose" in text
    assert "350 MBq" in text
    assert "MedicationAdministration.dosage.dose" in text


def test_every_answer_of_a_page_forbids_scripts_and_frames(site: Site) -> None:
    for path in (*PAGES, "/assets/style.css"):
        policy = site.get(path, headers={"Accept": "text/html"}).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "script-src" not in policy


def picture(site: Site, path: str) -> Image.Image:
    answer = site.get(path)
    assert answer.headers["content-type"] == "image/png", answer.text
    return Image.open(io.BytesIO(answer.content))


def test_pet_becomes_a_projection_in_inverse_grey_once(site: Site) -> None:
    place = f"/studies/{STUDY}/thumbnail.png"
    image = picture(site, place)
    assert image.width <= 240
    assert image.height <= 320
    assert int(np.asarray(image).min()) < 60, "what holds activity is dark"
    cached = {path: path.stat().st_mtime_ns for path in (site.settings.data.directory / "cache").rglob("*.png")}
    assert picture(site, place).tobytes() == image.tobytes()
    assert cached == {path: path.stat().st_mtime_ns for path in (site.settings.data.directory / "cache").rglob("*.png")}


def test_what_cannot_be_shown_gets_a_neutral_picture(site: Site) -> None:
    for path in (
        f"/studies/{STUDY}/series/1.2.3/thumbnail.png?modality=PT",
        f"/studies/{STUDY}/series/1.2.3/thumbnail.png?modality=SR",
        "/studies/1.2/thumbnail.png",
    ):
        answer = site.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")


def test_damaged_pixels_cost_the_picture_only(tmp_path: Path) -> None:
    site = Site(tmp_path)
    try:
        broken = ct(PixelData=b"\0\0", Rows=60_000, Columns=60_000)
        site.put(broken)
        site.work()
        answer = site.get(f"/studies/{STUDY}/thumbnail.png")
        assert answer.headers["content-type"] == "image/svg+xml"
        assert site.get(f"/studies/{STUDY}").status_code == 200
    finally:
        site.close()


def test_a_fault_of_ours_is_told_by_number_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret name MUSTERMANN")

    monkeypatch.setattr(site.ledger.overview, "counts", fail)
    answer = site.get("/")
    assert answer.status_code == 500
    assert answer.text.startswith("internal error ")
    assert "MUSTERMANN" not in answer.text


def test_a_proxy_that_calls_us_by_another_name_may_still_send_our_forms(tmp_path: Path) -> None:
    site = Site(tmp_path, web={"external_url": "https://isobridge.example"})
    try:
        site.put(pet(Modality=None))
        site.work()
        session = requests.Session()
        form = form_of(session, site)
        for origin, status in (("https://isobridge.example", 303), ("https://isobridge.example.evil", 403)):
            headers = {"Origin": origin}
            url = f"{site.url}/actions/retry"
            assert session.post(url, data=form, headers=headers, timeout=10, allow_redirects=False).status_code == status
    finally:
        site.close()
