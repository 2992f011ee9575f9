"""What a number of dosimetry can be at all: wide limits for each kind, in whatever unit it comes; what lies beyond is not published."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.nuclear.plausible import _OF_CODE, _OF_KIND, implausible
from gateway.nuclear.results import KINDS
from gateway.nuclear.units import KNOWN, dimension

#: Kinds whose values are of any quantity, or derived here: nothing can be said of all of them.
OPEN = {
    "dose-volume-histogram",
    "suv-scale-factor",
    "measurement",
    "patient-characteristic",
    "calibration-factor",
    "radiation-dose-summary",
}


def test_every_kind_that_is_measured_has_limits_in_each_of_its_quantities() -> None:
    assert set(KINDS) - OPEN == set(_OF_KIND)
    for name, limits in _OF_KIND.items():
        assert {dimension(unit) for unit, _, _ in limits} == KINDS[name].dimensions, name
    for unit, lowest, highest in [*_OF_CODE.values(), *(one for limits in _OF_KIND.values() for one in limits)]:
        assert unit in KNOWN
        assert Decimal(lowest) < Decimal(highest)


#: Real or published orders of magnitude: all of them must pass.
TRUE = [
    ("organ-absorbed-dose", "4.36", "Gy"),
    ("organ-absorbed-dose", "0.00473", "Gy"),
    ("organ-absorbed-dose", "1200", "Gy"),  # a liver tumour after Y-90 microspheres
    ("absorbed-dose-coefficient", "1150", "mGy/MBq"),  # bone surface, Ra-223
    ("effective-dose-coefficient", "24", "mSv/MBq"),
    ("time-integrated-activity", "15892.73", "MBq.h"),
    ("time-integrated-activity-coefficient", "2.20732", "h"),
    ("effective-half-life", "51.0", "h"),
    ("effective-half-life", "0.02", "h"),  # Rb-82
    ("lung-shunt-fraction", "7.5", "%"),
    ("dose-rate", "18", "uSv/h"),
    ("ct-dose", "667.72", "mGy.cm"),
    ("xray-dose", "0.0000016", "Gy.m2"),
]


@pytest.mark.parametrize(("kind", "value", "unit"), TRUE)
def test_what_is_given_in_hospitals_is_believed(kind: str, value: str, unit: str) -> None:
    assert implausible({"value": Decimal(value), "unit": unit}, kind=kind) is None


@pytest.mark.parametrize(
    ("kind", "value", "unit"),
    [
        ("organ-absorbed-dose", "4360000", "cGy"),
        ("time-activity-curve", "204570", "MBq"),  # kBq under the name of MBq
        ("time-integrated-activity-coefficient", "7946", "h"),  # seconds under the name of hours
        ("lung-shunt-fraction", "750", "%"),
        ("effective-half-life", "0", "h"),
        ("effective-dose", "6650", "mSv"),  # uSv under the name of mSv
        ("ct-dose", "667720", "mGy.cm"),
    ],
)
def test_what_cannot_be_is_told(kind: str, value: str, unit: str) -> None:
    assert "beyond belief" in (implausible({"value": Decimal(value), "unit": unit}, kind=kind) or "")


def test_a_code_says_more_than_its_kind() -> None:
    exposure = {"value": Decimal(11912), "unit": "s"}
    assert implausible(exposure, kind="ct-event", code="113824") == "is beyond belief: what it measures lies between 0 and 3600 s"
    assert implausible({"value": Decimal("198.6"), "unit": "min"}, kind="ct-event", code="113824")
    assert implausible(exposure, kind="xray-dose", code="113730") is None  # total fluoroscopy time: 3.3 h
    assert implausible({"value": Decimal(178), "unit": "mm"}, kind="ct-event", code="99999") is None
    assert implausible({"value": Decimal(310000), "unit": "g"}, member="mass")
    assert implausible({"value": Decimal(310), "unit": "g"}, kind="organ-absorbed-dose", member="mass") is None
