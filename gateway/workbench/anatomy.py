"""What the phantom is made of: tissues, what each looks like in CT and PET, and where the organs lie.

One list of organs (:data:`ORGANS`) is painted in order, so that a later organ overwrites an earlier one. The CT takes each
tissue's Hounsfield units, the PET its standardised uptake value; both see the same body. Shapes are invented and round; no
patient was measured. Coordinates are those of :mod:`gateway.workbench.phantom`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np

from gateway.workbench.phantom import TORSO_MM, Ellipsoid, FloatArray, Mask, Part, Point, Tube


class Tissue(IntEnum):
    """What a voxel can be made of."""

    AIR = 0
    TABLE = auto()
    FAT = auto()
    SOFT = auto()
    MUSCLE = auto()
    LUNG = auto()
    AIRWAY = auto()
    BLOOD = auto()
    MYOCARDIUM = auto()
    LIVER = auto()
    SPLEEN = auto()
    STOMACH = auto()
    GAS = auto()
    BOWEL = auto()
    KIDNEY = auto()
    URINE = auto()
    BLADDER = auto()
    ADRENAL = auto()
    THYROID = auto()
    PROSTATE = auto()
    MARROW = auto()
    BONE = auto()
    DISC = auto()
    LESION = auto()
    WARM_LESION = auto()


#: Hounsfield units of a tissue at 120 kV; rounded textbook values.
HOUNSFIELD: Mapping[Tissue, float] = {
    Tissue.AIR: -1000, Tissue.TABLE: -480, Tissue.FAT: -100, Tissue.SOFT: 22, Tissue.MUSCLE: 55, Tissue.LUNG: -830,
    Tissue.AIRWAY: -990, Tissue.BLOOD: 42, Tissue.MYOCARDIUM: 50, Tissue.LIVER: 62, Tissue.SPLEEN: 52, Tissue.STOMACH: 30,
    Tissue.GAS: -900, Tissue.BOWEL: 28, Tissue.KIDNEY: 36, Tissue.URINE: 8, Tissue.BLADDER: 6, Tissue.ADRENAL: 30,
    Tissue.THYROID: 95, Tissue.PROSTATE: 45, Tissue.MARROW: 190, Tissue.BONE: 620, Tissue.DISC: 85, Tissue.LESION: 40,
    Tissue.WARM_LESION: 42,
}  # fmt: skip

#: Uptake one hour after 18F-FDG, as SUV (g/ml). Typical of a fasting adult: blood 1.6, liver 2.3, urine very hot.
FDG_SUV: Mapping[Tissue, float] = {
    Tissue.FAT: 0.25, Tissue.SOFT: 0.7, Tissue.MUSCLE: 0.75, Tissue.LUNG: 0.4, Tissue.BLOOD: 1.6, Tissue.MYOCARDIUM: 5.5,
    Tissue.LIVER: 2.4, Tissue.SPLEEN: 1.9, Tissue.STOMACH: 1.6, Tissue.BOWEL: 1.5, Tissue.KIDNEY: 3.0, Tissue.URINE: 9.0,
    Tissue.BLADDER: 18.0, Tissue.ADRENAL: 1.5, Tissue.THYROID: 1.4, Tissue.PROSTATE: 1.5, Tissue.MARROW: 1.5, Tissue.BONE: 0.6,
    Tissue.DISC: 0.5, Tissue.LESION: 14.0, Tissue.WARM_LESION: 8.0,
}  # fmt: skip

#: Uptake one hour after 68Ga-DOTATATE, as SUV (g/ml): spleen and kidneys lead, blood is nearly empty.
DOTATATE_SUV: Mapping[Tissue, float] = {
    Tissue.FAT: 0.15, Tissue.SOFT: 0.5, Tissue.MUSCLE: 0.55, Tissue.LUNG: 0.3, Tissue.BLOOD: 0.9, Tissue.MYOCARDIUM: 0.9,
    Tissue.LIVER: 6.0, Tissue.SPLEEN: 19.0, Tissue.STOMACH: 2.5, Tissue.BOWEL: 2.2, Tissue.KIDNEY: 15.0, Tissue.URINE: 9.0,
    Tissue.BLADDER: 12.0, Tissue.ADRENAL: 10.0, Tissue.THYROID: 2.4, Tissue.PROSTATE: 1.4, Tissue.MARROW: 0.8, Tissue.BONE: 0.4,
    Tissue.DISC: 0.3, Tissue.LESION: 28.0, Tissue.WARM_LESION: 16.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trunk:
    """The outline of neck, shoulders, chest, waist and hips, made thinner all round by ``skin_mm``."""

    skin_mm: float = 0.0

    #: depth, half width, half thickness, all in mm.
    PROFILE = (
        (0, 58, 60), (45, 60, 62), (80, 92, 70), (108, 172, 80), (135, 188, 92), (190, 176, 108), (260, 166, 116),
        (340, 160, 116), (420, 150, 110), (480, 152, 106),
        (560, 172, 110), (620, 180, 112), (668, 178, 108), (TORSO_MM, 172, 102),
    )  # fmt: skip

    def box(self) -> tuple[Point, Point]:
        return (-200.0, -130.0, 0.0), (200.0, 130.0, TORSO_MM)

    def inside(self, x: FloatArray, y: FloatArray, depth: FloatArray) -> Mask:
        depths, widths, thicknesses = zip(*self.PROFILE, strict=True)
        width = np.interp(depth, depths, widths).astype(np.float32) - self.skin_mm
        thickness = np.interp(depth, depths, thicknesses).astype(np.float32) - self.skin_mm
        outline = np.abs(x / width) ** 2.5 + np.abs(y / thickness) ** 2.5 <= 1.0
        # Below the crotch the trunk parts into two thighs.
        thigh = ((np.abs(x) - 90.0) / (84.0 - self.skin_mm)) ** 2 + (y / (94.0 - self.skin_mm)) ** 2 <= 1.0
        return np.asarray(outline & ((depth < 690.0) | thigh), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Ribs:
    """Slanted bands on the chest wall: a periodic cut through the shell of an ellipsoid."""

    def box(self) -> tuple[Point, Point]:
        return (-150.0, -112.0, 110.0), (150.0, 112.0, 390.0)

    def inside(self, x: FloatArray, y: FloatArray, depth: FloatArray) -> Mask:
        radius = np.sqrt((x / 146.0) ** 2 + (y / 103.0) ** 2 + ((depth - 285.0) / 200.0) ** 4)
        # Ribs fall from the spine towards the front, about one every 27 mm.
        phase = np.cos(2 * np.pi * (depth + 0.45 * y) / 27.0)
        return np.asarray((np.abs(radius - 0.965) < 0.045) & (phase > 0.25) & ((y > -60.0) | (depth < 330.0)), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Vertebrae:
    """The vertebral bodies; ``discs`` selects the gaps between them, ``arches`` the bone behind the canal."""

    discs: bool = False
    arches: bool = False

    def box(self) -> tuple[Point, Point]:
        return (-40.0, 20.0, 0.0), (40.0, 112.0, 530.0)

    def inside(self, x: FloatArray, y: FloatArray, depth: FloatArray) -> Mask:
        centre = np.interp(depth, (0, 120, 260, 430, 530), (22, 50, 64, 48, 58)).astype(np.float32)
        size = np.interp(depth, (0, 150, 530), (12, 16, 25)).astype(np.float32)
        body = (x / size) ** 2 + ((y - centre) / (size * 0.8)) ** 2 <= 1.0
        period = np.mod(depth, 30.0)
        if self.arches:
            spine = (np.abs(x) < 4.0) & (y > centre + size * 0.8 + 14.0) & (y < centre + size * 0.8 + 38.0)
            wings = (np.abs(x) < size * 1.3) & (np.abs(y - centre - size * 0.8 - 12.0) < 5.0) & (np.abs(x) > 8.0)
            return np.asarray((spine | wings) & (period < 18.0), dtype=np.bool_)
        return np.asarray(body & ((period >= 24.0) if self.discs else (period < 24.0)), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Ilium:
    """One wing of the pelvis: the outer half of a hollow ellipsoid. ``side`` is +1 for left, -1 for right."""

    side: int

    def box(self) -> tuple[Point, Point]:
        return (-150.0, -60.0, 470.0), (150.0, 90.0, 645.0)

    def inside(self, x: FloatArray, y: FloatArray, depth: FloatArray) -> Mask:
        across = x * self.side
        flare = np.clip((depth - 480.0) / 160.0, 0.0, 1.0)
        radius = np.sqrt((across / (138.0 - 42.0 * flare)) ** 2 + ((y - 25.0) / (74.0 - 20.0 * flare)) ** 2)
        crest = (across > 28.0) & (y > -40.0 * flare) & (depth > 480.0 + 0.25 * np.abs(y))
        return np.asarray((np.abs(radius - 0.93) < 0.07) & crest, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Couch:
    """The curved table top under the patient."""

    def box(self) -> tuple[Point, Point]:
        return (-210.0, 95.0, 0.0), (210.0, 150.0, TORSO_MM)

    def inside(self, x: FloatArray, y: FloatArray, depth: FloatArray) -> Mask:
        radius = np.sqrt((x / 235.0) ** 2 + ((y - 60.0) / 82.0) ** 2) + 0.0 * depth
        return np.asarray(np.abs(radius - 0.96) < 0.04, dtype=np.bool_)


def _pair(tissue: Tissue, *shapes: Ellipsoid | Tube) -> tuple[Part, ...]:
    """The same organ on both sides."""
    return tuple(Part(tissue, twin) for shape in shapes for twin in (shape, shape.mirrored()))


def _small_bowel(turns: int = 30) -> tuple[Part, ...]:
    """A tube that winds through the belly without repeating itself (a Lissajous curve)."""
    steps = [step * 0.42 for step in range(turns + 1)]
    points = [(72 * math.sin(2.3 * t), -34 + 20 * math.sin(5.1 * t), 508 + 42 * math.sin(3.7 * t + 1)) for t in steps]
    return tuple(Part(Tissue.BOWEL, Tube(start, end, 9)) for start, end in itertools.pairwise(points))


#: The healthy body, from the outside in: later parts overwrite earlier ones.
ORGANS: tuple[Part, ...] = (
    Part(Tissue.FAT, Trunk()),
    *_pair(Tissue.FAT, Tube((170, 6, 122), (186, 16, -20), 44)),  # raised upper arms
    Part(Tissue.MUSCLE, Trunk(skin_mm=13)),
    *_pair(Tissue.MUSCLE, Tube((170, 6, 122), (186, 16, -20), 36)),
    *_pair(Tissue.BONE, Tube((166, 10, 118), (186, 16, -20), 12)),
    *_pair(Tissue.MARROW, Tube((166, 10, 118), (186, 16, -20), 7)),
    Part(Tissue.FAT, Ellipsoid((0, -14, 470), (132, 82, 150))),  # fat around the bowel
    # Bones that the organs cover later.
    Part(Tissue.BONE, Ribs()),
    *_pair(Tissue.BONE, Tube((14, -72, 128), (150, -12, 112), 7), Ellipsoid((98, 76, 175), (48, 7, 52))),  # clavicle, scapula
    Part(Tissue.MARROW, Tube((0, -84, 150), (0, -98, 285), 8)),  # sternum
    # Chest.
    *_pair(Tissue.LUNG, Ellipsoid((74, 2, 232), (60, 86, 118))),
    Part(Tissue.SOFT, Ellipsoid((4, 2, 240), (31, 74, 120))),  # mediastinum
    Part(Tissue.SOFT, Ellipsoid((20, -28, 285), (64, 50, 54))),  # pericardium
    Part(Tissue.BLOOD, Ellipsoid((18, -28, 282), (56, 45, 48))),
    Part(Tissue.MYOCARDIUM, Ellipsoid((46, -30, 292), (33, 35, 40), hollow=0.62)),
    Part(Tissue.BLOOD, Ellipsoid((24, -22, 270), (20, 22, 24))),  # the mitral side is open
    Part(Tissue.BLOOD, Tube((14, 40, 200), (12, 34, 470), 11)),  # descending aorta
    Part(Tissue.BLOOD, Tube((-8, -22, 250), (4, 8, 186), 13)),  # ascending aorta and arch
    Part(Tissue.BLOOD, Tube((4, 8, 186), (14, 40, 204), 12)),
    *_pair(Tissue.BLOOD, Tube((10, -6, 180), (34, -4, 0), 6)),  # neck vessels
    Part(Tissue.AIRWAY, Tube((0, -10, -20), (0, 10, 205), 9)),
    *_pair(Tissue.AIRWAY, Tube((0, 10, 205), (34, 14, 226), 6)),
    *_pair(Tissue.THYROID, Ellipsoid((19, -14, 84), (9, 9, 20))),
    # Abdomen.
    Part(Tissue.LIVER, Ellipsoid((-60, -8, 362), (84, 84, 62))),
    Part(Tissue.LIVER, Ellipsoid((-94, 10, 402), (44, 62, 68))),
    Part(Tissue.LIVER, Ellipsoid((10, -46, 352), (66, 38, 34))),
    Part(Tissue.SPLEEN, Ellipsoid((108, 42, 366), (26, 42, 46))),
    Part(Tissue.STOMACH, Ellipsoid((66, -34, 374), (44, 42, 38))),
    Part(Tissue.GAS, Ellipsoid((66, -56, 362), (26, 18, 18))),
    *_pair(Tissue.ADRENAL, Ellipsoid((34, 44, 376), (9, 6, 12))),
    Part(Tissue.KIDNEY, Ellipsoid((-62, 52, 446), (27, 25, 52))),
    Part(Tissue.URINE, Ellipsoid((-52, 48, 446), (11, 11, 22))),
    Part(Tissue.KIDNEY, Ellipsoid((64, 52, 430), (27, 25, 52))),
    Part(Tissue.URINE, Ellipsoid((54, 48, 430), (11, 11, 22))),
    Part(Tissue.URINE, Tube((-48, 42, 480), (-26, 20, 600), 3)),  # ureter
    Part(Tissue.BOWEL, Tube((-112, -22, 452), (-106, -14, 545), 18)),  # ascending, transverse and descending colon
    Part(Tissue.BOWEL, Tube((-108, -40, 455), (104, -48, 446), 16)),
    Part(Tissue.BOWEL, Tube((112, -14, 440), (106, -6, 560), 15)),
    Part(Tissue.BOWEL, Tube((106, -6, 562), (18, 34, 612), 14)),
    Part(Tissue.GAS, Tube((-60, -58, 449), (30, -60, 447), 7)),
    *_small_bowel(),
    # Pelvis and spine.
    *_pair(Tissue.MUSCLE, Tube((34, 52, 410), (66, 20, 600), 19)),  # psoas
    *(Part(Tissue.BONE, Ilium(side)) for side in (1, -1)),
    Part(Tissue.MARROW, Ellipsoid((0, 72, 566), (44, 22, 52))),  # sacrum
    *_pair(Tissue.BONE, Ellipsoid((94, 6, 628), (27, 27, 27)), Tube((94, 6, 634), (112, 8, 664), 17)),
    *_pair(Tissue.BONE, Tube((112, 8, 664), (100, 4, 760), 17), Tube((20, -34, 660), (66, 0, 640), 10)),  # femur, pubis
    *_pair(Tissue.MARROW, Ellipsoid((94, 6, 628), (22, 22, 22)), Tube((112, 8, 664), (100, 4, 760), 10)),
    Part(Tissue.BLADDER, Ellipsoid((0, -34, 634), (40, 34, 32))),
    Part(Tissue.PROSTATE, Ellipsoid((0, -4, 668), (21, 17, 16))),
    Part(Tissue.MARROW, Vertebrae()),
    Part(Tissue.DISC, Vertebrae(discs=True)),
    Part(Tissue.BONE, Vertebrae(arches=True)),
)

#: The scanner's couch: seen by the CT, transparent to the PET's uptake.
COUCH: tuple[Part, ...] = (Part(Tissue.TABLE, Couch()),)

#: A lung tumour with a node, a liver and a bone metastasis: the classic restaging request.
FDG_LESIONS: tuple[Part, ...] = (
    Part(Tissue.LESION, Ellipsoid((-88, 10, 190), (16, 15, 17))),
    Part(Tissue.WARM_LESION, Ellipsoid((-20, 6, 222), (10, 10, 13))),
    Part(Tissue.WARM_LESION, Ellipsoid((-92, 10, 392), (13, 13, 13))),
    Part(Tissue.LESION, Ellipsoid((112, 48, 534), (11, 11, 14))),
)

#: A neuroendocrine tumour of the small bowel with liver metastases, a mesenteric node and one vertebra.
NET_LESIONS: tuple[Part, ...] = (
    Part(Tissue.LESION, Ellipsoid((-96, -30, 366), (19, 18, 18))),
    Part(Tissue.LESION, Ellipsoid((-50, 20, 396), (14, 14, 13))),
    Part(Tissue.WARM_LESION, Ellipsoid((-20, -44, 356), (11, 11, 11))),
    Part(Tissue.LESION, Ellipsoid((-24, -20, 505), (12, 12, 13))),
    Part(Tissue.WARM_LESION, Ellipsoid((4, 60, 252), (11, 9, 11))),
)
