"""The demonstration's second table: what a researcher finds of the kidneys over the cycles of a therapy, by search alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from gateway.model import JsonObject
from gateway.nuclear.results import CODE_SYSTEM

KIDNEY = "64033007"
CYCLES = 4
_SIDES = {"7771000": "left", "24028007": "right", "51440002": "both"}


def kidney_doses(url: str, patient: JsonObject | None) -> list[JsonObject]:
    """One entry for each administration of the patient by start: the administration and the absorbed doses of the kidneys."""
    if patient is None:
        return []
    reference = f"Patient/{patient['id']}"
    given = _search(url, "MedicationAdministration", {"patient": reference, "status": "completed"})
    doses = _search(url, "Observation", {"patient": reference, "code": f"{CODE_SYSTEM}|organ-absorbed-dose"})
    made = []
    for item in sorted(given, key=_started):
        own = [dose for dose in doses if _is_of(dose, item) and dose["status"] != "entered-in-error" and _is_kidney(dose)]
        made.append({"administration": item, "doses": own})
    return made


def _search(url: str, kind: str, parameters: dict[str, str]) -> list[JsonObject]:
    answer = requests.get(f"{url}/fhir/{kind}", params={**parameters, "_count": "200"}, timeout=10)
    answer.raise_for_status()
    return [entry["resource"] for entry in answer.json().get("entry", ()) if entry["resource"]["resourceType"] == kind]


def _started(item: JsonObject) -> str:
    return str(item.get("effectiveDateTime") or item.get("effectivePeriod", {}).get("start", ""))


def _is_of(dose: JsonObject, administration: JsonObject) -> bool:
    return any(part.get("reference") == f"MedicationAdministration/{administration['id']}" for part in dose.get("partOf", ()))


def _is_kidney(dose: JsonObject) -> bool:
    return any(coding.get("code") == KIDNEY for coding in dose.get("bodySite", {}).get("coding", ()))


def _part(dose: JsonObject, code: str) -> str:
    for part in dose.get("component", ()):
        if any(coding.get("code") == code for coding in part["code"].get("coding", ())):
            return str(part.get("valueCodeableConcept", {}).get("coding", [{}])[0].get("code", ""))
    return ""


def check_kidneys(cycles: Sequence[JsonObject]) -> Iterator[str]:
    """What must come out: in each cycle the predicted dose of the report, and a verified one of each side of the table."""
    if len(cycles) != CYCLES:
        yield f"{CYCLES} cycles of the therapy; found {len(cycles)}"
    for number, cycle in enumerate(cycles, 1):
        told = sorted((_SIDES.get(_part(dose, "272741003"), "?"), _part(dose, "intent")) for dose in cycle["doses"])
        if told != [("both", "predicted"), ("left", "verified"), ("right", "verified")]:
            yield f"kidney doses of cycle {number}: found {told}"


def print_kidneys(cycles: Sequence[JsonObject], url: str, console: Console) -> None:
    """The table, and the search that gave it."""
    table = Table(title="Kidneys over the cycles of a therapy", title_justify="left")
    for name in ("Cycle", "Infused", "Activity", "Both, predicted", "Left, verified", "Right, verified"):
        table.add_column(name)
    for number, cycle in enumerate(cycles, 1):
        dose = cycle["administration"].get("dosage", {}).get("dose", {})
        cells = [_cell(cycle["doses"], side, intent) for side, intent in _COLUMNS]
        table.add_row(
            str(number), _started(cycle["administration"])[:10], f"{dose.get('value', '-')} {dose.get('unit', '')}", *cells
        )
    console.print(table)
    if cycles:
        patient = cycles[0]["administration"]["subject"]["reference"]
        console.print(f"  {url}/fhir/Observation?patient={patient}&code={CODE_SYSTEM}|organ-absorbed-dose", soft_wrap=True)


_COLUMNS = (("both", "predicted"), ("left", "verified"), ("right", "verified"))


def _cell(doses: Sequence[JsonObject], side: str, intent: str) -> str:
    found: list[Any] = [
        dose for dose in doses if _SIDES.get(_part(dose, "272741003")) == side and _part(dose, "intent") == intent
    ]
    return "; ".join(f"{dose['valueQuantity']['value']} {dose['valueQuantity']['unit']}" for dose in found) or "-"
