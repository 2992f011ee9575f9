"""Nuclides are recognised in every writing that occurs in real headers, and nowhere else."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.nuclear.nuclide import Nuclide, Nuclides, half_life_fits

NAMES = [("F-18", "Fluorine"), ("Ga-68", "Gallium"), ("Ga-67", "Gallium"), ("Tc-99m", "Technetium"), ("I-131", "Iodine"),
         ("I-123", "Iodine"), ("Lu-177", "Lutetium"), ("Ge-68", "Germanium"), ("C-11", "Carbon"), ("N-13", "Nitrogen")]  # fmt: skip
NUCLIDES = Nuclides(tuple(Nuclide(name=name, element=element) for name, element in NAMES))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("F-18", "F-18"),
        ("18F", "F-18"),
        ("F18", "F-18"),
        ("f 18", "F-18"),
        ("^18^Fluorine", "F-18"),
        ("F^18^", "F-18"),
        ("F^18^[^18^Fluorine]", "F-18"),
        ("Fluorine-18", "F-18"),
        ("Fluorodeoxyglucose F^18^", "F-18"),
        ("[18F]FDG", "F-18"),
        ("18F-FDG", "F-18"),
        ("99m Technetium", "Tc-99m"),
        ("Technetium Tc^99m^ sestamibi", "Tc-99m"),
        ("TC-99M MDP", "Tc-99m"),
        ("^68^Germanium", "Ge-68"),
        ("177Lu", "Lu-177"),
        ("I131", "I-131"),
    ],
)
def test_a_nuclide_is_recognised(text: str, name: str) -> None:
    assert NUCLIDES.recognise(text) == name


@pytest.mark.parametrize(
    "text",
    ["FDG", "PSMA-11", "PSMA-617", "Solution", "Tc-99", "F-180", "118F", "AF18", "F18X", "", "Ga-68 / Ga-67"],
)
def test_what_names_no_nuclide_or_two_is_not_recognised(text: str) -> None:
    assert NUCLIDES.recognise(text) is None


def test_what_is_left_of_a_tracer_is_its_molecule() -> None:
    assert NUCLIDES.without_mentions("Technetium Tc^99m^ sestamibi").split() == ["sestamibi"]
    assert NUCLIDES.without_mentions("FDG -- fluorodeoxyglucose") == "FDG -- fluorodeoxyglucose"


@pytest.mark.parametrize(
    ("stated", "fits"), [("6586.2", True), ("6588", True), ("6600", True), ("6660", False), ("4062.6", False)]
)
def test_a_half_life_fits_within_one_percent(stated: str, fits: bool) -> None:
    fluorine = Nuclide(name="F-18", element="Fluorine", half_life_s=Decimal("6586.2"))
    assert half_life_fits(Decimal(stated), fluorine) is fits


def test_a_nuclide_without_a_known_half_life_fits_nothing() -> None:
    assert not half_life_fits(Decimal(1), Nuclide(name="Y-86", element="Yttrium"))
