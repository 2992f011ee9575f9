"""A therapy of four cycles, invented: the reports of the earlier infusions, and the table that dosimetry software exported of all four.

The last cycle, with its images, is ``sample.generate_cycle``. The table is in the layout of ``mappings/tables/example_lutetium_csv``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gateway.workbench.sample import SampleStudy, cycle_study, write_series
from gateway.workbench.sample_case import DEFAULT_DAY, ZONE
from gateway.workbench.sample_cycle import LUTATHERA, LUTATHERA_PATIENT, SCAN_HOURS, Infusion
from gateway.workbench.sample_images import ISSUER
from gateway.workbench.sample_report import administration_report

WEEKS_APART = 8
#: Net activity of the three earlier cycles; the last one is ``sample.CYCLE_MBQ``.
EARLIER_MBQ = (Decimal("7412.8"), Decimal("7395.1"), Decimal("7430.6"))
_LN2 = Decimal("0.693147")
#: Of the kidneys, as literature has them: alpha/beta in Gy, half-time of repair in h.
_ALPHA_BETA, _REPAIR_H = Decimal("2.5"), Decimal("2.8")
_COLUMNS = (
    "PatientID;Issuer;AdminDateTime;Radiopharmaceutical;AdminActivity_MBq;Cycle;VOI;Side;Mass_g;T_h;A_MBq;TIA_MBqh;TIAC_h;Teff_h;D_Gy;"
    "D_per_A_GyGBq;BED_Gy;EQD2_Gy;AlphaBeta_Gy;Trep_h;Software;Version;ApprovedBy;ApprovedAt"
)


@dataclass(frozen=True, slots=True)
class _Kidney:
    """What the software made of one kidney in one cycle."""

    side: str
    mass_g: Decimal
    tiac_h: Decimal
    half_life_h: Decimal
    gy_per_gbq: Decimal


#: By cycle: the kidneys take up a little less each time.
_KIDNEYS = (
    (_Kidney("L", Decimal(162), Decimal("1.10"), Decimal("51.2"), Decimal("0.582")),
     _Kidney("R", Decimal(155), Decimal("1.02"), Decimal("50.4"), Decimal("0.564"))),
    (_Kidney("L", Decimal(161), Decimal("1.06"), Decimal("50.1"), Decimal("0.564")),
     _Kidney("R", Decimal(155), Decimal("0.99"), Decimal("49.8"), Decimal("0.547"))),
    (_Kidney("L", Decimal(160), Decimal("1.01"), Decimal("49.0"), Decimal("0.541")),
     _Kidney("R", Decimal(154), Decimal("0.95"), Decimal("48.9"), Decimal("0.529"))),
    (_Kidney("L", Decimal(160), Decimal("0.98"), Decimal("48.3"), Decimal("0.525")),
     _Kidney("R", Decimal(153), Decimal("0.93"), Decimal("48.0"), Decimal("0.521"))),
)  # fmt: skip


def generate_earlier_cycles(directory: Path, *, seed: int = 40, day: dt.date = DEFAULT_DAY) -> tuple[SampleStudy, ...]:
    """The dose reports of cycles 1 to 3, each in a study of its own; ``day`` is that of ``generate_cycle``."""
    last = dt.datetime.combine(day - dt.timedelta(hours=max(SCAN_HOURS)), dt.time(9, 30), tzinfo=ZONE)
    made = []
    for number, activity in enumerate(EARLIER_MBQ):
        weeks = WEEKS_APART * (len(EARLIER_MBQ) - number)
        infusion = Infusion(
            seed=seed + number,
            patient=LUTATHERA_PATIENT,
            tracer=LUTATHERA,
            activity_mbq=activity,
            administered_at=(last.replace(tzinfo=None) - dt.timedelta(weeks=weeks)).replace(tzinfo=ZONE),
            slices=1,
        )
        folder = directory / f"cycle-{number + 1}"
        made.append(cycle_study(folder, infusion, infusion, write_series(folder, "SR", [administration_report(infusion)]), "SR"))
    return tuple(made)


def write_dosimetry_table(path: Path, cycles: Sequence[SampleStudy]) -> Path:
    """The export of the dosimetry software over the cycles (one study of each, in order), as cp1252 with decimal commas."""
    lines = [
        line for number, study in enumerate(cycles, 1) for kidney in _KIDNEYS[number - 1] for line in _rows(number, study, kidney)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\r\n".join([_COLUMNS, *lines, ""]), encoding="cp1252")
    return path


def _rows(number: int, study: SampleStudy, kidney: _Kidney) -> Iterator[str]:
    """One row for each scan; what is told once for a region stands in the first."""
    tia = (kidney.tiac_h * study.activity_mbq).quantize(Decimal("0.1"))
    dose = (kidney.gy_per_gbq * study.activity_mbq / 1000).quantize(Decimal("0.01"))
    start = tia * _LN2 / kidney.half_life_h
    whose = [
        study.patient.patient_id,
        ISSUER,
        study.administered_at.strftime("%Y-%m-%d %H:%M"),
        "177Lu-DOTATATE",
        _comma(study.activity_mbq),
        str(number),
        "Kidney",
        kidney.side,
        _comma(kidney.mass_g),
    ]
    approved = (study.administered_at + dt.timedelta(days=14)).strftime("%Y-%m-%d")
    bed = dose + dose * dose * _REPAIR_H / ((_REPAIR_H + kidney.half_life_h) * _ALPHA_BETA)
    cent = Decimal("0.01")
    radiobiology = (bed.quantize(cent), (bed / (1 + 2 / _ALPHA_BETA)).quantize(cent), _ALPHA_BETA, _REPAIR_H)
    once = [_comma(one) for one in (tia, kidney.tiac_h, kidney.half_life_h, dose, kidney.gy_per_gbq, *radiobiology)]
    by = ["Sample Dosimetry", "1.0", "SAMPLE-PHYSICIST", approved]
    for index, hours in enumerate(SCAN_HOURS):
        there = (start * Decimal(repr(0.5 ** (hours / float(kidney.half_life_h))))).quantize(Decimal("0.01"))
        rest = [*once, *by] if index == 0 else [""] * (len(once) + len(by))
        yield ";".join([*whose, str(hours), _comma(there), *rest])


def _comma(number: Decimal) -> str:
    return format(number, "f").replace(".", ",")
