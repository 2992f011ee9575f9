"""Doses over cycles as people see them: rows by what a region is, whatever each software calls it."""

from __future__ import annotations

from decimal import Decimal

from gateway.model import Administration, DoseResult, Dossier
from gateway.workbench.dose_history import history_of

KIDNEY = {"system": "http://snomed.info/sct", "code": "64033007"}
LEFT = {"code": "7771000", "text": "Left"}
LESION = {"code": "52988006", "text": "Lesion 1"}


def cycle(key: str) -> Administration:
    return Administration(key=key, aliases=(), fields={}, study_uids=(), series_uids=(), mapping="m", issues=(), event_uids=())


def dose(key: str, gray: str, **fields: object) -> DoseResult:
    told = {"intent": "verified", "value": {"value": Decimal(gray), "unit": "Gy"}, **fields}
    return DoseResult(
        key=f"{key}|{gray}", aliases=(), kind="organ-absorbed-dose", label="", fields=told, status="preliminary", administration=key,
        document="d", study_uids=(), mapping="m",
    )  # fmt: skip


def test_one_organ_is_one_row_whatever_each_software_calls_it() -> None:
    found = history_of(
        Dossier(
            patient_key="p",
            patient={},
            administrations=(cycle("a"), cycle("b")),
            minted={},
            mapping_versions=(),
            results=(
                dose("a", "4.3", region={**KIDNEY, "text": "Kidney"}, laterality=LEFT),
                dose("b", "4.1", region={**KIDNEY, "text": "Left kidney"}, laterality=LEFT),
                dose("b", "31", region=LESION, lesion={"label": "Lesion 1"}),
            ),
        ),
        (),
    )
    assert [(row.region, row.words, row.cells) for row in found.rows] == [
        ("Kidney, Left", "Organ absorbed dose, verified", ("4.3 Gy (preliminary)", "4.1 Gy (preliminary)")),
        ("Lesion 1", "Organ absorbed dose, verified", ("-", "31 Gy (preliminary)")),
    ]
