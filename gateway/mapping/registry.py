"""Every converter that a mapping may name after ``as:``."""

from __future__ import annotations

from gateway.mapping.attachments import ATTACHMENTS
from gateway.mapping.conversion import ABSENT, Converter, Options, Outcome, Part, Parts
from gateway.mapping.converters import GENERAL
from gateway.mapping.dose import DOSE
from gateway.mapping.dvh import DVH
from gateway.mapping.numbers import NUMBERS
from gateway.mapping.times import TIMES
from gateway.mapping.tracer import TRACER

CONVERTERS: dict[str, Converter] = {
    converter.name: converter for converter in (*GENERAL, *NUMBERS, *TRACER, *TIMES, *ATTACHMENTS, *DOSE, *DVH)
}


def _list(parts: Parts, options: Options) -> Outcome:
    """A list of what stands in each item of ``for_each``. No mapping names it; the reader of records makes it."""
    return ABSENT


#: What stands for a converter in a field with its own ``for_each``.
LIST = Converter(name="list of items", convert=_list, parts={"items": Part()}, result="list")
