"""Cycles declared complete, by the form of the page and by the command line: doses are added up, and who said so stands in a Provenance."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from pydicom.dataset import Dataset

from gateway.cli import main
from gateway.model import JsonObject
from tests.builders import CASE, rrdsr, uid
from tests.conftest import ROOT
from tests.web_site import Site

EVENT, START, STOP, BEFORE, AFTER = (f"ContentSequence[1].ContentSequence[{place}]" for place in (1, 2, 3, 6, 7))


def cycle(number: int) -> Dataset:
    """A dose report of one administration in a study of its own, a month after the one before."""
    day = f"20250{number + 2}10"
    return rrdsr(**{
        "SOPInstanceUID": uid(f"cycle/{number}"),
        "SeriesInstanceUID": uid(f"series/{number}"),
        "StudyInstanceUID": uid(f"study/{number}"),
        "StudyDate": day,
        f"{EVENT}.UID": uid(f"event/{number}"),
        f"{START}.DateTime": f"{day}100000+0100",
        f"{STOP}.DateTime": f"{day}100020+0100",
        f"{BEFORE}.ObservationDateTime": f"{day}095500+0100",
        f"{AFTER}.ObservationDateTime": f"{day}100500+0100",
    })  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.put(cycle(1), cycle(2))
    site.work()
    yield site
    site.close()


def found(site: Site, kind: str, query: str = "") -> list[JsonObject]:
    answer = site.get(f"/fhir/{kind}?_count=100{query}").json()
    return [entry["resource"] for entry in answer.get("entry", ())]


def words_of(site: Site) -> list[tuple[str, str]]:
    """Who said something, and why."""
    said = [one for one in found(site, "Provenance") if "reason" in one]
    return [(one["agent"][0]["who"]["display"], one["reason"][0]["text"]) for one in said]


def sums(site: Site) -> list[JsonObject]:
    """Those that hold."""
    return found(site, "Observation", "&code=cumulative-absorbed-dose&status:not=entered-in-error")


def opened(site: Site) -> tuple[requests.Session, str, dict[str, str], list[str]]:
    """The page of doses of a study: what its forms hold, and the cycles to choose from."""
    session, address = requests.Session(), f"{site.url}/studies/{uid('study/1')}/doses"
    page = session.get(address, timeout=30).text
    hidden = dict(re.findall(r'name="(form_token|study)" value="([^"]*)"', page))
    return session, page, hidden, re.findall(r'name="cycle" value="([^"]+)"', page)


def post(site: Site, session: requests.Session, form: list[tuple[str, str]]) -> requests.Response:
    return session.post(f"{site.url}/actions/doses", data=form, timeout=30, allow_redirects=False)


def test_the_form_of_the_page_declares_cycles_complete_and_takes_it_back(site: Site) -> None:
    session, page, hidden, cycles = opened(site)
    assert len(cycles) == 2
    form = [*hidden.items(), *(("cycle", key) for key in cycles), ("reason", "Both cycles were given")]
    assert post(site, requests.Session(), [one for one in form if one[0] != "form_token"]).status_code == 403
    assert post(site, session, form[:-1]).status_code == 303  # without a reason: told on the page, nothing changed
    assert site.ledger.declarations.of_patient(_patient(site)) == []
    answer = post(site, session, form)
    assert answer.status_code == 303
    assert "are complete" in session.get(f"{site.url}{answer.headers['location']}", timeout=30).text
    site.work()
    single = [one for one in found(site, "Observation", "&code=organ-absorbed-dose") if "valueQuantity" in one]
    expected = {(one["bodySite"]["text"], one["valueQuantity"]["value"] * 2) for one in single}
    told = sums(site)
    assert {(one["bodySite"]["text"], one["valueQuantity"]["value"]) for one in told} == expected
    (said,) = [one for one in found(site, "Provenance") if "reason" in one]
    assert said["reason"] == [{"text": "Both cycles were given"}]
    assert said["activity"]["coding"][0]["code"] == "attest"
    targets = {one["reference"] for one in said["target"]}
    assert targets >= {f"Observation/{one['id']}" for one in told}
    (number,) = re.findall(
        r'name="undo" value="(\d+)"', session.get(f"{site.url}/studies/{uid('study/1')}/doses", timeout=30).text
    )
    assert post(site, session, [*hidden.items(), ("undo", number), ("reason", "One was another therapy")]).status_code == 303
    site.work()
    assert sums(site) == []
    lost = found(site, "Observation", "&code=cumulative-absorbed-dose&status=entered-in-error")
    (back,) = [one for one in found(site, "Provenance") if one.get("reason") == [{"text": "One was another therapy"}]]
    assert back["activity"]["coding"][0]["code"] == "deprecate"
    assert {f"Observation/{one['id']}" for one in lost} <= {one["reference"] for one in back["target"]}
    assert page.count("checkbox") == 2


def _patient(site: Site) -> str:
    (key,) = site.ledger.tables.known_with_id(CASE.patient.patient_id)
    return key


def run(site: Site, *words: str) -> Any:
    places = (f"data.directory={site.settings.data.directory}", f"mappings.directory={ROOT / 'mappings'}")
    options = [word for place in places for word in ("--set", place)]
    return CliRunner().invoke(main, ["dose", *words, "--patient", CASE.patient.patient_id, *options])


def test_the_command_line_shows_declares_and_takes_back(site: Site) -> None:
    shown = run(site, "history")
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("patient ")  # and no line of a log
    assert "350" in shown.output
    assert "Liver" in shown.output
    made = run(
        site, "complete", "--cycles", "1,2", "--organ", "Liver", "--reason", "All were given", "--by", "Physicist of the day"
    )
    assert made.exit_code == 0, made.output
    assert "2 cycles are complete" in made.output
    site.work()
    assert {one["bodySite"]["text"] for one in sums(site)} == {"Liver"}
    assert ("Physicist of the day", "All were given") in words_of(site)
    assert "All were given" in run(site, "history").output
    site.put(cycle(3))
    site.work()
    notes = [note["text"] for one in sums(site) for note in one["note"]]
    assert any("An administration of the same agent came after the cycles" in note for note in notes)
    assert {one["valueQuantity"]["value"] for one in sums(site)}  # the sum of what was declared still stands
    assert run(site, "complete", "--cycles", "1", "--reason", "x").exit_code != 0
    assert run(site, "undo", "9", "--reason", "x").exit_code != 0
    (declared,) = site.ledger.declarations.of_patient(_patient(site))
    undone = run(site, "undo", str(declared.id), "--reason", "A third came", "--by", "Physicist of the day")
    assert undone.exit_code == 0, undone.output
    site.work()
    assert sums(site) == []
