"""The UCUM codes this gateway may publish. A closed list: a unit that is not in it is a mistake until somebody adds it here.

UCUM is case-sensitive. The SUV units are those of DICOM CID 84 and 85 (Units of Measure for PET), in their UCUM spelling.
"""

from __future__ import annotations

UCUM = "http://unitsofmeasure.org"

#: By line: activity; molar and cumulated activity;
#: dose and dose rate; time; size, mass, density; standardised uptake; laboratory and physiology; the rest.
_CODES = """
Bq kBq MBq GBq TBq mCi uCi Bq/mL Bq/ml kBq/mL kBq/ml MBq/mL MBq/ml Bq/g kBq/g MBq/g MBq/kg
Bq/mmol Bq/umol Bq.s MBq.s MBq.h GBq.h MBq.h/MBq
Gy cGy mGy uGy RAD Sv cSv mSv uSv REM Gy/s Gy/h mGy/h uGy/h Sv/h mSv/h uSv/h Gy/GBq mGy/MBq Gy/MBq uGy/MBq mGy/GBq
mSv/MBq Sv/GBq uSv/MBq {counts}/s/MBq Gy{BED} cGy{BED} mGy{BED} Gy{EQD2} cGy{EQD2} Ci TBq kBq.h Bq.h GBq.s MBq/umol g/Bq cm2/Bq
Gy.cm mGy.cm mGy.cm2 Gy.cm2 Gy.m2 mGy.m2 uGy.m2 dGy.cm2 cGy.cm2
s ms us min h d wk mo a /s /min /h Hz kHz
m cm mm um nm m2 cm2 mm2 m3 cm3 mm3 L mL uL l ml dL kg g mg ug ng pg kg/m2 g/mL g/ml g/cm3
g/mL{SUVbw} g/ml{SUVbw} g/mL{SUVlbm} g/ml{SUVlbm} g/ml{SUVlbm(James128)} g/ml{SUVlbm(Janma)} g/mL{SUVibw} g/ml{SUVibw}
cm2/mL{SUVbsa} cm2/ml{SUVbsa} g/Bq cm2/Bq cm2/mL g/mL/{counts} cm2/mL/{counts} {counts} {counts}/s {propcounts}
mg/dl mmol/l umol/l ml/min/{1.73_m2} ml/min{1.73_m2} mg/dL mmol/L umol/L mg/L ug/L ng/L ng/mL ug/mL g/L g/dL
mL/min mL/min/{1.73_m2} mL/h mL/s U [iU] [iU]/L m[iU]/L %{vol} mm[Hg] Cel
/min{beats} {beats}/min
1 % [ppm] deg rad eV keV MeV kV mA mA.s uA.s V W K [hnsf'U] {ratio} {score}
"""

UCUM_CODES = frozenset(_CODES.split())
