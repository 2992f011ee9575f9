"""The worked example of a dose report (an FDG PET; standards: PS3.16 TID 10021), its twins and an image of the same injection."""

from __future__ import annotations

import copy
from typing import Any

from gateway.model import JsonObject

#: The retired codes of the same concepts (standards: PS3.16, SNOMED-RT to SNOMED CT).
RETIRED = {
    "363589002": "G-C2D0",
    "363703001": "G-C0E8",
    "349358000": "F-61FDB",
    "89457008": "C-10072",
    "304283002": "R-42806",
    "410675002": "G-C340",
    "272737002": "G-C581",
    "272741003": "G-C171",
    "363698007": "G-C0E3",
    "118538004": "G-D701",
    "261004008": "R-408C3",
    "35321007": "C-B1031",
    "77004003": "C-111A1",
    "47625008": "G-D101",
    "89837001": "T-74000",
    "7771000": "G-A101",
}
ADMINISTRATION: JsonObject = {
    "349358000 SCT": {
        "code": "35321007 SCT",
        "items": {"89457008 SCT": {"code": "77004003 SCT"}, "304283002 SCT": {"num": "6586.2", "unit": "s"}},
    },
    "113503 DCM": {"uid": "1.2.826.0.1.3680043.10.999.1.9"},
    "123003 DCM": {"datetime": "20250310100000+0100"},
    "123004 DCM": {"datetime": "20250310100020+0100"},
    "113507 DCM": {"num": "350", "unit": "MBq"},
    "113508 DCM": {
        "num": "382.0",
        "unit": "MBq",
        "attributes": {"ObservationDateTime": "20250310095000+0100"},
        "items": {"113540 DCM": {"code": "113541 DCM"}},
    },
    "113509 DCM": {"num": "8.4", "unit": "MBq", "attributes": {"ObservationDateTime": "20250310100500+0100"}},
    "410675002 SCT": {
        "code": "47625008 SCT",
        "items": {"272737002 SCT": {"code": "14975008 SCT", "items": {"272741003 SCT": {"code": "7771000 SCT"}}}},
    },
    "113511 DCM": {"text": "DU-778", "items": {"113512 DCM": {"text": "LOT-42"}}},
    "113870 DCM": {"name": "Janssens^An", "items": {"113875 DCM": {"code": "113851 DCM"}}},
    "113517 DCM": {
        "items": {
            "363698007 SCT": {"code": "89837001 SCT"},
            "118538004 SCT": {"num": "50", "unit": "g", "items": {"370129005 SCT": {"text": "Reference"}}},
            "113518 DCM": {"num": "45.5", "unit": "mGy", "items": {"121406 DCM": {"text": "ICRP Publication 128"}}},
        }
    },
    "113839 DCM": {"num": "6.65", "unit": "mSv", "items": {"121406 DCM": {"text": "ICRP Publication 128"}}},
}
REPORT: JsonObject = {
    "SOPClassUID": "RadiopharmaceuticalRadiationDoseSRStorage",
    "SOPInstanceUID": "2.25.31",
    "StudyInstanceUID": "2.25.1",
    "SeriesInstanceUID": "2.25.3",
    "Modality": "SR",
    "PatientID": "EX-1",
    "PatientName": "Doe^Example",
    "StudyDate": "20250310",
    "StudyTime": "105500",
    "VerificationFlag": "VERIFIED",
    "ConceptNameCodeSequence": [{"CodeValue": "113500", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Report"}],
    "sr": {
        "363589002 SCT": {"code": "241443006 SCT", "items": {"363703001 SCT": {"code": "261004008 SCT"}}},
        "113502 DCM": {"items": ADMINISTRATION},
        "121118 DCM": {
            "items": {
                "29463-7 LN": {"num": "75", "unit": "kg"},
                "8302-2 LN": {"num": "175", "unit": "cm"},
                "14749-6 LN": {"num": "5.4", "unit": "mmol/l"},
            }
        },
    },
}


def pet_header(**changes: Any) -> JsonObject:
    """The header of an image of the same injection that gives the activity in MBq, against the standard; ``changes`` of its tracer item."""
    tracer = {
        "RadionuclideTotalDose": "350",
        "RadiopharmaceuticalStartDateTime": "20250310100000",
        "RadionuclideHalfLife": "6586.2",
        "RadionuclideCodeSequence": [{"CodeValue": "77004003", "CodingSchemeDesignator": "SCT", "CodeMeaning": "^18^Fluorine"}],
        "RadiopharmaceuticalAdministrationEventUID": "1.2.826.0.1.3680043.10.999.1.9",
    }
    return {
        "SOPClassUID": "PositronEmissionTomographyImageStorage",
        "SOPInstanceUID": "2.25.41",
        "StudyInstanceUID": "2.25.1",
        "SeriesInstanceUID": "2.25.4",
        "Modality": "PT",
        "PatientID": "EX-1",
        "SeriesDate": "20250310",
        "SeriesTime": "110000",
        "RadiopharmaceuticalInformationSequence": [tracer | changes],
    }


def changed(path: str, value: Any) -> JsonObject:
    """The report with one content item, or one word of it, replaced; ``None`` takes it away."""
    tree = copy.deepcopy(REPORT)
    *parents, last = path.split("/")
    node = tree["sr"]
    for step in parents:
        node = node[step] if step in node else node["items"][step]
    node = node["items"] if "items" in node and last not in node else node
    if value is None:
        del node[last]
    else:
        node[last] = value
    return tree


def retired(node: Any) -> Any:
    """The same report as an older scanner writes it."""
    if isinstance(node, dict):
        return {_retired(key): retired(value) for key, value in node.items()}
    return _retired(node) if isinstance(node, str) else node


def _retired(text: str) -> str:
    code, _, scheme = text.partition(" ")
    return f"{RETIRED[code]} SRT" if scheme == "SCT" and code in RETIRED else text


def of_kind(resources: list[JsonObject], code: str) -> JsonObject:
    (found,) = (
        item
        for item in resources
        if item["resourceType"] == "Observation" and code in [coding.get("code") for coding in item["code"]["coding"]]
    )
    return found
