"""The named checks of an adapter: do the numbers of one group agree with each other? Tolerances are the adapter's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from gateway.model import JsonObject
from gateway.nuclear import dosimetry
from gateway.nuclear.units import convert
from gateway.tables.rules import CheckRule

#: What an operand is measured in while it is compared.
_ACTIVITY = "administration.activity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A check that does not hold, the results that it concerns, and whether they may be published."""

    reason: str
    concerned: tuple[str, ...]
    withholds: bool


def failed_checks(
    checks: Sequence[CheckRule], results: Mapping[str, JsonObject], administration: JsonObject, physical_h: Any
) -> Iterator[Failed]:
    """Every check of which all operands are there and which does not hold."""
    for check in checks:
        values = {key: _operand(name, results, administration) for key, name in check.operands}
        if any(value is None for value in values.values()):
            continue
        expected = _expected(check, {key: value for key, value in values.items() if value is not None}, physical_h)
        if expected is None:
            continue
        stated, wanted, words = expected
        over = stated > wanted * (1 + check.within) if wanted is not None else False
        apart = dosimetry.share_apart(stated, wanted) if wanted is not None else Decimal(0)
        only_upper = check.name in ("not_longer_than_physical", "not_above")
        if over if only_upper else apart > check.within:
            names = tuple(dict.fromkeys(name.partition(".")[0] for _, name in check.operands if name != _ACTIVITY))
            concerned = names if check.failing == "withhold" else (_stated_of(check),)
            yield Failed(reason=words, concerned=concerned, withholds=check.failing == "withhold")


def _stated_of(check: CheckRule) -> str:
    return dict(check.operands).get("is", check.operands[0][1]).partition(".")[0]


def _operand(name: str, results: Mapping[str, JsonObject], administration: JsonObject) -> JsonObject | None:
    """The quantity that a name leads to: the value of a result, a member of it, the activity of the administration."""
    if name == _ACTIVITY:
        found = administration.get("activity")
    else:
        result, _, member = name.partition(".")
        found = results.get(result, {}).get(member or "value")
    return found if isinstance(found, dict) and "value" in found and "unit" in found else None


def _expected(check: CheckRule, values: Mapping[str, JsonObject], physical_h: Any) -> tuple[Decimal, Decimal, str] | None:
    """``(stated, expected, what is wrong when they differ)``; None when nothing can be said."""
    try:
        found: tuple[Decimal, Decimal, str] | None = _FORMULAS[check.name](values, physical_h)
    except (ZeroDivisionError, InvalidOperation):
        return None
    return found


def _in(quantity: JsonObject, unit: str) -> Decimal:
    """A number in the unit in which it is compared; of another dimension as it stands."""
    try:
        return convert(quantity["value"], quantity["unit"], unit)
    except ValueError:
        return Decimal(quantity["value"])


def _ratio(values: Mapping[str, JsonObject], _physical: Any) -> tuple[Decimal, Decimal, str]:
    """Time-integrated activity over activity is a time in h; dose over activity is mGy/MBq."""
    over = _in(values["over"], "MBq")
    of, stated = values["of"], values["is"]
    if stated["unit"] in ("mGy/MBq", "mSv/MBq"):
        numerator = _in(of, "mGy" if stated["unit"] == "mGy/MBq" else "mSv")
    elif stated["unit"] == "%":
        numerator = _in(of, "MBq") * 100
    else:
        numerator = _in(of, "MBq.h")
    return stated["value"], numerator / over, "does not agree with what it is the ratio of"


def _physical_limit(values: Mapping[str, JsonObject], physical_h: Any) -> tuple[Decimal, Decimal, str] | None:
    if physical_h is None:
        return None
    return _in(values["of"], "h"), physical_h, "is longer than the physical half-life of the nuclide"


def _biological(values: Mapping[str, JsonObject], physical_h: Any) -> tuple[Decimal, Decimal, str] | None:
    expected = dosimetry.biological_half_life(_in(values["effective"], "h"), physical_h) if physical_h is not None else None
    if expected is None:
        return None
    return _in(values["biological"], "h"), expected, "does not agree with the effective and the physical half-life"


def _bed(values: Mapping[str, JsonObject], _physical: Any) -> tuple[Decimal, Decimal, str]:
    expected = dosimetry.bed(
        _in(values["dose"], "Gy"),
        _in(values["alpha_beta"], "Gy"),
        _in(values["repair_half_time"], "h"),
        _in(values["effective"], "h"),
    )
    return values["is"]["value"], expected, "is not the BED that dose, alpha/beta and half-times give for one exponential"


def _eqd2(values: Mapping[str, JsonObject], _physical: Any) -> tuple[Decimal, Decimal, str]:
    expected = dosimetry.eqd2(values["bed"]["value"], _in(values["alpha_beta"], "Gy"))
    return values["is"]["value"], expected, "is not the EQD2 that BED and alpha/beta give"


def _not_above(values: Mapping[str, JsonObject], _physical: Any) -> tuple[Decimal, Decimal, str]:
    return values["of"]["value"], _in(values["most"], values["of"]["unit"]), "is larger than what limits it"


_FORMULAS: dict[str, Any] = {
    "ratio": _ratio,
    "not_longer_than_physical": _physical_limit,
    "biological_half_life": _biological,
    "bed": _bed,
    "eqd2": _eqd2,
    "not_above": _not_above,
}
