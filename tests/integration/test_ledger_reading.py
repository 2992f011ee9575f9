"""What pages and DICOMweb ask of the ledger, on SQLite and on PostgreSQL."""

from __future__ import annotations

from gateway.spool.ledger import Ledger
from tests.integration.ledgers import NOW
from tests.integration.test_ledger_contract import take_in


def test_a_study_can_be_read_by_pages_and_dicomweb_alike(ledger: Ledger) -> None:
    take_in(ledger, 1, 2)
    take_in(ledger, 3, study="1.2.2", patient="sys|50%_!", now=NOW)
    assert [item.sop_instance_uid for item in ledger.archive.served("1.2.1")] == ["1.2.3.1", "1.2.3.2"]
    assert [item.sop_instance_uid for item in ledger.archive.served("1.2.1", "1.2.1.1", "1.2.3.2")] == ["1.2.3.2"]
    assert ledger.archive.not_served("1.2.1") == {}
    assert ledger.archive.study_of("1.2.2.1") == "1.2.2"
    assert ledger.archive.numbers("1.2.1") == {"1.2.1.1": 2}
    assert len(ledger.archive.instance_fields("1.2.1")) == 2
    assert [told.study_uid for told in ledger.archive.told()] == ["1.2.2", "1.2.1"]
    assert [told.study_uid for told in ledger.archive.told(study="1.2.1")] == ["1.2.1"]
    assert [told.study_uid for told in ledger.archive.told(patient_id="50%_!")] == ["1.2.2"]
    assert [told.study_uid for told in ledger.archive.told(patient_id="%")] == [], "a wild card of SQL is none here"
    facts = ledger.studies.facts("1.2.1")
    assert facts is not None
    assert [(row["state"], int(row["n"])) for row in facts.series] == [("normalised", 2)]
    assert [(header.instances, header.published) for header in facts.headers] == [(2, 2)]
    assert facts.senders[0]["calling_ae"] == "PET1"
    assert facts.held == []
    assert {item["study_uid"]: item["instances"] for item in ledger.studies.gathering(limit=5)} == {"1.2.1": 2, "1.2.2": 1}
    assert ledger.studies.recent(limit=5) == []
    assert ledger.studies.facts("1.2.9") is None
