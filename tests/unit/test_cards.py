"""What a card says of an administration."""

from __future__ import annotations

from gateway.web.cards import doses

STUDY = {"resourceType": "ImagingStudy", "id": "s"}


def test_an_administration_of_two_sources_says_so_and_an_activity_that_is_not_there_is_no_dash() -> None:
    administration = {
        "resourceType": "MedicationAdministration",
        "id": "a",
        "meta": {"tag": [{"system": "urn:isobridge:tag", "code": "reconciled"}]},
        "supportingInformation": [{"reference": "ImagingStudy/s"}],
        "note": [{"text": "Taken as one injection with the dose report."}],
    }
    (dose,) = doses(STUDY, {"entry": [{"resource": administration}]})
    assert (dose.reconciled, dose.repaired, dose.activity) == (True, False, "")
    assert dose.remarks == ("Taken as one injection with the dose report.",)
