"""Every converter that a mapping may name after ``as:``."""

from __future__ import annotations

from gateway.mapping.conversion import Converter
from gateway.mapping.converters import GENERAL
from gateway.mapping.times import TIMES
from gateway.mapping.tracer import TRACER

CONVERTERS: dict[str, Converter] = {converter.name: converter for converter in (*GENERAL, *TRACER, *TIMES)}
