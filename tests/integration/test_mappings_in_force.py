"""Mappings put in force while a gateway works: the worker, the page and the commands over real files."""

from __future__ import annotations

import dataclasses
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from pydicom.dataset import Dataset

from gateway.config import Settings
from gateway.errors import Misconfigured, Rejected, Retryable
from gateway.in_force import SiteInForce, changed_on_disk, ensure_in_force, standing_in_force
from gateway.line import Line
from gateway.r4.bundles import MAPPINGS_EXTENSION
from gateway.spool.decisions import By
from gateway.spool.history import MappingHistory
from gateway.spool.ledger import Ledger
from gateway.spool.mapping_versions import snapshot
from gateway.spool.replays import Scope
from gateway.workbench import replay
from gateway.workbench.deploy import done_lines, plan_deployment, plan_lines, plan_rollback, put_in_force
from gateway.workbench.shadow import approve_mapping
from tests import builders
from tests.few_mappings import few_mappings
from tests.web_site import Site

BY = By(name="A. Physicist", reason="tried on last week", at=time.time())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the people of this site edit their mappings."""
    return few_mappings(tmp_path / "mappings")


@pytest.fixture
def site(tmp_path: Path, folder: Path) -> Iterator[Site]:
    opened = Site(tmp_path / "data", mappings=folder)
    yield opened
    opened.close()


def edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / f"{name}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def describe_by_series(folder: Path) -> None:
    """A change that shows: the study is called what its series is called."""
    edit(folder, "image", "study.description: {from: StudyDescription", "study.description: {from: SeriesDescription")
    edit(folder, "image", "study.description: PET/CT, ", "")
    edit(folder, "image", "          description: PET/CT\n", "")


def deploy(site: Site, folder: Path) -> list[str]:
    plan = plan_deployment(site.settings, site.ledger, folder)
    return [*plan_lines(plan), *done_lines(plan, put_in_force(site.ledger, plan, BY))]


def study(number: int = 1, **changes: object) -> list[Dataset]:
    uid = builders.uid(f"deploy-{number}")
    words = {"StudyDescription": "old", "SeriesDescription": "new", **changes}
    made = list(builders.pet_series(2, StudyInstanceUID=uid, SeriesInstanceUID=builders.uid(f"series-{number}"), **words))
    for index, one in enumerate(made):
        one.SOPInstanceUID = builders.uid(f"deploy-{number}-{index}")
    return made


def descriptions(site: Site) -> dict[str, str]:
    """What the store says: description -> versionId."""
    found = site.get("/fhir/ImagingStudy").json().get("entry", [])
    return {entry["resource"]["description"]: entry["resource"]["meta"]["versionId"] for entry in found}


def line(site: Site) -> Line:
    return Line(understanding=site.site.refresh(), files=site.files, ledger=site.ledger, targets=())


def replay_all(site: Site, scope: Scope) -> list[str]:
    number = replay.ask(site.ledger, scope, now=time.time())
    while site.worker.replay_batch():
        pass
    site.work()
    return list(replay.outcome_lines(site.ledger, number))


def test_the_folder_is_the_first_version_and_a_later_edit_changes_nothing(site: Site, folder: Path) -> None:
    first = site.ledger.mappings.in_force()
    assert first is not None
    assert first.version == snapshot(folder).version
    describe_by_series(folder)
    site.put(*study())
    site.work()
    assert descriptions(site) == {"old": "1"}
    assert changed_on_disk(site.settings, first.version) == ["image.yaml (changed)"]
    again = SiteInForce(site.settings, site.ledger.mappings)  # as after a restart
    assert again.current.version == first.version
    assert again.changes() == ["image.yaml (changed)"]
    assert site.get("/readyz").json()["mappings"] == "ok; files that are not deployed: 1"
    assert site.get("/readyz").status_code == 200
    assert "Mapping files were changed and not deployed" in site.get("/").text


def test_a_deployment_counts_from_the_next_object_on_and_is_rolled_back(site: Site, folder: Path) -> None:
    site.put(*study(1))
    site.work()
    describe_by_series(folder)
    lines = deploy(site, folder)
    assert any("ImagingStudy.description: old -> new" in line for line in lines)
    assert any("1 of the 1 latest would change: isobridge replay --since" in line for line in lines)
    site.put(*study(2))
    site.work()
    assert descriptions(site) == {"old": "1", "new": "1"}
    (provenance,) = [
        entry["resource"]["agent"][0]["extension"][0]
        for entry in site.get("/fhir/Provenance").json()["entry"]
        if site.site.current.version in str(entry["resource"]["agent"])
        and any("ImagingStudy" in target["reference"] for target in entry["resource"]["target"])
    ]
    assert provenance == {"url": MAPPINGS_EXTENSION, "valueString": snapshot(folder).version}

    plan = plan_rollback(site.settings, site.ledger, None)
    put_in_force(site.ledger, plan, BY)
    site.put(*study(3))
    site.work()
    assert sorted(descriptions(site)) == ["new", "old"]
    assert [item.kind for item in site.ledger.mappings.listed()] == ["rollback", "deploy", "first"]


def test_all_complaints_of_lint_or_tests_and_nothing_is_changed(site: Site, folder: Path) -> None:
    before = site.ledger.mappings.in_force()
    edit(
        folder,
        "image",
        "study.description: {from: StudyDescription, as: text}",
        "study.description: {from: StudyDescripton, as: text}",
    )
    edit(
        folder,
        "image",
        "series.description: {from: SeriesDescription, as: text}",
        "series.description: {from: SeriesDescription, as: txt}",
    )
    with pytest.raises(Misconfigured) as wrong:
        plan_deployment(site.settings, site.ledger, folder)
    for word in ("StudyDescripton", "txt"):
        assert any(word in complaint and complaint.startswith("image.yaml:") for complaint in wrong.value.complaints)
    edit(
        folder,
        "image",
        "series.description: {from: SeriesDescription, as: txt}",
        "series.description: {from: SeriesDescription, as: text}",
    )
    edit(
        folder,
        "image",
        "study.description: {from: StudyDescripton, as: text}",
        "study.description: {from: SeriesDescription, as: text}",
    )
    with pytest.raises(Misconfigured, match="tests failed; nothing was changed"):
        plan_deployment(site.settings, site.ledger, folder)
    assert site.ledger.mappings.in_force() == before


def test_a_comment_is_a_version_that_changes_no_output(site: Site, folder: Path) -> None:
    site.put(*study())
    site.work()
    edit(folder, "pet_image", "extends:", "# words\nextends:")
    assert "  nothing would come out otherwise" in deploy(site, folder)
    lines = replay_all(site, Scope(since_day="2000-01-01"))
    assert lines == ["2 of 2 objects mapped again; 0 stay as they were", "nothing changed: no new version of them"]
    assert descriptions(site) == {"old": "1"}
    with pytest.raises(Rejected, match="in force already"):
        deploy(site, folder)


def test_a_replay_publishes_what_changed_and_a_rehearsal_says_so_before(site: Site, folder: Path) -> None:
    site.put(*study(1), *study(2, SeriesDescription="old"))
    site.work()
    describe_by_series(folder)
    deploy(site, folder)
    scope = Scope(since_day="2000-01-01")
    told = list(replay.rehearse(site.ledger, line(site), scope, lambda _done, _total: None))
    assert sum("ImagingStudy.description: old -> new" in text for text in told) == 1
    assert told[-1].startswith("1 of 2 studies would change")
    assert descriptions(site) == {"old": "1"}  # a rehearsal writes nothing; two studies, one name
    replay_all(site, scope)
    assert descriptions(site) == {"new": "2", "old": "1"}
    told = list(replay.rehearse(site.ledger, line(site), scope, lambda _done, _total: None))
    assert told == ["nothing would change in 2 studies"]


def test_a_replay_publishes_what_no_mapping_understood_before(tmp_path: Path, folder: Path) -> None:
    edit(
        folder,
        "pet_common",
        "series.pet.units: {from: Units, as: code, need: should}",
        "series.pet.units: {from: Units, as: code, need: must}",
    )
    strict = Site(tmp_path / "strict", mappings=folder)
    try:
        strict.put(*study(1, Units=None))
        strict.work()
        counts = strict.ledger.overview.counts()["instances"]
        assert (counts["quarantined"], counts["normalised"]) == (2, 0)
        edit(
            folder,
            "pet_common",
            "series.pet.units: {from: Units, as: code, need: must}",
            "series.pet.units: {from: Units, as: code, need: should}",
        )
        deploy(strict, folder)
        scope = Scope(study=builders.uid("deploy-1"))
        told = list(replay.rehearse(strict.ledger, line(strict), scope, lambda _done, _total: None))
        assert "2 objects that were set aside or in shadow would be published" in told
        assert told[-1].startswith("1 of 1 studies would change")
        assert strict.ledger.overview.counts()["instances"] == counts  # a rehearsal writes nothing
        number = replay.ask(strict.ledger, scope, now=time.time())
        strict.work()
        lines = list(replay.outcome_lines(strict.ledger, number))
        assert lines == [
            "2 of 2 objects mapped again; 0 stay as they were",
            "sealed of them: 1 dossier versions, 1 study versions",
        ]
        assert descriptions(strict) == {"old": "1"}
    finally:
        strict.close()


def test_an_object_whose_file_is_gone_keeps_its_record_and_that_is_told(site: Site, folder: Path) -> None:
    one, _ = site.put(*study())
    site.work()
    site.files.locate(one.instance.day, one.instance.digest).unlink()
    describe_by_series(folder)
    deploy(site, folder)
    told = list(replay.rehearse(site.ledger, line(site), Scope(study=one.instance.study_instance_uid), lambda _d, _t: None))
    assert any("1 objects have left the spool" in text for text in told)
    lines = replay_all(site, Scope(study=one.instance.study_instance_uid))
    assert any("retention" in text for text in lines)
    counts = site.ledger.overview.counts()["instances"]
    assert counts["normalised"] == 2
    (published,) = site.get("/fhir/ImagingStudy").json()["entry"]
    assert published["resource"]["numberOfInstances"] == 2


def test_a_mapping_that_is_gone_still_writes_what_it_read(site: Site, folder: Path) -> None:
    overlay = "extends: pet_image\npriority: 10\nmatch: {StationName: SAMPLEPETCT}\n"
    overlay += "tests: [{name: none, given: {StationName: SAMPLEPETCT}, expect: {fields: {series.modality: PT}}}]\n"
    (folder / "sites").mkdir(exist_ok=True)
    (folder / "sites" / "ours.yaml").write_text(overlay)
    deploy(site, folder)
    site.put(*study(1)[:1])
    site.work()
    (folder / "sites" / "ours.yaml").unlink()
    deploy(site, folder)
    site.put(*study(1)[1:])  # the study is gathered again, half of it read by what is in force no more
    site.work()
    assert site.ledger.overview.problems() == []
    (published,) = site.get("/fhir/ImagingStudy").json()["entry"]
    assert published["resource"]["numberOfInstances"] == 2


def test_a_version_in_force_that_is_gone_is_told_and_taken_up_again_by_itself(site: Site, folder: Path) -> None:
    kept = site.settings.data.directory / "mapping-versions" / site.site.current.version
    (kept / "image.yaml").write_text("match: everything\n")
    restarted = SiteInForce(site.settings, site.ledger.mappings)
    with pytest.raises(Retryable, match="changed the mappings"):
        restarted.refresh()
    assert "changed the mappings" in restarted.problem()
    kept.rename(kept.with_name("elsewhere"))
    site.site._look_at = 0.0  # as seconds later
    answer = site.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["mappings"].startswith("what is in force cannot be used; objects are received and wait")
    assert "are gone" in site.get("/mappings").text
    assert "The mappings in force cannot be used" in site.get("/").text
    plan = plan_deployment(site.settings, site.ledger, folder)
    assert list(plan_lines(plan)) == [
        f"version {plan.version} is in force already, but its files are gone or damaged: they are brought back"
    ]
    assert not kept.exists()
    (told,) = done_lines(plan, put_in_force(site.ledger, plan, BY))
    assert "are back" in told
    assert [item.kind for item in site.ledger.mappings.listed()] == ["first"]
    assert restarted.wait(threading.Event())
    assert restarted.problem() == ""
    site.site._look_at = 0.0
    assert site.get("/readyz").status_code == 200


def test_a_plan_writes_nothing(site: Site, folder: Path) -> None:
    def files() -> list[str]:
        return sorted(str(path) for path in (site.settings.data.directory / "mapping-versions").rglob("*"))

    before = files()
    list(plan_lines(plan_deployment(site.settings, site.ledger, _commented(folder))))
    assert files() == before
    assert [item.kind for item in site.ledger.mappings.listed()] == ["first"]


def test_a_command_that_looks_puts_no_first_version_in_force(tmp_path: Path) -> None:
    history = _empty_ledger(tmp_path)
    with pytest.raises(Misconfigured, match="no mappings are in force yet"):
        standing_in_force(history)
    assert history.in_force() is None


def test_a_running_worker_keeps_what_it_has_when_the_new_version_cannot_be_used(site: Site, folder: Path) -> None:
    plan = plan_deployment(site.settings, site.ledger, _commented(folder))
    put_in_force(site.ledger, plan, BY)
    shutil.rmtree(site.settings.data.directory / "mapping-versions" / plan.version)
    site.put(*study())
    site.work()
    assert descriptions(site) == {"old": "1"}
    deploy_again = site.ledger.mappings.in_force()
    assert deploy_again is not None
    assert site.site.current.version != deploy_again.version


def _commented(folder: Path) -> Path:
    edit(folder, "pet_image", "extends:", "# words\nextends:")
    return folder


@pytest.fixture
def careful(tmp_path: Path, folder: Path) -> Iterator[Site]:
    """A site that wants to look at each new scanner first."""
    opened = Site(tmp_path / "careful", mappings=folder, shadow_new_scanners=True)
    yield opened
    opened.close()


def approve_on_page(site: Site, reason: str = "phantom measured") -> requests.Response:
    """Press the first button of the page."""
    session = requests.Session()
    page = session.get(f"{site.url}/mappings", timeout=30).text
    form = page[page.index('action="/actions/approve"') :]
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[: form.index("</form>")]))
    return session.post(f"{site.url}/actions/approve", data={**hidden, "reason": reason}, timeout=30)


def test_a_new_scanner_is_shown_and_published_when_the_page_says_so(careful: Site) -> None:
    hostile = "<script>alert(1)</script>"
    careful.put(*study(1, ManufacturerModelName=hostile))
    careful.work()
    assert careful.get("/fhir/ImagingStudy").json()["total"] == 0
    page = careful.get("/mappings").text
    assert hostile not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "would be published" in page
    assert "1 ImagingStudy" in page
    assert "in shadow" in careful.get("/").text
    answer = approve_on_page(careful)
    assert answer.ok
    assert "is approved; 2 held objects are published" in answer.text
    careful.work()
    assert descriptions(careful) == {"old": "1"}
    careful.put(*study(2, ManufacturerModelName=hostile))
    careful.work()
    assert careful.get("/fhir/ImagingStudy").json()["total"] == 2


def test_half_a_study_from_an_approved_scanner_is_published_and_the_rest_follows(careful: Site) -> None:
    one, two = study(1)
    two.DeviceSerialNumber = "other"
    careful.put(one)
    careful.work()
    approve_on_page(careful)
    careful.put(two)
    careful.work()
    (half,) = careful.get("/fhir/ImagingStudy").json()["entry"]
    assert half["resource"]["numberOfInstances"] == 1
    approve_on_page(careful)
    careful.work()
    (whole,) = careful.get("/fhir/ImagingStudy").json()["entry"]
    assert whole["resource"]["numberOfInstances"] == 2


def test_the_approval_of_a_page_needs_our_form(careful: Site) -> None:
    careful.put(*study(1))
    careful.work()
    answer = requests.post(f"{careful.url}/actions/approve", data={"kind": "scanner", "name": "1", "reason": "x"}, timeout=30)
    assert answer.status_code == 403
    assert careful.ledger.shadows.waiting()


def test_a_mapping_in_shadow_is_published_when_approved(site: Site, folder: Path) -> None:
    edit(folder, "pet_image", "extends:", "shadow: true\nextends:")
    lines = deploy(site, folder)
    assert any(text.startswith("in shadow, published when approved: ") and "pet_image" in text for text in lines)
    site.put(*study(1))
    site.work()
    assert site.get("/fhir/ImagingStudy").json()["total"] == 0
    assert "is approved" in approve_on_page(site).text
    site.work()
    assert descriptions(site) == {"old": "1"}


def test_a_typo_in_approve_names_what_is_in_shadow(site: Site, folder: Path) -> None:
    by = By(name="n", reason="r", at=1.0)
    with pytest.raises(Rejected, match="no mapping is in shadow"):
        approve_mapping(site.ledger, site.site.understanding, "pet_image", by)
    edit(folder, "pet_image", "extends:", "shadow: true\nextends:")
    deploy(site, folder)
    site.site.refresh()
    with pytest.raises(Rejected, match=r"for a mapping 'pet_imag' .did you mean 'pet_image'"):
        approve_mapping(site.ledger, site.site.understanding, "pet_imag", by)


def test_a_mapping_in_shadow_takes_nothing_back(site: Site, folder: Path) -> None:
    site.put(*study(1))
    site.work()
    edit(folder, "pet_image", "extends:", "shadow: true\nextends:")
    describe_by_series(folder)
    deploy(site, folder)
    lines = replay_all(site, Scope(since_day="2000-01-01"))
    assert any("in shadow" in text for text in lines)
    assert descriptions(site) == {"old": "1"}


def test_settings_without_a_folder_are_refused_at_the_first_start_only(tmp_path: Path, site: Site, folder: Path) -> None:
    shutil.rmtree(folder)
    assert ensure_in_force(site.settings, site.ledger.mappings).version == site.site.current.version
    assert changed_on_disk(site.settings, site.site.current.version) == [f"there is no folder {folder}"]
    fresh = dataclasses.replace(Settings(), mappings=dataclasses.replace(Settings().mappings, directory=tmp_path / "nowhere"))
    with pytest.raises(Misconfigured, match="nowhere"):
        SiteInForce(
            dataclasses.replace(fresh, data=dataclasses.replace(fresh.data, directory=tmp_path / "x")), _empty_ledger(tmp_path)
        )


def _empty_ledger(tmp_path: Path) -> MappingHistory:
    opened = Ledger(f"sqlite:///{tmp_path / 'empty.db'}")
    opened.migrate()
    return opened.mappings


OVERLAY = """\
extends: pet_image
match: {Manufacturer: Maker of Nowhere}
fields:
  administration.activity:
    from: {value: $administration.RadionuclideTotalDose, nuclide: administration.radionuclide}
    as: activity
    unit: {in: Bq, out: kBq}
    need: should
"""


def test_a_rehearsal_meets_an_administration_under_its_new_id(site: Site, folder: Path) -> None:
    site.put(*study(1, Manufacturer="Maker of Nowhere"))
    site.work()
    (folder / "sites" / "ours.yaml").write_text(OVERLAY)
    plan = plan_deployment(site.settings, site.ledger, folder)
    total = sum(map(len, plan.tried.changed.values()))
    put_in_force(site.ledger, plan, BY)
    told = list(replay.rehearse(site.ledger, line(site), Scope(study=builders.uid("deploy-1")), lambda _done, _total: None))
    given = [text for text in told if "MedicationAdministration/" in text]
    assert any("dosage.dose.value" in text for text in given), told
    assert not [text for text in given if " MedicationAdministration: " in text], told  # neither lost nor new
    shown = list(plan_lines(plan, every=True))
    assert sum(text.startswith("    ") for text in shown) == total
