"""The section ``senders:``: what is different for one AE title, and that each part of it reaches those who need it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway import config
from gateway.config import Loaded
from gateway.dicom.reading import header_of
from gateway.errors import Misconfigured
from gateway.model import Came, Record
from gateway.receive.settings import CallerPolicy
from gateway.roles.receive import _limits
from gateway.roles.rooms import open_ledger
from gateway.sender_settings import SenderSettings
from gateway.spool.timers import QuietPolicy
from gateway.understanding import Charset, Understanding, understanding
from tests.harness import corpus
from tests.integration.ledgers import NOW
from tests.integration.test_ledger_contract import normalised, received
from tests.unit.mapping_files import SHIPPED

TEXT = """\
senders:
  petct1:
    ae_title: PETCT1
    networks: [10.20.0.0/24, "2001:db8::7"]
    idle_timeout_secs: 1800
    charset: ISO_IR 100
    quiet_secs: 600
  old_spect: {ae_title: OLD SPECT, pdu_timeout_secs: 90, charset: ISO_IR 144, charset_for: all, quiet_secs: 20, quiet_cap_secs: 40}
"""


def loaded(tmp_path: Path, text: str, *overrides: str) -> Loaded:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    return config.load(path, overrides=[f"data.directory={tmp_path / 'data'}", *overrides])


def test_senders_are_read_with_their_origins(tmp_path: Path) -> None:
    found = loaded(tmp_path, TEXT)
    petct, spect = found.settings.senders
    assert petct == SenderSettings(
        name="petct1",
        ae_title="PETCT1",
        networks=("10.20.0.0/24", "2001:db8::7"),
        idle_timeout_secs=1800,
        charset="ISO_IR 100",
        quiet_secs=600,
    )
    assert (spect.ae_title, spect.charset_for) == ("OLD SPECT", "all")
    assert found.origins["senders.petct1.quiet_secs"].endswith("gateway.yaml:7:5")
    assert config.load(None).settings.senders == ()


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
senders:
  one: {ae_title: "SEVENTEEN_LETTERS"}
  two: {ae_title: TWO, networks: [10.0.0.7/24], charset: latin1, idle_timeout_secs: 0}
  three: {charset: ISO_IR 100}
  four: {ae_title: FOUR, charset_for: some, patience: 3}
  five: {ae_title: FIVE}
  six: {ae_title: FIVE}
"""
    with pytest.raises(Misconfigured) as caught:
        loaded(tmp_path, text)
    told = [complaint.partition("gateway.yaml:")[2] for complaint in caught.value.complaints]
    for line, words in (
        (2, "senders.one.ae_title must be 1 to 16 printable"),
        (3, "senders.two.networks must be like 10.0.0.7 or 10.0.0.0/24"),
        (3, "senders.two.charset 'latin1' is no term"),
        (3, "senders.two.idle_timeout_secs must be 1 or more"),
        (4, "senders.three.ae_title is missing"),
        (5, "senders.four.charset_for must be one of undeclared, all"),
        (5, "unknown option 'patience'"),
        (7, "senders.six.ae_title: 'FIVE' is the title of senders.five already"),
    ):
        assert any(one.startswith(f"{line}:") and words in one for one in told), (line, words, told)
    assert len(told) == 8


def test_marks_of_free_space_follow_the_reserve_and_keep_their_order(tmp_path: Path) -> None:
    spool = loaded(tmp_path, "spool: {reserve_megabytes: 1000}\n").settings.spool
    assert (spool.reject_mark_megabytes, spool.warn_mark_megabytes) == (2000, 4000)
    off = loaded(tmp_path, "spool: {reject_megabytes: 0, warn_megabytes: 0}\n").settings.spool
    assert (off.reject_mark_megabytes, off.warn_mark_megabytes) == (0, 0)
    with pytest.raises(Misconfigured) as caught:
        loaded(tmp_path, "spool: {reserve_megabytes: 100, reject_megabytes: 50, warn_megabytes: 20}\n")
    assert [complaint.rpartition(": ")[2] for complaint in caught.value.complaints] == ["off)", "off)"]


def test_the_receiver_is_told_who_may_call_from_where_and_how_patient_to_be(tmp_path: Path) -> None:
    settings = loaded(tmp_path, TEXT).settings
    limits = _limits(settings, None)
    assert limits.callers == {
        "PETCT1": CallerPolicy(networks=(ip_network("10.20.0.0/24"), ip_network("2001:db8::7/128")), idle_timeout_secs=1800),
        "OLD SPECT": CallerPolicy(pdu_timeout_secs=90),
    }
    assert (limits.reject_bytes, limits.warn_bytes) == (128 << 20, 256 << 20)
    assert limits.max_associations_per_address == 0  # on loopback every caller has one address
    wide = dataclasses.replace(settings, receive=dataclasses.replace(settings.receive, bind="10.0.0.5:11112"))
    assert _limits(wide, None).max_associations_per_address == 30


def test_a_study_waits_as_long_as_its_sender_needs(tmp_path: Path) -> None:
    """Quiet for 60 s by default, for 600 s when PETCT1 sends, for 20 s when OLD SPECT does."""
    settings = loaded(tmp_path, TEXT).settings
    (tmp_path / "data").mkdir()
    ledger = open_ledger(settings)
    ledger.migrate()
    for number, title in enumerate(("PETCT1", "OLD SPECT", "ANYBODY"), 1):
        one = received(number, study=f"1.2.{number}")
        ledger.intake.record_arrivals([dataclasses.replace(one, arrival=dataclasses.replace(one.arrival, calling_ae=title))])
    tickets = ledger.stages.lease(limit=10, now=NOW, lease_secs=60)
    ledger.stages.advance([normalised(ticket, patient=f"sys|{ticket.study_uid}") for ticket in tickets], now=NOW)
    with ledger.database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT uid, next_quiet_at FROM study UNION SELECT patient_key, next_quiet_at FROM dossier"
        )
        waits = {row[0]: row[1] - NOW for row in rows}
    assert waits == {"1.2.1": 600, "1.2.2": 20, "1.2.3": 60, "sys|1.2.1": 600, "sys|1.2.2": 20, "sys|1.2.3": 60}
    ledger.close()


def test_of_several_senders_the_most_patient_counts() -> None:
    policy = QuietPolicy(quiet_secs=60, cap_secs=3600, by_sender={"SLOW": (600, 7200), "QUICK": (5, 60)})
    assert (policy.of(["QUICK", "SLOW"]).quiet_secs, policy.of(["QUICK", "SLOW"]).cap_secs) == (600, 7200)
    assert policy.of(["QUICK", "ANYBODY"]).quiet_secs == 60
    assert policy.of(["QUICK"]).quiet_secs == 5
    assert policy.of([]) == policy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Understanding:
    return understanding(loaded(tmp_path_factory.mktemp("site"), TEXT).settings, directory=SHIPPED)


def read(site: Understanding, declared: bytes | None, name: bytes, calling_ae: str) -> Record:
    (case,) = [one for one in corpus.cases() if one.name == "charset/none declared, Latin-1"]
    data = case.build().replace("Müller^Jörg ".encode("latin-1"), name)
    assert name in data
    if declared is not None:
        data = corpus.element(0x00080005, "CS", declared + b" " * (len(declared) % 2)) + data
    file = corpus.part10(dataclasses.replace(case, build=lambda: data))
    came = Came(calling_ae=calling_ae, received_at=dt.datetime.now(dt.UTC).strftime("%Y%m%d%H%M%S"))
    return site.understand(header_of(file), came)


UMLAUT, CYRILLIC = "Müller^Jörg ".encode("latin-1"), "Иванов^А^Б^В".encode("iso8859-5")


@pytest.mark.parametrize(
    ("declared", "name", "calling_ae", "text", "assumed"),
    [
        (None, UMLAUT, "PETCT1", "Jörg Müller", True),
        (b"", UMLAUT, "PETCT1", "Jörg Müller", True),
        (b"ISO_IR 999", UMLAUT, "PETCT1", "Jörg Müller", True),
        (b"Not Supplied", UMLAUT, "PETCT1", "Jörg Müller", True),
        (b"ISO_IR 144", CYRILLIC, "PETCT1", "А Б Иванов", False),  # what is declared counts
        (b"ISO_IR 192", UMLAUT, "PETCT1", None, False),  # and if it is wrong, nothing is guessed
        (b"ISO_IR 100", CYRILLIC, "OLD SPECT", "А Б Иванов", True),  # for all: whatever it declares
        (None, UMLAUT, "ANYBODY", None, False),
    ],
)
def test_the_character_set_of_a_sender_that_declares_none(
    site: Understanding, declared: bytes | None, name: bytes, calling_ae: str, text: str | None, assumed: bool
) -> None:
    record = read(site, declared, name, calling_ae)
    found = record.shared.patient.get("name", {}).get("text")
    assert found is None if text is None else text in found
    told = [issue.reason for issue in record.shared.issues if "that the site set for this sender" in issue.reason]
    assert bool(told) is assumed


def test_the_word_of_the_site_never_reaches_the_spooled_object(site: Understanding) -> None:
    assert site.charsets == {"PETCT1": Charset("ISO_IR 100", False), "OLD SPECT": Charset("ISO_IR 144", True)}
    header = header_of(corpus.part10(next(one for one in corpus.cases() if one.name == "charset/none declared, Latin-1")))
    before = bytes(header.walk.buffer)
    header.assume_charset("ISO_IR 100", instead=False)
    assert header.raw(0x00080005) == b"ISO_IR 100"
    assert (header.walk.value(0x00080005), bytes(header.walk.buffer)) == (b"", before)


def test_a_sender_has_a_mapping_of_its_own_by_matching_its_title(tmp_path: Path) -> None:
    """The overlay of one sender stands in the mappings (``sites/``), so that it is deployed, replayed and tested as they are."""
    own = tmp_path / "mappings"
    shutil.copytree(SHIPPED, own)
    (own / "sites").mkdir(exist_ok=True)
    (own / "sites" / "petct1.yaml").write_text(
        "extends: pet_image\npriority: 1\nmatch: {calling_ae: PETCT1}\nfields:\n  series.description: {from: ProtocolName, as: text}\n"
        "tests: []\n"
    )
    settings = loaded(tmp_path, TEXT).settings
    site = understanding(settings, directory=own)
    file = corpus.part10(next(one for one in corpus.cases() if one.name == "dose/plus"))
    assert site.understand(header_of(file), Came(calling_ae="PETCT1")).shared.mapping == "petct1"
    assert site.understand(header_of(file), Came(calling_ae="SPECT9")).shared.mapping == "pet_image"
