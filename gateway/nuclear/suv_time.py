"""To which moment are the voxels of a PET series corrected for decay? (standards.md B.2, steps 2 and 3.)

SeriesTime says it in an original series. A reconstruction or an export may rewrite SeriesTime; then the vendor's own element
says it, or it follows from the frames. Where two of these say different moments, nobody can tell, and there is no answer.

FrameReferenceTime (0054,1300) counts from the series' reference to the moment at which the frame holds its mean activity
(PS3.3 C.8.9.4.1.5); one vendor counts to the start of the frame. Which of the two is a matter of the mapping, not of this module.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from gateway.nuclear.decay import decay_factor, mean_activity_offset_s

#: A vendor's reference this much after the first acquisition is not believed: clocks are written in whole seconds.
_LATE_S = Decimal(60)
#: Two accounts of one moment agree when the activity left differs by no more than this share.
_SAME_MOMENT = Decimal("0.01")
#: The frames of one series give its one reference this closely; whole seconds matter for short-lived nuclides.
_SAME_FRAMES = Decimal("0.005")


class Decay(StrEnum):
    """To what the voxels are corrected for decay: DecayCorrection (0054,1102), or a date-time that stands in the header."""

    START = "START"
    ADMIN = "ADMIN"
    NONE = "NONE"
    STATED = "STATED"  #: Enhanced PET: DecayCorrectionDateTime


class Origin(StrEnum):
    """What told the reference."""

    SERIES = "SeriesDate and SeriesTime"
    STATED = "the header's own date-time of decay correction"
    FRAMES = "acquisition and frame reference time"
    INJECTION = "the injection"
    FRAME = "the frame's mean activity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One distinct timing of images of a series; offsets and duration in s."""

    acquired_at: dt.datetime | None = None
    duration_s: Decimal | None = None
    mean_offset_s: Decimal | None = None  #: from the reference to the mean activity
    start_offset_s: Decimal | None = None  #: from the reference to the start of the frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """All that tells of time in a series."""

    decay: Decay | None = None
    series_at: dt.datetime | None = None
    stated_at: dt.datetime | None = None  #: by the vendor's private element, or DecayCorrectionDateTime
    frames: frozenset[Frame] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A moment to which voxels are corrected. ``acquired_at`` and ``duration_s`` tell which frames, where not all."""

    at: dt.datetime
    origin: Origin
    acquired_at: dt.datetime | None = None
    duration_s: Decimal | None = None


def references(timing: Timing, half_life_s: Decimal | None, injected_at: dt.datetime | None) -> tuple[Reference, ...]:
    """The moments, in order: one for the series, or one for each timing of its frames when nothing was corrected; none: nobody knows."""
    if half_life_s is None or half_life_s <= 0:
        return ()
    if timing.decay is Decay.ADMIN:
        return (Reference(at=injected_at, origin=Origin.INJECTION),) if injected_at else ()
    if timing.decay is Decay.STATED:
        return (Reference(at=timing.stated_at, origin=Origin.STATED),) if timing.stated_at else ()
    if timing.decay is Decay.START:
        found = _start(timing, half_life_s)
        return (found,) if found else ()
    return _of_frames(timing, half_life_s) if timing.decay is Decay.NONE else ()


def _start(timing: Timing, half_life_s: Decimal) -> Reference | None:
    acquired = [frame.acquired_at for frame in timing.frames if frame.acquired_at]
    earliest = min(acquired, default=None)
    stated = timing.stated_at
    if stated is not None and earliest is not None and _seconds(stated - earliest) > _LATE_S:
        stated = None
    if timing.series_at is not None and earliest is not None and timing.series_at <= earliest:
        if stated is not None and not _agree(stated, timing.series_at, half_life_s, _SAME_MOMENT):
            return None
        return Reference(at=timing.series_at, origin=Origin.SERIES)
    if stated is not None:
        return Reference(at=stated, origin=Origin.STATED)
    return _from_frames(timing.frames, half_life_s)


def _from_frames(frames: frozenset[Frame], half_life_s: Decimal) -> Reference | None:
    """The one reference on which all frames agree, in the middle of what rounding leaves; None when they do not."""
    told = [_told(frame, half_life_s) for frame in frames]
    found = [at for at in told if at is not None]
    if not found or len(found) != len(told):
        return None
    first, last = min(found), max(found)
    if not _agree(first, last, half_life_s, _SAME_FRAMES):
        return None
    return Reference(at=first + (last - first) / 2, origin=Origin.FRAMES)


def _told(frame: Frame, half_life_s: Decimal) -> dt.datetime | None:
    """Which reference a frame tells. A mean offset of zero was not filled in."""
    if frame.acquired_at is None:
        return None
    if frame.start_offset_s is not None:
        return frame.acquired_at - _span(frame.start_offset_s)
    if not frame.mean_offset_s or frame.mean_offset_s < 0 or not frame.duration_s or frame.duration_s < 0:
        return None
    return frame.acquired_at + _span(mean_activity_offset_s(frame.duration_s, half_life_s) - frame.mean_offset_s)


def _of_frames(timing: Timing, half_life_s: Decimal) -> tuple[Reference, ...]:
    """Not corrected: each frame holds the activity of its own mean."""
    made: dict[tuple[dt.datetime, Decimal], Reference] = {}
    for frame in timing.frames:
        if frame.acquired_at is None or not frame.duration_s or frame.duration_s < 0:
            return ()
        at = frame.acquired_at + _span(mean_activity_offset_s(frame.duration_s, half_life_s))
        made[frame.acquired_at, frame.duration_s] = Reference(
            at=at, origin=Origin.FRAME, acquired_at=frame.acquired_at, duration_s=frame.duration_s
        )
    return tuple(made[key] for key in sorted(made))


def _agree(one: dt.datetime, other: dt.datetime, half_life_s: Decimal, share: Decimal) -> bool:
    return abs(1 - decay_factor(_seconds(abs(one - other)), half_life_s)) <= share


def _seconds(span: dt.timedelta) -> Decimal:
    return Decimal(span // dt.timedelta(microseconds=1)).scaleb(-6)


def _span(seconds: Decimal) -> dt.timedelta:
    """To the microsecond."""
    return dt.timedelta(microseconds=int((seconds * 1000000).to_integral_value()))
