"""What an adapter may say, as data: members and their types, keys of each section. ``compile.py``, the reference page and tests read it."""

from __future__ import annotations

from gateway.nuclear.results import MEMBERS

FORMATS = ("csv", "xlsx", "report", "json")
ENCODINGS = ("utf-8", "utf-16", "cp1252", "latin-1", "iso8859-15")
DELIMITERS = {"tab": "\t", "\t": "\t", ";": ";", ",": ",", "|": "|", "whitespace": "whitespace", ":": ":"}
THOUSANDS = {"none": "", ".": ".", ",": ",", "'": "'", "space": " "}

SECTIONS: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "unverified": bool,
    "match": dict,
    "read": dict,
    "skip": list,
    "group_by": (list, str),
    "patient": dict,
    "device": dict,
    "document": dict,
    "administration": dict,
    "common": dict,
    "results": dict,
    "checks": list,
    "status": dict,
    "tests": list,
}
#: ``group_by`` for a file that is one curve.
WHOLE_TABLE = "table"
REQUIRED = ("title", "match", "read", "results", "tests")

READ_KEYS = (
    "format", "encoding", "delimiter", "sheet", "header", "sections", "path", "formulas", "decimal", "thousands", "timezone",
)  # fmt: skip
MATCH_KEYS = ("filename", "columns", "contains")
CONDITION_KEYS = ("column", "equals", "in", "not_in", "matches", "exists")
VALUE_KEYS = (
    "column", "section", "value", "filename", "line", "pattern", "map", "codes", "unit", "format", "range", "list", "need",
)  # fmt: skip
RESULT_KEYS = ("kind", "section", "when")
CHECK_KEYS = ("within", "otherwise")
STATUS_KEYS = ("approvers",)
TEST_KEYS = ("name", "file", "given", "expect")
EXPECT_KEYS = ("patient", "device", "administration", "document", "results", "issues", "rejected", "parts")

#: Our short types for FHIR's.
_TYPES = {"string": "text", "HumanName": "text"}

_SET_BY_US = ("kind", "stated", "group", "images", "approved.accepted")
#: What a value of a result may be; the rest of the members is set by us (group) or by matching.
RESULT_MEMBERS: dict[str, str] = {
    name: _TYPES.get(kind, kind)
    for name, kind in MEMBERS.items()
    if not name.startswith(("points[]", "components[]", "administration.")) and name not in _SET_BY_US
}
POINT_MEMBERS = {
    name.removeprefix("points[]."): _TYPES.get(kind, kind) for name, kind in MEMBERS.items() if name.startswith("points[].")
}
PATIENT_MEMBERS = {"id": "identifier", "issuer": "text"}
#: A camera or a calibrator, for facts about a device.
DEVICE_MEMBERS = dict.fromkeys(("manufacturer", "model", "serial", "station", "software"), "text")
ADMINISTRATION_MEMBERS = {
    "event_uid": "identifier",
    "started_at": "dateTime",
    "stopped_at": "dateTime",
    "activity": "Quantity",
    "measured_before": "Quantity",
    "measured_after": "Quantity",
    "radionuclide": "CodeableConcept",
    "agent": "CodeableConcept",
    "route": "CodeableConcept",
    "site": "CodeableConcept",
    "cycle": "integer",
}
DOCUMENT_MEMBERS = {
    "title": "text",
    "created_at": "dateTime",
    "study_uid": "identifier",
    "software.name": "text",
    "software.version": "text",
    "software.manufacturer": "text",
}

#: Code tables that a member is looked up in unless the adapter names another.
TABLES = {
    "region": "organs",
    "laterality": "laterality",
    "lesion.finding": "organs",
    "agent": "radiopharmaceuticals",
    "radionuclide": "radionuclides",
    "route": "routes",
    "site": "organs",
    "statistic": "statistics",
}
#: Canonical units of members that have one whatever the kind is. ``value`` and ``uncertainty`` take that of the kind.
UNITS = {
    "mass": "g",
    "volume": "mL",
    "alpha_beta": "Gy",
    "repair_half_time": "h",
    "activity": "MBq",
    "measured_before": "MBq",
    "measured_after": "MBq",
    "time": "h",
    "dose_rate": "Gy/h",
}
#: Named checks: their operands, whether a failed one withholds or flags, and what it says.
CHECKS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "ratio": (("of", "over", "is"), "withhold", "'is' equals 'of' divided by 'over'"),
    "not_longer_than_physical": (("of",), "withhold", "a half-life is not longer than the physical one of the nuclide"),
    "biological_half_life": (("effective", "biological"), "withhold", "1/effective = 1/physical + 1/biological"),
    "bed": (("is", "dose", "alpha_beta", "repair_half_time", "effective"), "flag", "BED of a mono-exponential dose rate"),
    "eqd2": (("is", "bed", "alpha_beta"), "flag", "EQD2 = BED / (1 + 2 Gy / (alpha/beta))"),
    "not_above": (("of", "most"), "withhold", "'of' is not larger than 'most'"),
}
